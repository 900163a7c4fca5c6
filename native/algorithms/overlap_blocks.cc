#include "algorithms/overlap_blocks.h"

#include <algorithm>
#include <cmath>

#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/overlap_output.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

// Blocks of channels whose products are summed by the unit at a time: with many positions a matrix's weights for them stay
// in the first-level cache.
constexpr std::int64_t kMaxChunk = 32;
constexpr std::int64_t kNearChunk = 4;
constexpr std::int64_t kManyPositions = 256;
constexpr double kInputShare = 0.4;            // of the second-level cache: split input,
constexpr std::int64_t kMaxPositions = 1024;   // and of a step,
constexpr std::int64_t kAheadPositions = 512;  // where the next one's input is split meanwhile:
constexpr std::int64_t kFewMatrices = 40;      // with so many of rows; with more, splitting hardly counts
constexpr double kResidentShare = 0.8;         // of the second-level cache: input and weights together
constexpr std::int64_t kMinTasks = 8;          // rather than to split more of the input while others are multiplied
constexpr std::int64_t kStripeRows = 8;        // at least, for each row before a stripe that gives to it
// Cycles.
constexpr double kProduct = 16.5;     // of two matrices, while others are under way
constexpr double kFarPenalty = 1.25;  // where both factors come from the second-level cache, and so do sums
constexpr double kCall = 90.0;        // of a kernel: first loads and last stores
constexpr double kSplitPerFloat = 0.65;
constexpr double kSplitAgain = 0.1;  // of all else, that splitting may cost again so that there are tasks enough
constexpr double kAheadShare = 0.6;  // of splitting, where it is done between products
constexpr double kAddVector = 3.2;   // a row of 16 sums
constexpr double kAddCall = 80.0;    // of a run of taps,
constexpr double kAddRow = 12.0;     // and of a row of the input
constexpr double kStorePerFloat = 0.35;
constexpr double kStoreRow = 50.0;
constexpr double kWeightStreamShare = 0.5;  // of the time to stream weights, that products do not hide

// Of the products of a matrix of positions by all weights of a group.
double product_cycles(const OverlapWeights& form) {
  constexpr double kProducts[] = {1.0, 3.0, 6.0};
  return kProducts[form.terms() - 1] * static_cast<double>(form.matrices() * form.channel_blocks()) * kProduct;
}

// The sizes of a step and of a stripe.
OverlapBlocks choose_sizes(const PlanRequest& request, const OverlapWeights& form) {
  const Problem& problem = request.problem;
  const LayerSpec& layer = problem.layer;
  const std::int64_t height = problem.call.in[1], width = problem.call.in[2];
  const std::int64_t planes = problem.call.batch * problem.call.in[0];
  const double position_bytes = static_cast<double>(form.channel_blocks() * form.terms() * kTermBlock * 2);
  const auto most = static_cast<std::int64_t>(kInputShare * static_cast<double>(request.caches.l2) / position_bytes);
  OverlapBlocks b;
  // Where splitting counts, and there are no odd channels (of pixels: four are split at once).
  const std::int64_t at_once = problem.call.format == MemoryFormat::kContiguous ? 2 : 4;
  b.ahead = problem.in_channels_per_group() % at_once == 0 && form.matrices() <= kFewMatrices;
  const std::int64_t fit =
      std::clamp<std::int64_t>(b.ahead ? most / 2 : most, kTermSquare, b.ahead ? kAheadPositions : kMaxPositions);
  b.lead = (layer.kernel[1] - 1) * layer.dilation[1] / layer.stride[1];
  b.pixels = ceil_div(problem.call.out[2], layer.stride[2]);
  b.columns = width;
  if (width > fit) {
    b.whole_width = false;
    // Even blocks, whole vectors, with what they share with their neighbours.
    const std::int64_t halo = OverlapOutput::halo_of(problem, form);
    const std::int64_t wanted = std::max(fit - halo, kTermSquare * std::int64_t{1});
    b.pixels = std::min(b.pixels, round_up(ceil_div(b.pixels, ceil_div(b.pixels, wanted)), kTermSquare));
    b.columns = std::min(width, b.pixels + halo);
  } else {
    b.rows = std::min(height, std::max<std::int64_t>(1, fit / width));
  }
  if (b.rows >= height) {
    b.stripe = height;
    b.planes = std::clamp<std::int64_t>(fit / round_up(height * width, kTermSquare), 1, planes);
    b.planes = ceil_div(planes, ceil_div(planes, b.planes));
    return b;
  }
  // Even stripes, of even steps: enough tasks, none that others and an abort wait for too long.
  const std::int64_t wanted = ceil_div(height, ceil_div(kMinTasks, planes * layer.groups));
  const double row_cycles = static_cast<double>(width) / kTermSquare * product_cycles(form);
  const auto affordable = static_cast<std::int64_t>(std::min(kMaxTaskCycles / row_cycles, static_cast<double>(height)));
  b.stripe = std::min({height, wanted, std::max<std::int64_t>(1, affordable)});
  b.stripe = std::min(height, std::max({b.stripe, kStripeRows * b.lead, b.rows}));
  b.stripe = ceil_div(height, ceil_div(height, b.stripe));
  const std::int64_t computed = b.stripe + (b.stripe < height ? b.lead : 0);
  b.rows = ceil_div(computed, ceil_div(computed, b.rows));
  return b;
}

