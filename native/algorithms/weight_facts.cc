#include "algorithms/weight_facts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace convtranspose {

WeightFacts find_weight_facts(const float* weights, std::int64_t count) {
  constexpr std::uint32_t kInfinity = 0x7f800000u;
  std::uint32_t largest = 0;  // as integers magnitudes are ordered like the floats, with infinity and NaN above all others
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, &weights[i], sizeof bits);
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  WeightFacts facts;
  facts.finite = largest < kInfinity;
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  if (facts.finite) std::frexp(magnitude, &facts.exponent);
  return facts;
}

}  // namespace convtranspose
