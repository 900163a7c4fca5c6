// What the lanes of a lane kernel (kernels/kernel.h) read and multiply by: the outputs of a row in channels-last order, as
// one sequence of floats, where every group has one input channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "problem/phases.h"
#include "problem/problem.h"

namespace convtranspose {

// Taps along the width, one after the other, that a vector of outputs finds in one vector of the input.
struct LaneReach {
  std::ptrdiff_t src;  // the input row begins at the position of the smallest offset
  std::int64_t first_tap, taps;
};

struct LaneMap {
  std::int64_t taps = 0;                        // of the phase that has most
  std::ptrdiff_t period = 0;                    // floats of the input
  std::vector<std::vector<LaneReach>> reaches;  // [vector of a period], all as many
  // [vector][tap][lane], -1 where a phase has no such tap
  std::vector<std::int32_t> lanes;    // relative to the reach
  std::vector<std::int32_t> weights;  // kernel position along the width * output channels + output channel

  std::int64_t vectors() const { return static_cast<std::int64_t>(reaches.size()); }
};

// std::nullopt where the floats of a vector stand further apart than a vector is long, or lists would be longer than `most`.
// `lanes`: of a vector.
std::optional<LaneMap> make_lane_map(const PhaseSet1d& width, const LayerSpec& layer, std::int64_t lanes, std::int64_t most);

}  // namespace convtranspose
