// Groups of few channels in channels-last order, vectors along the output channels: the inputs of a group are spread over
// the lanes of its outputs, in scratch, and serve all taps from there.
#pragma once

#include <memory>

#include "algorithms/algorithm.h"

namespace convtranspose {

// Whether a line of output channels holds whole groups, or a group whole lines.
bool spreads(const LayerSpec& layer);

// For layers that spread, channels last.
std::unique_ptr<Execution> plan_depthwise_groups(const PlanRequest& request, Decline* decline);

}  // namespace convtranspose
