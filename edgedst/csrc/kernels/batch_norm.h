// Batch normalisation of features, a row each: see table.h.
#pragma once

#include <cmath>

#include "kernels/vector.h"

namespace edgedst {
namespace {

// Sum over the batch of f(samples): f takes a place and gives the vector, or the number, there.
template <class OfVector, class OfNumber>
EDGEDST_INLINE float sum_over(int batch, OfVector of_vector, OfNumber of_number) {
  Vector lanes = {};
  int b = 0;
  for (; b + kLanes <= batch; b += kLanes) lanes += of_vector(b);
  float sum = sum_each<1>(&lanes)[0];
  for (; b < batch; ++b) sum += of_number(b);
  return sum;
}

void batch_norm(float* x, float* normal, size_t stride, int batch, const float* bias, float* mean,
                float* variance, float* inverse, int first, int last) {
  const float share = 1.0f / static_cast<float>(batch);
  for (int row = first; row < last; ++row) {
    float* const z = x + row * stride;
    float* const kept = normal ? normal + row * stride : nullptr;
    float center = mean[row], spread = variance[row];
    if (kept) {
      center =
          share * sum_over(batch, [&](int b) { return load(z + b); }, [&](int b) { return z[b]; });
      spread = share * sum_over(
                           batch,
                           [&](int b) {
                             const Vector off = load(z + b) - center;
                             return off * off;
                           },
                           [&](int b) { return (z[b] - center) * (z[b] - center); });
      mean[row] += kBatchNormShare * (center - mean[row]);
      variance[row] += kBatchNormShare * (spread - variance[row]);
    }
    const float scale = inverse[row] = 1 / std::sqrt(spread + kBatchNormEpsilon);
    const float shift = bias[row];
    int b = 0;
    for (; b + kLanes <= batch; b += kLanes) {
      const Vector n = (load(z + b) - center) * scale, y = n + shift;
      if (kept) store(kept + b, n);
      store(z + b, y <= 0 ? Vector{} : y);
    }
    for (; b < batch; ++b) {
      const float n = (z[b] - center) * scale;
      if (kept) kept[b] = n;
      z[b] = n + shift <= 0 ? 0 : n + shift;
    }
    for (size_t rest = b; rest < stride; ++rest) {
      if (kept) kept[rest] = 0;
      z[rest] = 0;
    }
  }
}

void batch_norm_back(float* d, const float* normal, size_t stride, int batch, const float* inverse,
                     const float* sums, int first, int last) {
  const float share = 1.0f / static_cast<float>(batch);
  for (int row = first; row < last; ++row) {
    float* const g = d + row * stride;
    const float scale = inverse[row];
    int b = 0;
    if (!normal) {
      for (; b + kLanes <= batch; b += kLanes) store(g + b, load(g + b) * scale);
      for (; b < batch; ++b) g[b] *= scale;
      continue;
    }
    const float* const n = normal + row * stride;
    const float mean = share * sums[row];
    const float slope = share * sum_over(
                                    batch, [&](int i) { return load(g + i) * load(n + i); },
                                    [&](int i) { return g[i] * n[i]; });
    for (; b + kLanes <= batch; b += kLanes)
      store(g + b, (load(g + b) - mean - load(n + b) * slope) * scale);
    for (; b < batch; ++b) g[b] = (g[b] - mean - n[b] * slope) * scale;
  }
}

}  // namespace
}  // namespace edgedst
