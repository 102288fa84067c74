// One block of memory that everything of the trainer lives in: what is planned is what is reserved,
// to the byte.
#pragma once

#include <cstddef>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace edgedst {

// Why an arena could not give: Python sees a MemoryError with this sentence.
class ArenaFull : public std::bad_alloc {
 public:
  explicit ArenaFull(std::string sentence) : sentence_(std::move(sentence)) {}
  const char* what() const noexcept override { return sentence_.c_str(); }

 private:
  std::string sentence_;
};

class Arena {
 public:
  // Reserves `capacity_bytes` and writes to each page of them, so that the kernel cannot take the
  // promise back later. A measuring arena reserves nothing: it only counts what is taken, and
  // `take` returns nullptr.
  // With a file (of memory, from memfd_create, that long and zeroed) other processes may map it,
  // too.
  Arena(size_t capacity_bytes, bool measuring, int file = -1);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A zeroed region of `count` elements, aligned to 64 bytes; it lives as long as the arena.
  template <class T>
  T* take(const std::string& name, size_t count) {
    static_assert(alignof(T) <= kAlignment, "regions are aligned to 64 bytes");
    return static_cast<T*>(take_bytes(name, count, sizeof(T)));
  }

  // While it lives, regions begin at `offset`, what was used before others were taken: they lie
  // over those, for what is never in use at the same time.
  class Over {
   public:
    Over(Arena& arena, size_t offset);
    ~Over() { arena_.place_ = arena_.used_bytes_; }
    Over(const Over&) = delete;
    Over& operator=(const Over&) = delete;

   private:
    Arena& arena_;
  };

  // (name, bytes rounded up to 64) in order of allocation: those that a region added to
  // `used_bytes`, fewer than it has where it lies over others.
  const std::vector<std::pair<std::string, size_t>>& regions() const { return regions_; }
  size_t used_bytes() const { return used_bytes_; }
  size_t capacity_bytes() const { return capacity_bytes_; }
  bool measuring() const { return measuring_; }

 private:
  static constexpr size_t kAlignment = 64;

  void* take_bytes(const std::string& name, size_t count, size_t element_bytes);

  char* base_ = nullptr;
  size_t capacity_bytes_;
  size_t used_bytes_ = 0;
  size_t place_ = 0;  // where the next region begins
  bool measuring_;
  std::vector<std::pair<std::string, size_t>> regions_;
};

}  // namespace edgedst
