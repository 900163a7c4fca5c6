// Direct, vectors along the width: for every phase, an ordinary convolution of a padded block of input rows that stays in
// the second-level cache, weights broadcast. A block is one depth position x some rows x some columns of one image and
// group.
#include <algorithm>
#include <cstring>
#include <limits>

#include "algorithms/algorithm.h"
#include "algorithms/block_geometry.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/panel_engine.h"
#include "pack/input.h"
#include "pack/weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kJoinedParts = 4;  // of the rows of an image, where they are joined: work for some threads

class DirectWideExecution final : public Execution {
 public:
  DirectWideExecution(const PlanRequest& request, const PhaseSet& phases, TileKernels kernels, WeightLayout layout,
                      const BlockGeometry& blocking)
      : problem_(request.problem),
        table_(request.kernels),
        engine_(request, phases, std::move(kernels), std::move(layout)),
        blocking_(blocking),
        joins_rows_(PanelEngine::joins_rows(request, phases)) {
    engine_.set_source_strides(blocking.stride_d, blocking.stride_h, blocking.stride_c);
    // Joined rows are computed one at a time.
    engine_.set_pixel_stride(joins_rows_ ? round_up(ceil_div(blocking.pixel_stride, blocking.rows), kFloatsPerLine)
                                         : blocking.pixel_stride);
    blocks_d_ = phases.dim[0].max_size();
    blocks_h_ = ceil_div(phases.dim[1].max_size(), blocking.rows);
    blocks_w_ = ceil_div(phases.dim[2].max_size(), blocking.columns);
    blocks_ = problem_.call.batch * problem_.layer.groups * blocks_d_ * blocks_h_ * blocks_w_;
    // What is divided between the tasks of a block: units, or panels if rows are joined.
    units_ = joins_rows_ ? static_cast<std::int64_t>(engine_.layout().panels().size()) : engine_.units();
    parts_ = parts_per_block(blocks_, blocking.cycles / static_cast<double>(blocks_), units_);
    this->phases = phases.count();
    estimated_seconds = blocking.cycles / cost::kClock;
    list_kernels();
    this->blocking = {{"rows", blocking.rows},
                      {"columns", blocking.columns},
                      {"flat", blocking.flat ? 1 : 0},
                      {"panel", engine_.layout().widest_panel()},
                      {"channelChunk", engine_.layout().chunk()}};
  }

