// What algorithms by products of bfloat16 terms have in common (amx.cc, amx_overlap.cc): how many terms, which powers of two
// inputs and weights are multiplied by, and which problems are not for them.
//
// The unit counts subnormal numbers as zero and there are no terms of numbers near the largest float, so inputs are
// multiplied by 2^kInputExponent and the weights brought near 2^kWeightExponent; sums are multiplied back, exactly. Inputs
// of 2^kInputExponent and more, infinities and NaNs are left to the direct kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "algorithms/algorithm.h"

namespace convtranspose {

inline constexpr int kInputExponent = 30;
inline constexpr int kWeightExponent = 40;
// What inputs are multiplied by; and the magnitude from which on they are refused.
inline constexpr float kInputScale = 1 << kInputExponent;

// For the precision that is asked for.
int terms_of(Precision precision);

// The precision that so many terms keep.
Precision precision_of(int terms);

// What the weights are multiplied by, and sums of products to bring them back.
inline float weight_scale(const WeightFacts& weights) { return std::ldexp(1.0f, kWeightExponent - weights.exponent); }
inline float sum_scale(const WeightFacts& weights) {
  return std::ldexp(1.0f, weights.exponent - kWeightExponent - kInputExponent);
}

// Why no products of terms should run the problem, or "".
std::string decline_terms(const PlanRequest& request);

// Why packed weights of so many floats are too large, or "".
std::string decline_packed_terms(const Problem& problem, int terms, std::int64_t elements);

// For Execution::notes.
std::string refusal_note();

}  // namespace convtranspose
