// Drivers of the inner loops, one macro a kind; inner_loops.py adds their uses.
// What a driver knows is true of every hidden layer: there is a bias, and ReLU.
#include "kernels/elementwise.h"
#include "kernels/product.h"
#include "kernels/single_sample.h"
#include "kernels/weight_gradient.h"
using namespace edgedst;
#define DRIVER extern "C" __attribute__((visibility("default"), noinline))
#define FORWARD(name, Tile, T)                                                                              \
  DRIVER void name(const Groups& groups, const float* weights, const float* bias, const float* x,           \
                   size_t x_stride, float* y, size_t y_stride) {                                            \
    if (!bias) __builtin_unreachable();                                                                     \
    Tile::run<T>({groups, weights, bias, x, x_stride, y, y_stride, Epilogue::kRelu, 0, groups.count, 0});   \
  }
#define GRADIENT(name, P, C)                                                                                \
  DRIVER float* name(const float* x, size_t x_stride, const float* dy, size_t dy_stride, int batch,         \
                     const uint16_t* column, float* out) {                                                  \
    return columns_gradient<P, C>({x, x_stride, dy, dy_stride, batch}, column, out, out + 64);              \
  }
#define SPMV(name, P)                                                                                       \
  DRIVER const float* name(Quad& total, const float* x, const uint16_t* column, const uint16_t* end,        \
                           const float* weight) {                                                           \
    bucket_spmv<P>(total, x, column, end, weight);                                                          \
    return weight;                                                                                          \
  }
DRIVER void adam_loop(float* values, float* m, float* v, const float* gradient, size_t count, const AdamStep& step) {
  adam(values, m, v, gradient, count, step);
}