  const PackedForm* packed_form() const override { return &engine_.layout(); }
  std::int64_t tasks(int) const override { return blocks_ * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(blocking_.block_floats + engine_.tile_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
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
    LineStream lines = engine_.begin_stores();
    const Task at{image, group, jd, jh, jw, packed, tile, &lines, workspace.used};
    const std::int64_t end = units_ * (part + 1) / parts_;
    for (std::int64_t unit = units_ * part / parts_; unit < end; ++unit) {
      if (joins_rows_) {
        run_panel(args, at, unit);
      } else {
        run_unit(args, at, unit, 0, blocking_.rows);
      }
    }
    engine_.finish_stores(args, &lines);
  }

 private:
  // The block of a task, and what it works with.
  struct Task {
    std::int64_t image, group, jd, jh, jw;
    const float* packed;
    float* tile;
    LineStream* lines;
    KernelSet* used;
  };

  void pack(const RunArgs& args, std::int64_t image, std::int64_t group, std::int64_t jd, std::int64_t jh, std::int64_t jw,
            float* packed) const {
    const PhaseSet& phases = engine_.phases();
    InputBox box;
    box.first = {jd + phases.dim[0].min_offset, jh + phases.dim[1].min_offset, jw + phases.dim[2].min_offset};
    box.size = blocking_.box;
    pack_planes(input_view(problem_, args.src, image, group), box, blocking_.stride_d, blocking_.stride_h,
                blocking_.stride_c, *table_, packed);
    // Tiles read whole vectors: what follows the last position is zeroed, since stale denormals would cost time.
    const std::int64_t slack = engine_.kernels().max_columns();
    std::memset(packed + blocking_.block_floats - slack, 0, static_cast<std::size_t>(slack) * sizeof(float));
  }

  // Whole blocks and those at the end of the rows and columns. Phases without a tap run no kernel.
  void list_kernels() {
    const PhaseSet& phases = engine_.phases();
    const std::vector<std::int64_t> heights = phases.dim[1].computed_sizes();
    if (phases.dim[0].computed_sizes().empty() || heights.empty() || phases.dim[2].computed_sizes().empty()) return;
    const std::int64_t width = phases.dim[2].max_size();
    for (const std::int64_t columns : {std::min(blocking_.columns, width), width - (blocks_w_ - 1) * blocking_.columns}) {
      if (!blocking_.flat) {
        kernels |= engine_.kernels_for(columns);
        continue;
      }
      for (const std::int64_t height : heights) {
        kernels |= engine_.kernels_for(blocking_.flat_pixels(std::min(blocking_.rows, height), columns));
        const std::int64_t last = (height - 1) % blocking_.rows + 1;
        kernels |= engine_.kernels_for(blocking_.flat_pixels(last, columns));
      }
    }
  }

  // All rows of a panel of output channels, in the order of the output.
  void run_panel(const RunArgs& args, const Task& at, std::int64_t panel) const {
    const PhaseSet& phases = engine_.phases();
    const std::int64_t phases_h = phases.dim[1].count();
    for (std::int64_t fd = 0; fd < phases.dim[0].count(); ++fd) {
      const std::int64_t first = (panel * phases.dim[0].count() + fd) * phases_h;
      for (std::int64_t r = 0; r < blocking_.rows; ++r) {
        for (std::int64_t fh = 0; fh < phases_h;) {
          const std::int64_t alike = unreached_rows(fd, fh, at.jh + r);
          run_unit(args, at, first + fh, r, r + 1, alike);
          fh += alike;
        }
      }
    }
  }

  // How many rows of phases from fh on no tap reaches: they are stored together. 1 if the first is reached, or is none.
  std::int64_t unreached_rows(std::int64_t fd, std::int64_t fh, std::int64_t jh) const {
    const PhaseSet1d& heights = engine_.phases().dim[1];
    const bool none = engine_.phases().dim[0].phases[fd].taps.empty();
    std::int64_t end = fh;
    while (end < heights.count() && jh < heights.phases[end].size && (none || heights.phases[end].taps.empty())) ++end;
    return std::max<std::int64_t>(1, end - fh);
  }

  // Rows [first, last) of a unit, as far as there are that many. `alike`: if no tap reaches them, so many output rows from
  // each on.
  void run_unit(const RunArgs& args, const Task& at, std::int64_t unit, std::int64_t first, std::int64_t last,
                std::int64_t alike = 1) const {
    const PhaseSet& phases = engine_.phases();
    const auto [panel, fd, fh] = engine_.unit(unit);
    const Phase1d& depth = phases.dim[0].phases[fd];
    const Phase1d& height = phases.dim[1].phases[fh];
    const std::int64_t jh = at.jh + first;
    const std::int64_t rows = std::min(last - first, height.size - jh);
    const std::int64_t columns = std::min(blocking_.columns, phases.dim[2].max_size() - at.jw);
    if (at.jd >= depth.size || rows <= 0) return;

    PixelSegment segments[BlockDomain::kMaxRows];
    std::int64_t segment_count = 0;
    const std::int64_t tile_row = blocking_.flat ? blocking_.stride_h : engine_.kernels().covered(panel.rows, columns);
    if (blocking_.flat) {
      segments[segment_count++] = {first * blocking_.stride_h, blocking_.flat_pixels(rows, columns), 0};
    } else {
      for (; segment_count < rows; ++segment_count) {
        segments[segment_count] = {(first + segment_count) * blocking_.stride_h, columns, segment_count * tile_row};
      }
    }
    OutputRun run{at.image,
                  at.group,
                  depth.first + problem_.layer.stride[0] * at.jd,
                  height.first + problem_.layer.stride[1] * jh,
                  at.jw,
                  columns,
                  0};
    if (problem_.call.format == MemoryFormat::kContiguous && (depth.taps.empty() || height.taps.empty())) {
      for (std::int64_t r = 0; r < rows; ++r, run.oh += problem_.layer.stride[1])
        engine_.store_bias(args, panel, run, alike, at.tile, at.lines);
      return;
    }
    Ahead ahead;
    ahead.add(engine_.weights_ahead(args.weights, at.group, unit + 1));
    ahead.add(engine_.outputs_ahead(args, panel, run, rows, problem_.layer.stride[1] * problem_.call.out[2]));
    engine_.compute(args.weights, at.packed, at.group, {panel, fd, fh}, segments, segment_count, at.tile, &ahead, at.used);
    for (std::int64_t r = 0; r < rows; ++r) {
      engine_.store(args, panel, run, at.tile, at.lines);
      run.oh += problem_.layer.stride[1];
      run.tile += tile_row;
    }
  }

  Problem problem_;
  const KernelTable* table_;
  PanelEngine engine_;
  BlockGeometry blocking_;
  bool joins_rows_;  // of a panel of channels: rows are computed in the order in which they follow each other in memory
  std::int64_t blocks_d_, blocks_h_, blocks_w_, blocks_;
  std::int64_t units_;  // (phase row, panel) pairs of a block, or panels
  std::int64_t parts_;  // tasks per block
};

// Cycles of a whole run with this blocking.
double run_cycles(const PlanRequest& request, const PanelEngine& engine, const BlockGeometry& b) {
  const Problem& p = request.problem;
  const PhaseSet& phases = engine.phases();
  const WeightLayout& layout = engine.layout();
  const double blocks = static_cast<double>(p.call.batch) * static_cast<double>(p.layer.groups) *
                        static_cast<double>(phases.dim[0].max_size()) *
                        static_cast<double>(ceil_div(phases.dim[1].max_size(), b.rows)) *
                        static_cast<double>(ceil_div(phases.dim[2].max_size(), b.columns));
  const double compute = b.flat ? cost::kFlatPenalty * engine.compute_cycles(b.flat_pixels(b.rows, b.columns))
                                : static_cast<double>(b.rows) * engine.compute_cycles(b.columns);
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  const double packed = static_cast<double>(b.block_floats);
  const double pack = packed * (last ? cost::kTransposePerFloat : cost::kCopyPerFloat);
  const double streamed = static_cast<double>(cost::streamed_bytes(layout.group_elements(), request.caches.l2));
  return blocks * (std::max(compute, streamed / cost::kStreamBytesPerCycle) + pack) + engine.store_cycles(request.caches.l2);
}

class DirectWide final : public Algorithm {
 public:
  const char* name() const override { return "direct-wide"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }
  SumOrder order() const override { return SumOrder::kChunks; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (!decline->reason.empty()) return nullptr;
    const PhaseSet phases = make_phases(request.problem);
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kWide);
    WeightLayout layout(request.problem.layer, split_panels(request.problem.out_channels_per_group(), kernels.max_rows(), 1),
                        request.channel_chunk);
    BlockDomain domain;
    for (int d = 0; d < kSpatialDims; ++d) {
      domain.size[d] = phases.dim[d].max_size();
      domain.halo[d] = phases.dim[d].halo();
    }
    domain.channels = request.problem.in_channels_per_group();
    domain.workspace_limit = request.workspace_limit;
    domain.tile_rows = phases.dim[2].count() * layout.widest_panel();
    domain.call_rows = layout.distinct_widths();
    const PanelEngine engine(request, phases, kernels, layout);
    const bool joins_rows = PanelEngine::joins_rows(request, phases);
    if (joins_rows) {
      domain.most_rows = std::min(domain.most_rows, ceil_div(domain.size[1], kJoinedParts));
    }
    const BlockGeometry best = cheapest_geometry(domain, kernels, request.caches, [&](const BlockGeometry& b) {
      // Tiles of single rows gain nothing by the flat layout.
      return joins_rows && b.flat ? std::numeric_limits<double>::infinity() : run_cycles(request, engine, b);
    });
    auto execution = std::make_unique<DirectWideExecution>(request, phases, kernels, std::move(layout), best);
    if (lacks_workspace(request, execution->workspace_bytes(), "one row of all input channels", decline)) return nullptr;
    return execution;
  }
};

}  // namespace

const Algorithm& direct_wide() {
  static const DirectWide algorithm;
  return algorithm;
}

}  // namespace convtranspose
