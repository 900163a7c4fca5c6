// Direct, vectors along the residues of the width (see phases.h): with a stride as wide as a vector or so, the outputs of
// one input position and channel are neighbours in memory, all with taps at the same inputs. Tiles are those of
// direct_channels, their columns [output channel][residue]; nothing is interleaved, and few positions leave no lane idle.
//
// A block is some positions of one image, or of several images where each has one position; a line is a run of neighbouring
// positions, whose outputs are finished row by row.
#include <algorithm>
#include <array>
#include <cstring>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/limits.h"
#include "algorithms/pixel_blocks.h"
#include "algorithms/streaming.h"
#include "algorithms/tile_kernels.h"
#include "pack/input.h"
#include "pack/residue_weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kMinStride = 4;             // less, and single outputs are stored
constexpr std::int64_t kMaxLine = 256;             // positions
constexpr std::int64_t kBlockBytes = 1024 * 1024;  // read once per panel
constexpr std::int64_t kSlackBytes = 16 * 1024;    // scratch, and what is read beyond it
constexpr std::int64_t kMaxPanelColumns = 64;
constexpr double kMaxPadding = 1.5;  // stored over true weights, so that all packed forms stay within their bound
constexpr double kStoreRun = 1.0;    // cycles to store the outputs of one position and channel, and for a vector of them
constexpr double kStoreFloat = 0.05;

struct Blocking : PixelExtents {
  Dims box{1, 1, 1};
  std::int64_t stride_pixel = 0;
  std::int64_t block_floats = 0;

  std::int64_t image_floats() const { return box[0] * box[1] * box[2] * stride_pixel; }
  bool across_images() const { return images > 1; }
  std::int64_t line() const { return across_images() ? images : columns; }  // positions
  std::int64_t batch = 1;                                                   // lines of one depth that tiles run across
};

// The positions q of the width that hold an output: outputs q*stride + residue - pad_begin.
struct Range {
  std::int64_t first, size;
};

Range positions(const Problem& problem) {
  const std::int64_t stride = problem.layer.stride[2];
  const std::int64_t first = floor_div(problem.call.pad_begin[2], stride);
  return {first, floor_div(problem.call.out[2] - 1 + problem.call.pad_begin[2], stride) - first + 1};
}

// Even tiles over some positions: `taller` of rows + 1 positions, then `lower` of `rows`.
struct Tiles {
  std::int64_t rows, taller, lower;
};

Tiles even_tiles(const TileKernels& kernels, std::int64_t count) {
  const std::int64_t tiles = ceil_div(count, kernels.preferred_rows());
  return {count / tiles, count % tiles, tiles - count % tiles};
}

