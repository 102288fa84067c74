// The squashed Gaussian against double, tails and clamp included, on every kernel path that this
// CPU has; plain C++ so that it runs on a board and under an emulator without Python.
#include "rl/gaussian.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/table.h"
#include "rl/losses.h"
#include "system/threads.h"

using namespace edgedst;

namespace {

constexpr int kComponents = 6, kBatch = 100;
constexpr double kWeight = 0.2 / kBatch;
int failures = 0;

void expect(bool ok, const char* what, int i, int b, double got, double expected) {
  if (ok) return;
  ++failures;
  std::printf("FAILED %s %s at (%d, %d): %.9g, expected %.9g\n", kernels().name, what, i, b, got,
              expected);
}

struct Policy {
  explicit Policy(Arena& arena)
      : head(take_batch(arena, "head", 2 * kComponents, kBatch)),
        noise(take_batch(arena, "noise", kComponents, kBatch)),
        action(take_batch(arena, "action", kComponents, kBatch)),
        dq(take_batch(arena, "dq", kComponents, kBatch)),
        log_prob(take_batch(arena, "log_prob", 1, kBatch)),
        d_head(take_batch(arena, "d_head", 2 * kComponents, kBatch)) {
    Random random(11);
    fill_normal(head, random);
    fill_normal(noise, random);
    fill_normal(dq, random);
    for (int i = 0; i < kComponents; ++i)
      for (int b = 0; b < kBatch; ++b) {
        head.row(i)[b] *= 10;                // u far in tanh's tails
        head.row(kComponents + i)[b] *= 15;  // log sigma on both sides of its clamp
      }
    squashed_actions(head, noise, action, log_prob);
    squashed_gradient(head, noise, action, dq, dq, static_cast<float>(kWeight), d_head);
  }
  Batch head, noise, action, dq, log_prob, d_head;
};

void compare_with_double() {
  Arena arena(1 << 17, false);
  const Policy p(arena);
  for (int b = 0; b < kBatch; ++b) {
    double log_prob = 0, terms = 0;
    for (int i = 0; i < kComponents; ++i) {
      const double wanted = p.head.row(kComponents + i)[b], eps = p.noise.row(i)[b];
      const double log_sigma = std::fmin(std::fmax(wanted, -20), 2);
      const double deviation = std::exp(log_sigma) * eps, u = p.head.row(i)[b] + deviation;
      const double log_slope =
          2 * (std::log(2.0) - std::fabs(u) - std::log1p(std::exp(-2 * std::fabs(u))));
      log_prob -= eps * eps / 2 + log_sigma + 0.91893853320467274 + log_slope;
      terms += eps * eps / 2 + std::fabs(log_sigma) + std::fabs(log_slope);
      const double du =
          2.0 * p.dq.row(i)[b] / std::pow(std::cosh(u), 2) + 2 * kWeight * std::tanh(u);
      const double d_log_sigma = wanted < -20 || wanted > 2 ? 0 : du * deviation - kWeight;
      const double got_u = p.d_head.row(i)[b], got_sigma = p.d_head.row(kComponents + i)[b];
      // u is rounded to 2^-20 of at most 64, which moves the slope by twice that share of itself.
      expect(std::fabs(got_u - du) <= 2e-5 * std::fabs(du) + 1e-9, "d mean", i, b, got_u, du);
      expect(std::fabs(got_sigma - d_log_sigma) <= 2e-5 * std::fabs(du * deviation) + 1e-9,
             "d log sigma", i, b, got_sigma, d_log_sigma);
      const double got = p.action.row(i)[b];
      expect(std::fabs(got - std::tanh(u)) <= 4e-6, "action", i, b, got, std::tanh(u));
    }
    const double got = p.log_prob.data[b];
    expect(std::fabs(got - log_prob) <= 1e-6 * terms, "log prob", 0, b, got, log_prob);
  }
}

void compare_threads() {
  std::vector<float> results[2];
  for (int count : {1, 3}) {
    set_threads(count);
    Arena arena(1 << 17, false);
    const Policy p(arena);
    std::vector<float>& kept = results[count > 1];
    for (const Batch* batch : {&p.noise, &p.action, &p.log_prob, &p.d_head})
      kept.insert(kept.end(), batch->data, batch->data + size_t(batch->rows) * batch->stride);
  }
  set_threads(1);
  expect(std::memcmp(results[0].data(), results[1].data(), results[0].size() * 4) == 0,
         "bitwise for every number of threads", 0, 0, 0, 0);
}

}  // namespace

int main() {
  int count;
  const Kernels* const* tables = available_kernels(&count);
  for (int i = 0; i < count; ++i) {
    select_kernels(tables[i]->name);
    compare_with_double();
    compare_threads();
  }
  std::printf("%d failed on %d kernel paths\n", failures, count);
  return failures != 0;
}
