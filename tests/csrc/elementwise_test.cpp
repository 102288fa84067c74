// Kernels that go once through an array, of every table that this CPU can run: each length up to
// past the longest unrolled run, at addresses that are no multiple of a vector.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "check.h"
#include "numbers/random.h"
#include "tables.h"

using namespace edgedst;

namespace {

constexpr size_t kLongest = 131;  // two runs of four vectors of sixteen lanes, and three more
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> draw(Random& random, size_t count, float low, float high) {
  std::vector<float> values(count);
  for (float& v : values) v = low + (high - low) * random.uniform();
  return values;
}

// Slots from the end to the beginning, each third, round and round.
std::vector<uint32_t> scattered(size_t count) {
  std::vector<uint32_t> slots(count);
  for (size_t i = 0; i < count; ++i)
    slots[i] = static_cast<uint32_t>((count - 1) * (i + 1) * 3 % count);
  return slots;
}

void check_gather(const Kernels& table, Random& random) {
  for (size_t count = 0; count <= kLongest; ++count) {
    const std::vector<float> values = draw(random, count, -1, 1);
    const std::vector<uint32_t> slots = scattered(count);
    Guarded out(count);
    table.gather(values.data(), slots.data(), count, out.data());
    bool right = out.guards_intact();
    for (size_t i = 0; i < count; ++i) right &= out[i] == values[slots[i]];
    expect(right, "%s gather of %zu", table.name, count);
  }
}

void check_tanh(const Kernels& table) {
  std::vector<float> x = {0.0f, -0.0f, 1e-45f, -1e-38f, 8, -8, 100, -100, kInfinity, -kInfinity};
  for (int i = -50000; i <= 50000; ++i) x.push_back(static_cast<float>(i) * 2e-4f);
  for (uint32_t bits = 0; bits < 0x7f800000; bits += 5003) {  // every magnitude
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof bits);
    x.push_back(magnitude);
    x.push_back(-magnitude);
  }
  Guarded y(x);
  table.tanh(y.data(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = std::tanh(static_cast<double>(x[i]));
    const double error = want == 0 ? std::fabs(y[i]) : std::fabs(y[i] / want - 1);
    expect(error < 5e-7 && std::fabs(y[i]) <= 1, "%s tanh(%.9g) = %.9g, off by %.2g of it",
           table.name, x[i], y[i], error);
  }
  expect(y.guards_intact(), "%s tanh wrote elsewhere", table.name);

  constexpr size_t kSome = 45000;                       // from tanh(-1) on
  for (size_t count = 0; count <= kLongest; ++count) {  // a value's place does not matter
    Guarded some(std::vector<float>(x.begin() + kSome, x.begin() + kSome + count));
    table.tanh(some.data(), count);
    bool same = some.guards_intact();
    for (size_t i = 0; i < count; ++i) same &= some[i] == y[kSome + i];
    expect(same, "%s tanh of %zu values", table.name, count);
  }
  float not_a_number = NAN;
  table.tanh(&not_a_number, 1);
  expect(std::isnan(not_a_number), "%s tanh(NaN) = %g", table.name, not_a_number);
}

// Algorithm 1 of Kingma & Ba 2015 in double. A tolerance is 2e-6, some sixteen roundings, of the
// terms that are added up: where they cancel, their sum may be far smaller than its error.
void check_adam(const Kernels& table, Random& random) {
  const double beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-8, learning_rate = 1e-3;
  for (size_t count = 0; count <= kLongest; ++count) {
    const double weight_decay = count % 2 ? 2e-4 : 0, step = 1 + count;
    const bool first = count % 3 == 0;  // the moments are still 0
    const double step_size = learning_rate / (1 - std::pow(beta_1, step));
    const double root_correction = std::sqrt(1 - std::pow(beta_2, step));
    const auto in_float = [](double v) { return static_cast<float>(v); };
    const AdamStep adam = {in_float(beta_1),       in_float(beta_2),         in_float(epsilon),
                           in_float(weight_decay), in_float(1 - beta_1),     in_float(1 - beta_2),
                           in_float(step_size),    in_float(root_correction)};
    const std::vector<float> w = draw(random, count, -1, 1);
    std::vector<float> gradient = draw(random, count, -3, 3);
    if (count > 1) gradient[count - 2] = 0;
    Guarded values(w), m(draw(random, count, first ? 0 : -1, first ? 0 : 1)),
        v(draw(random, count, 0, first ? 0 : 1));
    const Guarded old_m = m, old_v = v;
    table.adam(values.data(), m.data(), v.data(), gradient.data(), count, adam);
    bool right = true;
    for (size_t i = 0; i < count; ++i) {
      const double g = gradient[i] + weight_decay * w[i];
      const double terms = std::fabs(gradient[i]) + std::fabs(weight_decay * w[i]);
      const double want_m = beta_1 * old_m[i] + (1 - beta_1) * g;
      const double want_v = beta_2 * old_v[i] + (1 - beta_2) * g * g;
      const double rate = step_size / (std::sqrt(want_v) / root_correction + epsilon);
      const double m_terms = std::fabs(beta_1 * old_m[i]) + (1 - beta_1) * terms;
      const double v_terms = beta_2 * old_v[i] + (1 - beta_2) * terms * terms;
      right &= std::fabs(m[i] - want_m) <= 2e-6 * m_terms;
      right &= std::fabs(v[i] - want_v) <= 2e-6 * v_terms;
      right &= std::fabs(values[i] - (w[i] - rate * want_m)) <=
               2e-6 * (std::fabs(w[i]) + rate * m_terms);
    }
    expect(right, "%s adam of %zu", table.name, count);
    expect(values.guards_intact() && m.guards_intact() && v.guards_intact(),
           "%s adam of %zu wrote elsewhere", table.name, count);
  }
}

void check_polyak(const Kernels& table, Random& random) {
  for (float tau : {0.0f, 0.005f, 0.25f, 1.0f}) {
    for (size_t count = 0; count <= kLongest; ++count) {
      const std::vector<float> source = draw(random, count, -1, 1),
                               old = draw(random, count, -1, 1);
      const std::vector<uint32_t> slots = scattered(count);
      Guarded target(old);
      table.polyak(target.data(), source.data(), slots.data(), count, tau);
      bool right = target.guards_intact();
      for (size_t j = 0; j < count; ++j) {
        const double want = double(tau) * source[slots[j]] + (1 - double(tau)) * old[j];
        right &= std::fabs(target[j] - want) <= 2e-7;  // three roundings of numbers up to 1
      }
      expect(right, "%s polyak of %zu, tau %g", table.name, count, tau);
    }
  }
}

// Magnitudes 0, 1/8, .. 1, both signs: many lie on a bound.
std::vector<float> draw_eighths(Random& random, size_t count) {
  std::vector<float> values(count);
  for (float& v : values) {
    v = static_cast<float>(random.below(9)) / 8;
    if (random.below(2)) v = -v;
  }
  return values;
}

void check_select_band(const Kernels& table, const std::vector<float>& values, float low,
                       float high) {
  std::vector<float> inside;
  size_t below = 0;
  for (float v : values) {
    below += std::fabs(v) < low;
    if (std::fabs(v) >= low && std::fabs(v) <= high) inside.push_back(std::fabs(v));
  }
  Guarded out(values.size());  // room for all, and no more
  const Band band = table.select_band(values.data(), values.size(), low, high, out.data());
  expect(band.below == below && band.inside == inside.size() && out.guards_intact() &&
             std::equal(inside.begin(), inside.end(), out.data()),
         "%s select_band of %zu in [%g, %g]: %zu below instead of %zu, %zu inside instead of %zu",
         table.name, values.size(), low, high, band.below, below, band.inside, inside.size());
}

void check_select_band(const Kernels& table, Random& random) {
  for (size_t count = 0; count <= kLongest; ++count) {
    const std::vector<float> values = draw_eighths(random, count);
    check_select_band(table, values, 0.375f, 0.625f);
    check_select_band(table, values, 0.3f, 0.35f);  // none inside
    check_select_band(table, values, 0.5f, 0.5f);
    check_select_band(table, values, 0, 0);
    check_select_band(table, values, 0, kInfinity);
    check_select_band(table, values, 2, 3);  // all below
  }
  for (size_t place = 0; place < kLongest; ++place) {
    std::vector<float> values(kLongest, 2);
    values[place] = -1;
    check_select_band(table, values, 1, 1);
    check_select_band(table, values, 1.5f, 1.75f);
  }
}

void check_zero_below(const Kernels& table, const std::vector<float>& values, float threshold) {
  Guarded kept(values);
  const size_t zeroed = table.zero_below(kept.data(), values.size(), threshold);
  size_t want = 0;
  bool right = kept.guards_intact();
  for (size_t i = 0; i < values.size(); ++i) {
    const bool small = std::fabs(values[i]) < threshold;
    want += small;
    right &= small ? kept[i] == 0 : kept[i] == values[i];
  }
  expect(right && zeroed == want, "%s zero_below of %zu under %g: %zu instead of %zu", table.name,
         values.size(), threshold, zeroed, want);
}

void check_zero_below(const Kernels& table, Random& random) {
  for (size_t count = 0; count <= kLongest; ++count)
    for (float threshold : {0.0f, 1e-40f, 0.5f, 0.51f, 2.0f})
      check_zero_below(table, draw_eighths(random, count), threshold);
  for (size_t place = 0; place < kLongest; ++place) {
    std::vector<float> values(kLongest, -2);
    values[place] = 1;
    check_zero_below(table, values, 1.5f);
  }
  // A weight that diverged stays what it is: whoever looks must see it.
  std::vector<float> diverged(kLongest, NAN);
  const size_t zeroed = table.zero_below(diverged.data(), diverged.size(), kInfinity);
  expect(zeroed == 0 &&
             std::all_of(diverged.begin(), diverged.end(), [](float v) { return std::isnan(v); }),
         "%s zero_below hides NaN", table.name);
}

// Random's own, at every place within a block and where its number passes 2^32. A tolerance of
// 2e-6: Random rounds the angle, up to 6.3, to 2^-22, and the logarithm is multiplied into that.
void check_normals(const Kernels& table) {
  constexpr uint64_t kSeed = UINT64_C(0x123456789abcdef0);
  for (uint64_t start : {UINT64_C(0), (UINT64_C(1) << 34) - 40}) {
    for (size_t count = 0; count <= kLongest; ++count) {
      Random random(kSeed, 7);
      random.counter = start + count % 5;
      Guarded out(count), again(count);
      table.normals(kSeed, 7, random.counter, count, out.data());
      const size_t first = count / 3;  // in two parts: the same bits
      table.normals(kSeed, 7, random.counter, first, again.data());
      table.normals(kSeed, 7, random.counter + 2 * first, count - first, again.data() + first);
      bool right = out.guards_intact() && again.guards_intact();
      for (size_t i = 0; i < count; ++i)
        right &= out[i] == again[i] && std::fabs(out[i] - random.normal()) <= 2e-6;
      expect(right, "%s normals: %zu from %llu on", table.name, count,
             static_cast<unsigned long long>(start));
    }
  }
}

// Batch normalisation (Ioffe & Szegedy 2015) in double: rows of every length, of two, with padding
// whose content does not matter. Tolerances are of sums of up to kLongest float products.
void check_batch_norm(const Kernels& table, Random& random) {
  constexpr int kRows = 2;
  for (int batch = 1; batch <= static_cast<int>(kLongest); ++batch) {
    const size_t stride = (batch + 15) / 16 * 16 + 16;
    for (const bool own : {true, false}) {
      const std::vector<float> z = draw(random, kRows * stride, -2, 3);
      std::vector<float> gradient = draw(random, kRows * stride, -1, 1);
      for (size_t i = 0; i < gradient.size(); ++i)
        if (i % stride >= static_cast<size_t>(batch)) gradient[i] = 0;  // as everywhere
      const std::vector<float> bias = draw(random, kRows, -1, 1);
      const std::vector<float> mean = draw(random, kRows, -1, 1),
                               variance = draw(random, kRows, 0.5, 2);
      Guarded x(z), d(gradient), normal(kRows * stride);
      std::vector<float> new_mean = mean, new_variance = variance, inverse(kRows), sums(kRows);
      table.batch_norm(x.data(), own ? normal.data() : nullptr, stride, batch, bias.data(),
                       new_mean.data(), new_variance.data(), inverse.data(), 0, kRows);
      table.row_sums(d.data(), stride, batch, 0, kRows, sums.data());
      table.batch_norm_back(d.data(), own ? normal.data() : nullptr, stride, batch, inverse.data(),
                            own ? sums.data() : nullptr, 0, kRows);
      double error = 0;
      bool clean = x.guards_intact() && d.guards_intact() && normal.guards_intact();
      for (int row = 0; row < kRows; ++row) {
        const float *zs = &z[row * stride], *gs = &gradient[row * stride];
        double center = mean[row], spread = variance[row];
        if (own) {
          center = std::accumulate(zs, zs + batch, 0.0) / batch;
          spread = 0;
          for (int b = 0; b < batch; ++b) spread += (zs[b] - center) * (zs[b] - center) / batch;
          error = std::max(error, std::fabs(new_mean[row] - (0.99 * mean[row] + 0.01 * center)));
          error = std::max(error,
                           std::fabs(new_variance[row] - (0.99 * variance[row] + 0.01 * spread)));
        } else {
          clean &= new_mean[row] == mean[row] && new_variance[row] == variance[row];
        }
        const double scale = 1 / std::sqrt(spread + 1e-5);
        double sum = 0, dot = 0;
        for (int b = 0; b < batch; ++b) {
          sum += gs[b] / batch;
          dot += gs[b] * (zs[b] - center) * scale / batch;
        }
        for (int b = 0; b < batch; ++b) {
          const double n = (zs[b] - center) * scale;
          const double back = own ? scale * (gs[b] - sum - n * dot) : scale * gs[b];
          // A lone sample has no variance: its scale is 316, and so is a rounding's.
          const double share = std::max(1.0, scale);
          error = std::max(error,
                           std::fabs(x[row * stride + b] - std::max(0.0, n + bias[row])) / share);
          error = std::max(error, std::fabs(d[row * stride + b] - back) / share);
          if (own) error = std::max(error, std::fabs(normal[row * stride + b] - n) / share);
        }
        for (size_t b = batch; b < stride; ++b) {
          clean &= x[row * stride + b] == 0 && d[row * stride + b] == gs[b];
          if (own) clean &= normal[row * stride + b] == 0;
        }
      }
      expect(error < 4e-6 && clean, "%s batch_norm of %d samples, %s statistics: off by %.2g",
             table.name, batch, own ? "own" : "running", error);
    }
  }
}

// A NaN passes the ReLU behind it: of its sample, with own statistics of the whole feature, and of
// no other feature.
void check_batch_norm_of_nan(const Kernels& table) {
  constexpr int kRows = 2, kBatch = 33;  // two of the widest vectors and one
  constexpr size_t kStride = 48;
  for (const int spoiled : {0, 20, 32}) {
    for (const bool own : {true, false}) {
      std::vector<float> z(kRows * kStride, 0.5f), normal(kRows * kStride);
      std::vector<float> bias(kRows), mean(kRows), variance(kRows, 1), inverse(kRows);
      z[spoiled] = NAN;
      table.batch_norm(z.data(), own ? normal.data() : nullptr, kStride, kBatch, bias.data(),
                       mean.data(), variance.data(), inverse.data(), 0, kRows);
      bool right = true;
      for (size_t i = 0; i < z.size(); ++i)
        right &= std::isnan(z[i]) == (i < kBatch && (own || i == static_cast<size_t>(spoiled)));
      expect(right, "%s batch_norm of NaN in sample %d, %s statistics", table.name, spoiled,
             own ? "own" : "running");
    }
  }
}

}  // namespace

int main() {
  for (const Kernels* table : all_tables()) {
    Random random(1);
    check_gather(*table, random);
    check_tanh(*table);
    check_adam(*table, random);
    check_polyak(*table, random);
    check_select_band(*table, random);
    check_zero_below(*table, random);
    check_normals(*table);
    check_batch_norm(*table, random);
    check_batch_norm_of_nan(*table);
  }
  return report();
}
