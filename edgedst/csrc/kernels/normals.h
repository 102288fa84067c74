// Draws from N(0, 1), many at once: Philox4x32-10 for a vector of blocks side by side, then Box and
// Muller. The i-th is what Random::normal() gives at counter + 2 i, to float32's last places.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/vector.h"

namespace edgedst {
namespace {

constexpr int kBlocks = 16, kNormals = 2 * kBlocks;

typedef uint32_t Words __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint64_t Products __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

// The upper and the lower half of every x * factor. (As a loop over 64-bit products the compiler
// makes no vectors of it: 4.5 us for 600 normals instead of 1.4.)
template <int... I>
EDGEDST_INLINE void multiply(uint32_t factor, Words x, Words& high, Words& low,
                             std::integer_sequence<int, I...>) {
  const Products wide = reinterpret_cast<Products>(x);
  const Words even = reinterpret_cast<Words>((wide & 0xffffffff) * uint64_t{factor});
  const Words odd = reinterpret_cast<Words>((wide >> 32) * uint64_t{factor});
  low = __builtin_shufflevector(even, odd, (I % 2 ? kLanes + I - 1 : I)...);
  high = __builtin_shufflevector(even, odd, (I % 2 ? kLanes + I : I + 1)...);
}

// words[4 b + k]: word k of the block number first + b, of `kLanes` blocks.
EDGEDST_INLINE void philox_blocks(uint64_t seed, uint32_t stream, uint64_t first, uint32_t* words) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  Words a, b, c = Words{} + stream, d = {};
  for (int i = 0; i < kLanes; ++i) {
    a[i] = static_cast<uint32_t>(first + i);
    b[i] = static_cast<uint32_t>((first + i) >> 32);
  }
  uint32_t key_0 = static_cast<uint32_t>(seed), key_1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    Words high_0, low_0, high_1, low_1;
    multiply(0xD2511F53, a, high_0, low_0, lanes);
    multiply(0xCD9E8D57, c, high_1, low_1, lanes);
    a = high_1 ^ b ^ key_0;
    b = low_1;
    c = high_0 ^ d ^ key_1;
    d = low_0;
    key_0 += 0x9E3779B9;
    key_1 += 0xBB67AE85;
  }
  for (int i = 0; i < kLanes; ++i) {
    words[4 * i] = a[i];
    words[4 * i + 1] = b[i];
    words[4 * i + 2] = c[i];
    words[4 * i + 3] = d[i];
  }
}

// log(x) of a normal x > 0: the exponent's part, and 2 artanh((m - 1) / (m + 1)) with m within
// sqrt(2) of 1. The first term left out is 2e-9 of the sum.
EDGEDST_INLINE float log_of(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof x);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;  // sqrt(1/2)
  bits -= exponent * (1 << 23);
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const float s = (m - 1) / (m + 1), z = s * s;
  const float series = 2 + z * (2.0f / 3 + z * (2.0f / 5 + z * (2.0f / 7 + z * (2.0f / 9))));
  return 0.693147181f * static_cast<float>(exponent) + s * series;
}

// cos(2 pi x) for x in [0, 1): half turns come off exactly, and Taylor's series is off by less than
// 1e-8 within a quarter of a turn.
EDGEDST_INLINE float cos_of_turns(float x) {
  const int32_t half_turns = static_cast<int32_t>(2 * x + 0.5f);
  const float rest = x - 0.5f * static_cast<float>(half_turns), z = rest * rest;
  const float cosine =
      1 + z * (-19.7392088f +
               z * (64.9393940f +
                    z * (-85.4568172f + z * (60.2446414f + z * (-26.4262568f + z * 7.90353642f)))));
  return half_turns & 1 ? -cosine : cosine;
}

void normals(uint64_t seed, uint32_t stream, uint64_t counter, size_t count, float* out) {
  while (count > 0) {
    uint32_t words[4 * kBlocks + 4] = {};  // four more: where the first is not a block's first
    for (int b = 0; b < kBlocks; b += kLanes)
      philox_blocks(seed, stream, (counter >> 2) + b, words + 4 * b);
    const uint32_t* drawn = words + (counter & 3);
    float draws[kNormals];
    // A fixed length, a multiple of every vector's: without a rest, no draw depends on its place.
    for (int i = 0; i < kNormals; ++i) {
      const float u = (static_cast<float>(drawn[2 * i]) + 1) * 0x1p-32f;
      const float turns = static_cast<float>(drawn[2 * i + 1] >> 8) * 0x1p-24f;
      draws[i] = std::sqrt(-2 * log_of(u)) * cos_of_turns(turns);
    }
    const size_t whole = (4 * kBlocks - (counter & 3)) / 2;  // draws whose words are in the blocks
    const size_t done = count < whole ? count : whole;
    std::memcpy(out, draws, done * sizeof(float));
    out += done;
    counter += 2 * done;
    count -= done;
  }
}

}  // namespace
}  // namespace edgedst
