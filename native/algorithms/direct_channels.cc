// Direct, vectors along output channels: weight panels are streamed once for all pixels of a block, inputs are broadcast.
// Pixels are addressed one by one, so images of any width and batches of tiny images leave no row of a tile idle. For layers
// with more weights than pixels, and for channels-last tensors, where its tiles have the layout of the output.
//
// A block is some rows of one depth position, or several whole images of a batch when they are small.
#include <algorithm>
#include <cstring>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/pixel_blocks.h"
#include "algorithms/pixel_store.h"
#include "algorithms/tile_kernels.h"
#include "pack/input.h"
#include "pack/weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kTileBytes = 192 * 1024;
constexpr std::int64_t kBlockBytes = 1280 * 1024;  // read once per panel, in chunks that fit the first-level cache
constexpr std::int64_t kMaxPixels = 256;
constexpr std::int64_t kSlackBytes = 1024;
constexpr double kMaxPadding = 1.5;  // stored over true weights, so that all packed forms stay within their bound

struct Blocking : PixelExtents {
  Dims box{1, 1, 1};
  std::int64_t stride_pixel = 0;
  std::int64_t block_floats = 0;
};

class DirectChannelsExecution final : public Execution {
 public:
  DirectChannelsExecution(const PlanRequest& request, const PhaseSet& phase_set, TileKernels kernels, WeightLayout layout,
                          const Blocking& blocking)
      : problem_(request.problem),
        table_(request.kernels),
        phases_(phase_set),
        kernels_(std::move(kernels)),
        layout_(std::move(layout)),
        b_(blocking),
        store_(request, phases_),
        blocks_(all_pixels(problem_, phases_), b_, problem_.layer.groups) {
    units_ = phases_.dim[0].count() * phases_.dim[1].count() * static_cast<std::int64_t>(layout_.panels().size());
    widest_ = layout_.widest_panel();
    streamed_bytes_ = cost::streamed_bytes(layout_.group_elements(), request.caches.l2);
    const std::int64_t stride_h = b_.box[2] * b_.stride_pixel;
    tap_offsets_ = TapOffsets(phases_, b_.box[1] * stride_h, stride_h, b_.stride_pixel);
    const double cycles = block_cycles();
    parts_ = parts_per_block(blocks_.count(), cycles, units_);
    const double store = static_cast<double>(problem_.dst_elements()) *
                         (store_.contiguous() ? cost::kTransposePerFloat + cost::kStorePerFloat : cost::kStorePerFloat);
    estimated_seconds = (static_cast<double>(blocks_.count()) * cycles + store) / cost::kClock;
    phases = phases_.count();
    list_kernels();
    this->blocking = {{"images", b_.images},   {"depths", b_.depths}, {"rows", b_.rows},
                      {"columns", b_.columns}, {"panel", widest_},    {"channelChunk", layout_.chunk()}};
  }

  const PackedForm* packed_form() const override { return &layout_; }
  std::int64_t tasks(int) const override { return blocks_.count() * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(b_.block_floats + tile_floats() + transposed_floats() + offsets_floats()) *
           sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t part = task % parts_;
    const std::int64_t block = task / parts_;
    const Origin origin = blocks_.origin(block);

    Scratch scratch;
    scratch.packed = reinterpret_cast<float*>(workspace.data);
    scratch.tile = scratch.packed + b_.block_floats;
    scratch.transposed = scratch.tile + tile_floats();
    scratch.offsets = reinterpret_cast<std::ptrdiff_t*>(scratch.transposed + transposed_floats());
    scratch.used = workspace.used;
    if (*workspace.tag != block) {
      pack(args, origin, scratch.packed);
      *workspace.tag = block;
    }
    const std::int64_t panels = static_cast<std::int64_t>(layout_.panels().size());
    const std::int64_t begin = units_ * part / parts_;
    const std::int64_t end = units_ * (part + 1) / parts_;
    for (std::int64_t unit = begin; unit < end; ++unit) {
      run_unit(args, origin, unit / panels, layout_.panels()[static_cast<std::size_t>(unit % panels)], scratch);
    }
    store_.finish(args);
  }

