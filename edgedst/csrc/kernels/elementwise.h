// Kernels that go once through an array.
#pragma once

#include <cmath>

#include "kernels/vector.h"

namespace edgedst {
namespace {

void gather(const float* values, const uint32_t* slots, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = values[slots[i]];
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

// x P(x^2) / Q(x^2), off by less than 4e-7 of the result (tools/fit_tanh.py). From 8 on it is 1 to
// float32's last place.
EDGEDST_INLINE Vector tanh_of(Vector x) {
  const Vector limit = Vector{} + 8.0f;
  x = x > limit ? limit : x < -limit ? -limit : x;
  const Vector z = x * x;
  const Vector p =
      0.99999999f +
      z * (0.13444531f + z * (3.5716377e-3f + z * (2.1895311e-5f + z * 1.5231314e-8f)));
  const Vector q =
      1.0f + z * (0.46777859f + z * (2.6164594e-2f + z * (3.4113567e-4f + z * 8.5228141e-7f)));
  const Vector y = x * p / q, one = Vector{} + 1.0f;
  return y > one ? one : y < -one ? -one : y;
}

void tanh(float* values, size_t count) {
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(values + i, tanh_of(load(values + i)));
  if (i == count) return;
  Vector rest = {};
  std::memcpy(&rest, values + i, (count - i) * sizeof(float));
  rest = tanh_of(rest);
  std::memcpy(values + i, &rest, (count - i) * sizeof(float));
}

EDGEDST_INLINE Vector magnitude(Vector v) {
  return reinterpret_cast<Vector>(reinterpret_cast<Mask>(v) & 0x7fffffff);
}

EDGEDST_INLINE bool any(Mask mask) {
  uint64_t words[kLanes / 2], all = 0;
  std::memcpy(words, &mask, sizeof words);
#pragma GCC unroll 8
  for (int i = 0; i < kLanes / 2; ++i) all |= words[i];
  return all != 0;
}

EDGEDST_INLINE uint32_t count_of(Mask minus_ones) {
  uint32_t count = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) count -= static_cast<uint32_t>(minus_ones[i]);
  return count;
}

// Few magnitudes lie in a narrow band: whole runs of vectors without one go by without a branch
// for each value.
Band select_band(const float* values, size_t count, float low, float high, float* out) {
  constexpr size_t kRun = 4 * kLanes;
  Band band = {0, 0};
  Mask below = {};
  size_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    Mask inside = {};
#pragma GCC unroll 4
    for (size_t j = 0; j < kRun; j += kLanes) {
      const Vector v = magnitude(load(values + i + j));
      below += v < low;
      inside |= (v >= low) & (v <= high);
    }
    if (!any(inside)) continue;
    for (size_t j = 0; j < kRun; ++j) {
      const float v = std::fabs(values[i + j]);
      out[band.inside] = v;  // branchless: the next one overwrites what does not belong
      band.inside += v >= low && v <= high;
    }
  }
  band.below = count_of(below);
  for (; i < count; ++i) {
    const float v = std::fabs(values[i]);
    out[band.inside] = v;
    band.inside += v >= low && v <= high;
    band.below += v < low;
  }
  return band;
}

size_t zero_below(float* values, size_t count, float threshold) {
  Mask below = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vector v = load(values + i);
    const Mask small = magnitude(v) < threshold;
    below += small;
    store(values + i, small ? Vector{} : v);
  }
  size_t zeroed = count_of(below);
  for (; i < count; ++i) {
    if (!(std::fabs(values[i]) < threshold)) continue;
    values[i] = 0;
    ++zeroed;
  }
  return zeroed;
}

}  // namespace
}  // namespace edgedst
