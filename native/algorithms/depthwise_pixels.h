// Depthwise in channels-last order, vectors along the channels: every output pixel from its few input pixels, straight from
// and to memory.
#pragma once

#include <memory>

#include "algorithms/algorithm.h"

namespace convtranspose {

// For one channel in and out per group, channels last, and more channels than `kMinChannels`.
std::unique_ptr<Execution> plan_depthwise_pixels(const PlanRequest& request, Decline* decline);

}  // namespace convtranspose
