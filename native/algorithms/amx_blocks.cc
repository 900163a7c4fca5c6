#include "algorithms/amx_blocks.h"

#include <algorithm>

#include "algorithms/cost_model.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxProducts = 1024;  // summed by the unit before they are added to the rest: as precise, and a
                                             // panel's weights stay in the second-level cache
// Of the second-level cache, that split input takes: with smaller ones all weights may stay there, too; with the largest one
// they are streamed less often.
constexpr double kBlockShares[] = {0.2, 0.4, 0.62};
constexpr double kLargeShare = 0.5;
constexpr double kResidentShare = 0.8;             // input and weights together
constexpr std::int64_t kSlackBytes = 8 * 1024;     // of scratch, beside tiles
constexpr std::int64_t kMaxTileBytes = 32 * 1024;  // in the first-level cache,
constexpr std::int64_t kTilesInWorkspace = 8;      // and of so many would fill the workspace

// Cycles, fitted to the native bench.
constexpr double kProduct = 17.5;                  // of two matrices, while others are under way
constexpr double kProductAlone = 52.0;             // where each waits for the one before
constexpr double kCall = 350.0;                    // sums to memory, multiplied back
constexpr double kSplitCall = 400.0;               // the terms of the first tap; those of the last one are made twice
constexpr double kSplitProduct = 1.04;             // what making terms beside a product adds to it
constexpr double kSplitPerFloat = 0.35;            // of a pixel's channels,
constexpr double kTransposeBeforePerFloat = 0.35;  // and where these are planes
constexpr double kLargeBlockPenalty = 1.08;
constexpr double kWeightStreamShare = 0.5;  // of the time to stream weights, that products do not hide

}  // namespace

AmxRuns amx_runs(const AmxBlocks& b, const PixelExtents& e) {
  const std::int64_t extent[4] = {e.images, e.depths, e.rows, e.columns};
  const std::int64_t stride[4] = {b.stride_image, b.stride_d, b.stride_h, b.stride_w};
  AmxRuns best{};
  std::int64_t least = 0, reach = 1, runs = e.pixels();
  for (int merged = 3; merged >= 0; --merged) {
    reach += (extent[merged] - 1) * stride[merged];
    runs /= extent[merged];
    const std::int64_t pitch = round_up(reach, kTermSquare);
    if (merged < 3 && runs * pitch >= least) continue;
    least = runs * pitch;
    best = {reach, pitch, merged};
  }
  return best;
}

std::int64_t amx_tile_pixels(const AmxBlocks& b, const PixelExtents& e) {
  if (b.interleaved) return e.depths * e.rows * e.columns * round_up(e.images, kTermSquare);
  const AmxRuns runs = amx_runs(b, e);
  const std::int64_t extent[4] = {e.images, e.depths, e.rows, e.columns};
  std::int64_t count = 1;
  for (int d = 0; d < runs.merged; ++d) count *= extent[d];
  return count * runs.pitch;
}

std::int64_t amx_channel_chunk(const PhaseSet& phases) {
  std::int64_t taps = 1;
  for (const PhaseSet1d& dim : phases.dim) {
    std::size_t most = 1;
    for (const Phase1d& phase : dim.phases) most = std::max(most, phase.taps.size());
    taps *= static_cast<std::int64_t>(most);
  }
  return std::max<std::int64_t>(1, kMaxProducts / (kTermBlock * taps));
}

