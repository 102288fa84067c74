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
    if (p.epilogue == Epilogue::kRelu) v = v <= zero ? zero : v;
    if (p.epilogue == Epilogue::kReluMask) v = load(out + t * kLanes) <= zero ? zero : v;
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

// The J-th weight of `load_four`, in every lane.
template <int J, int... I>
EDGEDST_INLINE Vector one_of_four(Vector four, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(four, four, (I / 4 * 4 + J)...);
}

// Groups of plain rows: only the buckets of single rows hold columns, so that a weight lies where
// its column does.
struct PlainTile {
  static constexpr int kWidest = kPlainTile;

  template <int T>
  static EDGEDST_INLINE void add(Vector (&sum)[T], Vector weight, const float* x) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) sum[t] += weight * load(x + t * kLanes);
  }

  template <int T>
  static void run(const Product& in_memory) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
    const Product p = in_memory;  // a copy: the stores below cannot alias it
    const Groups groups = p.groups;
    const int end = p.last * kGroupRows < groups.rows ? p.last * kGroupRows : groups.rows;
    uint32_t i = groups.column_start[p.first * kPatterns];
    const auto x = [&](uint32_t entry) { return p.x + groups.columns[entry] * p.x_stride; };
    for (int row = p.first * kGroupRows; row < end; ++row) {
      const uint32_t row_end =
          groups.column_start[row / kGroupRows * kPatterns + (1 << row % kGroupRows) + 1];
      Vector sum[T];
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) sum[t] = Vector{} + (p.bias ? p.bias[row] : 0);
      for (; i + 4 <= row_end; i += 4) {
        const Vector four = load_four(p.weights + i);
        add<T>(sum, one_of_four<0>(four, lanes), x(i));
        add<T>(sum, one_of_four<1>(four, lanes), x(i + 1));
        add<T>(sum, one_of_four<2>(four, lanes), x(i + 2));
        add<T>(sum, one_of_four<3>(four, lanes), x(i + 3));
      }
      for (; i < row_end; ++i) add<T>(sum, Vector{} + p.weights[i], x(i));
      if (row >= p.first_row) finish_row<T>(p, row, sum);
    }
  }
};

// Rows of hardly a weight cost what they begin and end with, once a tile.
struct ShortRowTile : PlainTile {
  static constexpr int kWidest = kShortRowTile;
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
  if (!groups.plain) return run_tiles<GroupTile>(product, batch);
  const uint32_t weights_in_rows = groups.weight_start[last] - groups.weight_start[first];
  const bool short_rows = weights_in_rows < 4u * kGroupRows * static_cast<uint32_t>(last - first);
  (short_rows ? run_tiles<ShortRowTile> : run_tiles<PlainTile>)(product, batch);
}

}  // namespace
}  // namespace edgedst
