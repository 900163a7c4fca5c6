#include "algorithms/limits.h"

#include <algorithm>
#include <cmath>

#include "problem/checked.h"

namespace convtranspose {

std::string decline_phased(const PlanRequest& request) {
  const Problem& p = request.problem;
  if (p.dst_elements() == 0) return "the output is empty";
  if (p.src_elements() == 0) return "there is no product: the output is the bias";
  std::int64_t phases = 1;
  std::int64_t kernel_points = 1;
  for (int d = 0; d < kSpatialDims; ++d) {
    if (p.layer.stride[d] > kMaxPhases / phases) return "the strides make more than 65536 phases";
    phases *= p.layer.stride[d];
    if (p.layer.kernel[d] > kMaxKernelPoints / kernel_points) return "the kernel has more than 262144 positions";
    kernel_points *= p.layer.kernel[d];
  }
  double halo = static_cast<double>(p.in_channels_per_group());
  for (int d = 0; d < kSpatialDims; ++d) {
    halo *= 1.0 + static_cast<double>(p.layer.dilation[d]) * static_cast<double>(p.layer.kernel[d] - 1) /
                      static_cast<double>(p.layer.stride[d]);
  }
  if (halo > kMaxHaloFloats) return "the dilated kernel spans more input positions than a block can hold";
  return "";
}

bool lacks_workspace(const PlanRequest& request, std::size_t bytes, const char* what, Decline* decline) {
  if (bytes <= static_cast<std::size_t>(request.workspace_limit)) return false;
  decline->for_workspace = true;
  decline->reason = std::string(what) + " needs " + std::to_string(bytes) + " bytes of workspace, more than the limit of " +
                    std::to_string(request.workspace_limit);
  return true;
}

std::int64_t parts_per_block(std::int64_t blocks, double cycles_per_block, std::int64_t max_parts) {
  std::int64_t parts = std::max<std::int64_t>(1, ceil_div(kWantedTasks, blocks));
  const double affordable = std::max(1.0, std::floor(cycles_per_block / kMinTaskCycles));
  if (static_cast<double>(parts) > affordable) parts = static_cast<std::int64_t>(affordable);
  const double needed = std::ceil(cycles_per_block / kMaxTaskCycles);
  if (static_cast<double>(parts) < needed)
    parts = static_cast<std::int64_t>(std::min(needed, static_cast<double>(kMaxParts)));
  return std::clamp<std::int64_t>(parts, 1, std::min(max_parts, kMaxParts));
}

}  // namespace convtranspose
