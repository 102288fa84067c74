// The table of kernels that every instruction set provides, and the packed layout that they read.
// kernels/vectorised.cpp is compiled once per instruction set; kernels/reference.cpp is the scalar
// one that is written to be read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgedst {

constexpr int kGroupRows = 4;  // neighbouring output rows that share each load of x
constexpr int kPatterns = 1 << kGroupRows;

// Row groups with pattern buckets. Of four neighbouring rows, the columns are sorted by *which* of
// the four use them (pattern p: bit r is row r), so that the inner loop has no branch: load x once,
// multiply it into popcount(p) rows.
struct Groups {
  int rows;
  int count;  // groups: ceil(rows / 4)
  const uint32_t*
      column_start;  // [count * 16 + 1]: bucket p of group g is [g * 16 + p], [g * 16 + p + 1]
  const uint32_t* weight_start;  // [count + 1]: first weight of group g
  const uint16_t* columns;       // ascending within a bucket
  bool plain;  // only buckets of single rows: a column stands once for each of its rows
};

// ReLU, here and below, is v <= 0 ? 0 : v, and its mask the same question: a NaN passes. Made 0, it
// would become a finite action for a motor.
enum class Epilogue { kLinear, kRelu, kReluMask };

struct AdamStep {
  float beta_1, beta_2, epsilon, weight_decay;
  float rest_1, rest_2;   // 1 - beta_1, 1 - beta_2: in float32, 1 - 0.999f would be off by 1.3e-5
  float step_size;        // learning rate / (1 - beta_1^t)
  float root_correction;  // sqrt(1 - beta_2^t)
};

struct Band {
  size_t below, inside;
};

struct Kernels {
  const char* name;
  // y[row] = epilogue(bias[row] + sum over the row's columns of w * x[column]) for groups [first,
  // last) and rows from first_row on; weights in packed order. kReluMask: y holds the activations
  // and becomes y <= 0 ? 0 : sum. `batch` counts samples; a kernel goes on to the end of its last
  // vector, and rows are as long.
  void (*spmm)(const Groups&, const float* weights, const float* bias, const float* x,
               size_t x_stride, float* y, size_t y_stride, int batch, Epilogue, int first, int last,
               int first_row);
  // gradient[k] = sum over the batch of dy[row] * x[column] at the stored positions; bias_gradient,
  // unless it is null, = row sums of dy.
  void (*sddmm)(const Groups&, const float* x, size_t x_stride, const float* dy, size_t dy_stride,
                int batch, float* gradient, float* bias_gradient, int first, int last);
  // Both backward products of a layer whose transposed view is of plain rows, for its groups
  // [first, last). gradient[slots[k]] = sum over the batch of x[row] * dy[column]; then x, the
  // activations, becomes x <= 0 ? 0 : sum over the row's columns of values[slots[k]] * dy[column],
  // and dx_sums[row] the sum of that over the batch. With dx_sums null, x stays as it is.
  void (*spmm_t_sddmm)(const Groups&, const float* values, const uint32_t* slots, float* x,
                       size_t x_stride, const float* dy, size_t dy_stride, int batch,
                       float* gradient, float* dx_sums, int first, int last);
  // sums[row] = sum over the batch of rows[row], for rows [first, last).
  void (*row_sums)(const float* rows, size_t stride, int batch, int first, int last, float* sums);
  // Batch normalisation (Ioffe & Szegedy 2015) of rows [first, last), a feature each, in place: x
  // becomes relu(n + bias), n = (x - mean) * inverse, inverse = 1 / sqrt(variance + epsilon). With
  // `normal`, which gets n, mean and variance are the batch's, and move the running ones by
  // kBatchNormShare; else they are the running ones. `mean` and `variance` hold those, `inverse` is
  // written. Padded samples become 0.
  void (*batch_norm)(float* x, float* normal, size_t stride, int batch, const float* bias,
                     float* mean, float* variance, float* inverse, int first, int last);
  // The way back, in place: d, the gradient of n + bias, becomes x's. `sums` are d's over the
  // batch; they matter with `normal` only, as the forward pass left it.
  void (*batch_norm_back)(float* d, const float* normal, size_t stride, int batch,
                          const float* inverse, const float* sums, int first, int last);
  // One sample: y = epilogue(W x + bias), x and y contiguous.
  void (*spmv)(const Groups&, const float* weights, const float* bias, const float* x, float* y,
               Epilogue);
  // out[i] = values[slots[i]]
  void (*gather)(const float* values, const uint32_t* slots, size_t count, float* out);
  void (*tanh)(float* values, size_t count);  // in place
  // Adam with L2 weight decay in the gradient (Kingma & Ba 2015, Algorithm 1).
  void (*adam)(float* values, float* m, float* v, const float* gradient, size_t count,
               const AdamStep&);
  // target[j] = tau * source[slot[j]] + (1 - tau) * target[j]
  void (*polyak)(float* target, const float* source, const uint32_t* slots, size_t count,
                 float tau);
  // How many magnitudes lie below `low`; those in [low, high] go to `out`, which has room for
  // `count`, in order.
  Band (*select_band)(const float* values, size_t count, float low, float high, float* out);
  // Magnitudes below the threshold become 0; returns how many did.
  size_t (*zero_below)(float* values, size_t count, float threshold);
  // out[i]: what Random(seed, stream) gives as normal() at counter + 2 i, but for the last places.
  void (*normals)(uint64_t seed, uint32_t stream, uint64_t counter, size_t count, float* out);
};

constexpr float kBatchNormEpsilon = 1e-5f;
constexpr float kBatchNormShare = 0.01f;  // of the newest batch in running statistics (CrossQ)

// Kernel tables that this CPU can run, best last; the scalar reference is first.
const Kernels* const* available_kernels(int* count);
const Kernels& kernels();               // the one in use: the best, or EDGEDST_ISA's
bool select_kernels(const char* name);  // false: this CPU cannot run it

}  // namespace edgedst
