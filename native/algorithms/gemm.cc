// GEMM, for layers in which every output is reached by exactly one tap (kernel == stride, no padding; or pointwise): weights
// [phases * output channels x input channels] times pixels [input channels x pixels], with the pixels of the whole batch in
// one row, and an epilogue that interleaves the phases.
//
// A block of pixels is packed in strips as wide as the widest tile, [strip][channel][pixel of the strip]: a tile kernel then
// reads one contiguous run. (Channels a row of pixels apart cost a page each, and no prefetcher follows.)
#include <algorithm>
#include <cstring>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/panel_engine.h"
#include "pack/input.h"
#include "pack/weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kTileBytes = 24 * 1024;  // half of a first-level cache: a tile is written and read again at once
constexpr std::int64_t kMaxPixels = 1024;
constexpr std::int64_t kMinStrip = 8;
constexpr std::int64_t kMaxStrips = kMaxPixels / kMinStrip;  // of a block
constexpr std::int64_t kSlackBytes = 16 * 1024;              // scratch of the epilogues, and room behind the tile

// Every output has exactly one product per channel, and the phases all see the whole input.
bool one_tap_everywhere(const Problem& problem, const PhaseSet& phases) {
  for (int d = 0; d < kSpatialDims; ++d) {
    if (phases.dim[d].count() != problem.layer.stride[d]) return false;
    for (const Phase1d& phase : phases.dim[d].phases) {
      if (phase.taps.size() != 1 || phase.taps[0].offset != 0 || phase.size != problem.call.in[d]) return false;
    }
  }
  return true;
}

// Pixels of a strip: the most columns, up to the widest kernel and to the `total` pixels that there are, that the kernels of
// every panel cover exactly. (What a tile writes beyond its strip would fall into the next one.)
std::int64_t strip_pixels(const TileKernels& kernels, const WeightLayout& layout, std::int64_t total) {
  const std::vector<std::int64_t> widths = layout.distinct_widths();
  std::int64_t strip = std::min<std::int64_t>(kernels.max_columns(), round_up(total, kernels.lanes()));
  for (const std::int64_t rows : widths) strip = std::min<std::int64_t>(strip, kernels.widest(rows));
  const auto exact = [&](std::int64_t rows) { return kernels.covered(rows, strip) == strip; };
  while (!std::all_of(widths.begin(), widths.end(), exact)) strip -= kernels.lanes();
  return std::max(strip, kMinStrip);
}

class GemmExecution final : public Execution {
 public:
  GemmExecution(const PlanRequest& request, const PhaseSet& phases, TileKernels kernels, WeightLayout layout,
                std::int64_t pixels)
      : problem_(request.problem),
        table_(request.kernels),
        engine_(request, phases, std::move(kernels), std::move(layout)),
        block_pixels_(pixels) {
    const std::int64_t total = problem_.call.batch * problem_.in_points();
    strip_ = strip_pixels(engine_.kernels(), engine_.layout(), total);
    engine_.set_source_strides(0, 0, strip_);
    const std::int64_t strips = ceil_div(pixels, strip_);
    engine_.set_pixel_stride(round_up(strips * strip_, kFloatsPerLine));
    block_floats_ = round_up(strips * strip_floats(), kFloatsPerLine);
    blocks_per_group_ = ceil_div(total, pixels);
    const std::int64_t blocks = blocks_per_group_ * problem_.layer.groups;
    const std::int64_t rows = phases.dim[0].count() * phases.dim[1].count();
    units_ = engine_.units();

    const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
    const std::int64_t whole = pixels / strip_;
    const double compute = static_cast<double>(whole) * engine_.compute_cycles(strip_) +
                           (pixels % strip_ == 0 ? 0.0 : engine_.compute_cycles(pixels % strip_));
    const double streamed = static_cast<double>(cost::streamed_bytes(engine_.layout().group_elements(), request.caches.l2));
    const double pack = static_cast<double>(problem_.in_channels_per_group() * pixels) *
                        (last ? cost::kTransposePerFloat : cost::kCopyPerFloat);
    const double per_block = std::max(compute, streamed / cost::kStreamBytesPerCycle) + pack;
    const double whole_blocks = static_cast<double>(total * problem_.layer.groups) / static_cast<double>(pixels);
    estimated_seconds = (whole_blocks * per_block + engine_.store_cycles(request.caches.l2)) / cost::kClock;
    parts_ = parts_per_block(blocks, per_block, units_);
    this->phases = rows * phases.dim[2].count();
    for (const std::int64_t count : {pixels, (total - 1) % pixels + 1}) {
      if (count >= strip_) this->kernels |= engine_.kernels_for(strip_);
      if (count % strip_ != 0) this->kernels |= engine_.kernels_for(count % strip_);
    }
    blocking = {{"pixels", pixels},
                {"strip", strip_},
                {"panel", engine_.layout().widest_panel()},
                {"channelChunk", engine_.layout().chunk()}};
  }

