// Bounds that the blocked algorithms share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "algorithms/algorithm.h"

namespace convtranspose {

// Phases and taps are listed, so their number is bounded by the layer alone (never by the sizes of a call).
inline constexpr std::int64_t kMaxPhases = 65536;
inline constexpr std::int64_t kMaxKernelPoints = std::int64_t{1} << 18;
inline constexpr double kMaxHaloFloats = 1 << 28;  // of one output position; keeps sizes of blocks far from overflow

// Tasks to aim at when one would do: enough for many threads to share evenly, coarse enough to cost nothing.
inline constexpr std::int64_t kWantedTasks = 16;
inline constexpr std::int64_t kMaxParts = 4096;
inline constexpr double kMinTaskCycles = 30000.0;    // below this a task is not split: handing it out costs as much
inline constexpr double kMaxTaskCycles = 3000000.0;  // about a millisecond: abort, fairness

// Packed forms of the weights, all together, over the weights: with precision 'highest', and where a call has asked for
// less.
inline constexpr double kMaxPackedMultiple = 2.5;
inline constexpr double kMaxPackedMultipleHigh = 6.5;

// A reason why no phase-by-phase algorithm should run the problem, or "".
std::string decline_phased(const PlanRequest& request);

// Whether direct_few can run this layer: its tiles hold all phases of all output channels.
bool few_outputs(const LayerSpec& layer);

// Why depthwise cannot run this layer, in words for the user; "" if it can.
std::string decline_depthwise(const LayerSpec& layer);

// Whether so many bytes are more than a thread may have for its workspace. If so, declines because `what` ("one row") needs
// them.
bool lacks_workspace(const PlanRequest& request, std::size_t bytes, const char* what, Decline* decline);

// Into how many parts to cut each of `blocks` blocks of `cycles_per_block`, given at most `max_parts`.
std::int64_t parts_per_block(std::int64_t blocks, double cycles_per_block, std::int64_t max_parts);

}  // namespace convtranspose
