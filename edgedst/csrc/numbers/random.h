// Counter-based random numbers: the number of draws is the whole state, so a checkpoint resumes
// them exactly. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
// Philox4x32-10.
#pragma once

#include <cmath>
#include <cstdint>

namespace edgedst {

struct PhiloxBlock {
  uint32_t words[4];
};

// Ten rounds of multiply and mix: `counter` under the key (key_0, key_1).
inline PhiloxBlock philox4x32(PhiloxBlock counter, uint32_t key_0, uint32_t key_1) {
  uint32_t (&c)[4] = counter.words;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product_0 = UINT64_C(0xD2511F53) * c[0];
    const uint64_t product_1 = UINT64_C(0xCD9E8D57) * c[2];
    c[0] = static_cast<uint32_t>(product_1 >> 32) ^ c[1] ^ key_0;
    c[1] = static_cast<uint32_t>(product_1);
    c[2] = static_cast<uint32_t>(product_0 >> 32) ^ c[3] ^ key_1;
    c[3] = static_cast<uint32_t>(product_0);
    key_0 += 0x9E3779B9;  // the golden ratio
    key_1 += 0xBB67AE85;  // sqrt(3) - 1
  }
  return counter;
}

class Random {
 public:
  // Key: the seed. Counter words: the block number (two of them), the stream, 0.
  explicit Random(uint64_t seed, uint32_t stream = 0) : seed_(seed), stream_(stream) {}

  uint64_t seed() const { return seed_; }
  uint32_t stream() const { return stream_; }
  uint64_t counter = 0;  // 32-bit draws so far; set it and the sequence goes on from there

  uint32_t integer() {
    const uint64_t block = counter >> 2;
    if (block != cached_block_) {
      cache_ = philox4x32(
          {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), stream_, 0}},
          static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32));
      cached_block_ = block;
    }
    return cache_.words[counter++ & 3];
  }

  // Uniform in [0, n), n >= 1, without the bias of a remainder. Source: Lemire 2019, Algorithm 5.
  uint32_t below(uint32_t n) {
    uint64_t product = static_cast<uint64_t>(integer()) * n;
    if (static_cast<uint32_t>(product) < n) {
      const uint32_t threshold = (0 - n) % n;
      while (static_cast<uint32_t>(product) < threshold)
        product = static_cast<uint64_t>(integer()) * n;
    }
    return static_cast<uint32_t>(product >> 32);
  }

  // Uniform in [0, 1): 24 bits, all that a float holds evenly.
  float uniform() { return static_cast<float>(integer() >> 8) * 0x1p-24f; }

  // N(0, 1) by Box and Muller. Two draws each time: the sine's twin would be state outside of
  // `counter`.
  static constexpr int kDrawsOfNormal = 2;
  float normal() {
    const float u = (static_cast<float>(integer()) + 1) * 0x1p-32f;  // (0, 1]: log(0) cannot come
    const float angle = 6.28318531f * uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(angle);
  }

 private:
  uint64_t seed_;
  uint32_t stream_;
  uint64_t cached_block_ = ~UINT64_C(0);  // no counter has this block
  PhiloxBlock cache_ = {};
};

}  // namespace edgedst
