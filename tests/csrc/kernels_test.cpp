// Every kernel path that this CPU has, against the scalar reference, at every edge; plain C++ so
// that it runs on a board and under an emulator without Python.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "network.h"
#include "threads.h"
#include "topology.h"

using namespace edgedst;

namespace {

int failures = 0;
int checks = 0;

void expect(bool ok, const char* isa, const char* what, int in, int out, unsigned nnz, int batch) {
  ++checks;
  if (ok) return;
  ++failures;
  std::printf("FAILED %s %s: %d -> %d, %u weights, batch %d\n", isa, what, in, out, nnz, batch);
}

// Sums of up to `terms` float32 products in another order: the error grows with the terms, not with
// their sum.
bool close(const std::vector<float>& a, const std::vector<float>& b, int terms) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= 2e-6f * (terms + 8))) return false;
  return true;
}

struct Case {
  int in, out, batch;
  unsigned nnz;
};

struct Result {
  std::vector<float> y, dx, gradient, bias_gradient, single, values, polyak, band, kept;
  size_t band_below = 0, zeroed = 0;
};

Result run(const Case& c, const char* isa) {
  select_kernels(isa);
  Arena arena((1 << 18) + 64 * size_t(c.nnz), false);
  Random random(7);
  TopologyWorkspace workspace(arena, "workspace", std::min(2 * c.nnz, unsigned(c.in * c.out)), c.in,
                              c.out);
  Layer layer(arena, "layer", c.in, c.out, c.nnz, false);
  initialise(layer, random, workspace);
  const int stride = (c.batch + 15) / 16 * 16;
  const auto draw = [&](int rows) {
    std::vector<float> v(size_t(rows) * stride);
    for (int r = 0; r < rows; ++r)
      for (int b = 0; b < c.batch; ++b) v[size_t(r) * stride + b] = 2 * random.uniform() - 1;
    return v;
  };
  std::vector<float> x = draw(c.in), dy = draw(c.out);
  Result result;
  result.y.resize(size_t(c.out) * stride);
  result.dx = x;
  result.gradient.resize(c.nnz);
  result.bias_gradient.resize(c.out);
  result.single.resize(c.out);
  const Groups forward = layer.forward_view(), transposed = layer.transposed_view();
  const Kernels& k = kernels();
  k.spmm(forward, layer.values, layer.bias, x.data(), stride, result.y.data(), stride, c.batch,
         Epilogue::kRelu, 0, forward.count, 0);
  k.sddmm(forward, x.data(), stride, dy.data(), stride, c.batch, result.gradient.data(),
          result.bias_gradient.data(), 0, forward.count);
  std::vector<float> weights_t(c.nnz);
  k.gather(layer.values, layer.slots, c.nnz, weights_t.data());
  k.spmm(transposed, weights_t.data(), nullptr, dy.data(), stride, result.dx.data(), stride,
         c.batch, Epilogue::kReluMask, 0, transposed.count, 0);
  for (auto* rows : {&result.y, &result.dx})  // what a kernel leaves in the padding is its own
    for (size_t i = 0; i < rows->size(); ++i)
      if (i % stride >= size_t(c.batch)) (*rows)[i] = 0;
  std::vector<float> sample(c.in);
  for (int i = 0; i < c.in; ++i) sample[i] = x[size_t(i) * stride];
  k.spmv(forward, layer.values, layer.bias, sample.data(), result.single.data(), Epilogue::kLinear);
  k.adam(layer.values, layer.adam_m, layer.adam_v, result.gradient.data(), c.nnz,
         {0.9f, 0.999f, 1e-8f, 2e-4f, 0.1f, 0.001f, 1e-3f, 0.03f});
  result.values.assign(layer.values, layer.values + c.nnz);
  result.polyak = result.gradient;
  k.polyak(result.polyak.data(), layer.values, layer.slots, c.nnz, 0.005f);
  result.band.resize(c.nnz);
  const Band band = k.select_band(layer.values, c.nnz, 0.1f, 0.2f, result.band.data());
  result.band.resize(band.inside);
  result.band_below = band.below;
  result.zeroed = k.zero_below(layer.values, c.nnz, 0.15f);
  result.kept.assign(layer.values, layer.values + c.nnz);
  return result;
}