  const PackedForm* packed_form() const override { return &engine_.layout(); }
  std::int64_t tasks(int) const override { return problem_.layer.groups * blocks_per_group_ * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(block_floats_ + engine_.tile_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t part = task % parts_;
    const std::int64_t block = task / parts_;
    const std::int64_t group = block / blocks_per_group_;
    const std::int64_t first = block % blocks_per_group_ * block_pixels_;
    const std::int64_t points = problem_.in_points();
    const std::int64_t pixels = std::min(block_pixels_, problem_.call.batch * points - first);

    float* const packed = reinterpret_cast<float*>(workspace.data);
    float* const tile = packed + block_floats_;
    if (*workspace.tag != block) {
      pack(args, group, first, pixels, packed);
      *workspace.tag = block;
    }
    LineStream lines = engine_.begin_stores();
    PixelSegment strips[kMaxStrips];
    std::int64_t strip_count = 0;
    for (; strip_count * strip_ < pixels; ++strip_count) {
      strips[strip_count] = {strip_count * strip_floats(), std::min(strip_, pixels - strip_count * strip_),
                             strip_count * strip_};
    }
    for (std::int64_t unit = units_ * part / parts_; unit < units_ * (part + 1) / parts_; ++unit) {
      const PanelEngine::Unit u = engine_.unit(unit);
      Ahead ahead;
      ahead.add(engine_.weights_ahead(args.weights, group, unit + 1));
      ahead.add(input_ahead(args, block + 1, unit));
      for_each_run(
          group, u.phase_d, u.phase_h, first, pixels, /*most_rows=*/problem_.call.in[1],
          [&](const OutputRun& run, std::int64_t rows) {
            ahead.add(engine_.outputs_ahead(args, u.panel, run, rows, problem_.layer.stride[1] * problem_.call.out[2]));
          });
      engine_.compute(args.weights, packed, group, u, strips, strip_count, tile, &ahead, workspace.used);
      for_each_run(group, u.phase_d, u.phase_h, first, pixels, /*most_rows=*/1,
                   [&](const OutputRun& run, std::int64_t) { engine_.store(args, u.panel, run, tile, &lines); });
    }
    engine_.finish_stores(args, &lines);
  }

 private:
  // The share of a unit in what the packing of `block` will read: some channels, of the image in which it begins.
  AheadRuns input_ahead(const RunArgs& args, std::int64_t block, std::int64_t unit) const {
    if (block >= blocks_per_group_ * problem_.layer.groups || problem_.call.format != MemoryFormat::kContiguous) return {};
    const std::int64_t points = problem_.in_points();
    const std::int64_t first = block % blocks_per_group_ * block_pixels_;
    const std::int64_t channels = problem_.in_channels_per_group();
    const std::int64_t from = channels * unit / units_;
    AheadRuns runs;
    runs.begin =
        input_view(problem_, args.src, first / points, block / blocks_per_group_).data + from * points + first % points;
    runs.floats = std::min(block_pixels_, points - first % points);
    runs.stride = points;
    runs.count = channels * (unit + 1) / units_ - from;
    return runs;
  }

  std::int64_t strip_floats() const { return problem_.in_channels_per_group() * strip_; }

  // packed[strip][channel][pixel]: pixels first .. first+pixels-1 of the batch's pixels in one row.
  void pack(const RunArgs& args, std::int64_t group, std::int64_t first, std::int64_t pixels, float* packed) const {
    const std::int64_t points = problem_.in_points();
    for (std::int64_t p = 0; p < pixels;) {
      const std::int64_t image = (first + p) / points;
      const std::int64_t position = (first + p) % points;
      const std::int64_t count = std::min(points - position, pixels - p);
      pack_strips(input_view(problem_, args.src, image, group), position, count, p, strip_, *table_, packed);
      p += count;
    }
    // Tiles read whole vectors: stale denormals behind the last pixel would cost time.
    const std::int64_t rest = pixels % strip_;
    if (rest == 0) return;
    float* const last = packed + pixels / strip_ * strip_floats();
    for (std::int64_t c = 0; c < problem_.in_channels_per_group(); ++c) {
      std::memset(last + c * strip_ + rest, 0, static_cast<std::size_t>(strip_ - rest) * sizeof(float));
    }
  }

  // Calls visit(run, rows) for the outputs of a block, at most `most_rows` input rows of one depth position at a time: `run`
  // is the first of `rows` whole rows, or part of one.
  template <typename Visit>
  void for_each_run(std::int64_t group, std::int64_t fd, std::int64_t fh, std::int64_t first, std::int64_t pixels,
                    std::int64_t most_rows, Visit visit) const {
    const Dims& in = problem_.call.in;
    for (std::int64_t p = 0; p < pixels;) {
      std::int64_t rest = first + p;
      const std::int64_t w = rest % in[2];
      rest /= in[2];
      const std::int64_t h = rest % in[1];
      rest /= in[1];
      const std::int64_t count = std::min(in[2] - w, pixels - p);
      const std::int64_t rows = count < in[2] ? 1 : std::min({most_rows, in[1] - h, (pixels - p) / in[2]});
      const OutputRun run{
          rest / in[0], group, rest % in[0] * problem_.layer.stride[0] + fd, h * problem_.layer.stride[1] + fh, w, count, p};
      visit(run, rows);
      p += count * rows;
    }
  }

  Problem problem_;
  const KernelTable* table_;
  PanelEngine engine_;
  std::int64_t block_pixels_;
  std::int64_t strip_;  // pixels
  std::int64_t block_floats_;
  std::int64_t blocks_per_group_;
  std::int64_t units_;
  std::int64_t parts_;
};

class Gemm final : public Algorithm {
 public:
  const char* name() const override { return "gemm"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kGemm; }
  SumOrder order() const override { return SumOrder::kChunks; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (!decline->reason.empty()) return nullptr;
    const PhaseSet phases = make_phases(request.problem);
    if (!one_tap_everywhere(request.problem, phases)) {
      decline->reason =
          "it needs exactly one tap for every output: kernel equal to stride, dilation 1 and no padding, or a pointwise "
          "kernel";
      return nullptr;
    }
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kWideAligned);
    WeightLayout layout(request.problem.layer,
                        split_panels(request.problem.out_channels_per_group(), kernels.preferred_rows(), 1),
                        request.channel_chunk);
    // As many pixels as the caches hold beside a tile.
    const std::int64_t total = request.problem.call.batch * request.problem.in_points();
    const std::int64_t rows = phases.dim[2].count() * layout.widest_panel();
    const std::int64_t strip = strip_pixels(kernels, layout, total);
    const std::int64_t channels = request.problem.in_channels_per_group();
    std::int64_t pixels = std::min({static_cast<std::int64_t>(request.caches.l2) / 2 / 4 / channels, kTileBytes / 4 / rows,
                                    kMaxPixels, (request.workspace_limit - kSlackBytes) / 4 / (channels + rows) - strip});
    pixels = std::max(pixels / strip * strip, strip);
    pixels = round_up(ceil_div(total, ceil_div(total, pixels)), strip);
    pixels = std::min(pixels, total);
    auto execution = std::make_unique<GemmExecution>(request, phases, kernels, std::move(layout), pixels);
    if (lacks_workspace(request, execution->workspace_bytes(), "a panel of all input channels", decline)) return nullptr;
    return execution;
  }
};

}  // namespace

const Algorithm& gemm() {
  static const Gemm algorithm;
  return algorithm;
}

}  // namespace convtranspose
