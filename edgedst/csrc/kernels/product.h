// Sparse x dense: y = W x for a batch. Batch tiles are outside, rows inside, so that a tile of x
// stays in cache while the whole layer passes by; accumulators stay in registers.
#pragma once

#include "kernels/vector.h"

namespace edgedst {
namespace {

struct Product {
  const Groups& groups;
  const float* weights;
  const float* bias;  // null: none
  const float* x;
  size_t x_stride;
  float* y;
  size_t y_stride;
  Epilogue epilogue;
  int first, last;  // groups
  int first_row;    // rows below it are not written
};

template <int T>
EDGEDST_INLINE void finish_row(const Product& p, int row, const Vector (&sum)[T]) {
  const Vector zero = {};
  float* out = p.y + row * p.y_stride;
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    Vector v = sum[t];
    if (p.epilogue == Epilogue::kRelu) v = v > zero ? v : zero;
    if (p.epilogue == Epilogue::kReluMask) v = load(out + t * kLanes) > zero ? v : zero;
    store(out + t * kLanes, v);
  }
}

// One bucket: every column of it is used by exactly the rows of pattern P.
template <int P, int T>
EDGEDST_INLINE void bucket_product(Vector (&sum)[kGroupRows][T], const Product& p,
                                   const uint16_t* column, const uint16_t* end,
                                   const float*& weight) {
  for (; column != end; ++column) {
    const float* row = p.x + *column * p.x_stride;
#pragma GCC unroll 4
    for (int r = 0; r < kGroupRows; ++r) {
      if (P >> r & 1) {
        const float w = *weight++;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sum[r][t] += w * load(row + t * kLanes);
      }
    }
  }
}

template <int T, int... P>
EDGEDST_INLINE void group_product(Vector (&sum)[kGroupRows][T], const Product& p, int g,
                                  std::integer_sequence<int, P...>) {
  const float* weight = p.weights + p.groups.weight_start[g];
  const uint32_t* start = p.groups.column_start + g * kPatterns;
  (bucket_product<P, T>(sum, p, p.groups.columns + start[P], p.groups.columns + start[P + 1],
                        weight),
   ...);
}

struct GroupTile {
  static constexpr int kWidest = kTile;

  template <int T>
  static void run(const Product& p) {
    for (int g = p.first; g < p.last; ++g) {
      Vector sum[kGroupRows][T];
#pragma GCC unroll 4
      for (int r = 0; r < kGroupRows; ++r) {
        const int row = g * kGroupRows + r;
        const float b = p.bias && row < p.groups.rows ? p.bias[row] : 0;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sum[r][t] = Vector{} + b;
      }
      group_product<T>(sum, p, g, EveryPattern());
#pragma GCC unroll 4
      for (int r = 0; r < kGroupRows; ++r) {
        const int row = g * kGroupRows + r;
        if (row >= p.first_row && row < p.groups.rows) finish_row<T>(p, row, sum[r]);
      }
    }
  }
};

// Groups of plain rows: only the buckets of single rows hold columns.
struct PlainTile {
  static constexpr int kWidest = kPlainTile;

  template <int T>
  static void run(const Product& p) {
    const int end = p.last * kGroupRows < p.groups.rows ? p.last * kGroupRows : p.groups.rows;
    const float* weight = p.weights + p.groups.weight_start[p.first];
    for (int row = p.first * kGroupRows; row < end; ++row) {
      const uint32_t* bucket =
          p.groups.column_start + row / kGroupRows * kPatterns + (1 << row % kGroupRows);
      Vector sum[T];
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) sum[t] = Vector{} + (p.bias ? p.bias[row] : 0);
      for (uint32_t i = bucket[0]; i < bucket[1]; ++i) {
        const float* x = p.x + p.groups.columns[i] * p.x_stride;
        const float w = *weight++;
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[t] += w * load(x + t * kLanes);
      }
      if (row >= p.first_row) finish_row<T>(p, row, sum);
    }
  }
};

template <class Tile, int T>
EDGEDST_INLINE void run_tile(int width, const Product& p) {
  if (width == T) return Tile::template run<T>(p);
  if constexpr (T > 1) run_tile<Tile, T - 1>(width, p);
}

// As few tiles as registers allow, of nearly equal width: a narrow last one would keep the
// multipliers waiting.
template <class Tile>
void run_tiles(const Product& whole, int batch) {
  const int vectors = (batch + kLanes - 1) / kLanes;
  const int tiles = (vectors + Tile::kWidest - 1) / Tile::kWidest;
  Product p = whole;
  for (int i = 0; i < tiles; ++i) {
    const int width = (vectors + i) / tiles;
    run_tile<Tile, Tile::kWidest>(width, p);
    p.x += width * kLanes;
    p.y += width * kLanes;
  }
}

void spmm(const Groups& groups, const float* weights, const float* bias, const float* x,
          size_t x_stride, float* y, size_t y_stride, int batch, Epilogue epilogue, int first,
          int last, int first_row) {
  const Product product = {groups,   weights,  bias,  x,    x_stride, y,
                           y_stride, epilogue, first, last, first_row};
  (groups.plain ? run_tiles<PlainTile> : run_tiles<GroupTile>)(product, batch);
}

}  // namespace
}  // namespace edgedst
