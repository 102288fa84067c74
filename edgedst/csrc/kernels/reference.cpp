// The scalar reference of every kernel: what the fast ones are tested against. Written to be read.
#include <algorithm>
#include <cmath>

#include "kernels/table.h"
#include "numbers/random.h"

namespace edgedst {
namespace {

// Calls visit(row, column, index of the weight) for every weight of group g.
template <class Visit>
void for_each_weight(const Groups& groups, int g, Visit visit) {
  size_t weight = groups.weight_start[g];
  for (int pattern = 1; pattern < kPatterns; ++pattern) {
    const uint32_t begin = groups.column_start[g * kPatterns + pattern];
    const uint32_t end = groups.column_start[g * kPatterns + pattern + 1];
    for (uint32_t i = begin; i < end; ++i) {
      for (int r = 0; r < kGroupRows; ++r)
        if (pattern >> r & 1) visit(g * kGroupRows + r, groups.columns[i], weight++);
    }
  }
}

float finish(float sum, float old, Epilogue epilogue) {
  if (epilogue == Epilogue::kRelu) return sum <= 0 ? 0 : sum;
  if (epilogue == Epilogue::kReluMask) return old <= 0 ? 0 : sum;
  return sum;
}

void spmm(const Groups& groups, const float* weights, const float* bias, const float* x,
          size_t x_stride, float* y, size_t y_stride, int batch, Epilogue epilogue, int first,
          int last, int first_row) {
  for (int g = first; g < last; ++g) {
    for (int b = 0; b < batch; ++b) {
      float sum[kGroupRows] = {};
      for (int r = 0; r < kGroupRows && g * kGroupRows + r < groups.rows; ++r)
        sum[r] = bias ? bias[g * kGroupRows + r] : 0;
      for_each_weight(groups, g, [&](int row, int column, size_t weight) {
        sum[row % kGroupRows] += weights[weight] * x[column * x_stride + b];
      });
      for (int r = 0; r < kGroupRows; ++r) {
        const int row = g * kGroupRows + r;
        if (row < first_row || row >= groups.rows) continue;
        float& out = y[row * y_stride + b];
        out = finish(sum[r], out, epilogue);
      }
    }
  }
}

void row_sums(const float* rows, size_t stride, int batch, int first, int last, float* sums) {
  for (int row = first; row < last; ++row) {
    float sum = 0;
    for (int b = 0; b < batch; ++b) sum += rows[row * stride + b];
    sums[row] = sum;
  }
}

void sddmm(const Groups& groups, const float* x, size_t x_stride, const float* dy, size_t dy_stride,
           int batch, float* gradient, float* bias_gradient, int first, int last) {
  for (int g = first; g < last; ++g) {
    for_each_weight(groups, g, [&](int row, int column, size_t weight) {
      float sum = 0;
      for (int b = 0; b < batch; ++b) sum += dy[row * dy_stride + b] * x[column * x_stride + b];
      gradient[weight] = sum;
    });
    if (bias_gradient)
      row_sums(dy, dy_stride, batch, g * kGroupRows, std::min((g + 1) * kGroupRows, groups.rows),
               bias_gradient);
  }
}

void batch_norm(float* x, float* normal, size_t stride, int batch, const float* bias, float* mean,
                float* variance, float* inverse, int first, int last) {
  for (int row = first; row < last; ++row) {
    float* const z = x + row * stride;
    float center = mean[row], spread = variance[row];
    if (normal) {
      center = spread = 0;
      for (int b = 0; b < batch; ++b) center += z[b] / batch;
      for (int b = 0; b < batch; ++b) spread += (z[b] - center) * (z[b] - center) / batch;
      mean[row] += kBatchNormShare * (center - mean[row]);
      variance[row] += kBatchNormShare * (spread - variance[row]);
    }
    inverse[row] = 1 / std::sqrt(spread + kBatchNormEpsilon);
    for (size_t b = 0; b < stride; ++b) {
      const float n = b < static_cast<size_t>(batch) ? (z[b] - center) * inverse[row] : 0;
      if (normal) normal[row * stride + b] = n;
      z[b] = b < static_cast<size_t>(batch) ? finish(n + bias[row], 0, Epilogue::kRelu) : 0;
    }
  }
}

void batch_norm_back(float* d, const float* normal, size_t stride, int batch, const float* inverse,
                     const float* sums, int first, int last) {
  for (int row = first; row < last; ++row) {
    float* const g = d + row * stride;
    float dot = 0;
    for (int b = 0; normal && b < batch; ++b) dot += g[b] * normal[row * stride + b];
    for (int b = 0; b < batch; ++b) {
      if (normal) g[b] -= (sums[row] + normal[row * stride + b] * dot) / batch;
      g[b] *= inverse[row];
    }
  }
}

// A row of x is read by its own weights only, so it may become its gradient once they are done.
void spmm_t_sddmm(const Groups& groups, const float* values, const uint32_t* slots, float* x,
                  size_t x_stride, const float* dy, size_t dy_stride, int batch, float* gradient,
                  float* dx_sums, int first, int last) {
  for (int g = first; g < last; ++g) {
    for_each_weight(groups, g, [&](int row, int column, size_t weight) {
      float sum = 0;
      for (int b = 0; b < batch; ++b) sum += x[row * x_stride + b] * dy[column * dy_stride + b];
      gradient[slots[weight]] = sum;
    });
    if (!dx_sums) continue;
    for (int b = 0; b < batch; ++b) {
      float sum[kGroupRows] = {};
      for_each_weight(groups, g, [&](int row, int column, size_t weight) {
        sum[row % kGroupRows] += values[slots[weight]] * dy[column * dy_stride + b];
      });
      for (int row = g * kGroupRows; row < (g + 1) * kGroupRows && row < groups.rows; ++row) {
        float& out = x[row * x_stride + b];
        out = finish(sum[row % kGroupRows], out, Epilogue::kReluMask);
      }
    }
    row_sums(x, x_stride, batch, g * kGroupRows, std::min((g + 1) * kGroupRows, groups.rows),
             dx_sums);
  }
}

void spmv(const Groups& groups, const float* weights, const float* bias, const float* x, float* y,
          Epilogue epilogue) {
  for (int row = 0; row < groups.rows; ++row) y[row] = bias[row];
  for (int g = 0; g < groups.count; ++g)
    for_each_weight(groups, g, [&](int row, int column, size_t weight) {
      y[row] += weights[weight] * x[column];
    });
  for (int row = 0; row < groups.rows; ++row) y[row] = finish(y[row], 0, epilogue);
}

void gather(const float* values, const uint32_t* slots, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = values[slots[i]];
}

void tanh(float* values, size_t count) {
  for (size_t i = 0; i < count; ++i) values[i] = std::tanh(values[i]);
}

void adam(float* values, float* m, float* v, const float* gradient, size_t count,
          const AdamStep& step) {
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i] + step.weight_decay * values[i];
    m[i] = step.beta_1 * m[i] + step.rest_1 * g;
    v[i] = step.beta_2 * v[i] + step.rest_2 * g * g;
    values[i] -= step.step_size * m[i] / (std::sqrt(v[i]) / step.root_correction + step.epsilon);
  }
}

