// Direct, vectors along the residues of the width (see phases.h): with a stride as wide as a vector or so, the outputs of
// one input position and channel are neighbours in memory, all with taps at the same inputs. Tiles are those of
// direct_channels, their columns [output channel][residue]; nothing is interleaved, and few positions leave no lane idle.
// Channels last the outputs of one position are neighbours, [residue][output channel]: columns are these, as if they were
// the residues of one channel.
//
// A block is some positions of one image, or of several images where each has one position; a line is a run of neighbouring
// positions, whose outputs are finished row by row.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

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
constexpr std::int64_t kRowBytes = 256 * 1024;     // of outputs that are put together, channels last
constexpr std::int64_t kSlackBytes = 16 * 1024;    // scratch, and what is read beyond it
constexpr std::int64_t kMaxPanelColumns = 64;
constexpr double kMaxPadding = 1.5;  // stored over true weights, so that all packed forms stay within their bound
constexpr double kStoreRun = 1.0;    // cycles to store the outputs of one position and channel, and for a vector of them
constexpr double kStoreFloat = 0.05;
constexpr double kStreamedFloat = 0.9;  // contiguous, past the caches: lines of many rows by turns
constexpr double kShortRow = 0.7;       // of a row that is less than a vector, contiguous: for each lane
constexpr double kGatheredFloat = 0.5;  // channels last: put together first, then stored

struct Blocking : PixelExtents {
  Dims box{1, 1, 1};
  std::int64_t stride_pixel = 0;
  std::int64_t block_floats = 0;

  std::int64_t image_floats() const { return box[0] * box[1] * box[2] * stride_pixel; }
  bool across_images() const { return images > 1; }
  std::int64_t line() const { return across_images() ? images : columns; }  // positions
  std::int64_t batch = 1;                                                   // lines of one depth that tiles run across
  std::int64_t widest = 0;                                                  // most columns of a panel

  // Lines whose outputs are put together in scratch before they are stored: contiguous, those of one channel, if a panel
  // holds all residues of a position; channels last, where each panel holds some, those of a batch; across images, none.
  std::int64_t gathered_lines(const Problem& problem) const {
    if (across_images()) return 0;
    if (problem.call.format == MemoryFormat::kChannelsLast) return batch;
    return problem.layer.stride[2] > widest ? 0 : 1;
  }
};

