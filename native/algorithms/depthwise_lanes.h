// Depthwise in channels-last order with few channels (a frame of colours), vectors along the floats of an output row,
// whatever pixels and channels these are: lane kernels over padded rows of input.
#pragma once

#include <memory>

#include "algorithms/algorithm.h"

namespace convtranspose {

// For one input channel per group, channels last. Declines where lanes would need long lists of weights or read too far
// apart, where the instruction set cannot move lanes by a list or its vectors are parts of the lines that pass by the
// caches, and for want of workspace. The problem has passed decline_phased().
std::unique_ptr<Execution> plan_depthwise_lanes(const PlanRequest& request, Decline* decline);

}  // namespace convtranspose