// Of a block.
struct Cycles {
  double all, split;
};
Cycles block_cycles(const PlanRequest& request, const OverlapWeights& form, const OverlapBlocks& b) {
  const Problem& problem = request.problem;
  const LayerSpec& layer = problem.layer;
  const double rows = static_cast<double>(std::min(b.stripe, problem.call.in[1]) +
                                          (b.stripes > 1 ? b.lead * (b.stripes - 1) / b.stripes : 0));
  const double steps = rows / static_cast<double>(b.rows);
  const double matrices = static_cast<double>(ceil_div(b.positions(), kTermSquare));
  const double of_rows = static_cast<double>(form.matrices());
  const double blocks = static_cast<double>(form.channel_blocks());
  const double planes = static_cast<double>(b.planes), channels = static_cast<double>(problem.out_channels_per_group());
  const bool far = b.lead > 0 && form.channel_blocks() > kNearChunk;
  const double products = matrices * product_cycles(form) * (far ? kFarPenalty : 1.0);
  const double calls = of_rows * matrices / 4 * kCall * std::ceil(blocks / static_cast<double>(b.chunk));
  const double split = matrices * kTermSquare * blocks * kTermBlock * kSplitPerFloat;
  const double runs = static_cast<double>(form.runs().size()) * channels;
  const double added = static_cast<double>(form.rows()) * matrices * kAddVector +
                       runs * planes * (kAddCall + kAddRow * static_cast<double>(b.rows));
  const double stored = channels * planes * static_cast<double>(layer.stride[0] * layer.stride[1] * b.rows) *
                        (kStoreRow + kStorePerFloat * static_cast<double>(b.pixels * layer.stride[2]));
  double cycles = products + calls + split + added + stored;
  const double weight_bytes = static_cast<double>(form.matrices() * form.matrix_elements()) * 2.0;
  if (static_cast<double>(b.split_elements) * 2.0 + weight_bytes > kResidentShare * static_cast<double>(request.caches.l2)) {
    cycles += kWeightStreamShare * weight_bytes / cost::kStreamBytesPerCycle;
  }
  return {steps * cycles, steps * split};
}

}  // namespace

std::int64_t OverlapBlocks::row_pitch(std::int64_t columns_of_step) const {
  return whole_width ? columns_of_step : round_up(columns_of_step, kTermSquare);
}

std::int64_t OverlapBlocks::positions(std::int64_t step_planes, std::int64_t step_rows, std::int64_t step_columns) const {
  const std::int64_t of_plane = step_rows * row_pitch(step_columns);
  return (step_planes - 1) * round_up(of_plane, kTermSquare) + of_plane;
}

std::int64_t OverlapBlocks::channels_of_part(const Problem& problem) const {
  return ceil_div(problem.out_channels_per_group(), parts);
}

OverlapBlocks choose_overlap_blocks(const PlanRequest& request, const OverlapWeights& form) {
  const Problem& problem = request.problem;
  OverlapBlocks b = choose_sizes(request, form);
  b.plane_blocks = ceil_div(problem.call.batch * problem.call.in[0], b.planes);
  b.stripes = ceil_div(problem.call.in[1], b.stripe);
  b.pixel_blocks = ceil_div(ceil_div(problem.call.out[2], problem.layer.stride[2]), b.pixels);
  b.blocks = b.plane_blocks * problem.layer.groups * b.stripes * b.pixel_blocks;
  b.chunk = b.positions() >= kManyPositions ? kNearChunk : kMaxChunk;
  b.split_elements = ceil_div(b.positions(), 2 * kTermSquare) * overlap_group_stride(form);
  const bool one_step = b.stripes == 1 ? b.rows >= b.stripe : b.lead == 0 && b.rows >= b.stripe;
  const Cycles cycles = block_cycles(request, form, b);
  if (b.ahead) {
    const auto affordable = static_cast<std::int64_t>(kMaxTaskCycles / cycles.all);
    b.per_task = std::clamp<std::int64_t>(std::min(b.blocks / kMinTasks, affordable), 1, b.blocks);
  }
  b.one_step = one_step && b.per_task == 1;
  b.ahead = b.ahead && !b.one_step;
  // Each part splits its input again.
  const double worth = std::max(1.0, (cycles.all - cycles.split) * kSplitAgain / cycles.split);
  const auto most = static_cast<std::int64_t>(std::min(worth, static_cast<double>(problem.out_channels_per_group())));
  b.parts = parts_per_block(b.blocks, cycles.all, b.per_task > 1 ? 1 : most);
  const double splits = static_cast<double>(b.parts - 1) + (b.ahead ? kAheadShare - 1.0 : 0.0);
  b.cycles = static_cast<double>(b.blocks) * (cycles.all + cycles.split * splits);
  return b;
}

}  // namespace convtranspose
