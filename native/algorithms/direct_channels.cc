// Direct, vectors along output channels: weight panels are streamed once for all pixels of a block, inputs are broadcast.
// Pixels are addressed one by one, so images of any width and batches of tiny images leave no row of a tile idle. For layers
// with more weights than pixels, and for channels-last tensors, where its tiles have the layout of the output.
//
// A block is some rows of one depth position, or several whole images of a batch when they are small. Of whole images, whose
// borders are a large share, pixels are computed in parts, each with the taps that read the input there (tap_parts.h).
#include <algorithm>
#include <cstring>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/pixel_blocks.h"
#include "algorithms/pixel_store.h"
#include "algorithms/tap_parts.h"
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
constexpr std::int64_t kMaxPartedPhases = 64;
constexpr double kPartGain = 0.97;      // of the time that a phase takes whole, for parts to be worth it
constexpr double kPartCost = 1.05;      // times the cycles of its tiles: each part reads the same weights again
constexpr double kMovePerVector = 3.0;  // from a part to the tile
constexpr double kShortRow = 8.0;       // cycles of a row of outputs that is less than a line, contiguous
constexpr double kMaxPadding = 1.5;     // stored over true weights, so that all packed forms stay within their bound

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
    for (const std::int64_t width : layout_.distinct_widths()) {
      const auto as_wide = [width](const Panel& panel) { return panel.width == width; };
      panel_widths_.push_back(
          {width, static_cast<double>(std::count_if(layout_.panels().begin(), layout_.panels().end(), as_wide))});
    }
    if (whole_images()) part_phases(request);
    const double cycles = block_cycles();
    tasks_per_block_ = parts_per_block(blocks_.count(), cycles, units_);
    const double outputs = static_cast<double>(problem_.dst_elements());
    double store = outputs * cost::kStorePerFloat;
    if (store_.contiguous()) store += outputs * cost::kTransposePerFloat;
    if (store_.contiguous() && problem_.call.out[2] < kFloatsPerLine) {
      store += outputs / static_cast<double>(problem_.call.out[2]) * kShortRow;
    }
    estimated_seconds = (static_cast<double>(blocks_.count()) * cycles + store) / cost::kClock;
    phases = phases_.count();
    list_kernels();
    this->blocking = {{"images", b_.images},   {"depths", b_.depths}, {"rows", b_.rows},
                      {"columns", b_.columns}, {"panel", widest_},    {"channelChunk", layout_.chunk()}};
    if (!parted_.empty()) {
      std::int64_t parts = 0;
      for (const PartedPhase& phase : parted_) parts += static_cast<std::int64_t>(phase.parts.size());
      this->blocking.push_back({"parts", parts});
    }
  }

  const PackedForm* packed_form() const override { return &layout_; }
  std::int64_t tasks(int) const override { return blocks_.count() * tasks_per_block_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(b_.block_floats + tile_floats() + transposed_floats() + sums_floats() +
                                    (parted_.empty() ? 1 : 2) * offsets_floats()) *
           sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t of_block = task % tasks_per_block_;
    const std::int64_t block = task / tasks_per_block_;
    const Origin origin = blocks_.origin(block);

    Scratch scratch;
    scratch.packed = reinterpret_cast<float*>(workspace.data);
    scratch.tile = scratch.packed + b_.block_floats;
    scratch.transposed = scratch.tile + tile_floats();
    scratch.sums = scratch.transposed + transposed_floats();
    scratch.offsets = reinterpret_cast<std::ptrdiff_t*>(scratch.sums + sums_floats());
    scratch.part_offsets = reinterpret_cast<std::ptrdiff_t*>(scratch.sums + sums_floats() + offsets_floats());
    scratch.used = workspace.used;
    if (*workspace.tag != block) {
      pack(args, origin, scratch.packed);
      *workspace.tag = block;
    }
    const std::int64_t panels = static_cast<std::int64_t>(layout_.panels().size());
    const std::int64_t begin = units_ * of_block / tasks_per_block_;
    const std::int64_t end = units_ * (of_block + 1) / tasks_per_block_;
    for (std::int64_t unit = begin; unit < end; ++unit) {
      run_unit(args, origin, unit / panels, layout_.panels()[static_cast<std::size_t>(unit % panels)], scratch);
    }
    store_.finish(args);
  }

 private:
  using Origin = PixelBlocks::Origin;
  struct Scratch {
    float* packed;
    float* tile;                   // [pixel][phase along the width][panel width]
    float* transposed;             // [channel][pixel][phase along the width], contiguous output only
    float* sums;                   // [pixel, part after part][panel width], if a phase is parted
    std::ptrdiff_t* offsets;       // [pixel]
    std::ptrdiff_t* part_offsets;  // [pixel, part after part]
    KernelSet* used;
  };

  std::int64_t tile_floats() const { return phases_.dim[2].count() * b_.pixels() * widest_; }
  std::int64_t transposed_floats() const { return store_.scratch_floats(b_.pixels(), widest_); }
  std::int64_t sums_floats() const { return parted_.empty() ? 0 : round_up(b_.pixels() * widest_, kFloatsPerLine); }
  std::int64_t offsets_floats() const { return round_up(b_.pixels() * 2, kFloatsPerLine); }

  // ---- Parts ----------------------------------------------------------------------------------------------------------

  struct PanelWidth {
    std::int64_t width;
    double count;  // of panels
  };
  // At most two: of the first panel, and of the others.
  std::size_t width_index(const Panel& panel) const { return panel.width == layout_.panels().front().width ? 0 : 1; }

  struct PartedPhase {
    std::int64_t pixels = 0;                     // of an image
    std::vector<TapPart> parts;                  // none: all pixels with all taps
    std::vector<std::vector<TapStep>> steps[2];  // [width_index()][part]
  };

  bool whole_images() const {
    const PixelExtents all = all_pixels(problem_, phases_);
    return b_.columns == all.columns && b_.rows == all.rows && b_.depths == all.depths;
  }
  std::int64_t chunks() const { return ceil_div(problem_.in_channels_per_group(), layout_.chunk()); }

  // Cycles of `pixels` pixels with so many taps, in all panels.
  double compute_cycles(std::int64_t pixels, double taps) const {
    if (taps == 0.0) return 0.0;
    const double steps = taps * static_cast<double>(problem_.in_channels_per_group()) / static_cast<double>(chunks());
    double cycles = 0.0;
    for (const PanelWidth& panels : panel_widths_) {
      double of_panel = 0.0;
      kernels_.for_each_tile(pixels, [&](std::int64_t, std::int64_t rows) {
        of_panel += kernels_.call_cycles(kernels_.pick(rows, panels.width), steps);
      });
      cycles += panels.count * of_panel;
    }
    return static_cast<double>(chunks()) * cycles;
  }

  // Of a phase of a block of whole images, of so many pixels each: in parts, or, without any, with so many taps everywhere.
  double phase_cycles(std::int64_t pixels, std::span<const TapPart> parts, std::size_t taps) const {
    if (parts.empty()) return compute_cycles(b_.images * pixels, static_cast<double>(taps));
    double cycles = 0.0;
    for (const TapPart& part : parts) {
      cycles += compute_cycles(b_.images * part.pixels, static_cast<double>(part.taps.size()));
    }
    for (const PanelWidth& panels : panel_widths_) {
      const std::int64_t vectors = ceil_div(panels.width, std::int64_t{kernels_.lanes()});
      cycles += panels.count * static_cast<double>(b_.images * pixels * vectors) * kMovePerVector;
    }
    return kPartCost * cycles;
  }

  // Parts the phases that gain by it, unless it is the weights that they wait for.
  void part_phases(const PlanRequest& request) {
    if (phases_.count() > kMaxPartedPhases) return;
    std::vector<PartedPhase> all;
    double unparted = 0.0;
    bool any = false;
    for (std::int64_t fd = 0; fd < phases_.dim[0].count(); ++fd) {
      for (std::int64_t fh = 0; fh < phases_.dim[1].count(); ++fh) {
        for (std::int64_t fw = 0; fw < phases_.dim[2].count(); ++fw) {
          const Dims extents{phases_.dim[0].phases[static_cast<std::size_t>(fd)].size,
                             phases_.dim[1].phases[static_cast<std::size_t>(fh)].size, b_.columns};
          const auto offsets = tap_offsets_.of(fd, fh, fw);
          PartedPhase phase;
          phase.pixels = extents[0] * extents[1] * extents[2];
          const double with_all = phase_cycles(phase.pixels, {}, offsets.size());
          double least = kPartGain * with_all;
          for (const bool columns : {false, true}) {
            auto parts = tap_parts(phases_, problem_.call.in, extents, {fd, fh, fw}, columns);
            if (parts.size() == 1 && parts.front().taps.size() == offsets.size()) continue;
            const double cycles = phase_cycles(phase.pixels, parts, offsets.size());
            if (cycles > least) continue;
            least = cycles;
            phase.parts = std::move(parts);
          }
          for (std::size_t w = 0; w < panel_widths_.size(); ++w) {
            for (const TapPart& part : phase.parts) {
              phase.steps[w].push_back(tap_steps(part, offsets, panel_widths_[w].width));
            }
          }
          unparted += with_all;
          any = any || !phase.parts.empty();
          all.push_back(std::move(phase));
        }
      }
    }
    if (!any || unparted < static_cast<double>(streamed_bytes_) / cost::kStreamBytesPerCycle) return;
    parted_ = std::move(all);
    if (workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) parted_.clear();
  }

  void list_kernels() {
    const auto add = [&](std::int64_t pixels) {
      kernels_.for_each_tile(pixels, [&](std::int64_t, std::int64_t rows) {
        for (const PanelWidth& panels : panel_widths_) {
          kernels.set(kernels_.number(kernels_.pick(rows, panels.width)));
        }
      });
    };
    if (parted_.empty()) {
      for_each_block_size(problem_, phases_, b_, [&](const PixelExtents& e) { add(e.pixels()); });
      return;
    }
    for (const std::int64_t images : {b_.images, (problem_.call.batch - 1) % b_.images + 1}) {
      for (std::size_t p = 0; p < parted_.size(); ++p) {
        const PartedPhase& phase = parted_[p];
        if (phase.parts.empty() && !tap_offsets_[static_cast<std::int64_t>(p)].empty()) add(images * phase.pixels);
        for (const TapPart& part : phase.parts) {
          if (!part.taps.empty()) add(images * part.pixels);
        }
      }
    }
  }

  double block_cycles() const {
    double compute = 0.0;
    if (parted_.empty()) {
      // Costs are linear in the steps of a call: phases count by their mean.
      const PhaseTotals totals = phase_totals(phases_);
      const double reached = static_cast<double>(std::max<std::int64_t>(1, totals.reached));
      compute = reached * compute_cycles(b_.pixels(), static_cast<double>(totals.taps) / reached);
    } else {
      for (std::size_t p = 0; p < parted_.size(); ++p) {
        compute += phase_cycles(parted_[p].pixels, parted_[p].parts, tap_offsets_[static_cast<std::int64_t>(p)].size());
      }
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
      compute(args, origin.group, fd, fh, fw, panel, images, pixels, scratch);
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

  // Lines of the weights of the next chunk. Weights are read in the order in which they stand: all tiles but the first ask
  // for a line of each step's.
  struct Ahead {
    const float* weights;  // or nullptr
    std::int64_t lines;
    std::int64_t asked = -1;
    const float* next() {
      if (weights == nullptr || asked++ < 0) return nullptr;
      return weights + (asked - 1) % lines * kFloatsPerLine;
    }
  };

  // Sums of one phase along the width, for all pixels of a block, which are those of `images` images.
  void compute(const RunArgs& args, std::int64_t group, std::int64_t fd, std::int64_t fh, std::int64_t fw,
               const Panel& panel, std::int64_t images, std::int64_t pixels, const Scratch& scratch) const {
    const std::int64_t pixel_stride = phases_.dim[2].count() * panel.width;
    float* const tile = scratch.tile + fw * panel.width;
    const auto offsets = tap_offsets_.of(fd, fh, fw);
    if (offsets.empty()) {
      for (std::int64_t i = 0; i < pixels; ++i) {
        std::memset(tile + i * pixel_stride, 0, static_cast<std::size_t>(panel.width) * sizeof(float));
      }
      return;
    }
    const PartedPhase* const parted = parted_phase(fd, fh, fw);
    if (parted != nullptr) begin_parts(*parted, panel, images, pixels, scratch);
    const std::int64_t taps = static_cast<std::int64_t>(offsets.size());
    const float* const weights =
        args.weights + layout_.offset(group, phases_.dim[0].phases[fd].residue, phases_.dim[1].phases[fh].residue, panel,
                                      phases_.dim[2].phases[fw].residue);
    TileArgs call;
    call.tap_offset = offsets.data();
    call.src_channel_stride = 1;
    call.weights_channel_stride = taps * panel.width;
    const std::int64_t channels = problem_.in_channels_per_group();
    for (std::int64_t c = 0; c < channels; c += layout_.chunk()) {
      call.src = scratch.packed + c;
      call.channels = std::min(layout_.chunk(), channels - c);
      call.weights = weights + c * taps * panel.width;
      call.accumulate = c > 0;
      Ahead ahead{streamed_bytes_ > 0 ? call.weights + call.channels * taps * panel.width : nullptr,
                  ceil_div(panel.width, kFloatsPerLine)};
      if (parted == nullptr) {
        call.taps = taps;
        call.tile_stride = pixel_stride;
        run_tiles(panel, scratch.offsets, pixels, tile, &ahead, &call, scratch.used);
        continue;
      }
      call.tile_stride = panel.width;
      std::int64_t first = 0;
      for (std::size_t p = 0; p < parted->parts.size(); ++p) {
        const TapPart& part = parted->parts[p];
        call.taps = static_cast<std::int64_t>(part.taps.size());
        call.steps = call.taps == taps ? nullptr : parted->steps[width_index(panel)][p].data();
        if (call.taps > 0) {
          run_tiles(panel, scratch.part_offsets + first, images * part.pixels, scratch.sums + first * panel.width, &ahead,
                    &call, scratch.used);
        }
        first += images * part.pixels;
      }
    }
    if (parted != nullptr) move_parts(*parted, panel, images, pixels, scratch.sums, tile);
  }

  // The tiles of neighbouring `pixels`, which stand at `offsets` in the block, for a chunk of channels.
  void run_tiles(const Panel& panel, const std::ptrdiff_t* offsets, std::int64_t pixels, float* tile, Ahead* ahead,
                 TileArgs* call, KernelSet* used) const {
    kernels_.for_each_tile(pixels, [&](std::int64_t first, std::int64_t rows) {
      call->row_offset = offsets + first;
      call->tile = tile + first * call->tile_stride;
      call->prefetch = call->steps == nullptr ? ahead->next() : nullptr;
      const TileKernel& kernel = kernels_.pick(rows, panel.width);
      (call->steps == nullptr ? kernel.fn : kernel.steps_fn)(call);
      used->set(kernels_.number(kernel));
    });
  }

  const PartedPhase* parted_phase(std::int64_t fd, std::int64_t fh, std::int64_t fw) const {
    if (parted_.empty()) return nullptr;
    const PartedPhase& parted = parted_[static_cast<std::size_t>(tap_offsets_.number(fd, fh, fw))];
    return parted.parts.empty() ? nullptr : &parted;
  }

  // Calls visit(run, first): the pixels of a run of the block are number `first` and the following, part after part.
  template <typename Visit>
  static void for_each_run(const TapPart& part, std::int64_t images, std::int64_t image_pixels, std::int64_t first,
                           const Visit& visit) {
    for (std::int64_t i = 0; i < images; ++i) {
      for (const TapPart::Run& run : part.runs) {
        visit(TapPart::Run{i * image_pixels + run.first, run.count}, first);
        first += run.count;
      }
    }
  }

  // Lists where the pixels of all parts stand in the block; sums without a product are zero.
  void begin_parts(const PartedPhase& phase, const Panel& panel, std::int64_t images, std::int64_t pixels,
                   const Scratch& scratch) const {
    std::int64_t first = 0;
    for (const TapPart& part : phase.parts) {
      const std::int64_t count = images * part.pixels;
      for_each_run(part, images, pixels / images, first, [&](const TapPart::Run& run, std::int64_t to) {
        std::copy(scratch.offsets + run.first, scratch.offsets + run.first + run.count, scratch.part_offsets + to);
      });
      if (part.taps.empty()) std::fill_n(scratch.sums + first * panel.width, count * panel.width, 0.0f);
      first += count;
    }
  }

  // From the order of the parts to that of the pixels.
  void move_parts(const PartedPhase& phase, const Panel& panel, std::int64_t images, std::int64_t pixels, const float* sums,
                  float* tile) const {
    const std::int64_t pixel_stride = phases_.dim[2].count() * panel.width;
    std::int64_t first = 0;
    for (const TapPart& part : phase.parts) {
      for_each_run(part, images, pixels / images, first, [&](const TapPart::Run& run, std::int64_t from) {
        const CopyRowsArgs rows{sums + from * panel.width,
                                panel.width,
                                tile + run.first * pixel_stride,
                                pixel_stride,
                                run.count,
                                0,
                                panel.width,
                                0};
        table_->copy_rows(&rows);
      });
      first += images * part.pixels;
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
  std::int64_t units_;  // (phase row, panel) pairs of a block
  std::int64_t tasks_per_block_;
  std::int64_t widest_;                   // panel, as stored
  std::int64_t streamed_bytes_;           // of the weights of a group
  TapOffsets tap_offsets_;                // [phase]
  std::vector<PanelWidth> panel_widths_;  // in the order of distinct_widths()
  std::vector<PartedPhase> parted_;       // [phase]; empty: none is parted
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
