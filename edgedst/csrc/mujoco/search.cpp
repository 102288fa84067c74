#include "mujoco/search.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace edgedst {
namespace {

// Appends the numbers that begin at `at`, and goes no further than `end`.
void append_numbers(const char* at, const char* end, std::vector<double>& numbers) {
  while (at < end) {
    char* behind = nullptr;
    const double number = std::strtod(at, &behind);
    if (behind == at || behind > end) return;
    numbers.push_back(number);
    at = behind;
  }
}

}  // namespace

thread_local MujocoBlocks* MujocoBlocks::noting_ = nullptr;

// MuJoCo's own allocation (it frees with free()), noted. Called from C: it must not throw.
void* MujocoBlocks::note_block(size_t bytes) {
  constexpr size_t kAlignment = 64;
  void* block = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (block != nullptr && noting_ != nullptr && noting_->count_ < noting_->at_.size())
    noting_->at_[noting_->count_++] = {static_cast<char*>(block), bytes};
  return block;
}

MujocoBlocks::Noting::Noting(MujocoBlocks& blocks, const MujocoLibrary& mujoco)
    : mujoco_(mujoco), outer_malloc_(*mujoco.user_malloc) {
  if (outer_malloc_ == nullptr) *mujoco.user_malloc = note_block;  // else: nothing is noted
  noting_ = &blocks;
}

MujocoBlocks::Noting::~Noting() {
  noting_ = nullptr;
  *mujoco_.user_malloc = outer_malloc_;
}

void* MujocoBlocks::check(void* made) {
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

std::vector<double*> MujocoBlocks::arrays(const void* object, size_t size) const {
  std::vector<double*> arrays;
  size_t words = 0;
  for (size_t i = 0; i < count_; ++i)
    if (at_[i].address == object) words = at_[i].bytes / sizeof(void*);
  const size_t array_bytes = size * sizeof(double);
  for (size_t word = 0; word < words; ++word) {
    uintptr_t value;
    std::memcpy(&value, static_cast<const char*>(object) + word * sizeof value, sizeof value);
    for (size_t i = 0; i < count_; ++i) {
      const Block& block = at_[i];
      const uintptr_t start = reinterpret_cast<uintptr_t>(block.address);
      if (block.address == object || value % alignof(double) != 0 || value < start ||
          value - start > block.bytes || block.bytes - (value - start) < array_bytes)
        continue;
      double* const array = reinterpret_cast<double*>(value);
      if (std::find(arrays.begin(), arrays.end(), array) == arrays.end()) arrays.push_back(array);
    }
  }
  return arrays;
}

MemoryFile::MemoryFile() : file_(memfd_create("edgedst", MFD_CLOEXEC)) {
  if (file_ < 0) throw std::runtime_error("no memory for a file that MuJoCo prints to");
  path_ = "/proc/self/fd/" + std::to_string(file_);
}

MemoryFile::~MemoryFile() { close(file_); }

std::string MemoryFile::text() const {
  std::string text;
  char chunk[4096];
  ssize_t bytes;
  while ((bytes = pread(file_, chunk, sizeof chunk, static_cast<off_t>(text.size()))) > 0)
    text.append(chunk, static_cast<size_t>(bytes));
  // It warns where it cannot open the file, and goes on.
  if (text.empty()) throw std::runtime_error("MuJoCo printed nothing into " + path_);
  return text;
}

std::vector<double> numbers_under(const std::string& text, const std::string& name) {
  std::vector<double> numbers;
  const size_t line = text.find("\n" + name + "\n");
  if (line != std::string::npos)
    append_numbers(text.data() + line + name.size() + 2, text.data() + text.size(), numbers);
  return numbers;
}

std::vector<double> numbers_beside(const std::string& text, const std::string& name) {
  std::vector<double> numbers;
  const std::string begin = "\n  " + name + " ";
  for (size_t line = text.find(begin); line != std::string::npos; line = text.find(begin, line)) {
    line += begin.size();
    const size_t end = std::min(text.find('\n', line), text.size());
    append_numbers(text.data() + line, text.data() + end, numbers);
  }
  return numbers;
}

}  // namespace edgedst
