// One simulation's mjData, and those of its fields that no function of MuJoCo's returns.
//
// A field is found by what MuJoCo prints of it (mujoco/search.h): the pointer in mjData behind
// which exactly these numbers stand is the field's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mujoco/library.h"
#include "mujoco/search.h"

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
  std::string print(MujocoWarnings& warnings) const;

  std::shared_ptr<MujocoModel> model_;
  MujocoBlocks blocks_;  // mjData itself, its buffer, its arena
  void* data_ = nullptr;
};

}  // namespace edgedst
