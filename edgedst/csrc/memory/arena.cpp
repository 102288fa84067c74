#include "memory/arena.h"

#include <sys/mman.h>

#include <cstdint>
#include <stdexcept>

namespace edgedst {

Arena::Arena(size_t capacity_bytes, bool measuring, int file)
    : capacity_bytes_(measuring ? 0 : capacity_bytes), measuring_(measuring) {
  if (capacity_bytes_ == 0) return;
  const bool shared = file >= 0;
  // What a file holds may be in use already: its pages are made resident without writing to them.
  void* block = mmap(nullptr, capacity_bytes_, PROT_READ | PROT_WRITE,
                     shared ? MAP_SHARED | MAP_POPULATE : MAP_PRIVATE | MAP_ANONYMOUS, file, 0);
  if (block == MAP_FAILED)
    throw ArenaFull("Arena: the system does not give " + std::to_string(capacity_bytes_) +
                    " bytes");
  base_ = static_cast<char*>(block);
  if (shared) return;
  // A process that an environment forks has no use for it, and would keep a copy of all that is
  // written here.
  madvise(block, capacity_bytes_, MADV_DONTFORK);
  constexpr size_t kSmallestPage = 4096;
  for (size_t i = 0; i < capacity_bytes_; i += kSmallestPage)
    static_cast<volatile char*>(base_)[i] = 0;
}

Arena::~Arena() {
  if (base_) munmap(base_, capacity_bytes_);
}

Arena::Over::Over(Arena& arena, size_t offset) : arena_(arena) {
  if (offset > arena.used_bytes_ || offset % kAlignment != 0)
    throw std::invalid_argument("Arena: no region begins at " + std::to_string(offset) + "; " +
                                std::to_string(arena.used_bytes_) + " bytes are in use");
  arena_.place_ = offset;
}

void* Arena::take_bytes(const std::string& name, size_t count, size_t element_bytes) {
  const size_t most = SIZE_MAX - place_;
  if (count > (most - (kAlignment - 1)) / element_bytes)
    throw ArenaFull("Arena: `" + name + "` of " + std::to_string(count) + " elements of " +
                    std::to_string(element_bytes) + " bytes is more than can be addressed");
  const size_t bytes = (count * element_bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (!measuring_ && bytes > capacity_bytes_ - place_)
    throw ArenaFull("Arena: `" + name + "` takes " + std::to_string(bytes) + " bytes and " +
                    std::to_string(capacity_bytes_ - place_) + " of " +
                    std::to_string(capacity_bytes_) + " are left");
  char* region = measuring_ ? nullptr : base_ + place_;
  place_ += bytes;
  const size_t added = place_ > used_bytes_ ? place_ - used_bytes_ : 0;
  regions_.emplace_back(name, added);
  used_bytes_ += added;
  return region;
}

}  // namespace edgedst
