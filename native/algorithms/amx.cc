// Products by a unit for matrices of bfloat16 numbers, from floats split into terms (kernels/kernel.h): with three terms the
// results are as good as those of the direct kernels, since a product keeps more bits than a float has and its sums are
// shorter; with two they are for precision 'high', with one for 'medium'.
//
// For every phase an ordinary convolution: matrices of 16 positions and 32 channels of the input, times matrices of weights.
// A block of the input stays in the second-level cache, split: [block of 32 channels][term][position][channel], so that a
// position is a line and a shift by a tap is aligned. Where images are small and there are many, they are the innermost
// part of a position. Few output channels would leave the matrices of weights almost empty: then their columns are the
// residues of all strides, if the kernel is a multiple of these (pack/term_weights.h).
#include <algorithm>
#include <cstring>
#include <memory>

#include "algorithms/algorithm.h"
#include "algorithms/amx_blocks.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/pixel_blocks.h"
#include "algorithms/pixel_store.h"
#include "algorithms/residue_store.h"
#include "algorithms/streaming.h"
#include "algorithms/term_scale.h"
#include "pack/input.h"
#include "pack/term_weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kTransposedPixels = 64;  // at a time, of contiguous input
// Cycles to store outputs of residues, and a row of them.
constexpr double kResiduePerFloat = 0.8;
constexpr double kResidueRow = 50.0;
// Cycles to store an output that shares its line with other rows, which is then read again.
constexpr double kSharedLinePerFloat = 3.0;