class DirectResiduesExecution final : public Execution {
 public:
  DirectResiduesExecution(const PlanRequest& request, const PhaseSet1d (&phases)[2], TileKernels kernels,
                          ResidueWeights form, const Blocking& blocking)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        phases_{phases[0], phases[1]},
        kernels_(std::move(kernels)),
        form_(std::move(form)),
        b_(blocking),
        range_(positions(request.problem)),
        blocks_({problem_.call.batch, phases_[0].max_size(), phases_[1].max_size(), range_.size}, b_, problem_.layer.groups),
        chunk_(request.channel_chunk),
        stream_(streams(request.problem, *request.kernels, request.caches, kStreamDense)) {
    units_ = phases_[0].count() * phases_[1].count() * static_cast<std::int64_t>(form_.panels().size());
    for (const ResiduePanel& panel : form_.panels()) widest_ = std::max(widest_, panel.width);
    list_taps();
    const double cycles = block_cycles(request);
    parts_ = parts_per_block(blocks_.count(), cycles, units_);
    const double runs = static_cast<double>(problem_.dst_elements()) / static_cast<double>(problem_.layer.stride[2]);
    const double vectors = static_cast<double>(ceil_div(problem_.layer.stride[2], kernels_.lanes()));
    const double store =
        runs * vectors * kStoreRun + static_cast<double>(problem_.dst_elements()) * kStoreFloat * (stream_ ? 2.0 : 1.0);
    estimated_seconds = (static_cast<double>(blocks_.count()) * cycles + store) / cost::kClock;
    this->phases = phases_[0].count() * phases_[1].count() * std::min(problem_.layer.stride[2], problem_.call.out[2]);
    list_kernels();
    this->blocking = {{"images", b_.images},        {"depths", b_.depths}, {"rows", b_.rows},
                      {"columns", b_.columns},      {"panel", widest_},    {"channelChunk", chunk_},
                      {"streamed", stream_ ? 1 : 0}};
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return blocks_.count() * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(b_.block_floats + tile_floats() + row_floats() + offsets_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t part = task % parts_;
    const std::int64_t block = task / parts_;
    const Origin origin = blocks_.origin(block);

    Scratch scratch;
    scratch.packed = reinterpret_cast<float*>(workspace.data);
    scratch.tile = scratch.packed + b_.block_floats;
    scratch.row = scratch.tile + tile_floats();
    scratch.offsets = reinterpret_cast<std::ptrdiff_t*>(scratch.row + row_floats());
    scratch.used = workspace.used;
    if (*workspace.tag != block) {
      pack(args, origin, scratch.packed);
      *workspace.tag = block;
    }
    const std::int64_t panels = static_cast<std::int64_t>(form_.panels().size());
    for (std::int64_t unit = units_ * part / parts_; unit < units_ * (part + 1) / parts_; ++unit) {
      run_unit(args, origin, unit / panels, form_.panels()[static_cast<std::size_t>(unit % panels)], scratch);
    }
    if (stream_) table_->stream_fence();
  }

 private:
  using Origin = PixelBlocks::Origin;
  struct Scratch {
    float* packed;
    float* tile;              // [line of a batch][position][panel width]
    float* row;               // finished outputs of a line
    std::ptrdiff_t* offsets;  // [line of a batch][position]
    KernelSet* used;
  };

  std::int64_t tile_floats() const { return b_.batch * b_.line() * widest_; }
  std::int64_t row_floats() const { return round_up(b_.line() * problem_.layer.stride[2], kFloatsPerLine); }
  std::int64_t offsets_floats() const { return round_up(b_.batch * b_.line() * 2, kFloatsPerLine); }

  void list_taps() {
    const std::int64_t stride_h = b_.box[2] * b_.stride_pixel;
    const std::int64_t stride_d = b_.box[1] * stride_h;
    const std::int64_t taps_w = problem_.layer.kernel[2] / problem_.layer.stride[2];
    for (const Phase1d& d : phases_[0].phases) {
      for (const Phase1d& h : phases_[1].phases) {
        std::vector<std::ptrdiff_t> offsets;
        for (const Tap1d& td : d.taps) {
          for (const Tap1d& th : h.taps) {
            for (std::int64_t t = 0; t < taps_w; ++t) {
              offsets.push_back((td.offset - phases_[0].min_offset) * stride_d +
                                (th.offset - phases_[1].min_offset) * stride_h + (taps_w - 1 - t) * b_.stride_pixel);
            }
          }
        }
        tap_offsets_.push_back(std::move(offsets));
      }
    }
  }

  void list_kernels() {
    const auto ends = [](std::int64_t extent, std::int64_t block) {
      return std::array<std::int64_t, 2>{std::min(extent, block), (extent - 1) % block + 1};
    };
    const auto add = [&](std::int64_t count) {
      const Tiles tiles = even_tiles(kernels_, count);
      for (const ResiduePanel& panel : {form_.panels().front(), form_.panels().back()}) {
        if (tiles.taller > 0) kernels.set(kernels_.number(kernels_.pick(tiles.rows + 1, panel.width)));
        kernels.set(kernels_.number(kernels_.pick(tiles.rows, panel.width)));
      }
    };
    for (const std::int64_t line : ends(b_.across_images() ? problem_.call.batch : range_.size, b_.line())) {
      for (const std::int64_t height : phases_[1].computed_sizes()) {
        for (const std::int64_t rows : ends(height, b_.rows)) {
          for (const std::int64_t batch : ends(rows, b_.batch)) add(line * batch);
        }
      }
    }
  }

  double block_cycles(const PlanRequest& request) const {
    // Costs are linear in the steps of a call: phases count by their mean.
    double taps = 0.0, calls = 0.0;
    for (const auto& offsets : tap_offsets_) {
      taps += static_cast<double>(offsets.size());
      if (!offsets.empty()) calls += static_cast<double>(ceil_div(problem_.in_channels_per_group(), chunk_));
    }
    const double steps = taps * static_cast<double>(problem_.in_channels_per_group()) / std::max(calls, 1.0);
    // Panels but for the last are as wide as the first.
    double compute = 0.0;
    const std::int64_t panels = static_cast<std::int64_t>(form_.panels().size());
    const Tiles tiles = even_tiles(kernels_, b_.line() * b_.batch);
    const auto cycles = [&](const ResiduePanel& panel) {
      double sum = static_cast<double>(tiles.lower) * kernels_.call_cycles(kernels_.pick(tiles.rows, panel.width), steps);
      if (tiles.taller > 0) {
        sum += static_cast<double>(tiles.taller) * kernels_.call_cycles(kernels_.pick(tiles.rows + 1, panel.width), steps);
      }
      return calls * sum;
    };
    compute += static_cast<double>(panels - 1) * cycles(form_.panels().front()) + cycles(form_.panels().back());
    compute *= static_cast<double>(b_.depths) * static_cast<double>(b_.rows) / static_cast<double>(b_.batch);
    const double weight_bytes = static_cast<double>(form_.group_elements()) * 4.0;
    const double streamed = weight_bytes > static_cast<double>(request.caches.l2) / 2 ? weight_bytes : 0.0;
    const double packed = static_cast<double>(b_.images * b_.box[0] * b_.box[1] * b_.box[2]) *
                          static_cast<double>(problem_.in_channels_per_group());
    return std::max(compute, streamed / cost::kStreamBytesPerCycle) + packed * cost::kTransposePerFloat;
  }

  void pack(const RunArgs& args, const Origin& origin, float* packed) const {
    const std::int64_t images = std::min(b_.images, problem_.call.batch - origin.image);
    InputBox box;
    box.first = {origin.d + phases_[0].min_offset, origin.h + phases_[1].min_offset,
                 range_.first + origin.w - (problem_.layer.kernel[2] / problem_.layer.stride[2] - 1)};
    box.size = b_.box;
    for (std::int64_t i = 0; i < images; ++i) {
      pack_pixels(input_view(problem_, args.src, origin.image + i, origin.group), box, b_.stride_pixel, table_->transpose,
                  packed + i * b_.image_floats());
    }
  }

  // One panel over all lines of the block, for the row of phases `phase_row`.
  void run_unit(const RunArgs& args, const Origin& origin, std::int64_t phase_row, const ResiduePanel& panel,
                const Scratch& scratch) const {
    const Phase1d& depth = phases_[0].phases[static_cast<std::size_t>(phase_row / phases_[1].count())];
    const Phase1d& height = phases_[1].phases[static_cast<std::size_t>(phase_row % phases_[1].count())];
    const auto& offsets = tap_offsets_[static_cast<std::size_t>(phase_row)];
    const float* const weights = args.weights + form_.offset(origin.group, depth.residue, height.residue, panel);
    const std::int64_t depths = std::min(b_.depths, depth.size - origin.d);
    const std::int64_t rows = std::min(b_.rows, height.size - origin.h);
    const std::int64_t line = b_.across_images() ? std::min(b_.images, problem_.call.batch - origin.image)
                                                 : std::min(b_.columns, range_.size - origin.w);
    if (depths <= 0 || rows <= 0) return;
    const std::int64_t row_floats = b_.box[2] * b_.stride_pixel;
    const std::int64_t between = b_.across_images() ? b_.image_floats() : b_.stride_pixel;
    for (std::int64_t h = 0; h < b_.batch; ++h) {
      for (std::int64_t i = 0; i < line; ++i) scratch.offsets[h * line + i] = h * row_floats + i * between;
    }
    for (std::int64_t d = 0; d < depths; ++d) {
      for (std::int64_t h = 0; h < rows; h += b_.batch) {
        const float* const src = scratch.packed + (d * b_.box[1] + h) * row_floats;
        const std::int64_t lines = std::min(b_.batch, rows - h);
        compute(offsets, weights, panel, src, lines * line, scratch);
        for (std::int64_t i = 0; i < lines; ++i) {
          store(args, origin, panel, depth.first + problem_.layer.stride[0] * (origin.d + d),
                height.first + problem_.layer.stride[1] * (origin.h + h + i), line, scratch.tile + i * line * panel.width,
                scratch.row);
        }
      }
    }
  }

  void compute(const std::vector<std::ptrdiff_t>& offsets, const float* weights, const ResiduePanel& panel, const float* src,
               std::int64_t count, const Scratch& scratch) const {
    if (offsets.empty()) {
      std::memset(scratch.tile, 0, static_cast<std::size_t>(count * panel.width) * sizeof(float));
      return;
    }
    TileArgs call;
    call.tap_offset = offsets.data();
    call.src_channel_stride = 1;
    call.taps = static_cast<std::int64_t>(offsets.size());
    call.tile_stride = panel.width;
    const std::int64_t channels = problem_.in_channels_per_group();
    const Tiles tiles = even_tiles(kernels_, count);
    for (std::int64_t c = 0; c < channels; c += chunk_) {
      call.src = src + c;
      call.channels = std::min(chunk_, channels - c);
      call.weights = weights + c * call.taps * panel.width;
      call.accumulate = c > 0;
      call.row_offset = scratch.offsets;
      call.tile = scratch.tile;
      const auto run = [&](std::int64_t times, std::int64_t rows) {
        if (times == 0) return;
        const TileKernel& kernel = kernels_.pick(rows, panel.width);
        scratch.used->set(kernels_.number(kernel));
        for (; times > 0; --times, call.row_offset += rows, call.tile += rows * panel.width) kernel.fn(&call);
      };
      run(tiles.taller, tiles.rows + 1);
      run(tiles.lower, tiles.rows);
    }
  }

  void store(const RunArgs& args, const Origin& origin, const ResiduePanel& panel, std::int64_t od, std::int64_t oh,
             std::int64_t line, const float* sums, float* row) const {
    const Dims& out = problem_.call.out;
    const std::int64_t stride = problem_.layer.stride[2];
    const std::int64_t plane = problem_.out_points();
    const std::int64_t image_floats = problem_.layer.out_channels * plane;
    float bias[kMaxPanelColumns];
    PixelStoreArgs pixels;
    pixels.tile_stride = panel.width;
    pixels.columns = panel.residues;
    pixels.bias = bias;
    pixels.epilogue = &finisher_.epilogue(args);
    for (std::int64_t co = 0; co < panel.channels; ++co) {
      const std::int64_t channel = origin.group * problem_.out_channels_per_group() + panel.first_channel + co;
      std::fill(bias, bias + panel.residues, args.bias == nullptr ? 0.0f : args.bias[channel]);
      float* const dst = args.dst + origin.image * image_floats + channel * plane + (od * out[1] + oh) * out[2];
      const float* const tile = sums + co * panel.residues;
      // Outputs of the first position along the width; some of the first and of the last one may lie outside.
      const std::int64_t ow = (range_.first + origin.w) * stride - problem_.call.pad_begin[2];
      if (b_.across_images() || panel.residues < stride) {
        for (std::int64_t i = 0; i < line;) {
          const std::int64_t first = ow + panel.first_residue + (b_.across_images() ? 0 : i * stride);
          const std::int64_t begin = std::clamp<std::int64_t>(-first, 0, panel.residues);
          pixels.columns = std::clamp<std::int64_t>(out[2] - first, begin, panel.residues) - begin;
          const bool whole = b_.across_images() || (pixels.columns == panel.residues);
          // Neighbours that lie inside as a whole are stored together.
          pixels.rows = 1;
          if (b_.across_images()) {
            pixels.rows = line;
          } else if (whole) {
            pixels.rows = std::clamp<std::int64_t>((out[2] - first - panel.residues) / stride + 1, 1, line - i);
          }
          pixels.tile = tile + i * panel.width + begin;
          pixels.dst = dst + first + begin;
          pixels.dst_stride = b_.across_images() ? image_floats : stride;
          if (pixels.columns > 0) table_->pixel_store(&pixels);
          for (std::int64_t r = 0; finisher_.follows(args) && r < pixels.rows; ++r) {
            float* const stored = pixels.dst + r * pixels.dst_stride;
            finisher_.row(args, channel, stored, stored - args.dst, pixels.columns);
          }
          i += pixels.rows;
        }
        continue;
      }
      pixels.tile = tile;
      pixels.rows = line;
      pixels.dst = row;
      pixels.dst_stride = stride;
      table_->pixel_store(&pixels);
      const std::int64_t begin = std::max<std::int64_t>(0, -ow);
      const std::int64_t count = std::min(line * stride, out[2] - ow) - begin;
      float* const from = row + begin;
      float* const to = dst + ow + begin;
      finisher_.row(args, channel, from, to - args.dst, count);
      if (stream_) {
        stream_row(*table_, from, count, to);
      } else {
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  PhaseSet1d phases_[2];  // depth, height
  TileKernels kernels_;
  ResidueWeights form_;
  Blocking b_;
  Range range_;
  PixelBlocks blocks_;
  std::int64_t chunk_;
  bool stream_;
  std::int64_t units_;                                    // (phase row, panel) pairs of a block
  std::int64_t parts_;                                    // tasks per block
  std::int64_t widest_ = 0;                               // panel
  std::vector<std::vector<std::ptrdiff_t>> tap_offsets_;  // [phase row]
};

void derive(const Problem& problem, const PhaseSet1d (&phases)[2], Blocking* b) {
  b->box = {b->depths + phases[0].halo(), b->rows + phases[1].halo(),
            b->columns + problem.layer.kernel[2] / problem.layer.stride[2] - 1};
  // An odd number of lines between pixels, so that neighbours do not share cache sets.
  b->stride_pixel = round_up(problem.in_channels_per_group(), kFloatsPerLine);
  if (b->stride_pixel / kFloatsPerLine % 2 == 0) b->stride_pixel += kFloatsPerLine;
  b->block_floats = b->images * b->image_floats();
}

// Grows one extent of the block after another, innermost first, while the block fits.
Blocking choose(const PlanRequest& request, const PhaseSet1d (&phases)[2], std::int64_t widest) {
  const Problem& problem = request.problem;
  const std::int64_t position_bytes = 4 * (widest + problem.layer.stride[2]) + 8;
  Blocking b;
  const auto fits = [&] {
    derive(problem, phases, &b);
    const std::int64_t bytes = b.block_floats * 4;
    return bytes <= kBlockBytes && b.line() <= kMaxLine &&
           bytes + b.line() * position_bytes + kSlackBytes <= request.workspace_limit;
  };
  const std::int64_t width = positions(problem).size;
  if (width == 1 && phases[0].max_size() == 1 && phases[1].max_size() == 1) {
    grow_extent(&b.images, problem.call.batch, fits);
  } else if (grow_extent(&b.columns, width, fits) && grow_extent(&b.rows, phases[1].max_size(), fits)) {
    grow_extent(&b.depths, phases[0].max_size(), fits);
  }
  derive(problem, phases, &b);
  const std::int64_t limit =
      std::min(kMaxLine, (request.workspace_limit - b.block_floats * 4 - kSlackBytes) / position_bytes);
  b.batch = std::clamp<std::int64_t>(limit / b.line(), 1, b.rows);
  return b;
}

class DirectResidues final : public Algorithm {
 public:
  const char* name() const override { return "direct-residues"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }
  SumOrder order() const override { return SumOrder::kChunks; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (!decline->reason.empty()) return nullptr;
    const Problem& problem = request.problem;
    const LayerSpec& layer = problem.layer;
    if (problem.call.format != MemoryFormat::kContiguous) {
      decline->reason = "channels-last output has channels side by side, not residues";
      return nullptr;
    }
    if (layer.stride[2] < kMinStride || layer.dilation[2] != 1 || layer.kernel[2] % layer.stride[2] != 0) {
      decline->reason = "it needs a stride along the width of " + std::to_string(kMinStride) +
                        " or more, a kernel that is a multiple of it, and no dilation";
      return nullptr;
    }
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kChannels);
    ResidueWeights form(layer, kernels.max_columns(), table.lanes);
    const std::int64_t columns = problem.out_channels_per_group() * layer.stride[2];
    if (static_cast<double>(form.total_width()) > kMaxPadding * static_cast<double>(columns)) {
      decline->reason = "too few output channels and residues to fill vectors of " + std::to_string(table.lanes);
      return nullptr;
    }
    const PhaseSet1d phases[2] = {
        make_phases(problem.call.out[0], layer.kernel[0], layer.stride[0], layer.dilation[0], problem.call.pad_begin[0]),
        make_phases(problem.call.out[1], layer.kernel[1], layer.stride[1], layer.dilation[1], problem.call.pad_begin[1])};
    const Blocking blocking = choose(request, phases, kernels.max_columns());
    auto execution = std::make_unique<DirectResiduesExecution>(request, phases, kernels, std::move(form), blocking);
    if (execution->workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) {
      decline->for_workspace = true;
      decline->reason = "one position of all input channels needs " + std::to_string(execution->workspace_bytes()) +
                        " bytes of workspace, more than the limit of " + std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }
};

}  // namespace

const Algorithm& direct_residues() {
  static const DirectResidues algorithm;
  return algorithm;
}

}  // namespace convtranspose
