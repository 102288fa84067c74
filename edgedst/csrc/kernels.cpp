// Every kernel for one instruction set: the compiler's flags choose the vector width, EDGEDST_ISA
// names the table. The batch lies along the vectors; a batch tile is outside, row groups inside, so
// that the tile of x stays in cache.
#include "kernels.h"

#include <cmath>
#include <cstring>
#include <utility>

namespace edgedst {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kTile = 7;  // 4 rows x 7 vectors = 28 accumulators of 32 registers
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kTile = 2;  // 8 accumulators of 16 registers; 3 spill on x
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr int kTile = 4;  // 16 accumulators of 32 registers
#else
constexpr int kLanes = 4;
constexpr int kTile = 2;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

#define EDGEDST_INLINE inline __attribute__((always_inline))

// One bucket of the product: every column of it is used by exactly the rows of pattern P.
template <int P, int T, bool Slots>
EDGEDST_INLINE void bucket_spmm(Vector (&sum)[kGroupRows][T], const float* x, size_t x_stride,
                                const uint16_t* column, const uint16_t* end, const float* values,
                                const float*& weight, const uint32_t*& slot) {
  for (; column != end; ++column) {
    const float* row = x + *column * x_stride;
#pragma GCC unroll 4
    for (int r = 0; r < kGroupRows; ++r) {
      if (P >> r & 1) {
        const float w = Slots ? values[*slot++] : *weight++;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sum[r][t] += w * load(row + t * kLanes);
      }
    }
  }
}

template <int T, bool Slots, int... P>
EDGEDST_INLINE void group_spmm(Vector (&sum)[kGroupRows][T], const Groups& groups, int g,
                               const float* values, const float* x, size_t x_stride,
                               std::integer_sequence<int, P...>) {
  const float* weight = Slots ? nullptr : values + groups.weight_start[g];
  const uint32_t* slot = Slots ? groups.slots + groups.weight_start[g] : nullptr;
  const uint32_t* start = groups.column_start + g * kPatterns + 1;
  (bucket_spmm<P + 1, T, Slots>(sum, x, x_stride, groups.columns + start[P],
                                groups.columns + start[P + 1], values, weight, slot),
   ...);
}

template <int T, bool Slots>
void tile_spmm(const Groups& groups, const float* values, const float* bias, const float* x,
               size_t x_stride, float* y, size_t y_stride, Epilogue epilogue, int first, int last,
               int first_row) {
  const Vector zero = {};
  for (int g = first; g < last; ++g) {
    Vector sum[kGroupRows][T];
#pragma GCC unroll 4
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = g * kGroupRows + r;
      const float b = bias && row < groups.rows ? bias[row] : 0;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) sum[r][t] = zero + b;
    }
    group_spmm<T, Slots>(sum, groups, g, values, x, x_stride,
                         std::make_integer_sequence<int, kPatterns - 1>());
#pragma GCC unroll 4
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = g * kGroupRows + r;
      if (row < first_row || row >= groups.rows) continue;
      float* out = y + row * y_stride;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        Vector v = sum[r][t];
        if (epilogue == Epilogue::kRelu) v = v > zero ? v : zero;
        if (epilogue == Epilogue::kReluMask) v = load(out + t * kLanes) > zero ? v : zero;
        store(out + t * kLanes, v);
      }
    }
  }
}

// The widest tile that is left of the batch, then the rest: T counts down to 1.
template <int T, bool Slots>
void batch_spmm(const Groups& groups, const float* values, const float* bias, const float* x,
                size_t x_stride, float* y, size_t y_stride, int batch, Epilogue epilogue, int first,
                int last, int first_row) {
  int b = 0;
  for (; b + T * kLanes <= batch; b += T * kLanes)
    tile_spmm<T, Slots>(groups, values, bias, x + b, x_stride, y + b, y_stride, epilogue, first,
                        last, first_row);
  if constexpr (T > 1) {
    if (b < batch)
      batch_spmm<T - 1, Slots>(groups, values, bias, x + b, x_stride, y + b, y_stride, batch - b,
                               epilogue, first, last, first_row);
  }
}

void spmm(const Groups& groups, const float* values, const float* bias, const float* x,
          size_t x_stride, float* y, size_t y_stride, int batch, Epilogue epilogue, int first,
          int last, int first_row) {
  if (groups.slots)
    batch_spmm<kTile, true>(groups, values, bias, x, x_stride, y, y_stride, batch, epilogue, first,
                            last, first_row);
  else
    batch_spmm<kTile, false>(groups, values, bias, x, x_stride, y, y_stride, batch, epilogue, first,
                             last, first_row);
}

// Adds neighbouring lanes of p, then of q: log2(kLanes) rounds of it sum kLanes vectors into one,
// in order.
template <int... I>
EDGEDST_INLINE Vector add_neighbours(Vector p, Vector q, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(p, q, (2 * I)...) + __builtin_shufflevector(p, q, (2 * I + 1)...);
}

EDGEDST_INLINE Vector sum_each(Vector (&v)[kLanes]) {
#pragma GCC unroll 4
  for (int n = kLanes / 2; n >= 1; n /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i)
      v[i] = add_neighbours(v[2 * i], v[2 * i + 1], std::make_integer_sequence<int, kLanes>());
  }
  return v[0];
}

// Lane sums of kLanes gradients wait here until one transposed reduction finishes them all.
struct Reduction {
  explicit Reduction(float* out) : out(out) {}

  float* out;
  int waiting = 0;
  Vector lanes[kLanes];

  EDGEDST_INLINE void put(Vector v) {
    lanes[waiting++] = v;
    if (waiting == kLanes) {
      store(out, sum_each(lanes));
      out += kLanes;
      waiting = 0;
    }
  }