class AmxExecution final : public Execution {
 public:
  // `computed`: request, with the problem that the columns of the weights belong to. `store`: where its tiles go.
  AmxExecution(const PlanRequest& request, const PlanRequest& computed, const PhaseSet& phase_set, TermWeights form,
               TermColumns columns, const AmxBlocks& blocking, std::unique_ptr<TileStore> store)
      : problem_(computed.problem),
        table_(request.kernels),
        phases_(phase_set),
        form_(std::move(form)),
        b_(blocking),
        store_(std::move(store)),
        blocks_(all_pixels(problem_, phases_), b_, problem_.layer.groups),
        units_(store_->joins_panels()
                   ? PixelBlocks({b_.images, b_.depths, b_.rows, b_.columns}, b_.tile, 1).count()
                   : phases_.dim[0].count() * phases_.dim[1].count() * static_cast<std::int64_t>(form_.panels().size())),
        chunk_(amx_channel_chunk(phases_)),
        scale_(sum_scale(request.weights)) {
    for (const Panel& panel : form_.panels()) widest_ = std::max(widest_, panel.width);
    tap_offsets_ = TapOffsets(phases_, kTermBlock * b_.stride_d, kTermBlock * b_.stride_h, kTermBlock * b_.stride_w);
    const bool residues = columns != TermColumns::kChannels;
    const double outputs = static_cast<double>(request.problem.dst_elements());
    const double rows = outputs / static_cast<double>(request.problem.call.out[2]);
    const double shared = rows_share_lines(request.problem.call) ? kSharedLinePerFloat : 0.0;
    const double transposed = contiguous() ? cost::kTransposePerFloat : 0.0;
    const double store_cycles = residues ? outputs * (kResiduePerFloat + shared) + rows * kResidueRow
                                         : outputs * (cost::kStorePerFloat + transposed + shared);
    parts_ = parts_per_block(blocks_.count(), b_.cycles, units_);
    estimated_seconds = (static_cast<double>(blocks_.count()) * b_.cycles + store_cycles) / cost::kClock;
    phases = 1;
    for (int d = 0; d < kSpatialDims; ++d) {
      phases *= residues ? std::min(request.problem.layer.stride[d], request.problem.call.out[d]) : phases_.dim[d].count();
    }
    precision = precision_of(form_.terms());
    list_kernels();
    this->blocking = {{"terms", form_.terms()},       {"images", b_.images},
                      {"depths", b_.depths},          {"rows", b_.rows},
                      {"columns", b_.columns},        {"interleaved", b_.interleaved ? 1 : 0},
                      {"residues", residues ? 1 : 0}, {"splitWeights", form_.floats() ? 1 : 0}};
    notes.push_back(refusal_note());
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return blocks_.count() * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(b_.block_elements + terms_elements()) * sizeof(std::uint16_t) +
           static_cast<std::size_t>(tile_floats() + scratch_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t block = task / parts_;
    const std::int64_t part = task % parts_;
    const PixelBlocks::Origin origin = blocks_.origin(block);
    Scratch scratch;
    scratch.split = reinterpret_cast<std::uint16_t*>(workspace.data);
    scratch.terms = scratch.split + b_.block_elements;
    scratch.tile = reinterpret_cast<float*>(scratch.terms + terms_elements());
    scratch.rest = scratch.tile + tile_floats();
    scratch.used = workspace.used;
    if (*workspace.tag != block) {
      *workspace.tag = -1;
      if (!split_block(args, origin, scratch)) {
        args.refused->store(true, std::memory_order_relaxed);
        return;
      }
      *workspace.tag = block;
    }
    table_->terms->begin();
    const std::int64_t begin = units_ * part / parts_, end = units_ * (part + 1) / parts_;
    if (store_->joins_panels()) {
      run_tiles(args, origin, begin, end, scratch);
    } else {
      // All rows of phases of a panel one after the other: those which share lines of the output write them while they are
      // near.
      const std::int64_t rows = phases_.dim[0].count() * phases_.dim[1].count();
      for (std::int64_t unit = begin; unit < end; ++unit) {
        run_unit(args, origin, unit % rows, form_.panels()[static_cast<std::size_t>(unit / rows)], scratch);
      }
    }
    table_->terms->end();
    store_->finish(args);
  }

 private:
  struct Scratch {
    std::uint16_t* split;
    std::uint16_t* terms;  // of weights that are split here
    float* tile;           // [pixel][phase along the width][panel width]
    float* rest;           // positions before they are split, rows before they are stored
    KernelSet* used;
  };

  bool contiguous() const { return problem_.call.format == MemoryFormat::kContiguous; }
  std::int64_t terms_elements() const { return form_.floats() ? kSplitScratch : 0; }
  std::int64_t tile_floats() const { return b_.tile_pixels * phases_.dim[2].count() * widest_; }
  std::int64_t scratch_floats() const {
    return std::max<std::int64_t>(store_->scratch_floats(b_.tile_pixels, widest_), kTransposedPixels * kTermBlock);
  }
  std::int64_t term_stride() const { return b_.positions * kTermBlock; }
  std::int64_t channel_stride() const { return form_.terms() * term_stride(); }

  int kernel_row(int rows, std::int64_t columns) const {
    return form_.floats() ? term_split_row(rows) : term_kernel_row(form_.terms(), rows, columns);
  }

  void list_kernels() {
    const auto add = [&](const PixelExtents& tile) {
      for (const Panel& panel : {form_.panels().front(), form_.panels().back()}) {  // all widths
        const std::int64_t width = panel.width / kTermSquare;
        for (std::int64_t left = amx_matrices(b_, tile); left > 0; left -= amx_rows(form_, left, width)) {
          kernels.set(static_cast<std::size_t>(term_number(*table_, kernel_row(amx_rows(form_, left, width), width))));
        }
      }
    };
    for_each_block_size(problem_, phases_, b_, [&](const PixelExtents& block) { for_each_block_size(block, b_.tile, add); });
  }

  // ---- Input ----------------------------------------------------------------------------------------------------------

  bool split_block(const RunArgs& args, const PixelBlocks::Origin& origin, const Scratch& scratch) const {
    bool fine = true;
    const std::int64_t images = std::min(b_.images, problem_.call.batch - origin.image);
    const std::int64_t channels = problem_.in_channels_per_group();
    const auto split_blocks = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < images; ++i) {
        const InputView view = input_view(problem_, args.src, origin.image + i, origin.group);
        for (std::int64_t d = 0; d < b_.box[0]; ++d) {
          for (std::int64_t h = 0; h < b_.box[1]; ++h) {
            const std::int64_t at = i * b_.stride_image + d * b_.stride_d + h * b_.stride_h;
            for (std::int64_t c = begin; c < end; c += kTermBlock) {
              std::uint16_t* const dst = scratch.split + c / kTermBlock * channel_stride();
              fine = split_row(view, c, origin.d + phases_.dim[0].min_offset + d, origin.h + phases_.dim[1].min_offset + h,
                               origin.w + phases_.dim[2].min_offset, dst + at * kTermBlock, scratch.rest) &&
                     fine;
            }
          }
        }
      }
    };
    // In the order of memory: planes of some channels, or all channels of a row of pixels.
    const std::int64_t at_once = contiguous() ? kTermBlock : channels;
    for (std::int64_t c = 0; c < channels; c += at_once) split_blocks(c, std::min(channels, c + at_once));
    return fine;
  }

  void zero(std::uint16_t* dst, std::int64_t begin, std::int64_t end) const {
    for (int k = 0; k < form_.terms(); ++k, dst += term_stride()) {
      if (b_.stride_w == 1 && end > begin) {
        std::memset(dst + begin * kTermBlock, 0, static_cast<std::size_t>((end - begin) * kTermBlock) * sizeof *dst);
        continue;
      }
      for (std::int64_t w = begin; w < end; ++w) {
        std::memset(dst + w * b_.stride_w * kTermBlock, 0, kTermBlock * sizeof *dst);
      }
    }
  }

  // The channels from c on of a row of the box, the first of which is input position (d, h, w): any may lie outside.
  bool split_row(const InputView& view, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w, std::uint16_t* dst,
                 float* transposed) const {
    const std::int64_t columns = b_.box[2];
    const bool inside = d >= 0 && d < view.in[0] && h >= 0 && h < view.in[1];
    const std::int64_t begin = inside ? std::clamp<std::int64_t>(-w, 0, columns) : columns;
    const std::int64_t end = inside ? std::clamp<std::int64_t>(view.in[2] - w, begin, columns) : columns;
    zero(dst, 0, begin);
    zero(dst, end, columns);
    TermSplitArgs call;
    call.channels = std::min<std::int64_t>(kTermBlock, view.channels - c);
    call.terms = form_.terms();
    call.dst_stride = b_.stride_w * kTermBlock;
    call.term_stride = term_stride();
    call.scale = kInputScale;
    call.limit = kInputScale;
    const std::int64_t position = (d * view.in[1] + h) * view.in[2] + w;
    if (!contiguous()) {
      call.src = view.data + (position + begin) * view.pixel_stride + c;
      call.src_stride = view.pixel_stride;
      call.rows = end - begin;
      call.dst = dst + begin * call.dst_stride;
      return table_->terms->split(&call);
    }
    const std::int64_t plane = problem_.in_points();
    call.src = transposed;
    call.src_stride = kTermBlock;
    bool fine = true;
    for (std::int64_t at = begin; at < end; at += kTransposedPixels) {
      call.rows = std::min(kTransposedPixels, end - at);
      call.dst = dst + at * call.dst_stride;
      const TransposeArgs transpose{
          view.data + c * plane + position + at, plane, transposed, kTermBlock, call.channels, call.rows};
      table_->transpose(&transpose);
      fine = table_->terms->split(&call) && fine;
    }
    return fine;
  }

  // ---- Products -------------------------------------------------------------------------------------------------------

  // One panel for all phases along the width, for the row of phases `phase_row`.
  void run_unit(const RunArgs& args, const PixelBlocks::Origin& origin, std::int64_t phase_row, const Panel& panel,
                const Scratch& scratch) const {
    const std::int64_t fd = phase_row / phases_.dim[1].count(), fh = phase_row % phases_.dim[1].count();
    for_each_tile(origin, fd, fh, [&](std::int64_t, const PixelBlocks::Origin& at, const PixelExtents& e) {
      run_tile(args, origin, fd, fh, panel, at, e, scratch);
    });
  }

  // All panels for the tiles [begin, end) of a block. There is one row of phases.
  void run_tiles(const RunArgs& args, const PixelBlocks::Origin& origin, std::int64_t begin, std::int64_t end,
                 const Scratch& scratch) const {
    for_each_tile(origin, 0, 0, [&](std::int64_t tile, const PixelBlocks::Origin& at, const PixelExtents& e) {
      if (tile < begin || tile >= end) return;
      for (const Panel& panel : form_.panels()) run_tile(args, origin, 0, 0, panel, at, e, scratch);
    });
  }

  // Calls visit(index, at, extents) for the tiles of a block that the row of phases (fd, fh) has.
  template <typename Visit>
  void for_each_tile(const PixelBlocks::Origin& origin, std::int64_t fd, std::int64_t fh, Visit visit) const {
    const Phase1d& depth = phases_.dim[0].phases[static_cast<std::size_t>(fd)];
    const Phase1d& height = phases_.dim[1].phases[static_cast<std::size_t>(fh)];
    const PixelExtents whole{std::min(b_.images, problem_.call.batch - origin.image),
                             std::min(b_.depths, depth.size - origin.d), std::min(b_.rows, height.size - origin.h),
                             std::min(b_.columns, phases_.dim[2].max_size() - origin.w)};
    if (whole.depths <= 0 || whole.rows <= 0) return;
    const PixelBlocks tiles(whole, b_.tile, 1);
    for (std::int64_t t = 0; t < tiles.count(); ++t) {
      const PixelBlocks::Origin at = tiles.origin(t);
      visit(t, at,
            PixelExtents{std::min(b_.tile.images, whole.images - at.image), std::min(b_.tile.depths, whole.depths - at.d),
                         std::min(b_.tile.rows, whole.rows - at.h), std::min(b_.tile.columns, whole.columns - at.w)});
    }
  }

  // The pixels `e` of the block from `at` on.
  void run_tile(const RunArgs& args, const PixelBlocks::Origin& origin, std::int64_t fd, std::int64_t fh, const Panel& panel,
                const PixelBlocks::Origin& at, const PixelExtents& e, const Scratch& scratch) const {
    const AmxRuns runs = amx_runs(b_, e);
    const std::int64_t pixels = amx_tile_pixels(b_, e);
    const std::uint16_t* const src = scratch.split + kTermBlock * (at.image * b_.stride_image + at.d * b_.stride_d +
                                                                   at.h * b_.stride_h + at.w * b_.stride_w);
    const std::int64_t phases_w = phases_.dim[2].count();
    const std::int64_t chunks = ceil_div(form_.channel_blocks(), chunk_);
    for (std::int64_t k = 0; k < phases_w * chunks; ++k) {
      // Weights that come from memory in their order; else all phases for some channels, which need to be near but once.
      const std::int64_t fw = form_.floats() ? k / chunks : k % phases_w;
      const std::int64_t chunk = form_.floats() ? k % chunks : k / phases_w;
      compute(args, origin.group, fd, fh, fw, panel, e, runs, pixels, src, chunk * chunk_, scratch);
    }
    store_->begin_tile(args, panel, scratch.tile, pixels, scratch.rest);
    PixelRow row{0, origin.group, 0, 0, origin.w + at.w, e.columns, 0};
    for (std::int64_t i = 0; i < e.images; ++i) {
      for (std::int64_t d = 0; d < e.depths; ++d) {
        for (std::int64_t h = 0; h < e.rows; ++h) {
          row.image = origin.image + at.image + i;
          row.od =
              phases_.dim[0].phases[static_cast<std::size_t>(fd)].first + problem_.layer.stride[0] * (origin.d + at.d + d);
          row.oh =
              phases_.dim[1].phases[static_cast<std::size_t>(fh)].first + problem_.layer.stride[1] * (origin.h + at.h + h);
          row.first = first_pixel(e, runs, i, d, h);
          store_->store(args, panel, row, pixels, scratch.tile, scratch.rest);
        }
      }
    }
  }

  // Where the pixels of a row begin in the tile.
  std::int64_t first_pixel(const PixelExtents& e, const AmxRuns& runs, std::int64_t i, std::int64_t d,
                           std::int64_t h) const {
    if (b_.interleaved) return ((i * e.depths + d) * e.rows + h) * e.columns;
    const std::int64_t at[3] = {i, d, h};
    const std::int64_t extent[3] = {e.images, e.depths, e.rows};
    const std::int64_t stride[3] = {b_.stride_image, b_.stride_d, b_.stride_h};
    std::int64_t run = 0, within = 0;
    for (int k = 0; k < 3; ++k) {
      if (k < runs.merged) run = run * extent[k] + at[k];
      if (k >= runs.merged) within += at[k] * stride[k];
    }
    return run * runs.pitch + within;
  }

  // Calls visit(position of the split block, pixel of the tile) for every matrix of positions.
  template <typename Visit>
  void for_each_matrix(const PixelExtents& e, const AmxRuns& runs, Visit visit) const {
    if (b_.interleaved) {
      const std::int64_t of_image = e.depths * e.rows * e.columns;
      for (std::int64_t i = 0; i < e.images; i += kTermSquare) {
        std::int64_t pixel = i * of_image;
        for (std::int64_t d = 0; d < e.depths; ++d) {
          for (std::int64_t h = 0; h < e.rows; ++h) {
            for (std::int64_t w = 0; w < e.columns; ++w) {
              visit(i + d * b_.stride_d + h * b_.stride_h + w * b_.stride_w, pixel++);
            }
          }
        }
      }
      return;
    }
    const std::int64_t images = runs.merged > 0 ? e.images : 1;
    const std::int64_t depths = runs.merged > 1 ? e.depths : 1;
    const std::int64_t rows = runs.merged > 2 ? e.rows : 1;
    std::int64_t pixel = 0;
    for (std::int64_t i = 0; i < images; ++i) {
      for (std::int64_t d = 0; d < depths; ++d) {
        for (std::int64_t h = 0; h < rows; ++h, pixel += runs.pitch) {
          const std::int64_t first = i * b_.stride_image + d * b_.stride_d + h * b_.stride_h;
          for (std::int64_t j = 0; j < runs.count; j += kTermSquare) visit(first + j, pixel + j);
        }
      }
    }
  }

  // The sums of one phase over the blocks of channels [first, first + chunk_), which are added to those before.
  void compute(const RunArgs& args, std::int64_t group, std::int64_t fd, std::int64_t fh, std::int64_t fw,
               const Panel& panel, const PixelExtents& e, const AmxRuns& runs, std::int64_t pixels,
               const std::uint16_t* split, std::int64_t first, const Scratch& scratch) const {
    const std::int64_t pixel_stride = phases_.dim[2].count() * panel.width;
    float* const tile = scratch.tile + fw * panel.width;
    const auto offsets = tap_offsets_.of(fd, fh, fw);
    if (offsets.empty()) {
      for (std::int64_t i = 0; i < pixels; ++i) {
        std::memset(tile + i * pixel_stride, 0, static_cast<std::size_t>(panel.width) * sizeof(float));
      }
      return;
    }
    TermArgs call;
    call.src_term_stride = term_stride();
    call.src_channel_stride = channel_stride();
    call.tap_offset = offsets.data();
    call.taps = static_cast<std::int64_t>(offsets.size());
    const std::int64_t weights = form_.offset(group, phases_.dim[0].phases[static_cast<std::size_t>(fd)].residue,
                                              phases_.dim[1].phases[static_cast<std::size_t>(fh)].residue, panel,
                                              phases_.dim[2].phases[static_cast<std::size_t>(fw)].residue) +
                                 first * call.taps * kTermBlock * panel.width * form_.stored();
    if (form_.floats()) {
      call.values = args.weights + weights;
      call.scratch = scratch.terms;
    } else {
      call.weights = reinterpret_cast<const std::uint16_t*>(args.weights) + weights;
    }
    call.channel_blocks = std::min(chunk_, form_.channel_blocks() - first);
    call.tile_stride = b_.interleaved ? e.depths * e.rows * e.columns * pixel_stride : pixel_stride;
    call.scale = scale_;
    call.accumulate = first > 0;
    const std::uint16_t* const src = split + first * channel_stride();
    const std::int64_t width = panel.width / kTermSquare;
    std::int64_t left = pixels / kTermSquare;
    int rows = amx_rows(form_, left, width), held = 0;
    for_each_matrix(e, runs, [&](std::int64_t position, std::int64_t pixel) {
      call.src[held] = src + position * kTermBlock;
      call.tile[held] = tile + pixel * pixel_stride;
      if (++held < rows) return;
      const int kernel = kernel_row(rows, width);
      table_->terms->multiply[kernel].fn(&call);
      scratch.used->set(static_cast<std::size_t>(term_number(*table_, kernel)));
      left -= rows;
      rows = amx_rows(form_, left, width);
      held = 0;
    });
  }

  Problem problem_;
  const KernelTable* table_;
  PhaseSet phases_;
  TermWeights form_;
  AmxBlocks b_;
  std::unique_ptr<TileStore> store_;
  PixelBlocks blocks_;
  std::int64_t units_;       // (phase row, panel) pairs of a block, or its tiles
  std::int64_t parts_ = 1;   // tasks per block
  std::int64_t widest_ = 0;  // panel
  std::int64_t chunk_;       // blocks of channels that a kernel call sums
  float scale_;              // of sums, back to what inputs and weights were
  TapOffsets tap_offsets_;   // [phase], in elements
};

