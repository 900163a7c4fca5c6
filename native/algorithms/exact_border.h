// Weights that hold an infinity or a NaN must not meet the zeros around a packed block: zero times infinity is not zero.
#pragma once

#include <memory>

#include "algorithms/algorithm.h"

namespace convtranspose {

// Runs `inner`, planned for request.problem, then computes the outputs at the border (those with a tap outside the input)
// once more by the definition.
std::unique_ptr<Execution> with_exact_border(std::unique_ptr<Execution> inner, const PlanRequest& request);

}  // namespace convtranspose
