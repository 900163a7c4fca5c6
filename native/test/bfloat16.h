// Terms of floats by the definition of kernels/kernel.h, one number at a time.
#pragma once

#include <cstdint>
#include <cstring>

namespace convtranspose {

inline float float_of(std::uint16_t bfloat16) {
  const std::uint32_t bits = std::uint32_t{bfloat16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The nearest one, ties to even. Of finite numbers that round to finite ones.
inline std::uint16_t nearest_bfloat16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t dropped = bits & 0xffffu, half = 0x8000u;
  std::uint32_t kept = bits >> 16;
  if (dropped > half || (dropped == half && kept % 2 == 1)) ++kept;
  return static_cast<std::uint16_t>(kept);
}

// Term k (from 0 on) of a value.
inline std::uint16_t term_of(float value, int k) {
  for (; k > 0; --k) value -= float_of(nearest_bfloat16(value));
  return nearest_bfloat16(value);
}

}  // namespace convtranspose
