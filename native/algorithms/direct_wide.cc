// Direct, vectors along the width: for every phase, an ordinary convolution of a padded block of input rows that stays in
// the second-level cache, weights broadcast. A block is one depth position x some rows x some columns of one image and
// group.
//
// Two layouts of the block: by rows ([depth][row][channel][column]: a tile stays within a row; few pages at a time) and flat
// ([channel][depth][row][column]: a tile may run over the end of a row, so that narrow images leave no lane idle).
#include <algorithm>
#include <cstring>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/panel_engine.h"
#include "pack/input.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kTileBytes = 96 * 1024;  // of a tile, to leave room for the block beside it
constexpr std::int64_t kMaxRows = 64;           // of a block

struct Blocking {
  bool flat = false;
  std::int64_t rows = 1;     // output rows of a phase in a block
  std::int64_t columns = 1;  // output columns of a phase in a block
  Dims box{1, 1, 1};         // packed input positions
  std::int64_t stride_d = 0, stride_h = 0, stride_c = 0;
  std::int64_t block_floats = 0;
  std::int64_t pixel_stride = 0;
  double cycles = 0.0;  // of one run
};

class DirectWideExecution final : public Execution {
 public:
  DirectWideExecution(const PlanRequest& request, const PhaseSet& phases, TileKernels kernels, WeightLayout layout,
                      const Blocking& blocking)
      : problem_(request.problem),
        table_(request.kernels),
        engine_(request, phases, std::move(kernels), std::move(layout)),
        blocking_(blocking) {
    engine_.set_source_strides(blocking.stride_d, blocking.stride_h, blocking.stride_c);
    engine_.set_pixel_stride(blocking.pixel_stride);
    blocks_d_ = phases.dim[0].max_size();
    blocks_h_ = ceil_div(phases.dim[1].max_size(), blocking.rows);
    blocks_w_ = ceil_div(phases.dim[2].max_size(), blocking.columns);
    blocks_ = problem_.call.batch * problem_.layer.groups * blocks_d_ * blocks_h_ * blocks_w_;
    units_ = phases.dim[0].count() * phases.dim[1].count() * static_cast<std::int64_t>(engine_.layout().panels().size());
    parts_ = parts_per_block(blocks_, blocking.cycles / static_cast<double>(blocks_), units_);
    this->phases = phases.dim[0].count() * phases.dim[1].count() * phases.dim[2].count();
    estimated_seconds = blocking.cycles / cost::kClock;
    list_kernels();
    this->blocking = {{"rows", blocking.rows},
                      {"columns", blocking.columns},
                      {"flat", blocking.flat ? 1 : 0},
                      {"panel", engine_.layout().widest_panel()},
                      {"channelChunk", engine_.layout().chunk()}};
  }