 private:
  using Origin = PixelBlocks::Origin;
  struct Scratch {
    float* packed;
    float* tile;              // [pixel][phase along the width][panel width]
    float* transposed;        // [channel][pixel][phase along the width], contiguous output only
    std::ptrdiff_t* offsets;  // [pixel]
    KernelSet* used;
  };

  std::int64_t tile_floats() const { return phases_.dim[2].count() * b_.pixels() * widest_; }
  std::int64_t transposed_floats() const { return store_.scratch_floats(b_.pixels(), widest_); }
  std::int64_t offsets_floats() const { return round_up(b_.pixels() * 2, kFloatsPerLine); }

  void list_kernels() {
    const std::vector<std::int64_t> widths = layout_.distinct_widths();
    for_each_block_size(problem_, phases_, b_, [&](const PixelExtents& e) {
      kernels_.for_each_tile(e.pixels(), [&](std::int64_t, std::int64_t rows) {
        for (const std::int64_t width : widths) kernels.set(kernels_.number(kernels_.pick(rows, width)));
      });
    });
  }

  double block_cycles() const {
    // Costs are linear in the steps of a call: phases count by their mean.
    double taps = 0.0;
    double calls = 0.0;
    for (std::int64_t phase = 0; phase < tap_offsets_.phases(); ++phase) {
      const std::size_t taps_of_phase = tap_offsets_[phase].size();
      taps += static_cast<double>(taps_of_phase);
      if (taps_of_phase > 0) calls += static_cast<double>(ceil_div(problem_.in_channels_per_group(), layout_.chunk()));
    }
    const double steps = taps * static_cast<double>(problem_.in_channels_per_group()) / std::max(calls, 1.0);
    double compute = 0.0;
    for (const Panel& panel : layout_.panels()) {
      kernels_.for_each_tile(b_.pixels(), [&](std::int64_t, std::int64_t rows) {
        compute += calls * kernels_.call_cycles(kernels_.pick(rows, panel.width), steps);
      });
    }
    const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
    const double packed = static_cast<double>(b_.images * b_.box[0] * b_.box[1] * b_.box[2]) *
                          static_cast<double>(problem_.in_channels_per_group());
    return std::max(compute, static_cast<double>(streamed_bytes_) / cost::kStreamBytesPerCycle) +
           packed * (last ? cost::kCopyPerFloat : cost::kTransposePerFloat);
  }

  void pack(const RunArgs& args, const Origin& origin, float* packed) const {
    const std::int64_t images = std::min(b_.images, problem_.call.batch - origin.image);
    InputBox box;
    box.first = {origin.d + phases_.dim[0].min_offset, origin.h + phases_.dim[1].min_offset,
                 origin.w + phases_.dim[2].min_offset};
    box.size = b_.box;
    const std::int64_t image_floats = b_.box[0] * b_.box[1] * b_.box[2] * b_.stride_pixel;
    for (std::int64_t i = 0; i < images; ++i) {
      pack_pixels(input_view(problem_, args.src, origin.image + i, origin.group), box, b_.stride_pixel, table_->transpose,
                  packed + i * image_floats);
    }
  }