class Amx final : public Algorithm {
 public:
  const char* name() const override { return "amx"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kAmx; }
  SumOrder order() const override { return SumOrder::kTerms; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_terms(request);
    if (!decline->reason.empty()) return nullptr;
    std::unique_ptr<Execution> best;
    const bool contiguous = request.problem.call.format == MemoryFormat::kContiguous;
    for (const TermColumns columns :
         {TermColumns::kChannels, contiguous ? TermColumns::kResidues : TermColumns::kPixelResidues}) {
      if (columns != TermColumns::kChannels && !can_use_residues(request.problem)) continue;
      for (const TermStorage storage : {TermStorage::kTerms, TermStorage::kFloats}) {
        if (storage == TermStorage::kFloats && !can_split_weights(request, columns)) continue;
        std::unique_ptr<Execution> execution = plan_columns(request, columns, storage, decline);
        if (execution == nullptr) continue;
        if (best == nullptr || execution->estimated_seconds < best->estimated_seconds) best = std::move(execution);
      }
    }
    return best;
  }

 private:
  static bool can_use_residues(const Problem& problem) {
    const LayerSpec& layer = problem.layer;
    bool residues = false;
    for (int d = 0; d < kSpatialDims; ++d) {
      if (layer.kernel[d] % layer.stride[d] != 0 || layer.dilation[d] != 1) return false;
      residues = residues || layer.stride[d] > 1;
    }
    return residues && (layer.stride[2] <= 2 * kTermSquare || problem.call.format == MemoryFormat::kChannelsLast);
  }

