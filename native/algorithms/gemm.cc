// GEMM, for layers in which every output is reached by exactly one tap (kernel == stride, no padding; or pointwise): weights
// [phases * output channels x input channels] times pixels [input channels x pixels], with the pixels of the whole batch in
// one row, and an epilogue that interleaves the phases.
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
constexpr std::int64_t kTileBytes = 96 * 1024;
constexpr std::int64_t kMaxPixels = 1024;
constexpr std::int64_t kSlackBytes = 16 * 1024;  // scratch of the epilogues, and room behind the tile

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

class GemmExecution final : public Execution {
 public:
  GemmExecution(const PlanRequest& request, const PhaseSet& phases, TileKernels kernels, WeightLayout layout,
                std::int64_t pixels)
      : problem_(request.problem),
        table_(request.kernels),
        engine_(request, phases, std::move(kernels), std::move(layout)),
        block_pixels_(pixels) {
    const std::int64_t total = problem_.call.batch * problem_.in_points();
    stride_c_ = round_up(pixels, engine_.kernels().lanes());
    if (stride_c_ % 256 == 0) stride_c_ += kFloatsPerLine;
    engine_.set_source_strides(0, 0, stride_c_);
    std::int64_t covered = 0;
    for (const Panel& panel : engine_.layout().panels()) {
      covered = std::max(covered, engine_.kernels().covered(panel.rows, pixels));
    }
    engine_.set_pixel_stride(round_up(covered, kFloatsPerLine));
    block_floats_ = round_up(problem_.in_channels_per_group() * stride_c_, kFloatsPerLine) +
                    round_up(engine_.kernels().max_columns(), kFloatsPerLine);
    blocks_per_group_ = ceil_div(total, pixels);
    const std::int64_t blocks = blocks_per_group_ * problem_.layer.groups;
    const std::int64_t rows = phases.dim[0].count() * phases.dim[1].count();
    units_ = rows * static_cast<std::int64_t>(engine_.layout().panels().size());

    const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
    const double compute = engine_.compute_cycles(pixels);
    const double weight_bytes = static_cast<double>(engine_.layout().elements() / problem_.layer.groups) * 4.0;
    const double streamed = weight_bytes > static_cast<double>(request.caches.l2) / 2 ? weight_bytes : 0.0;
    const double pack = static_cast<double>(problem_.in_channels_per_group() * pixels) *
                        (last ? cost::kTransposePerFloat : cost::kCopyPerFloat);
    const double store = static_cast<double>(problem_.dst_elements()) *
                         (last ? cost::kTransposePerFloat + cost::kStorePerFloat : cost::kStorePerFloat);
    const double per_block = std::max(compute, streamed / cost::kStreamBytesPerCycle) + pack;
    estimated_seconds = (static_cast<double>(blocks) * per_block + store) / cost::kClock;
    parts_ = parts_per_block(blocks, per_block, units_);
    this->phases = rows * phases.dim[2].count();
    this->kernels = engine_.kernels_for(pixels) | engine_.kernels_for((total - 1) % pixels + 1);
    blocking = {{"pixels", pixels}, {"panel", engine_.layout().widest_panel()}, {"channelChunk", engine_.layout().chunk()}};
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
    const std::int64_t panels = static_cast<std::int64_t>(engine_.layout().panels().size());
    const std::int64_t phases_h = engine_.phases().dim[1].count();
    const PixelSegment segment{0, pixels, 0};
    for (std::int64_t unit = units_ * part / parts_; unit < units_ * (part + 1) / parts_; ++unit) {
      const Panel& panel = engine_.layout().panels()[static_cast<std::size_t>(unit % panels)];
      const std::int64_t fd = unit / panels / phases_h;
      const std::int64_t fh = unit / panels % phases_h;
      engine_.compute(args.weights, packed, group, fd, fh, panel, &segment, 1, tile, workspace.used);
      store(args, group, fd, fh, panel, first, pixels, tile);
    }
  }