void compare(const Case& c, const char* isa) {
  const Result want = run(c, "scalar"), got = run(c, isa);
  const auto check = [&](bool ok, const char* what) {
    expect(ok, isa, what, c.in, c.out, c.nnz, c.batch);
  };
  check(close(got.y, want.y, c.in), "spmm");
  check(close(got.dx, want.dx, c.out), "spmm of the transposed view");
  check(close(got.gradient, want.gradient, c.batch), "sddmm");
  check(close(got.bias_gradient, want.bias_gradient, c.batch), "bias gradient");
  check(close(got.single, want.single, c.in), "spmv");
  check(close(got.values, want.values, c.batch), "adam");
  check(close(got.polyak, want.polyak, c.batch), "polyak");
  check(got.band.size() == want.band.size() && close(got.band, want.band, c.batch) &&
            got.band_below == want.band_below,
        "select_band");
  check(got.zeroed == want.zeroed && close(got.kept, want.kept, c.batch), "zero_below");
}

// Threads split the rows: every sum must come out bitwise the same.
void compare_threads(int count) {
  std::vector<float> results[2];
  for (int pass = 0; pass < 2; ++pass) {
    set_threads(pass ? count : 1);
    Arena arena(1 << 22, false);
    Random random(3);
    TopologyWorkspace workspace(arena, "workspace", 65 * 66, 66, 66);
    Network network(arena, "network", {33, 65, 66, 3}, {900, 2000, 198}, true, false);
    network.initialise(random, workspace);
    Activations activations(arena, "activations", network.sizes, 100);
    Gradients gradients(arena, "gradients", network.parameter_count());
    const auto batch = [&](const char* name, int rows) {
      return Batch{arena.take<float>(name, rows * 112), rows, 100, 112};
    };
    const Batch x = batch("x", 33), y = batch("y", 3), dy = batch("dy", 3), dx = batch("dx", 33);
    for (int i = 0; i < 33 * 112; ++i) x.data[i] = random.uniform();
    for (int i = 0; i < 3 * 112; ++i) dy.data[i] = random.uniform();
    network.forward(x, activations, y);
    network.backward(x, activations, y, dy, &gradients, &dx, 0, workspace);
    results[pass].assign(gradients.data, gradients.data + gradients.count);
    results[pass].insert(results[pass].end(), dx.data, dx.data + 33 * 112);
  }
  set_threads(1);
  expect(
      results[0].size() == results[1].size() &&
          std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(float)) == 0,
      kernels().name, "bitwise for every number of threads", 33, 3, 0, 100);
}

}  // namespace

int main() {
  std::vector<Case> cases;
  for (int in : {1, 3, 7, 8, 9, 15, 16, 17, 64})
    for (int out : {1, 2, 4, 5, 17})
      for (int batch : {1, 2, 7, 16, 100})
        for (double density : {0.0, 0.1, 0.5, 1.0}) {
          const unsigned nnz =
              std::max(1u, unsigned(density * in * out));  // 0.0: nearly all rows are empty
          cases.push_back({in, out, batch, nnz});
        }
  cases.push_back({256, 256, 256, 32768});
  cases.push_back({393, 256, 100, 41000});
  int count;
  const Kernels* const* tables = available_kernels(&count);
  for (int i = 0; i < count; ++i) {
    for (const Case& c : cases) compare(c, tables[i]->name);
    select_kernels(tables[i]->name);
    for (int threads : {2, 3}) compare_threads(threads);
    std::printf("%s ok so far\n", tables[i]->name);
  }
  std::printf("%d passed, %d failed\n", checks - failures, failures);
  return failures != 0;
}