void polyak(float* target, const float* source, const uint32_t* slots, size_t count, float tau) {
  for (size_t j = 0; j < count; ++j) target[j] = tau * source[slots[j]] + (1 - tau) * target[j];
}

Band select_band(const float* values, size_t count, float low, float high, float* out) {
  Band band = {0, 0};
  for (size_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(values[i]);
    if (magnitude < low) ++band.below;
    if (magnitude >= low && magnitude <= high) out[band.inside++] = magnitude;
  }
  return band;
}

size_t zero_below(float* values, size_t count, float threshold) {
  size_t zeroed = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!(std::fabs(values[i]) < threshold)) continue;
    values[i] = 0;
    ++zeroed;
  }
  return zeroed;
}

void normals(uint64_t seed, uint32_t stream, uint64_t counter, size_t count, float* out) {
  Random random(seed, stream);
  random.counter = counter;
  for (size_t i = 0; i < count; ++i) out[i] = random.normal();
}

}  // namespace

extern const Kernels kernels_scalar;
const Kernels kernels_scalar = {
    "scalar", spmm, sddmm, spmm_t_sddmm, row_sums,    batch_norm, batch_norm_back, spmv,
    gather,   tanh, adam,  polyak,       select_band, zero_below, normals};

}  // namespace edgedst