  // One panel for all phases along the width, for the row of phases `phase_row`.
  void run_unit(const RunArgs& args, const Origin& origin, std::int64_t phase_row, const Panel& panel,
                const Scratch& scratch) const {
    const std::int64_t fd = phase_row / phases_.dim[1].count();
    const std::int64_t fh = phase_row % phases_.dim[1].count();
    const std::int64_t images = std::min(b_.images, problem_.call.batch - origin.image);
    const std::int64_t depths = std::min(b_.depths, phases_.dim[0].phases[fd].size - origin.d);
    const std::int64_t rows = std::min(b_.rows, phases_.dim[1].phases[fh].size - origin.h);
    const std::int64_t columns = std::min(b_.columns, phases_.dim[2].max_size() - origin.w);
    if (depths <= 0 || rows <= 0) return;
    const std::int64_t pixels = images * depths * rows * columns;

    std::int64_t pixel = 0;
    for (std::int64_t i = 0; i < images; ++i) {
      for (std::int64_t d = 0; d < depths; ++d) {
        for (std::int64_t h = 0; h < rows; ++h) {
          const std::int64_t row = ((i * b_.box[0] + d) * b_.box[1] + h) * b_.box[2];
          for (std::int64_t w = 0; w < columns; ++w) scratch.offsets[pixel++] = (row + w) * b_.stride_pixel;
        }
      }
    }
    // Channels last, a row that no product reaches needs no tile.
    const bool tiled = problem_.call.format == MemoryFormat::kContiguous || reaches(fd, fh);
    for (std::int64_t fw = 0; tiled && fw < phases_.dim[2].count(); ++fw) {
      compute(args, origin.group, fd, fh, fw, panel, pixels, scratch);
    }
    if (tiled) store_.begin_tile(args, panel, scratch.tile, pixels, scratch.transposed);
    PixelRow row{0, origin.group, 0, 0, origin.w, columns, 0};
    for (std::int64_t i = 0; i < images; ++i) {
      for (std::int64_t d = 0; d < depths; ++d) {
        for (std::int64_t h = 0; h < rows; ++h, row.first += columns) {
          row.image = origin.image + i;
          row.od = phases_.dim[0].phases[fd].first + problem_.layer.stride[0] * (origin.d + d);
          row.oh = phases_.dim[1].phases[fh].first + problem_.layer.stride[1] * (origin.h + h);
          store_.store(args, panel, row, pixels, tiled ? scratch.tile : nullptr, scratch.transposed);
        }
      }
    }
  }

  // Whether any output of a row of phases has a product.
  bool reaches(std::int64_t fd, std::int64_t fh) const {
    bool any = false;
    for (std::int64_t fw = 0; fw < phases_.dim[2].count(); ++fw) any = any || !tap_offsets_.of(fd, fh, fw).empty();
    return any;
  }

  void compute(const RunArgs& args, std::int64_t group, std::int64_t fd, std::int64_t fh, std::int64_t fw,
               const Panel& panel, std::int64_t pixels, const Scratch& scratch) const {
    const std::int64_t pixel_stride = phases_.dim[2].count() * panel.width;
    float* const tile = scratch.tile + fw * panel.width;
    const auto offsets = tap_offsets_.of(fd, fh, fw);
    if (offsets.empty()) {
      for (std::int64_t i = 0; i < pixels; ++i) {
        std::memset(tile + i * pixel_stride, 0, static_cast<std::size_t>(panel.width) * sizeof(float));
      }
      return;
    }
    const std::int64_t taps = static_cast<std::int64_t>(offsets.size());
    const float* const weights =
        args.weights + layout_.offset(group, phases_.dim[0].phases[fd].residue, phases_.dim[1].phases[fh].residue, panel,
                                      phases_.dim[2].phases[fw].residue);
    TileArgs call;
    call.tap_offset = offsets.data();
    call.src_channel_stride = 1;
    call.taps = taps;
    call.tile_stride = pixel_stride;
    const std::int64_t channels = problem_.in_channels_per_group();
    for (std::int64_t c = 0; c < channels; c += layout_.chunk()) {
      call.src = scratch.packed + c;
      call.channels = std::min(layout_.chunk(), channels - c);
      call.weights = weights + c * taps * panel.width;
      call.accumulate = c > 0;
      // Weights are read in the order in which they stand: all tiles but the first ask for those of the next chunk, a line
      // of each step's.
      const float* const next = call.weights + call.channels * taps * panel.width;
      const std::int64_t lines = ceil_div(panel.width, kFloatsPerLine);
      std::int64_t line = 0;
      call.prefetch = nullptr;
      kernels_.for_each_tile(pixels, [&](std::int64_t first, std::int64_t rows) {
        call.row_offset = scratch.offsets + first;
        call.tile = tile + first * pixel_stride;
        const TileKernel& kernel = kernels_.pick(rows, panel.width);
        kernel.fn(&call);
        scratch.used->set(kernels_.number(kernel));
        if (streamed_bytes_ > 0) call.prefetch = next + line++ % lines * kFloatsPerLine;
      });
    }
  }

