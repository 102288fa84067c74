// Sparse x one sample: the action of a control step. The four rows of a group are the lanes.
#pragma once

#include "kernels/vector.h"

namespace edgedst {
namespace {

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t QuadMask __attribute__((vector_size(16)));

static_assert(kGroupRows == 4, "a Quad holds one number for each row of a group");

EDGEDST_INLINE Quad load_quad(const float* p) { return *reinterpret_cast<const Quad*>(p); }

// Lane r of the result: the sum of row r, which is the n-th of pattern P's; 0 where P lacks the
// row.
template <int P>
EDGEDST_INLINE Quad spread(Quad sums) {
  constexpr int b0 = P & 1, b1 = P >> 1 & 1, b2 = P >> 2 & 1, b3 = P >> 3 & 1;
  return __builtin_shufflevector(sums, Quad{}, b0 ? 0 : 4, b1 ? b0 : 4, b2 ? b0 + b1 : 4,
                                 b3 ? b0 + b1 + b2 : 4);
}

// Each column's weights are loaded as four, of which those beyond the pattern's rows belong to the
// next column: they sum up in lanes that nobody reads.
template <int P>
EDGEDST_INLINE void bucket_spmv(Quad& total, const float* x, const uint16_t* column,
                                const uint16_t* end, const float*& weight) {
  constexpr int rows = rows_of(P);
  if (column == end) return;
  Quad sum[4] = {};
  for (; end - column >= 4; column += 4, weight += 4 * rows) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[i] += x[column[i]] * load_quad(weight + i * rows);
  }
  for (; column != end; ++column, weight += rows) sum[0] += x[*column] * load_quad(weight);
  total += spread<P>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <int... P>
EDGEDST_INLINE Quad group_spmv(const Groups& groups, int g, const float* weights, const float* x,
                               std::integer_sequence<int, P...>) {
  const float* weight = weights + groups.weight_start[g];
  const uint32_t* start = groups.column_start + g * kPatterns;
  Quad total = {};
  (bucket_spmv<P>(total, x, groups.columns + start[P], groups.columns + start[P + 1], weight), ...);
  return total;
}

void spmv(const Groups& groups, const float* weights, const float* bias, const float* x, float* y,
          Epilogue epilogue) {
  for (int g = 0; g < groups.count; ++g) {
    const Quad sum = group_spmv(groups, g, weights, x, EveryPattern());
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = g * kGroupRows + r;
      if (row >= groups.rows) break;
      const float v = sum[r] + bias[row];
      y[row] = epilogue != Epilogue::kRelu || v > 0 ? v : 0;  // 0 of a NaN, as spmm's
    }
  }
}

}  // namespace
}  // namespace edgedst
