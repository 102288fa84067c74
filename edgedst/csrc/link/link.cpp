#include "link/link.h"

#include <cstring>
#include <stdexcept>

namespace edgedst {
namespace {

// Indices in the mailbox are stored plus one: a fresh arena's 0 means that buffer 1 is the third.
constexpr uint32_t kIndex = 3, kNew = 4;
constexpr int kWriters = 0, kThird = 1, kReaders = 2;

uint32_t load(const uint32_t* cell) { return __atomic_load_n(cell, __ATOMIC_ACQUIRE); }
void store(uint32_t* cell, uint32_t value) { __atomic_store_n(cell, value, __ATOMIC_RELEASE); }

void require_memory(const void* memory, const char* what) {
  if (!memory) throw std::invalid_argument(std::string(what) + " is on a measuring arena");
}

uint32_t power_of_two(int least) {
  uint32_t power = 1;
  while (power < static_cast<uint32_t>(least)) power *= 2;
  return power;
}

}  // namespace

Cells::Cells(Arena& arena, const std::string& name, int count) : count_(count) {
  if (count < 1) throw std::invalid_argument("Cells: expected at least one");
  cells_ = arena.take<uint32_t>(name, static_cast<size_t>(count));
}

uint32_t Cells::get(int index) const {
  require_memory(cells_, "Cells");
  if (index < 0 || index >= count_) throw std::out_of_range("Cells: no such cell");
  return load(cells_ + index);
}

void Cells::set(int index, uint32_t value) {
  require_memory(cells_, "Cells");
  if (index < 0 || index >= count_) throw std::out_of_range("Cells: no such cell");
  store(cells_ + index, value);
}

Ring::Ring(Arena& arena, const std::string& name, int records, int record_bytes)
    : record_bytes_(record_bytes) {
  constexpr int kMost = 1 << 24;
  if (records < 1 || records > kMost || record_bytes < 1 || record_bytes > kMost)
    throw std::invalid_argument("Ring: expected 1 to 2^24 records of 1 to 2^24 bytes");
  capacity_ = power_of_two(records);
  written_ = arena.take<uint32_t>(name + ".written", 1);
  read_ = arena.take<uint32_t>(name + ".read", 1);
  records_ = arena.take<uint8_t>(name + ".records", size_t(capacity_) * record_bytes);
}

int Ring::waiting() const {
  require_memory(records_, "Ring");
  return static_cast<int>(load(written_) - load(read_));
}

bool Ring::put(const uint8_t* record) {
  require_memory(records_, "Ring");
  const uint32_t written = *written_;
  if (written - load(read_) >= capacity_) return false;
  std::memcpy(records_ + size_t(written % capacity_) * record_bytes_, record, record_bytes_);
  store(written_, written + 1);
  return true;
}

bool Ring::get(uint8_t* record) {
  require_memory(records_, "Ring");
  const uint32_t read = *read_;
  if (load(written_) == read) return false;
  std::memcpy(record, records_ + size_t(read % capacity_) * record_bytes_, record_bytes_);
  store(read_, read + 1);
  return true;
}

Mailbox::Mailbox(Arena& arena, const std::string& name, bool writer)
    : writer_(writer), mine_(writer ? kWriters : kReaders) {
  latest_ = arena.take<uint32_t>(name, 1);
}

void Mailbox::publish() {
  require_memory(latest_, "Mailbox");
  if (!writer_) throw std::invalid_argument("Mailbox: the reader publishes nothing");
  const uint32_t third =
      __atomic_exchange_n(latest_, static_cast<uint32_t>(mine_ + 1) | kNew, __ATOMIC_ACQ_REL);
  mine_ = third == 0 ? kThird : static_cast<int>(third & kIndex) - 1;
}

int Mailbox::take() {
  require_memory(latest_, "Mailbox");
  if (writer_) throw std::invalid_argument("Mailbox: the writer takes nothing");
  if (load(latest_) & kNew) {
    const uint32_t newest =
        __atomic_exchange_n(latest_, static_cast<uint32_t>(mine_ + 1), __ATOMIC_ACQ_REL);
    mine_ = static_cast<int>(newest & kIndex) - 1;
    any_ = true;
  }
  return any_ ? mine_ : -1;
}

}  // namespace edgedst
