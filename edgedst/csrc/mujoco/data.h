// One simulation's mjData, and those of its fields that no function of MuJoCo's returns.
//
// Where a field lies in mjData changes between versions, so it is asked of the library itself:
// MuJoCo prints its data by name, to the last bit, and the pointer in mjData behind which exactly
// these numbers stand is the field's. docs/decisions/0008 weighs this against reading the headers.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "mujoco/library.h"

namespace edgedst {

class MujocoData {
 public:
  MujocoData(std::shared_ptr<MujocoModel> model, MujocoWarnings& warnings);
  ~MujocoData();
  MujocoData(const MujocoData&) = delete;
  MujocoData& operator=(const MujocoData&) = delete;

  void* get() const { return data_; }

  // A search for one field, narrowed state by state.
  struct Field {
    std::string name;  // as MuJoCo prints it: in capitals
    int size;          // numbers
    std::vector<const double*> candidates;
  };
  Field field(const std::string& name, int size) const;  // every pointer that it could be
  // Keep the candidates that hold what MuJoCo prints of the present state; calling it in states
  // whose numbers differ leaves one. Throws std::invalid_argument with what is wrong.
  void narrow(std::vector<Field>& fields, MujocoWarnings& warnings) const;

 private:
  struct Block {
    char* address;
    size_t bytes;
  };
  struct Blocks {  // what mj_makeData allocates: mjData itself, its buffer, its arena
    std::array<Block, 16> at;
    size_t count = 0;
  };
  static void* note_block(size_t bytes);
  static thread_local Blocks* noting_;

  std::string print(MujocoWarnings& warnings) const;

  std::shared_ptr<MujocoModel> model_;
  Blocks blocks_;
  void* data_ = nullptr;
};

}  // namespace edgedst
