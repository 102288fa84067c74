// What a search for the arrays of MuJoCo's structs needs: what MuJoCo allocated, and what it
// prints.
//
// Where a field lies in a struct changes between versions, so it is asked of the library itself:
// MuJoCo prints its structs by name, to the last bit. docs/decisions/0008 weighs this against
// reading the headers.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "mujoco/library.h"

namespace edgedst {

// What one call of MuJoCo's allocates: a struct, its buffer, its arena.
class MujocoBlocks {
 public:
  // The struct that `make` gives, one of MuJoCo's functions that allocate one. Throws
  // std::bad_alloc where it gives none.
  template <typename Make>
  void* note(const MujocoLibrary& mujoco, MujocoWarnings& warnings, Make make) {
    const Noting noting(*this, mujoco);
    void* made = nullptr;
    mujoco.call(warnings, [&] { made = make(); });
    return check(made);
  }

  // Where the struct's arrays of `size` numbers may begin, each once. Only words that point into a
  // block of its own, with room for the whole array, are ever followed.
  std::vector<double*> arrays(const void* object, size_t size) const;

 private:
  struct Block {
    char* address;
    size_t bytes;
  };
  class Noting {  // while it lives, MuJoCo allocates through note_block
   public:
    Noting(MujocoBlocks& blocks, const MujocoLibrary& mujoco);
    ~Noting();
    Noting(const Noting&) = delete;
    Noting& operator=(const Noting&) = delete;

   private:
    const MujocoLibrary& mujoco_;
    void* (*outer_malloc_)(size_t);
  };
  static void* note_block(size_t bytes);
  static void* check(void* made);
  static thread_local MujocoBlocks* noting_;

  std::array<Block, 16> at_;
  size_t count_ = 0;
};

// A file in memory, for what MuJoCo prints.
class MemoryFile {
 public:
  MemoryFile();
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const char* path() const { return path_.c_str(); }
  std::string text() const;  // what was printed: throws std::runtime_error where that is nothing

 private:
  int file_;
  std::string path_;
};

constexpr const char* kAllDigits = "%.17g";

// The numbers under the line `name` of a printed mjData.
std::vector<double> numbers_under(const std::string& text, const std::string& name);
// The numbers beside `name` in a printed mjModel, which prints an array's part with each body,
// joint, geom, ...
std::vector<double> numbers_beside(const std::string& text, const std::string& name);

}  // namespace edgedst
