// A hidden layer's way back in one pass: the weight gradient and the input's gradient need the same
// rows of dy, which come from the second-level cache and cost more than the multiply-adds of
// either.
#pragma once

#include "kernels/vector.h"

namespace edgedst {
namespace {

struct Backward {
  const Groups& groups;  // transposed, plain: a row is one of x
  const float* values;
  const uint32_t* slots;
  float* x;
  size_t x_stride;
  const float* dy;
  size_t dy_stride;
  float* gradient;
  float* dx_sums;   // null: x stays as it is
  int first, last;  // groups
};

// Vectors whose lanes are to be summed up, as many as a vector has lanes: rows of few weights fill
// it together, so that none pays alone for the sum of its lanes.
struct Unsummed {
  float lanes[kLanes * kLanes] = {};  // the last sum of few adds all of them up
  int count = 0;

  EDGEDST_INLINE bool is_full_with(Vector v) {
    store(lanes + count * kLanes, v);
    return ++count == kLanes;
  }

  // Calls put(i, sum) for each since the last time.
  template <class Put>
  EDGEDST_INLINE void sum_up(const Put& put) {
    float sums[kLanes];
    store(sums, sum_each<kLanes>(reinterpret_cast<const Vector*>(lanes)));
    for (int i = 0; i < count; ++i) put(i, sums[i]);
    count = 0;
  }
};

// `add`: not the batch's first tile.
template <int T, bool kInput>
void backward_tile(const Backward& in_memory, bool add) {
  const Backward p = in_memory;  // a copy: the stores below cannot alias it
  const int end = p.last * kGroupRows < p.groups.rows ? p.last * kGroupRows : p.groups.rows;
  uint32_t k = p.groups.column_start[p.first * kPatterns];
  Unsummed products, rows;
  const auto write_gradient = [&] {
    const uint32_t* slot = p.slots + k - products.count;
    products.sum_up(
        [&](int i, float sum) { p.gradient[slot[i]] = add ? p.gradient[slot[i]] + sum : sum; });
  };
  const auto write_dx_sums = [&](int end_row) {
    float* sums = p.dx_sums + end_row - rows.count;
    rows.sum_up([&](int i, float sum) { sums[i] = add ? sums[i] + sum : sum; });
  };
  for (int row = p.first * kGroupRows; row < end; ++row) {
    float* x = p.x + row * p.x_stride;
    Vector activation[T], sum[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      activation[t] = load(x + t * kLanes);
      if (kInput) sum[t] = Vector{};
    }
    const uint32_t row_end =
        p.groups.column_start[row / kGroupRows * kPatterns + (1 << row % kGroupRows) + 1];
    while (k != row_end) {
      const float* dy = p.dy + p.groups.columns[k] * p.dy_stride;
      const float w = kInput ? p.values[p.slots[k]] : 0;
      Vector product[2] = {};
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        const Vector d = load_once(dy + t * kLanes);
        if (kInput) sum[t] += w * d;
        product[t % 2] += activation[t] * d;
      }
      ++k;
      if (products.is_full_with(product[0] + product[1])) write_gradient();
    }
    if (!kInput) continue;
    const Vector zero = {};
    Vector total = {};
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      const Vector dx = activation[t] <= zero ? zero : sum[t];
      store(x + t * kLanes, dx);
      total += dx;
    }
    if (rows.is_full_with(total)) write_dx_sums(row + 1);
  }
  if (products.count > 0) write_gradient();
  if (rows.count > 0) write_dx_sums(end);
}

template <int T>
EDGEDST_INLINE void run_backward(int width, const Backward& p, bool add) {
  if (width == T)
    return p.dx_sums ? backward_tile<T, true>(p, add) : backward_tile<T, false>(p, add);
  if constexpr (T > 1) run_backward<T - 1>(width, p, add);
}

void spmm_t_sddmm(const Groups& groups, const float* values, const uint32_t* slots, float* x,
                  size_t x_stride, const float* dy, size_t dy_stride, int batch, float* gradient,
                  float* dx_sums, int first, int last) {
  if (first == last) return;
  Backward p = {groups, values, slots, x, x_stride, dy, dy_stride, gradient, dx_sums, first, last};
  const int vectors = (batch + kLanes - 1) / kLanes;
  const int tiles = (vectors + kBackwardTile - 1) / kBackwardTile;
  for (int i = 0; i < tiles; ++i) {
    const int width = (vectors + i) / tiles;
    run_backward<kBackwardTile>(width, p, i > 0);
    p.x += width * kLanes;
    p.dy += width * kLanes;
  }
}

// One sum after another over the batch, then the lanes of four rows together.
void row_sums(const float* rows, size_t stride, int batch, int first, int last, float* sums) {
  for (int row = first; row < last; row += kGroupRows) {
    const int count = last - row < kGroupRows ? last - row : kGroupRows;
    Vector sum[kGroupRows] = {};
    for (int r = 0; r < count; ++r)
      for (int b = 0; b < batch; b += kLanes) sum[r] += load(rows + (row + r) * stride + b);
    float four[kGroupRows];
    store_sums<kGroupRows>(sum, four, four + kGroupRows);
    std::memcpy(sums + row, four, count * sizeof(float));
  }
}

}  // namespace
}  // namespace edgedst