  Problem problem_;
  const KernelTable* table_;
  PhaseSet phases_;
  TileKernels kernels_;
  WeightLayout layout_;
  Blocking b_;
  PixelStore store_;
  PixelBlocks blocks_;
  std::int64_t units_;           // (phase row, panel) pairs of a block
  std::int64_t parts_;           // tasks per block
  std::int64_t widest_;          // panel, as stored
  std::int64_t streamed_bytes_;  // of the weights of a group
  TapOffsets tap_offsets_;       // [phase]
};

void derive(const PlanRequest& request, const PhaseSet& phases, Blocking* b) {
  b->box = {b->depths + phases.dim[0].halo(), b->rows + phases.dim[1].halo(), b->columns + phases.dim[2].halo()};
  // An odd number of lines between pixels, so that neighbours do not share cache sets.
  b->stride_pixel = round_up(request.problem.in_channels_per_group(), kFloatsPerLine);
  if (b->stride_pixel / kFloatsPerLine % 2 == 0) b->stride_pixel += kFloatsPerLine;
  b->block_floats = b->images * b->box[0] * b->box[1] * b->box[2] * b->stride_pixel;
}

// Grows one extent of the block after another, innermost first, while the block fits.
Blocking choose(const PlanRequest& request, const PhaseSet& phases, std::int64_t widest) {
  const std::int64_t max_pixels = std::clamp<std::int64_t>(kTileBytes / 4 / (widest * phases.dim[2].count()), 1, kMaxPixels);
  const std::int64_t pixel_bytes = 2 * 4 * widest * phases.dim[2].count() + 8;  // of the tile, transposed, and its offset
  Blocking b;
  const auto fits = [&] {
    derive(request, phases, &b);
    const std::int64_t block_bytes = b.block_floats * 4;
    return block_bytes <= kBlockBytes && b.pixels() <= max_pixels &&
           block_bytes + round_up(b.pixels(), kFloatsPerLine) * pixel_bytes + kSlackBytes <= request.workspace_limit;
  };
  const PixelExtents whole = all_pixels(request.problem, phases);
  if (grow_extent(&b.columns, whole.columns, fits) && grow_extent(&b.rows, whole.rows, fits) &&
      grow_extent(&b.depths, whole.depths, fits)) {
    grow_extent(&b.images, whole.images, fits);
  }
  derive(request, phases, &b);
  return b;
}

class DirectChannels final : public Algorithm {
 public:
  const char* name() const override { return "direct-channels"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }
  SumOrder order() const override { return SumOrder::kChunks; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (!decline->reason.empty()) return nullptr;
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kChannels);
    const std::int64_t channels = request.problem.out_channels_per_group();
    if (static_cast<double>(round_up(channels, table.lanes)) > kMaxPadding * static_cast<double>(channels)) {
      decline->reason = "too few output channels per group (" + std::to_string(channels) + ") to fill vectors of " +
                        std::to_string(table.lanes);
      return nullptr;
    }
    const PhaseSet phases = make_phases(request.problem);
    WeightLayout layout(request.problem.layer, split_panels(channels, kernels.max_columns(), table.lanes),
                        request.channel_chunk);
    const Blocking blocking = choose(request, phases, layout.widest_panel());
    auto execution = std::make_unique<DirectChannelsExecution>(request, phases, kernels, std::move(layout), blocking);
    if (lacks_workspace(request, execution->workspace_bytes(), "one pixel of all input channels", decline)) return nullptr;
    return execution;
  }
};

}  // namespace

const Algorithm& direct_channels() {
  static const DirectChannels algorithm;
  return algorithm;
}

}  // namespace convtranspose
