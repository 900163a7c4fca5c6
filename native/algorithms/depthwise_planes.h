// Depthwise and few input channels per group, vectors along the width: row kernels over padded rows of input, from products
// to finished output rows in one pass.
#pragma once

#include <memory>

#include "algorithms/algorithm.h"

namespace convtranspose {

// Declines, with a reason, for want of workspace alone. The problem has passed decline_phased().
std::unique_ptr<Execution> plan_depthwise_planes(const PlanRequest& request, Decline* decline);

}  // namespace convtranspose