 private:
  // packed[c*stride_c + p]: pixels first .. first+pixels-1 of the batch's pixels in one row.
  void pack(const RunArgs& args, std::int64_t group, std::int64_t first, std::int64_t pixels, float* packed) const {
    const std::int64_t points = problem_.in_points();
    for (std::int64_t p = 0; p < pixels;) {
      const std::int64_t image = (first + p) / points;
      const std::int64_t position = (first + p) % points;
      const std::int64_t count = std::min(points - position, pixels - p);
      // An image's pixels stand in one row: view them as such.
      InputView view = input_view(problem_, args.src, image, group);
      view.in = {1, 1, points};
      const InputBox box{{0, 0, position}, {1, 1, count}};
      pack_planes(view, box, 0, 0, stride_c_, table_->transpose, packed + p);
      p += count;
    }
    // Tiles read whole vectors: stale denormals behind the last pixel would cost time.
    for (std::int64_t c = 0; c < problem_.in_channels_per_group(); ++c) {
      std::memset(packed + c * stride_c_ + pixels, 0, static_cast<std::size_t>(stride_c_ - pixels) * sizeof(float));
    }
    const std::int64_t end = problem_.in_channels_per_group() * stride_c_;
    std::memset(packed + end, 0, static_cast<std::size_t>(block_floats_ - end) * sizeof(float));
  }

  void store(const RunArgs& args, std::int64_t group, std::int64_t fd, std::int64_t fh, const Panel& panel,
             std::int64_t first, std::int64_t pixels, float* tile) const {
    const Dims& in = problem_.call.in;
    for (std::int64_t p = 0; p < pixels;) {
      std::int64_t rest = first + p;
      const std::int64_t w = rest % in[2];
      rest /= in[2];
      const std::int64_t h = rest % in[1];
      rest /= in[1];
      const std::int64_t count = std::min(in[2] - w, pixels - p);
      const OutputRun run{
          rest / in[0], group, rest % in[0] * problem_.layer.stride[0] + fd, h * problem_.layer.stride[1] + fh, w, count, p};
      engine_.store(args, panel, run, tile);
      p += count;
    }
  }

  Problem problem_;
  const KernelTable* table_;
  PanelEngine engine_;
  std::int64_t block_pixels_;
  std::int64_t stride_c_;
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
    TileKernels kernels(table, TileKernels::Family::kWide);
    WeightLayout layout(request.problem.layer,
                        split_panels(request.problem.out_channels_per_group(), kernels.preferred_rows(), 1),
                        request.channel_chunk);
    // As many pixels as the caches hold beside a tile.
    const std::int64_t total = request.problem.call.batch * request.problem.in_points();
    const std::int64_t rows = phases.dim[2].count() * layout.widest_panel();
    const std::int64_t widest = kernels.max_columns();
    const std::int64_t channels = request.problem.in_channels_per_group();
    std::int64_t pixels = std::min({static_cast<std::int64_t>(request.caches.l2) / 2 / 4 / channels, kTileBytes / 4 / rows,
                                    kMaxPixels, (request.workspace_limit - kSlackBytes) / 4 / (channels + rows) - widest});
    pixels = std::max(pixels / widest * widest, widest);
    pixels = round_up(ceil_div(total, ceil_div(total, pixels)), kernels.lanes());
    pixels = std::min(pixels, total);
    auto execution = std::make_unique<GemmExecution>(request, phases, kernels, std::move(layout), pixels);
    if (execution->workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) {
      decline->for_workspace = true;
      decline->reason = "a panel of all input channels needs " + std::to_string(execution->workspace_bytes()) +
                        " bytes of workspace, more than the limit of " + std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }
};

}  // namespace

const Algorithm& gemm() {
  static const Gemm algorithm;
  return algorithm;
}

}  // namespace convtranspose
