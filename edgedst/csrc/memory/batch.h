// A view of a feature-major matrix: all samples of one feature lie side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "memory/arena.h"

namespace edgedst {

constexpr int kColumnAlignment = 16;  // floats: the widest vector that any kernel uses

// Floats from one row to the next: whole cache lines, and an odd number of them. With a power of
// two the columns of a tile would all fall into the same few sets of the cache.
inline int row_stride(int columns) {
  const int lines = (columns + kColumnAlignment - 1) / kColumnAlignment;
  return (lines | 1) * kColumnAlignment;
}

struct Batch {
  float* data = nullptr;  // null on a measuring arena
  int rows = 0;
  int columns = 0;  // samples
  int stride = 0;   // floats from one row to the next

  float* row(int index) const { return data + static_cast<size_t>(index) * stride; }

  // A view of rows [start, stop).
  Batch slice(int start, int stop) const {
    if (start < 0 || stop <= start || stop > rows)
      throw std::invalid_argument("slice: rows [" + std::to_string(start) + ", " +
                                  std::to_string(stop) + ") are not a range within the batch's " +
                                  std::to_string(rows) + " rows");
    return {data ? row(start) : nullptr, stop - start, columns, stride};
  }

  // "(17, 100)", for error messages.
  std::string shape() const {
    return "(" + std::to_string(rows) + ", " + std::to_string(columns) + ")";
  }
};

// The padded columns of every row become 0.
inline void clear_padding(const Batch& batch) {
  for (int r = 0; r < batch.rows; ++r)
    std::fill(batch.row(r) + batch.columns, batch.row(r) + batch.stride, 0.0f);
}

// What a function of batches asks of its arguments; `where` and `name` are for the sentence.
inline void require_memory(const char* where, const char* name, const Batch& batch) {
  if (!batch.data)
    throw std::invalid_argument(std::string(where) + ": `" + name +
                                "` is on a measuring arena and has no memory");
}

// Every real column becomes `value`, every padded one 0.
inline void fill(const Batch& batch, float value) {
  require_memory("fill", "batch", batch);
  for (int r = 0; r < batch.rows; ++r) std::fill_n(batch.row(r), batch.columns, value);
  clear_padding(batch);
}

inline void require_shape(const char* where, const char* name, const Batch& batch, int rows,
                          int columns) {
  require_memory(where, name, batch);
  if (batch.rows != rows || batch.columns != columns)
    throw std::invalid_argument(std::string(where) + ": `" + name + "` is " + batch.shape() +
                                ", expected (" + std::to_string(rows) + ", " +
                                std::to_string(columns) + ")");
}

inline Batch take_batch(Arena& arena, const std::string& name, int rows, int columns) {
  constexpr int kMost = 1 << 24;  // far beyond any batch, and rounding up cannot overflow
  if (rows < 1 || columns < 1 || rows > kMost || columns > kMost)
    throw std::invalid_argument("Batch `" + name + "`: (" + std::to_string(rows) + ", " +
                                std::to_string(columns) +
                                ") is not a shape: rows and columns lie between 1 and 2^24");
  const int stride = row_stride(columns);
  return {arena.take<float>(name, static_cast<size_t>(rows) * stride), rows, columns, stride};
}

}  // namespace edgedst