  const WeightLayout* weight_layout() const override { return &engine_.layout(); }
  std::int64_t tasks() const override { return blocks_ * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(blocking_.block_floats + engine_.tile_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t part = task % parts_;
    const std::int64_t block = task / parts_;
    std::int64_t rest = block;
    const std::int64_t block_w = rest % blocks_w_;
    rest /= blocks_w_;
    const std::int64_t block_h = rest % blocks_h_;
    rest /= blocks_h_;
    const std::int64_t jd = rest % blocks_d_;
    rest /= blocks_d_;
    const std::int64_t group = rest % problem_.layer.groups;
    const std::int64_t image = rest / problem_.layer.groups;
    const std::int64_t jh = block_h * blocking_.rows;
    const std::int64_t jw = block_w * blocking_.columns;

    float* const packed = reinterpret_cast<float*>(workspace.data);
    float* const tile = packed + blocking_.block_floats;
    if (*workspace.tag != block) {
      pack(args, image, group, jd, jh, jw, packed);
      *workspace.tag = block;
    }
    const std::int64_t panels = static_cast<std::int64_t>(engine_.layout().panels().size());
    for (std::int64_t unit = units_ * part / parts_; unit < units_ * (part + 1) / parts_; ++unit) {
      run_unit(args, image, group, unit / panels, engine_.layout().panels()[static_cast<std::size_t>(unit % panels)], jd, jh,
               jw, packed, tile, workspace.used);
    }
  }

 private:
  std::int64_t flat_pixels(std::int64_t rows, std::int64_t columns) const {
    return (rows - 1) * blocking_.stride_h + columns;
  }

  void pack(const RunArgs& args, std::int64_t image, std::int64_t group, std::int64_t jd, std::int64_t jh, std::int64_t jw,
            float* packed) const {
    const PhaseSet& phases = engine_.phases();
    InputBox box;
    box.first = {jd + phases.dim[0].min_offset, jh + phases.dim[1].min_offset, jw + phases.dim[2].min_offset};
    box.size = blocking_.box;
    pack_planes(input_view(problem_, args.src, image, group), box, blocking_.stride_d, blocking_.stride_h,
                blocking_.stride_c, table_->transpose, packed);
    // Tiles read whole vectors: what follows the last position is zeroed, since stale denormals would cost time.
    const std::int64_t slack = engine_.kernels().max_columns();
    std::memset(packed + blocking_.block_floats - slack, 0, static_cast<std::size_t>(slack) * sizeof(float));
  }

  // Whole blocks and those at the end of the rows and columns. Phases without a tap run no kernel.
  void list_kernels() {
    const PhaseSet& phases = engine_.phases();
    family = table_->wide;
    family_count = table_->wide_count;
    if (!phases.dim[0].reached() || !phases.dim[1].reached() || !phases.dim[2].reached()) return;
    const std::int64_t width = phases.dim[2].max_size();
    for (const std::int64_t columns : {std::min(blocking_.columns, width), width - (blocks_w_ - 1) * blocking_.columns}) {
      if (!blocking_.flat) {
        kernels |= engine_.kernels_for(columns);
        continue;
      }
      for (const Phase1d& height : phases.dim[1].phases) {
        if (height.taps.empty()) continue;
        kernels |= engine_.kernels_for(flat_pixels(std::min(blocking_.rows, height.size), columns));
        const std::int64_t last = (height.size - 1) % blocking_.rows + 1;
        kernels |= engine_.kernels_for(flat_pixels(last, columns));
      }
    }
  }

  // One panel for all phases along the width, for the row of phases `phase_row`.
  void run_unit(const RunArgs& args, std::int64_t image, std::int64_t group, std::int64_t phase_row, const Panel& panel,
                std::int64_t jd, std::int64_t jh, std::int64_t jw, const float* packed, float* tile,
                std::uint64_t* used) const {
    const PhaseSet& phases = engine_.phases();
    const std::int64_t fd = phase_row / phases.dim[1].count();
    const std::int64_t fh = phase_row % phases.dim[1].count();
    const Phase1d& depth = phases.dim[0].phases[fd];
    const Phase1d& height = phases.dim[1].phases[fh];
    const std::int64_t rows = std::min(blocking_.rows, height.size - jh);
    const std::int64_t columns = std::min(blocking_.columns, phases.dim[2].max_size() - jw);
    if (jd >= depth.size || rows <= 0) return;

    PixelSegment segments[kMaxRows];
    std::int64_t segment_count = 0;
    const std::int64_t tile_row = blocking_.flat ? blocking_.stride_h : engine_.kernels().covered(panel.rows, columns);
    if (blocking_.flat) {
      segments[segment_count++] = {0, flat_pixels(rows, columns), 0};
    } else {
      for (; segment_count < rows; ++segment_count) {
        segments[segment_count] = {segment_count * blocking_.stride_h, columns, segment_count * tile_row};
      }
    }
    engine_.compute(args.weights, packed, group, fd, fh, panel, segments, segment_count, tile, used);
    for (std::int64_t r = 0; r < rows; ++r) {
      const OutputRun run{image,
                          group,
                          depth.first + problem_.layer.stride[0] * jd,
                          height.first + problem_.layer.stride[1] * (jh + r),
                          jw,
                          columns,
                          r * tile_row};
      engine_.store(args, panel, run, tile);
    }
  }

  Problem problem_;
  const KernelTable* table_;
  PanelEngine engine_;
  Blocking blocking_;
  std::int64_t blocks_d_, blocks_h_, blocks_w_, blocks_;
  std::int64_t units_;  // (phase row, panel) pairs of a block
  std::int64_t parts_;  // tasks per block
};

// Sizes that follow from rows, columns and layout.
void derive(const PlanRequest& request, const PhaseSet& phases, const TileKernels& kernels, const WeightLayout& layout,
            Blocking* b) {
  const std::int64_t channels = request.problem.in_channels_per_group();
  b->box = {1 + phases.dim[0].halo(), b->rows + phases.dim[1].halo(), b->columns + phases.dim[2].halo()};
  if (b->flat) {
    b->stride_h = b->box[2];
    b->stride_d = b->box[1] * b->stride_h;
    b->stride_c = b->box[0] * b->stride_d;
    // Channels one page-multiple apart would share cache sets.
    if (b->stride_c % 256 == 0) b->stride_c += kFloatsPerLine;
    b->block_floats = channels * b->stride_c;
  } else {
    b->stride_c = b->box[2];
    if (b->stride_c % 256 == 0) b->stride_c += kFloatsPerLine;
    b->stride_h = channels * b->stride_c;
    b->stride_d = b->box[1] * b->stride_h;
    b->block_floats = b->box[0] * b->stride_d;
  }
  b->block_floats = round_up(b->block_floats, kFloatsPerLine) + round_up(kernels.max_columns(), kFloatsPerLine);
  std::int64_t pixels = 0;
  for (const Panel& panel : layout.panels()) {
    const std::int64_t covered = b->flat ? kernels.covered(panel.rows, (b->rows - 1) * b->stride_h + b->columns)
                                         : b->rows * kernels.covered(panel.rows, b->columns);
    pixels = std::max(pixels, covered);
  }
  b->pixel_stride = round_up(pixels, kFloatsPerLine);
}

bool fits(const Blocking& b, const PhaseSet& phases, const WeightLayout& layout, std::int64_t block_bytes) {
  const std::int64_t tile = phases.dim[2].count() * layout.widest_panel() * b.pixel_stride * 4;
  return b.block_floats * 4 <= block_bytes && tile <= kTileBytes;
}

// The largest block of the given layout that the caches hold, shrunk evenly over the image.
Blocking choose(const PlanRequest& request, const PhaseSet& phases, const TileKernels& kernels, const WeightLayout& layout,
                bool flat) {
  const std::int64_t block_bytes = static_cast<std::int64_t>(request.caches.l2) / 2;
  const std::int64_t height = phases.dim[1].max_size();
  const std::int64_t width = phases.dim[2].max_size();
  Blocking b;
  b.flat = flat;
  b.columns = width;
  derive(request, phases, kernels, layout, &b);
  while (!fits(b, phases, layout, block_bytes) && b.columns > kernels.lanes()) {
    b.columns = std::max<std::int64_t>(kernels.lanes(), round_up(ceil_div(b.columns, 2), kernels.lanes()));
    derive(request, phases, kernels, layout, &b);
  }
  std::int64_t rows = 1;
  for (Blocking taller = b; rows < std::min(height, kMaxRows);) {
    taller.rows = rows + 1;
    derive(request, phases, kernels, layout, &taller);
    if (!fits(taller, phases, layout, block_bytes)) break;
    ++rows;
  }
  b.rows = ceil_div(height, ceil_div(height, rows));
  b.columns = ceil_div(width, ceil_div(width, b.columns));
  derive(request, phases, kernels, layout, &b);
  return b;
}

// Cycles of a whole run with this blocking.
double run_cycles(const PlanRequest& request, const PhaseSet& phases, const TileKernels& kernels, const WeightLayout& layout,
                  const Blocking& b) {
  const Problem& p = request.problem;
  const double blocks = static_cast<double>(p.call.batch * p.layer.groups * phases.dim[0].max_size()) *
                        static_cast<double>(ceil_div(phases.dim[1].max_size(), b.rows)) *
                        static_cast<double>(ceil_div(phases.dim[2].max_size(), b.columns));
  PanelEngine engine(request, phases, kernels, layout);
  engine.set_source_strides(b.stride_d, b.stride_h, b.stride_c);
  const double compute = b.flat ? engine.compute_cycles((b.rows - 1) * b.stride_h + b.columns)
                                : static_cast<double>(b.rows) * engine.compute_cycles(b.columns);
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  const double packed = static_cast<double>(p.in_channels_per_group() * b.box[0] * b.box[1] * b.box[2]);
  const double pack = packed * (last ? cost::kTransposePerFloat : cost::kCopyPerFloat);
  const double weight_bytes = static_cast<double>(layout.elements() / p.layer.groups) * 4.0;
  const double streamed = weight_bytes > static_cast<double>(request.caches.l2) / 2 ? weight_bytes : 0.0;
  const double store = static_cast<double>(p.dst_elements()) *
                       (last ? cost::kTransposePerFloat + cost::kStorePerFloat : cost::kStorePerFloat);
  return blocks * (std::max(compute, streamed / cost::kStreamBytesPerCycle) + pack) + store;
}

class DirectWide final : public Algorithm {
 public:
  const char* name() const override { return "direct-wide"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, std::string* reason) const override {
    *reason = decline_phased(request);
    if (!reason->empty()) return nullptr;
    const PhaseSet phases = make_phases(request.problem);
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table.wide, table.wide_count, table.lanes);
    WeightLayout layout(request.problem.layer,
                        split_panels(request.problem.out_channels_per_group(), kernels.preferred_rows(), 1),
                        request.channel_chunk);
    Blocking best;
    for (const bool flat : {false, true}) {
      Blocking b = choose(request, phases, kernels, layout, flat);
      b.cycles = run_cycles(request, phases, kernels, layout, b);
      if (best.cycles == 0.0 || b.cycles < best.cycles) best = b;
    }
    auto execution = std::make_unique<DirectWideExecution>(request, phases, kernels, std::move(layout), best);
    if (execution->workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) {
      *reason = "one row of all input channels needs " + std::to_string(execution->workspace_bytes()) +
                " bytes of workspace, more than the limit of " + std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }
};

}  // namespace

const Algorithm& direct_wide() {
  static const DirectWide algorithm;
  return algorithm;
}

}  // namespace convtranspose
