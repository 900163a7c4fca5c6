// Depthwise layers, and layers with few input channels per group: each output has so few products that what counts is to
// touch input and output once.
#include "algorithms/algorithm.h"
#include "algorithms/depthwise_groups.h"
#include "algorithms/depthwise_lanes.h"
#include "algorithms/depthwise_pixels.h"
#include "algorithms/depthwise_planes.h"
#include "algorithms/limits.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxInputChannels = 8;   // per group: with more, tiles of several output channels load less
constexpr std::int64_t kMaxListedTaps = 65536;  // of a group
constexpr std::int64_t kMaxWidthStride = 1024;  // an output row of one position waits in scratch
constexpr std::int64_t kMaxChannelsByRow = 8;   // channels last: of a pixel, that leave most lanes of a vector idle

class Depthwise final : public Algorithm {
 public:
  const char* name() const override { return "depthwise"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDepthwise; }
  SumOrder order() const override { return SumOrder::kTaps; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (!decline->reason.empty()) return nullptr;
    // By the layer as it was made: under `invariant` the planner decides by it, too.
    decline->reason = decline_depthwise(request.original.layer);
    if (!decline->reason.empty()) return nullptr;
    const Problem& problem = request.problem;
    if (problem.call.format == MemoryFormat::kChannelsLast) {
      const bool alone = problem.in_channels_per_group() == 1;  // there are no sums over channels
      std::unique_ptr<Execution> execution;
      if (problem.layer.out_channels <= kMaxChannelsByRow) {
        if (alone) execution = plan_depthwise_lanes(request, decline);
      } else if (alone && problem.out_channels_per_group() == 1) {
        return plan_depthwise_pixels(request, decline);
      } else if (problem.layer.groups > 1 && spreads(problem.layer)) {
        execution = plan_depthwise_groups(request, decline);
      }
      if (execution != nullptr) return execution;
    }
    return plan_depthwise_planes(request, decline);
  }
};

}  // namespace

std::string decline_depthwise(const LayerSpec& layer) {
  const std::int64_t inputs = layer.in_channels / layer.groups;
  if (inputs > kMaxInputChannels) return "more than " + std::to_string(kMaxInputChannels) + " input channels per group";
  double taps = static_cast<double>(inputs);
  for (const std::int64_t kernel : layer.kernel) taps *= static_cast<double>(kernel);
  if (taps > kMaxListedTaps) return "more than 65536 weights to an output channel";
  if (layer.stride[2] > kMaxWidthStride) {
    return "a stride of more than " + std::to_string(kMaxWidthStride) + " along the width";
  }
  return "";
}

const Algorithm& depthwise() {
  static const Depthwise algorithm;
  return algorithm;
}

}  // namespace convtranspose
