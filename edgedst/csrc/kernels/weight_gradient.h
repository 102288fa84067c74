// Sampled dense x dense: dW = dY x^T at the stored positions. Accumulators of several columns and
// rows stay in registers over the whole batch; their lanes are summed up together.
#pragma once

#include "kernels/backward.h"

namespace edgedst {
namespace {

struct WeightGradient {
  const float* x;
  size_t x_stride;
  const float* dy;  // the group's first row
  size_t dy_stride;
  int batch;
};

// The gradients of C columns that are used by the rows of pattern P: each load of x serves every
// row, each load of dy every column.
template <int P, int C>
EDGEDST_INLINE float* columns_gradient(const WeightGradient& w, const uint16_t* column, float* out,
                                       const float* end) {
  constexpr int rows = rows_of(P);
  const float* x[C];
  Vector sum[C * rows];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) x[c] = w.x + column[c] * w.x_stride;
#pragma GCC unroll 16
  for (int i = 0; i < C * rows; ++i) sum[i] = Vector{};
  for (int b = 0; b < w.batch; b += kLanes) {
    Vector v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) v[c] = rows > 1 ? load_once(x[c] + b) : load(x[c] + b);
    int r = 0;
#pragma GCC unroll 4
    for (int lane = 0; lane < kGroupRows; ++lane) {
      if (P >> lane & 1) {
        const Vector d = load_once(w.dy + lane * w.dy_stride + b);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[c * rows + r] += d * v[c];
        ++r;
      }
    }
  }
  return store_sums<C * rows>(sum, out, end);
}

// C columns at a time. What is left is done together with some columns once more, to the same sums:
// cheaper than one by one.
template <int P, int C>
EDGEDST_INLINE float* bucket_gradient(const WeightGradient& w, const uint16_t* column,
                                      const uint16_t* column_end, float* out, const float* end) {
  if (C > 1 && column_end - column < C)
    return bucket_gradient<P, (C + 1) / 2>(w, column, column_end, out, end);
  for (; column_end - column >= C; column += C) out = columns_gradient<P, C>(w, column, out, end);
  if (C == 1 || column == column_end) return out;
  const auto again = column + C - column_end;
  return columns_gradient<P, C>(w, column - again, out - again * rows_of(P), end);
}

// P: the patterns that hold columns.
template <int... P>
EDGEDST_INLINE void group_gradient(const WeightGradient& w, const Groups& groups, int g,
                                   float* gradient, std::integer_sequence<int, P...>) {
  const uint32_t* start = groups.column_start + g * kPatterns;
  float* out = gradient + groups.weight_start[g];
  const float* end = gradient + groups.weight_start[g + 1];  // beyond it another thread may write
  ((out = bucket_gradient<P, kColumns[rows_of(P)]>(w, groups.columns + start[P],
                                                   groups.columns + start[P + 1], out, end)),
   ...);
}

void sddmm(const Groups& groups, const float* x, size_t x_stride, const float* dy, size_t dy_stride,
           int batch, float* gradient, float* bias_gradient, int first, int last) {
  for (int g = first; g < last; ++g) {
    const WeightGradient w = {x, x_stride, dy + g * kGroupRows * dy_stride, dy_stride, batch};
    if (groups.plain)
      group_gradient(w, groups, g, gradient, SingleRows());
    else
      group_gradient(w, groups, g, gradient, EveryPattern());
    const int row = g * kGroupRows, end = row + kGroupRows;
    if (bias_gradient)
      row_sums(dy, dy_stride, batch, row, end < groups.rows ? end : groups.rows, bias_gradient);
  }
}

}  // namespace
}  // namespace edgedst
