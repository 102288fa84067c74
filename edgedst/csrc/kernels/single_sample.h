// Sparse x one sample: the action of a control step. Four lanes, of which each kind of bucket makes
// its own use. What binds are the loads: a column's index, its x and its weights.
#pragma once

#include "kernels/vector.h"

namespace edgedst {
namespace {

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

static_assert(kGroupRows == 4, "a Quad holds one number for each row of a group");

EDGEDST_INLINE Quad load_quad(const float* p) { return *reinterpret_cast<const Quad*>(p); }

// x of two neighbouring columns, whose indices come in one load: the compiler makes one of the two,
// and may not undo it.
struct TwoColumns {
  float first, second;

  EDGEDST_INLINE TwoColumns(const float* x, const uint16_t* column) {
    uint32_t both = column[0] | static_cast<uint32_t>(column[1]) << 16;
    asm("" : "+r"(both));
    first = x[both & 0xffff];
    second = x[both >> 16];
  }
  // Each twice: for the weights of two rows.
  EDGEDST_INLINE Quad twice() const {
    return __builtin_shufflevector(Quad{first, first, first, first},
                                   Quad{second, second, second, second}, 0, 1, 6, 7);
  }
};

// What is left of a bucket, and of its group's weights.
struct Bucket {
  const uint16_t *column, *end;
  const float*& weight;

  EDGEDST_INLINE bool has(int columns) const { return end - column >= columns; }
  EDGEDST_INLINE void pass(int columns, int rows) {
    column += columns;
    weight += columns * rows;
  }
};

// Columns of one row: the lanes are columns.
EDGEDST_INLINE Quad one_row(Bucket b, const float* x) {
  Quad sum = {};
  for (; b.has(4); b.pass(4, 1)) {
    const TwoColumns c(x, b.column), d(x, b.column + 2);
    sum += Quad{c.first, c.second, d.first, d.second} * load_quad(b.weight);
  }
  for (; b.has(1); b.pass(1, 1)) sum[0] += x[*b.column] * *b.weight;
  return sum;
}

// Columns of two rows: the lanes are two columns. Lanes 0 and 1 of the result are the rows' sums.
EDGEDST_INLINE Quad two_rows(Bucket b, const float* x) {
  Quad sum[2] = {};
  for (; b.has(4); b.pass(4, 2)) {
    sum[0] += TwoColumns(x, b.column).twice() * load_quad(b.weight);
    sum[1] += TwoColumns(x, b.column + 2).twice() * load_quad(b.weight + 4);
  }
  if (b.has(2)) {
    sum[0] += TwoColumns(x, b.column).twice() * load_quad(b.weight);
    b.pass(2, 2);
  }
  Quad total = sum[0] + sum[1];
  total += __builtin_shufflevector(total, total, 2, 3, 2, 3);
  if (b.has(1)) {
    total += x[*b.column] * load_quad(b.weight);
    b.pass(1, 2);
  }
  return total;
}

// Columns of three or four rows: the lanes are rows. A fourth weight that is the next column's sums
// up in a lane that nobody reads.
template <int rows>
EDGEDST_INLINE Quad more_rows(Bucket b, const float* x) {
  Quad sum[4] = {};
  for (; b.has(4); b.pass(4, rows)) {
    const TwoColumns c(x, b.column), d(x, b.column + 2);
    sum[0] += c.first * load_quad(b.weight);
    sum[1] += c.second * load_quad(b.weight + rows);
    sum[2] += d.first * load_quad(b.weight + 2 * rows);
    sum[3] += d.second * load_quad(b.weight + 3 * rows);
  }
  if (b.has(2)) {
    const TwoColumns c(x, b.column);
    sum[0] += c.first * load_quad(b.weight);
    sum[1] += c.second * load_quad(b.weight + rows);
    b.pass(2, rows);
  }
  if (b.has(1)) {
    sum[2] += x[*b.column] * load_quad(b.weight);
    b.pass(1, rows);
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Lane r of the result: the sum of row r, which is the n-th of pattern P's; 0 where P lacks the
// row.
template <int P>
EDGEDST_INLINE Quad spread(Quad sums) {
  constexpr int b0 = P & 1, b1 = P >> 1 & 1, b2 = P >> 2 & 1, b3 = P >> 3 & 1;
  return __builtin_shufflevector(sums, Quad{}, b0 ? 0 : 4, b1 ? b0 : 4, b2 ? b0 + b1 : 4,
                                 b3 ? b0 + b1 + b2 : 4);
}

// `single`: of each row, the sums of its own bucket, whose lanes are still to be summed up.
template <int P>
EDGEDST_INLINE void bucket_spmv(Quad& total, Quad (&single)[kGroupRows], Bucket b, const float* x) {
  constexpr int rows = rows_of(P);
  if constexpr (rows == 1)
    single[P == 8 ? 3 : P / 2] = one_row(b, x);
  else if (b.has(1))
    total += spread<P>(rows == 2 ? two_rows(b, x) : more_rows<rows>(b, x));
}

template <int... P>
EDGEDST_INLINE Quad group_spmv(const Groups& groups, int g, const float* weights, const float* x,
                               std::integer_sequence<int, P...>) {
  const float* weight = weights + groups.weight_start[g];
  const uint32_t* start = groups.column_start + g * kPatterns;
  const uint16_t* columns = groups.columns;
  Quad total = {}, single[kGroupRows];
  (bucket_spmv<P>(total, single, {columns + start[P], columns + start[P + 1], weight}, x), ...);
  const auto fold = [](Quad p, Quad q) {  // two lanes of each
    return __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
  };
  const Quad p = fold(single[0], single[1]), q = fold(single[2], single[3]);
  return total +
         (__builtin_shufflevector(p, q, 0, 1, 4, 5) + __builtin_shufflevector(p, q, 2, 3, 6, 7));
}

template <class Patterns>
EDGEDST_INLINE void spmv_of(Patterns patterns, const Groups& groups, const float* weights,
                            const float* bias, const float* x, float* y, Epilogue epilogue) {
  for (int g = 0; g < groups.count; ++g) {
    const Quad sum = group_spmv(groups, g, weights, x, patterns);
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = g * kGroupRows + r;
      if (row >= groups.rows) break;
      const float v = sum[r] + bias[row];
      y[row] = epilogue == Epilogue::kRelu && v <= 0 ? 0 : v;
    }
  }
}

void spmv(const Groups& groups, const float* weights, const float* bias, const float* x, float* y,
          Epilogue epilogue) {
  if (groups.plain) return spmv_of(SingleRows(), groups, weights, bias, x, y, epilogue);
  spmv_of(EveryPattern(), groups, weights, bias, x, y, epilogue);
}

}  // namespace
}  // namespace edgedst
