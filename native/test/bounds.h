// How far an algorithm's outputs may be from the definition's.
#pragma once

#include <vector>

#include "algorithms/algorithm.h"
#include "definition.h"

namespace convtranspose {

enum class DataKind {
  kMixedSigns,     // random signs: rounding errors cancel
  kAny,            // no assumption: every rounding may go the same way
  kSmallIntegers,  // below 2^8, and every partial sum is exact in float32
};

// The largest error allowed to each output, by the promise that covers the algorithm. Values are finite.
std::vector<double> error_bounds(const Algorithm& algorithm, const Problem& problem, const Values& values,
                                 const Expected& expected, DataKind kind);

// The most that the kernel of an activation may differ from it where the result is y: what docs/fused.md states.
double activation_error(Activation activation, double y);

// The distance of the floats around y.
double ulp(double y);

// The first output that is further from the definition's than its bound allows, or that is not the same infinity or NaN, in
// words; "" if there is none.
std::string first_wrong_output(const std::vector<float>& y, const Expected& expected, const std::vector<double>& bounds);

}  // namespace convtranspose
