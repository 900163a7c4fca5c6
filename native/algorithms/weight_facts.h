// What planning has to know about the values of the weights.
#pragma once

#include <cstdint>

namespace convtranspose {

struct WeightFacts {
  bool finite = true;  // no infinity and no NaN
  int exponent = 0;    // the largest magnitude is below 2^exponent; 0 if it is zero or not finite
};

WeightFacts find_weight_facts(const float* weights, std::int64_t count);

}  // namespace convtranspose
