// Checks that count, and arrays that notice who writes beside them. What all C++ tests share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <vector>

namespace edgedst {

struct Tally {
  long passed = 0, failed = 0;
};
inline Tally tally;

// Says what failed and goes on. The words should lead to the case: kernel table, shape, range.
__attribute__((format(printf, 2, 3))) inline void expect(bool ok, const char* format, ...) {
  ++(ok ? tally.passed : tally.failed);
  constexpr long kMostPrinted = 20;  // a broken kernel fails thousands of times, alike
  if (ok || tally.failed > kMostPrinted) return;
  std::printf("FAILED ");
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
  std::fflush(stdout);
}

// main's last line.
inline int report() {
  std::printf("%ld checks passed, %ld failed\n", tally.passed, tally.failed);
  return tally.failed != 0;
}

constexpr float kCanary = -12345.25f;  // no result of ours

// Equal, or a NaN where a NaN belongs.
inline bool same(float got, float expected) {
  return got == expected || (std::isnan(got) && std::isnan(expected));
}

// Numbers with canaries on both sides. They begin at no multiple of a vector: the kernels take any
// address.
class Guarded {
 public:
  explicit Guarded(size_t count) : all_(count + 2 * kGuard, kCanary) {}
  explicit Guarded(const std::vector<float>& values) : Guarded(values.size()) {
    std::copy(values.begin(), values.end(), data());
  }

  float* data() { return all_.data() + kGuard; }
  float operator[](size_t i) const { return all_[kGuard + i]; }
  size_t size() const { return all_.size() - 2 * kGuard; }
  bool guards_intact() const {
    const auto canary = [](float v) { return v == kCanary; };
    return std::all_of(all_.begin(), all_.begin() + kGuard, canary) &&
           std::all_of(all_.end() - kGuard, all_.end(), canary);
  }

 private:
  static constexpr size_t kGuard = 33;  // two of the widest vectors and one
  std::vector<float> all_;
};

}  // namespace edgedst
