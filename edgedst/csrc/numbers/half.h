// IEEE binary16, exactly and on every CPU: conversions in integer arithmetic, for storage only.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace edgedst {

constexpr double kHalfMost = 65504;

// Round to nearest, ties to even. Straight from double: by way of float, some values would round
// twice.
inline uint16_t half_from_double(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint16_t sign = static_cast<uint16_t>(bits >> 48 & 0x8000);
  bits &= ~(UINT64_C(1) << 63);
  const double magnitude = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00;  // halfway from 65504 to what would be next
  if (magnitude < 0x1p-14)                       // subnormal: a multiple of 2^-24
    return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24));
  bits += (UINT64_C(1) << 41) - 1 + (bits >> 42 & 1);  // a carry moves on into the exponent
  return sign | static_cast<uint16_t>((bits >> 42) - ((1023 - 15) << 10));
}

// Without a branch, so that a loop over it becomes vector code.
inline float float_from_half(uint16_t half) {
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  float scaled;
  std::memcpy(&scaled, &magnitude, sizeof scaled);
  scaled *= 0x1p112f;  // from half's exponent bias to float's; exact for subnormals too
  uint32_t bits;
  std::memcpy(&bits, &scaled, sizeof bits);
  bits |= magnitude >= 0x0f800000 ? 0x7f800000 : 0;  // infinity, NaN
  bits |= static_cast<uint32_t>(half & 0x8000) << 16;
  std::memcpy(&scaled, &bits, sizeof scaled);
  return scaled;
}

}  // namespace edgedst
