// What passes between two processes that learn and act at once, in an arena that both map:
// counters, a ring of records one way, whole networks the other way. Nobody ever waits: each part
// has one writer and one reader, and either may be killed between any two instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "memory/arena.h"

namespace edgedst {

// Numbers that one process sets and another reads.
class Cells {
 public:
  Cells(Arena& arena, const std::string& name, int count);

  uint32_t get(int index) const;
  void set(int index, uint32_t value);

 private:
  int count_;
  uint32_t* cells_;
};

// Records of one size, oldest first. A record that does not fit is refused, never half written.
class Ring {
 public:
  // `records` is rounded up to a power of two.
  Ring(Arena& arena, const std::string& name, int records, int record_bytes);

  int capacity() const { return static_cast<int>(capacity_); }
  int record_bytes() const { return record_bytes_; }
  int waiting() const;
  bool put(const uint8_t* record);  // of the writer
  bool get(uint8_t* record);        // of the reader

 private:
  uint32_t capacity_;
  int record_bytes_;
  uint32_t *written_, *read_;  // records ever; each on a cache line of its own
  uint8_t* records_;
};

// Whose turn it is with three buffers: the writer fills one, the reader uses another, the third
// holds the newest whole one. (A triple buffer: neither side ever finds the other in its way.)
class Mailbox {
 public:
  Mailbox(Arena& arena, const std::string& name, bool writer);

  // Of the writer: the buffer that it may fill.
  int mine() const { return mine_; }
  // Of the writer: hand over the buffer that it filled; it gets another one.
  void publish();
  // Of the reader: the newest buffer that was handed over; -1: none ever was.
  int take();

 private:
  bool writer_;
  int mine_;
  bool any_ = false;  // reader: something was handed over
  uint32_t* latest_;  // index of the third buffer; kNew: the reader has not had it
};

}  // namespace edgedst
