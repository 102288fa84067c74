// One vector of the instruction set that this file is compiled for, and sums across its lanes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "kernels/table.h"

#define EDGEDST_INLINE inline __attribute__((always_inline))

namespace edgedst {
namespace {

// kTile: batch vectors of a tile of four rows; kColumns[n]: columns of a weight gradient's step in
// n rows. Each fills the registers without spilling. kPlainTile: of one row; narrower, so that more
// of x stays in the first-level cache. kShortRowTile: of a row of hardly a weight. kBackwardTile:
// of the way back in one pass, which pays for a tile with a sum of lanes. (EDGEDST_WIDE: a test
// build of the sixteen-lane kernels for machines without AVX-512.)
#if defined(__AVX512F__) || defined(EDGEDST_WIDE)
constexpr int kLanes = 16, kTile = 7, kPlainTile = 5;
constexpr int kColumns[] = {0, 8, 8, 5, 4};
constexpr int kShortRowTile = 8, kBackwardTile = 8;
#elif defined(__AVX__)
constexpr int kLanes = 8, kTile = 3, kPlainTile = 6;
constexpr int kColumns[] = {0, 6, 4, 3, 2};
constexpr int kShortRowTile = 13, kBackwardTile = 13;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kTile = 5, kPlainTile = 15;
constexpr int kColumns[] = {0, 8, 4, 4, 4};
constexpr int kShortRowTile = 15, kBackwardTile = 13;
#else
constexpr int kLanes = 4, kTile = 3, kPlainTile = 7;
constexpr int kColumns[] = {0, 4, 4, 3, 2};
constexpr int kShortRowTile = 7, kBackwardTile = 7;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t Mask __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

constexpr int rows_of(int pattern) { return __builtin_popcount(pattern); }

// The buckets that hold columns.
using EveryPattern = std::integer_sequence<int, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
using SingleRows = std::integer_sequence<int, 1, 2, 4, 8>;

EDGEDST_INLINE Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
EDGEDST_INLINE void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

// Four numbers, in every quarter of a vector: one load, where to load each into every lane would
// take four. (Of a shuffle GCC 12 makes a detour through memory.)
EDGEDST_INLINE Vector load_four(const float* p) {
#if defined(__AVX512F__)
  // maskz: GCC 12 warns of what its header leaves undefined in the other one.
  return reinterpret_cast<Vector>(_mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(p)));
#elif defined(__AVX__) && !defined(EDGEDST_WIDE)
  return reinterpret_cast<Vector>(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)));
#else
  Vector v;
  for (int i = 0; i < kLanes; i += 4)
    std::memcpy(reinterpret_cast<float*>(&v) + i, p, 4 * sizeof *p);
  return v;
#endif
}

// A load that the compiler may not repeat as an operand of every instruction that uses it: the load
// units are the scarce resource.
EDGEDST_INLINE Vector load_once(const float* p) {
  Vector v = load(p);
#if defined(EDGEDST_WIDE)  // no register is as wide
#elif defined(__SSE2__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

// Sums of neighbouring lanes of p and q, within each quarter of four lanes: p's two, then q's two.
template <int... I>
EDGEDST_INLINE Vector add_lanes(Vector p, Vector q, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(p, q, (I / 4 * 4 + I % 2 * 2 + I % 4 / 2 * kLanes)...) +
         __builtin_shufflevector(p, q, (I / 4 * 4 + I % 2 * 2 + I % 4 / 2 * kLanes + 1)...);
}

// Sums of neighbouring quarters: p's, then q's.
template <int... I>
EDGEDST_INLINE Vector add_quarters(Vector p, Vector q, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(p, q, (I / 4 * 8 + I % 4)...) +
         __builtin_shufflevector(p, q, (I / 4 * 8 + I % 4 + 4)...);
}

// The lanes' sums of each of `count` <= kLanes vectors, in order: a transposition that adds on its
// way.
template <int count>
EDGEDST_INLINE Vector sum_each(const Vector* vectors) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  Vector v[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) v[i] = i < count ? vectors[i] : Vector{};
#pragma GCC unroll 4
  for (int n = kLanes / 2; n >= 1; n /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i)
      v[i] = n >= kLanes / 4 ? add_lanes(v[2 * i], v[2 * i + 1], lanes)
                             : add_quarters(v[2 * i], v[2 * i + 1], lanes);
  }
  return v[0];
}

// Writes the sums of `count` vectors to `out` and returns where the next go. Where there is room
// before `end`, whole vectors, whose surplus the next ones overwrite.
template <int count>
EDGEDST_INLINE float* store_sums(const Vector* vectors, float* out, const float* end) {
  constexpr int first = count < kLanes ? count : kLanes;
  const Vector sums = sum_each<first>(vectors);
  if (first == kLanes || end - out >= kLanes)
    store(out, sums);
  else
    std::memcpy(out, &sums, first * sizeof(float));
  if constexpr (count > kLanes)
    return store_sums<count - kLanes>(vectors + kLanes, out + kLanes, end);
  return out + count;
}

}  // namespace
}  // namespace edgedst