namespace {

// What is to be multiplied by each tile: for every panel, by all phases together.
struct Work {
  double steps = 0.0;             // taps and blocks of channels
  double calls = 0.0;             // of kernels
  double panels[2] = {0.0, 0.0};  // with one column of matrices, with two
};
Work work_of(const PhaseSet& phases, const TermWeights& form) {
  Work work;
  for (const Panel& panel : form.panels()) work.panels[panel.width / kTermSquare - 1] += 1.0;
  const PhaseTotals totals = phase_totals(phases);
  work.steps = static_cast<double>(form.channel_blocks() * totals.taps);
  work.calls = static_cast<double>(ceil_div(form.channel_blocks(), amx_channel_chunk(phases)) * totals.reached);
  return work;
}

// To split a block, and to multiply it by all weights.
double block_cycles(const PlanRequest& request, const Work& work, const TermWeights& form, const AmxBlocks& b) {
  constexpr int kProducts[] = {1, 3, 6};
  constexpr double kLoads[] = {1.35, 1.05, 1.0};  // of inputs and weights, where products do not hide them
  const int products = kProducts[form.terms() - 1];
  const double per_product = kProduct * (form.floats() ? kSplitProduct : kLoads[form.terms() - 1]);
  const std::int64_t in_tile = amx_matrices(b, b.tile);
  const double tiles = static_cast<double>(PixelBlocks(b, b.tile, 1).count());
  const auto panel_cycles = [&](std::int64_t width) {  // in columns of matrices
    const auto call = [&](std::int64_t sums) {
      return work.calls * (kCall * static_cast<double>(sums) / 4 + (form.floats() ? kSplitCall : 0.0)) +
             work.steps * products * std::max(static_cast<double>(sums) * per_product, kProductAlone);
    };
    double cycles = 0.0;
    for (std::int64_t left = in_tile; left > 0; left -= amx_rows(form, left, width)) {
      cycles += call(amx_rows(form, left, width) * width);
    }
    return tiles * cycles;
  };
  double cycles = work.panels[0] * panel_cycles(1) + work.panels[1] * panel_cycles(2);
  const double l2 = static_cast<double>(request.caches.l2);
  const double split_bytes = static_cast<double>(b.block_elements) * 2.0;
  const double weight_bytes = static_cast<double>(form.elements()) * 4.0 / static_cast<double>(request.problem.layer.groups);
  if (split_bytes > kLargeShare * l2) cycles *= kLargeBlockPenalty;
  if (!amx_stays(request.caches, split_bytes + weight_bytes)) {
    const double stream = weight_bytes / cost::kStreamBytesPerCycle;
    cycles = form.floats() ? std::max(cycles, stream) : cycles + kWeightStreamShare * stream;
  }
  const bool contiguous = request.problem.call.format == MemoryFormat::kContiguous;
  const double floats = static_cast<double>(b.positions) * static_cast<double>(form.channel_blocks() * kTermBlock);
  return cycles + floats * (kSplitPerFloat + (contiguous ? kTransposeBeforePerFloat : 0.0));
}

void derive(const PlanRequest& request, const PhaseSet& phases, int terms, AmxBlocks* b) {
  b->box = {b->depths + phases.dim[0].halo(), b->rows + phases.dim[1].halo(), b->columns + phases.dim[2].halo()};
  b->stride_w = b->interleaved ? round_up(b->images, kTermSquare) : 1;
  b->stride_h = b->stride_w * b->box[2];
  b->stride_d = b->stride_h * b->box[1];
  b->stride_image = b->interleaved ? 1 : b->stride_d * b->box[0];
  // The last matrix may reach beyond the last position. Not a multiple of the period of cache sets apart.
  b->positions = (b->interleaved ? b->stride_d * b->box[0] : b->images * b->stride_image) + kTermSquare;
  if (b->positions % 2 == 0) b->positions += 1;
  b->block_elements =
      ceil_div(request.problem.in_channels_per_group(), kTermBlock) * terms * b->positions * std::int64_t{kTermBlock};
}

// Grows one extent of the block after another, innermost first, while the block fits `share` of the second-level cache.
AmxBlocks largest(const PlanRequest& request, const PhaseSet& phases, const TermWeights& form, const Work& work,
                  double share, bool interleaved) {
  const std::int64_t pixel_bytes = 4 * form.panels().front().width * phases.dim[2].count();
  const PixelExtents whole = all_pixels(request.problem, phases);
  const std::int64_t tile_bytes = std::min(kMaxTileBytes, request.workspace_limit / kTilesInWorkspace);
  AmxBlocks b;
  b.interleaved = interleaved;
  if (interleaved) b.images = kTermSquare;
  const auto fits = [&] {
    derive(request, phases, form.terms(), &b);
    const std::int64_t split_bytes = b.block_elements * 2;
    return static_cast<double>(split_bytes) <= share * static_cast<double>(request.caches.l2) &&
           split_bytes + 2 * tile_bytes + kSlackBytes <= request.workspace_limit;
  };
  if (grow_extent(&b.columns, whole.columns, fits) && grow_extent(&b.rows, whole.rows, fits) &&
      grow_extent(&b.depths, whole.depths, fits) && !interleaved) {
    grow_extent(&b.images, whole.images, fits);
  }
  derive(request, phases, form.terms(), &b);

  b.tile.images = interleaved ? kTermSquare : 1;
  const auto tile_fits = [&] { return amx_tile_pixels(b, b.tile) * pixel_bytes <= tile_bytes; };
  if (grow_extent(&b.tile.columns, b.columns, tile_fits) && grow_extent(&b.tile.rows, b.rows, tile_fits) &&
      grow_extent(&b.tile.depths, b.depths, tile_fits) && !interleaved) {
    grow_extent(&b.tile.images, b.images, tile_fits);
  }
  b.tile_pixels = amx_tile_pixels(b, b.tile);
  b.cycles = block_cycles(request, work, form, b);
  return b;
}

}  // namespace

bool amx_stays(const CacheInfo& caches, double bytes) { return bytes <= kResidentShare * static_cast<double>(caches.l2); }

AmxBlocks choose_amx_blocks(const PlanRequest& request, const PhaseSet& phases, const TermWeights& form) {
  const PixelExtents whole = all_pixels(request.problem, phases);
  const Work work = work_of(phases, form);
  AmxBlocks best;
  double least = 0.0;
  for (const bool interleaved : {false, true}) {
    if (interleaved && (whole.images < kTermSquare || whole.columns % kTermSquare == 0)) continue;
    for (const double share : kBlockShares) {
      const AmxBlocks b = largest(request, phases, form, work, share, interleaved);
      const double cycles = b.cycles * static_cast<double>(PixelBlocks(whole, b, 1).count());
      if (least != 0.0 && cycles >= least) continue;
      least = cycles;
      best = b;
    }
  }
  return best;
}

}  // namespace convtranspose
