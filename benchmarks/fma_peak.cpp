// The multiply-add peak of one core: independent chains of vector multiply-adds that never leave
// the registers. Prints GFLOP/s (two a multiply-add), the median of some rounds, as JSON;
// scaling.py compiles and runs it.
//
//   c++ -O3 -march=native -ffp-contract=fast benchmarks/fma_peak.cpp && ./a.out
#include <algorithm>
#include <chrono>
#include <cstdio>

namespace {

// A core with 2 units of latency 5 needs 10 chains, one with 4 of latency 4 needs 16. Two registers
// of 16 or 32 hold the factor and the addend.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kChains = 24;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kChains = 12;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kChains = 24;
#else
constexpr int kVectorBytes = 16, kChains = 12;
#endif

typedef float Vector __attribute__((vector_size(kVectorBytes)));
constexpr int kLanes = kVectorBytes / sizeof(float);
constexpr int kRounds = 101;
constexpr double kRoundSeconds = 1e-3;  // so short that most escape the other processes

// Seconds of `steps` multiply-adds a chain. sum * 0.5 + 1 stays near 2: no denormals or infinities.
double round_seconds(long steps, volatile float* numbers) {
  const Vector factor = Vector{} + numbers[0], addend = Vector{} + numbers[1];
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = Vector{} + static_cast<float>(i);
  const auto start = std::chrono::steady_clock::now();
  for (long step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * factor + addend;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Vector total{};
  for (const Vector& sum : sums) total += sum;
  numbers[2] = total[0];  // read by nobody, but the compiler cannot know
  return seconds.count();
}

}  // namespace

int main() {
  volatile float numbers[3] = {0.5f, 1.0f, 0.0f};
  long steps = 1 << 12;
  while (round_seconds(steps, numbers) < kRoundSeconds) steps *= 2;
  for (int i = 0; i < kRounds; ++i) round_seconds(steps, numbers);  // the clock rises
  double gflops[kRounds];
  for (double& result : gflops)
    result = 2e-9 * kLanes * kChains * static_cast<double>(steps) / round_seconds(steps, numbers);
  std::sort(gflops, gflops + kRounds);
  std::printf("{\"median\": %.2f, \"fastest\": %.2f, \"slowest\": %.2f, \"lanes\": %d}\n",
              gflops[kRounds / 2], gflops[kRounds - 1], gflops[0], kLanes);
}