  // Where weights come from memory, and floats are fewer bytes than terms.
  static bool can_split_weights(const PlanRequest& request, TermColumns columns) {
    const LayerSpec& layer = request.problem.layer;
    if (terms_of(request.problem.call.precision) < kMostTerms) return false;
    if (columns == TermColumns::kResidues && layer.stride[2] > TermWeights::widest_panel(TermStorage::kFloats)) return false;
    const std::int64_t terms = kMostTerms * request.problem.weights_elements() / layer.groups;
    return !amx_stays(request.caches, static_cast<double>(terms) * sizeof(std::uint16_t));
  }

  static std::unique_ptr<Execution> plan_columns(const PlanRequest& request, TermColumns columns, TermStorage storage,
                                                 Decline* decline) {
    const Problem& problem = request.problem;
    const int terms = terms_of(problem.call.precision);
    TermWeights form(problem.layer, columns, terms, weight_scale(request.weights), *request.kernels->terms, storage);
    decline->reason = decline_packed_terms(problem, terms, form.elements());
    if (!decline->reason.empty()) return nullptr;
    PlanRequest computed = request;
    std::unique_ptr<TileStore> store;
    if (columns != TermColumns::kChannels) {
      auto residues = std::make_unique<ResidueStore>(request);
      computed.problem.layer = layer_of_columns(problem.layer, columns);
      computed.problem.call.out = residues->size();
      computed.problem.call.pad_begin = residues->first();
      store = std::move(residues);
    }
    const PhaseSet phases = make_phases(computed.problem);
    if (store == nullptr) store = std::make_unique<PixelStore>(request, phases);
    const AmxBlocks blocks = choose_amx_blocks(computed, phases, form);
    auto execution =
        std::make_unique<AmxExecution>(request, computed, phases, std::move(form), columns, blocks, std::move(store));
    if (lacks_workspace(request, execution->workspace_bytes(), "one pixel of all input channels", decline)) return nullptr;
    return execution;
  }
};

}  // namespace

const Algorithm& amx() {
  static const Amx algorithm;
  return algorithm;
}

}  // namespace convtranspose