  void finish() {
    if (waiting == 0) return;
    for (int i = waiting; i < kLanes; ++i) lanes[i] = Vector{};
    float sums[kLanes];
    store(sums, sum_each(lanes));
    std::memcpy(out, sums, waiting * sizeof(float));
  }
};

template <int P>
EDGEDST_INLINE void bucket_sddmm(Reduction& reduction, const float* x, size_t x_stride,
                                 const float* dy, size_t dy_stride, int batch,
                                 const uint16_t* column, const uint16_t* end) {
  for (; column != end; ++column) {
    const float* row = x + *column * x_stride;
    Vector sum[kGroupRows] = {};
    for (int b = 0; b < batch; b += kLanes) {
      const Vector v = load(row + b);
#pragma GCC unroll 4
      for (int r = 0; r < kGroupRows; ++r)
        if (P >> r & 1) sum[r] += v * load(dy + r * dy_stride + b);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kGroupRows; ++r)
      if (P >> r & 1) reduction.put(sum[r]);
  }
}

template <int... P>
EDGEDST_INLINE void group_sddmm(Reduction& reduction, const Groups& groups, int g, const float* x,
                                size_t x_stride, const float* dy, size_t dy_stride, int batch,
                                std::integer_sequence<int, P...>) {
  const uint32_t* start = groups.column_start + g * kPatterns + 1;
  (bucket_sddmm<P + 1>(reduction, x, x_stride, dy, dy_stride, batch, groups.columns + start[P],
                       groups.columns + start[P + 1]),
   ...);
}

void sddmm(const Groups& groups, const float* x, size_t x_stride, const float* dy, size_t dy_stride,
           int batch, float* gradient, float* bias_gradient, int first, int last) {
  // Each group finishes its own reduction: a sum must not depend on where a thread's share begins.
  for (int g = first; g < last; ++g) {
    Reduction weights(gradient + groups.weight_start[g]);
    const float* group_dy = dy + g * kGroupRows * dy_stride;
    group_sddmm(weights, groups, g, x, x_stride, group_dy, dy_stride, batch,
                std::make_integer_sequence<int, kPatterns - 1>());
    weights.finish();
    const int rows = groups.rows - g * kGroupRows;
    Reduction biases(bias_gradient + g * kGroupRows);
    for (int r = 0; r < kGroupRows && r < rows; ++r) {
      Vector sum = {};
      for (int b = 0; b < batch; b += kLanes) sum += load(group_dy + r * dy_stride + b);
      biases.put(sum);
    }
    biases.finish();
  }
}

template <int P>
EDGEDST_INLINE void bucket_spmv(float (&sum)[kGroupRows], const float* x, const uint16_t* column,
                                const uint16_t* end, const float*& weight) {
  for (; column != end; ++column) {
    const float v = x[*column];
#pragma GCC unroll 4
    for (int r = 0; r < kGroupRows; ++r)
      if (P >> r & 1) sum[r] += *weight++ * v;
  }
}

template <int... P>
EDGEDST_INLINE void group_spmv(float (&sum)[kGroupRows], const Groups& groups, int g,
                               const float* values, const float* x,
                               std::integer_sequence<int, P...>) {
  const float* weight = values + groups.weight_start[g];
  const uint32_t* start = groups.column_start + g * kPatterns + 1;
  (bucket_spmv<P + 1>(sum, x, groups.columns + start[P], groups.columns + start[P + 1], weight),
   ...);
}

void spmv(const Groups& groups, const float* values, const float* bias, const float* x, float* y,
          Epilogue epilogue) {
  for (int g = 0; g < groups.count; ++g) {
    float sum[kGroupRows] = {};
    group_spmv(sum, groups, g, values, x, std::make_integer_sequence<int, kPatterns - 1>());
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = g * kGroupRows + r;
      if (row >= groups.rows) break;
      const float v = sum[r] + bias[row];
      y[row] = epilogue == Epilogue::kRelu && v <= 0 ? 0 : v;
    }
  }
}

void adam(float* __restrict values, float* __restrict m, float* __restrict v,
          const float* __restrict gradient, size_t count, const AdamStep& step_in_memory) {
  const AdamStep step = step_in_memory;  // a copy: the stores below cannot alias it
  const float inverse_root = 1 / step.root_correction;
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i] + step.weight_decay * values[i];
    m[i] = step.beta_1 * m[i] + step.rest_1 * g;
    v[i] = step.beta_2 * v[i] + step.rest_2 * g * g;
    values[i] -= step.step_size * m[i] / (std::sqrt(v[i]) * inverse_root + step.epsilon);
  }
}

void polyak(float* __restrict target, const float* __restrict source,
            const uint32_t* __restrict slots, size_t count, float tau) {
  const float keep = 1 - tau;
  for (size_t j = 0; j < count; ++j) target[j] = tau * source[slots[j]] + keep * target[j];
}

size_t collect_small(const float* values, size_t count, float limit, float* out) {
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(values[i]);
    out[found] = magnitude;  // branchless: the next one overwrites what is too large
    found += magnitude <= limit;
  }
  return found;
}

#define EDGEDST_TABLE_(isa) kernels_##isa
#define EDGEDST_TABLE(isa) EDGEDST_TABLE_(isa)
#define EDGEDST_NAME_(isa) #isa
#define EDGEDST_NAME(isa) EDGEDST_NAME_(isa)

}  // namespace

extern const Kernels EDGEDST_TABLE(EDGEDST_ISA);
const Kernels EDGEDST_TABLE(EDGEDST_ISA) = {
    EDGEDST_NAME(EDGEDST_ISA), spmm, sddmm, spmv, adam, polyak, collect_small};

}  // namespace edgedst