// Floats along a row of the output: of one output, and of those of one position. Channels last, all channels are among them.
std::int64_t output_floats(const Problem& problem) {
  return problem.call.format == MemoryFormat::kChannelsLast ? problem.layer.out_channels : 1;
}
std::int64_t run_floats(const Problem& problem) { return problem.layer.stride[2] * output_floats(problem); }

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
        streaming_{streams(request.problem, *request.kernels, request.caches, kStreamDense),
                   streams(request.problem, *request.kernels, request.caches, kStreamFresh)} {
    run_ = run_floats(problem_);
    units_ = phases_[0].count() * phases_[1].count();
    if (!channels_last()) units_ *= static_cast<std::int64_t>(form_.panels().size());
    for (const ResiduePanel& panel : form_.panels()) widest_ = std::max(widest_, panel.width);
    list_taps();
    const double cycles = block_cycles(request);
    parts_ = parts_per_block(blocks_.count(), cycles, units_);
    const double runs = static_cast<double>(problem_.dst_elements()) / static_cast<double>(run_);
    const double vectors = static_cast<double>(ceil_div(run_, kernels_.lanes()));
    const double outputs = static_cast<double>(problem_.dst_elements());
    double store = runs * vectors * kStoreRun + outputs * (channels_last()     ? kGatheredFloat
                                                           : streaming_.always ? kStreamedFloat
                                                                               : kStoreFloat);
    if (!channels_last() && problem_.call.out[2] < kernels_.lanes()) {
      store += outputs / static_cast<double>(problem_.call.out[2]) * kShortRow * kernels_.lanes();
    }
    estimated_seconds = (static_cast<double>(blocks_.count()) * cycles + store) / cost::kClock;
    this->phases = phases_[0].count() * phases_[1].count() * std::min(problem_.layer.stride[2], problem_.call.out[2]);
    list_kernels();
    this->blocking = {{"images", b_.images},
                      {"depths", b_.depths},
                      {"rows", b_.rows},
                      {"columns", b_.columns},
                      {"panel", widest_},
                      {"channelChunk", chunk_},
                      {"streamed", streaming_.always ? 1 : 0}};
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
    const std::span all(form_.panels());
    for (std::int64_t unit = units_ * part / parts_; unit < units_ * (part + 1) / parts_; ++unit) {
      if (channels_last()) {
        run_panels(args, origin, unit, all, scratch);
      } else {
        run_panels(args, origin, unit / panels, all.subspan(static_cast<std::size_t>(unit % panels), 1), scratch);
      }
    }
    if (streaming_.now(args.fresh)) table_->stream_fence();
  }

 private:
  using Origin = PixelBlocks::Origin;
  struct Scratch {
    float* packed;
    float* tile;              // [line of a batch][position][panel width]
    float* row;               // finished outputs of a line; channels last, of all lines of a batch
    std::ptrdiff_t* offsets;  // [line of a batch][position]
    KernelSet* used;
  };

  bool channels_last() const { return problem_.call.format == MemoryFormat::kChannelsLast; }
  std::int64_t tile_floats() const { return b_.batch * b_.line() * widest_; }
  std::int64_t row_floats() const { return round_up(b_.gathered_lines(problem_) * b_.line() * run_, kFloatsPerLine); }
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
    const double streamed = static_cast<double>(cost::streamed_bytes(form_.group_elements(), request.caches.l2));
    const double packed = static_cast<double>(b_.images * b_.box[0] * b_.box[1] * b_.box[2]) *
                          static_cast<double>(problem_.in_channels_per_group());
    return std::max(compute, streamed / cost::kStreamBytesPerCycle) +
           packed * (channels_last() ? cost::kCopyPerFloat : cost::kTransposePerFloat);
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

  // Some panels over all lines of the block, for the row of phases `phase_row`.
  void run_panels(const RunArgs& args, const Origin& origin, std::int64_t phase_row, std::span<const ResiduePanel> panels,
                  const Scratch& scratch) const {
    const Phase1d& depth = phases_[0].phases[static_cast<std::size_t>(phase_row / phases_[1].count())];
    const Phase1d& height = phases_[1].phases[static_cast<std::size_t>(phase_row % phases_[1].count())];
    const auto& offsets = tap_offsets_[static_cast<std::size_t>(phase_row)];
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
        for (const ResiduePanel& panel : panels) {
          const float* const weights = args.weights + form_.offset(origin.group, depth.residue, height.residue, panel);
          compute(offsets, weights, panel, src, lines * line, scratch);
          for (std::int64_t i = 0; i < lines; ++i) {
            const OutputLine to = output_line(origin, depth, height, d, h + i, line);
            float* const row = scratch.row + (channels_last() ? i * line * run_ : 0);
            store(args, to, panel, scratch.tile + i * line * panel.width, row);
          }
        }
        for (std::int64_t i = 0; i < lines && channels_last() && !b_.across_images(); ++i) {
          store_row(args, output_line(origin, depth, height, d, h + i, line), 0, scratch.row + i * line * run_);
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

  // Where the outputs of a line go.
  struct OutputLine {
    std::int64_t first_channel;  // of the group
    std::ptrdiff_t row;          // where the row of the output begins, of output channel 0
    std::int64_t first;          // the first position's outputs in it; some of them, and of the last one's, may lie outside
    std::int64_t positions;
  };

  OutputLine output_line(const Origin& origin, const Phase1d& depth, const Phase1d& height, std::int64_t d, std::int64_t h,
                         std::int64_t positions) const {
    const Dims& out = problem_.call.out;
    const std::int64_t unit = output_floats(problem_);
    const std::int64_t od = depth.first + problem_.layer.stride[0] * (origin.d + d);
    const std::int64_t oh = height.first + problem_.layer.stride[1] * (origin.h + h);
    return {origin.group * problem_.out_channels_per_group(),
            origin.image * problem_.layer.out_channels * problem_.out_points() + (od * out[1] + oh) * out[2] * unit,
            ((range_.first + origin.w) * problem_.layer.stride[2] - problem_.call.pad_begin[2]) * unit, positions};
  }

  // A panel's sums of a line: to memory, or, channels last, to their places in `row`.
  void store(const RunArgs& args, const OutputLine& line, const ResiduePanel& panel, const float* sums, float* row) const {
    const std::int64_t unit = output_floats(problem_);
    float bias[kMaxPanelColumns];
    PixelStoreArgs pixels;
    pixels.tile_stride = panel.width;
    pixels.bias = bias;
    pixels.epilogue = &finisher_.epilogue(args);
    for (std::int64_t co = 0; co < panel.channels; ++co) {
      const std::int64_t channel = line.first_channel + panel.first_channel + co;
      for (std::int64_t i = 0; i < panel.residues; ++i) {
        bias[i] = args.bias == nullptr ? 0.0f : args.bias[channel + (panel.first_residue + i) % unit];
      }
      pixels.tile = sums + co * panel.residues;
      if (b_.gathered_lines(problem_) == 0) {
        store_runs(args, line, panel, channel, pixels);
        continue;
      }
      pixels.rows = line.positions;
      pixels.columns = panel.residues;
      pixels.dst = channels_last() ? row + panel.first_residue : row;
      pixels.dst_stride = run_;
      table_->pixel_store(&pixels);
      if (!channels_last()) store_row(args, line, channel, row);
    }
  }

  // Of one channel (channels last, of all), the outputs that a panel holds of each position, position after position.
  void store_runs(const RunArgs& args, const OutputLine& line, const ResiduePanel& panel, std::int64_t channel,
                  PixelStoreArgs pixels) const {
    const std::int64_t out_floats = problem_.call.out[2] * output_floats(problem_);
    const std::int64_t image_floats = problem_.layer.out_channels * problem_.out_points();
    const float* const bias = pixels.bias;
    const float* const tile = pixels.tile;
    float* const dst = args.dst + line.row + channel * problem_.out_points();
    for (std::int64_t i = 0; i < line.positions;) {
      const std::int64_t first = line.first + panel.first_residue + (b_.across_images() ? 0 : i * run_);
      const std::int64_t begin = std::clamp<std::int64_t>(-first, 0, panel.residues);
      pixels.columns = std::clamp<std::int64_t>(out_floats - first, begin, panel.residues) - begin;
      const bool whole = b_.across_images() || (pixels.columns == panel.residues);
      // Neighbours that lie inside as a whole are stored together.
      pixels.rows = 1;
      if (b_.across_images()) {
        pixels.rows = line.positions;
      } else if (whole) {
        pixels.rows = std::clamp<std::int64_t>((out_floats - first - panel.residues) / run_ + 1, 1, line.positions - i);
      }
      pixels.tile = tile + i * panel.width + begin;
      pixels.dst = dst + first + begin;
      pixels.dst_stride = b_.across_images() ? image_floats : run_;
      pixels.bias = bias + begin;
      if (pixels.columns > 0) table_->pixel_store(&pixels);
      for (std::int64_t r = 0; finisher_.follows(args) && r < pixels.rows; ++r) {
        float* const stored = pixels.dst + r * pixels.dst_stride;
        finish(args, channel, panel.first_residue + begin, stored, stored - args.dst, pixels.columns);
      }
      i += pixels.rows;
    }
  }

  // A line that has been put together.
  void store_row(const RunArgs& args, const OutputLine& line, std::int64_t channel, float* row) const {
    const std::int64_t out_floats = problem_.call.out[2] * output_floats(problem_);
    const std::int64_t begin = std::max<std::int64_t>(0, -line.first);
    const std::int64_t count = std::min(line.positions * run_, out_floats - line.first) - begin;
    float* const from = row + begin;
    float* const to = args.dst + line.row + channel * problem_.out_points() + line.first + begin;
    finish(args, channel, begin, from, to - args.dst, count);
    if (streaming_.now(args.fresh)) {
      stream_row(*table_, from, count, to);
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    }
  }

  // `count` stored outputs that follow each other along a row, of `channel`; channels last, of the channels from that of
  // `column` on, pixel after pixel. index: where they stand in the output.
  void finish(const RunArgs& args, std::int64_t channel, std::int64_t column, float* stored, std::ptrdiff_t index,
              std::int64_t count) const {
    if (!finisher_.follows(args)) return;
    if (!channels_last()) {
      finisher_.row(args, channel, stored, index, count);
      return;
    }
    const std::int64_t channels = problem_.layer.out_channels;
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t first = (column + done) % channels;
      const std::int64_t left = count - done;
      const std::int64_t whole = first == 0 ? left / channels : 0;  // pixels
      const std::int64_t columns = whole > 0 ? channels : std::min(channels - first, left);
      finisher_.pixels(args, first, stored + done, channels, index + done, std::max<std::int64_t>(whole, 1), columns);
      done += std::max<std::int64_t>(whole, 1) * columns;
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
  Streaming streaming_;
  std::int64_t run_ = 0;                                  // floats of a position that follow each other in the output
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
  const std::int64_t run_bytes = 4 * run_floats(problem);
  const std::int64_t position_bytes = 4 * widest + run_bytes + 8;
  // Channels last, the rows that are put together hold all channels.
  const bool last = problem.call.format == MemoryFormat::kChannelsLast;
  const std::int64_t most_positions = last ? std::clamp<std::int64_t>(kRowBytes / run_bytes, 1, kMaxLine) : kMaxLine;
  Blocking b;
  b.widest = widest;
  const auto fits = [&] {
    derive(problem, phases, &b);
    const std::int64_t bytes = b.block_floats * 4;
    return bytes <= kBlockBytes && b.line() <= most_positions &&
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
      std::min(most_positions, (request.workspace_limit - b.block_floats * 4 - kSlackBytes) / position_bytes);
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
    const bool last = problem.call.format == MemoryFormat::kChannelsLast;
    if (last && (layer.groups > 1 || layer.stride[2] == 1 || layer.out_channels % request.kernels->lanes == 0)) {
      decline->reason =
          "channels last it is for one group, a stride along the width, and channels that fill no whole vectors";
      return nullptr;
    }
    if ((!last && layer.stride[2] < kMinStride) || layer.dilation[2] != 1 || layer.kernel[2] % layer.stride[2] != 0) {
      decline->reason = "it needs a stride along the width of " + std::to_string(last ? 2 : kMinStride) +
                        " or more, a kernel that is a multiple of it, and no dilation";
      return nullptr;
    }
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kChannels);
    ResidueWeights form(layer, problem.call.format, kernels.max_columns(), table.lanes);
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
    if (lacks_workspace(request, execution->workspace_bytes(), "one position of all input channels", decline))
      return nullptr;
    return execution;
  }
};

}  // namespace

const Algorithm& direct_residues() {
  static const DirectResidues algorithm;
  return algorithm;
}

}  // namespace convtranspose
