// Direct, for few output channels: all phases of all output channels of a group are rows of one tile, so that every input
// vector that is loaded serves all of them (with one output channel, a tile per phase would load a vector for each
// multiplication).
// Positions, residues and strips are those of pack/strip_weights.h.
#include <algorithm>
#include <array>
#include <cstring>

#include "algorithms/algorithm.h"
#include "algorithms/block_geometry.h"
#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/limits.h"
#include "algorithms/tile_kernels.h"
#include "pack/input.h"
#include "pack/strip_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxOutputChannels = 4;  // per group: more rows than that fill a tile by themselves
constexpr std::int64_t kMaxTileRows = 64;
constexpr std::int64_t kMaxFewKernelPoints = 65536;  // their positions are listed
constexpr std::int64_t kMinChannelChunk = 64;
constexpr std::int64_t kFloatsPerLine = 16;
// What it saves that tiles pass over a block beyond the first cache once: those of other algorithms do for each phase.
constexpr double kStorePerFloat = 2.0 * cost::kStorePerFloat;  // rows of a tile are short
constexpr double kOnePass = 0.8;

// Channels per chunk: short strips want longer sums than other algorithms' chunks give them. With one tap to a phase the
// order of the products is gemm's, and so is the chunk.
std::int64_t channel_chunk(const PlanRequest& request) { return std::max(request.channel_chunk, kMinChannelChunk); }

// The positions q of a dimension that hold an output; or outputs of a row.
struct Range {
  std::int64_t first;
  std::int64_t size;
};

Range positions(const Problem& problem, int d) {
  const std::int64_t first = floor_div(problem.call.pad_begin[d], problem.layer.stride[d]);
  const std::int64_t last = floor_div(problem.call.out[d] - 1 + problem.call.pad_begin[d], problem.layer.stride[d]);
  return {first, last - first + 1};
}

class DirectFewExecution final : public Execution {
 public:
  DirectFewExecution(const PlanRequest& request, TileKernels tile_kernels, StripWeights form, const BlockGeometry& geometry)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        kernels_(std::move(tile_kernels)),
        form_(std::move(form)),
        geometry_(geometry),
        chunk_(channel_chunk(request)) {
    for (int d = 0; d < kSpatialDims; ++d) range_[d] = positions(problem_, d);
    blocks_h_ = ceil_div(range_[1].size, geometry.rows);
    blocks_w_ = ceil_div(range_[2].size, geometry.columns);
    for (const Strip& strip : form_.strips()) {
      std::vector<std::ptrdiff_t> offsets;
      for (const auto& tap : strip.taps) {
        offsets.push_back((tap[0] - form_.offsets(0).min_offset) * geometry.stride_d +
                          (tap[1] - form_.offsets(1).min_offset) * geometry.stride_h + tap[2] - form_.offsets(2).min_offset);
      }
      tap_offsets_.push_back(std::move(offsets));
    }
    estimated_seconds = geometry.cycles / cost::kClock;
    phases = problem_.layer.stride[0] * problem_.layer.stride[1] * problem_.layer.stride[2];
    blocking = {{"rows", geometry.rows},
                {"columns", geometry.columns},
                {"flat", geometry.flat ? 1 : 0},
                {"tileRows", form_.rows()},
                {"strips", static_cast<std::int64_t>(form_.strips().size())}};
    list_kernels();
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override {
    return problem_.call.batch * problem_.layer.groups * range_[0].size * blocks_h_ * blocks_w_;
  }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(geometry_.block_floats + tile_floats() + edge_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    std::int64_t rest = task;
    Block block;
    block.w = rest % blocks_w_ * geometry_.columns;
    rest /= blocks_w_;
    block.h = rest % blocks_h_ * geometry_.rows;
    rest /= blocks_h_;
    block.d = rest % range_[0].size;
    rest /= range_[0].size;
    block.group = rest % problem_.layer.groups;
    block.image = rest / problem_.layer.groups;
    block.rows = std::min(geometry_.rows, range_[1].size - block.h);
    block.columns = std::min(geometry_.columns, range_[2].size - block.w);

    float* const packed = reinterpret_cast<float*>(workspace.data);
    float* const tile = packed + geometry_.block_floats;
    InputBox box;
    box.first = {range_[0].first + block.d + form_.offsets(0).min_offset,
                 range_[1].first + block.h + form_.offsets(1).min_offset,
                 range_[2].first + block.w + form_.offsets(2).min_offset};
    box.size = geometry_.box;
    pack_planes(input_view(problem_, args.src, block.image, block.group), box, geometry_.stride_d, geometry_.stride_h,
                geometry_.stride_c, table_->transpose, packed);
    // Tiles read whole vectors: what follows the last position is zeroed, since stale denormals would cost time.
    const std::int64_t slack = kernels_.max_columns();
    std::memset(tile - slack, 0, static_cast<std::size_t>(slack) * sizeof(float));

    const std::int64_t tile_row = compute(args, block, packed, tile, workspace.used);
    for (std::int64_t r = 0; r < block.rows; ++r) store_row(args, block, r, tile + r * tile_row, tile + tile_floats());
  }

 private:
  struct Block {
    std::int64_t image, group, d, h, w, rows, columns;
  };

  // Room behind the tile, since row stores read up to one vector beyond a phase.
  std::int64_t tile_floats() const {
    return form_.rows() * geometry_.pixel_stride + round_up(kernels_.lanes(), kFloatsPerLine);
  }
  // One position's outputs along the width (contiguous), or a piece of transposed tile (channels last).
  static constexpr std::int64_t kTransposePixels = 64;
  std::int64_t edge_floats() const {
    return round_up(std::max(problem_.layer.stride[2], kMaxOutputChannels * kTransposePixels), kFloatsPerLine);
  }

  void list_kernels() {
    const auto ends = [](std::int64_t extent, std::int64_t block) {
      return std::array<std::int64_t, 2>{std::min(extent, block), (extent - 1) % block + 1};
    };
    for (const Strip& strip : form_.strips()) {
      for (const std::int64_t columns : ends(range_[2].size, geometry_.columns)) {
        for (const std::int64_t rows : ends(range_[1].size, geometry_.rows)) {
          kernels |= kernels_.set_for(strip.rows, geometry_.flat ? geometry_.flat_pixels(rows, columns) : columns);
        }
      }
    }
  }

  // Fills the tile; returns the distance of its rows of pixels.
  std::int64_t compute(const RunArgs& args, const Block& block, const float* packed, float* tile, KernelSet* used) const {
    std::int64_t tile_row = geometry_.stride_h;
    std::int64_t segments = 1;
    std::int64_t pixels = geometry_.flat_pixels(block.rows, block.columns);
    if (!geometry_.flat) {
      tile_row = 0;
      for (const Strip& strip : form_.strips()) tile_row = std::max(tile_row, kernels_.covered(strip.rows, block.columns));
      segments = block.rows;
      pixels = block.columns;
    }
    for (const std::int64_t row : form_.empty_rows()) {
      std::memset(tile + row * geometry_.pixel_stride, 0, static_cast<std::size_t>(geometry_.pixel_stride) * sizeof(float));
    }
    const std::int64_t channels = problem_.in_channels_per_group();
    const float* const weights = args.weights + block.group * form_.group_elements();
    TileArgs call;
    call.row_offset = nullptr;
    call.src_channel_stride = geometry_.stride_c;
    call.tile_stride = geometry_.pixel_stride;
    for (std::int64_t c = 0; c < channels; c += chunk_) {
      call.channels = std::min(chunk_, channels - c);
      for (std::size_t s = 0; s < form_.strips().size(); ++s) {
        const Strip& strip = form_.strips()[s];
        call.tap_offset = tap_offsets_[s].data();
        call.taps = static_cast<std::int64_t>(strip.taps.size());
        call.weights = weights + strip.packed_offset + c * call.taps * strip.rows;
        call.accumulate = strip.accumulate || c > 0;
        for (std::int64_t segment = 0; segment < segments; ++segment) {
          const float* const src = packed + c * geometry_.stride_c + segment * geometry_.stride_h;
          float* const to = tile + strip.first_row * geometry_.pixel_stride + segment * tile_row;
          for (std::int64_t pixel = 0; pixel < pixels;) {
            const TileKernel& kernel = kernels_.pick(strip.rows, pixels - pixel);
            call.src = src + pixel;
            call.tile = to + pixel;
            kernel.fn(&call);
            used->set(kernels_.number(kernel));
            pixel += kernel.nr;
          }
        }
      }
    }
    return tile_row;
  }

  // The outputs of one row of positions, for all residues and channels. `tile` points at its first position.
  void store_row(const RunArgs& args, const Block& block, std::int64_t r, float* tile, float* edge) const {
    const LayerSpec& layer = problem_.layer;
    for (std::int64_t rd = 0; rd < layer.stride[0]; ++rd) {
      const std::int64_t od = (range_[0].first + block.d) * layer.stride[0] + rd - problem_.call.pad_begin[0];
      if (od < 0 || od >= problem_.call.out[0]) continue;
      for (std::int64_t rh = 0; rh < layer.stride[1]; ++rh) {
        const std::int64_t oh = (range_[1].first + block.h + r) * layer.stride[1] + rh - problem_.call.pad_begin[1];
        if (oh < 0 || oh >= problem_.call.out[1]) continue;
        float* const rows = tile + (rd * layer.stride[1] + rh) * layer.stride[2] * problem_.out_channels_per_group() *
                                       geometry_.pixel_stride;
        if (problem_.call.format == MemoryFormat::kContiguous) {
          store_contiguous(args, block, od, oh, rows, edge);
        } else {
          store_channels_last(args, block, od, oh, rows, edge);
        }
      }
    }
  }

  // First output of the block's columns along the width; negative if some of them fall before the output.
  std::int64_t first_column(const Block& block) const {
    return (range_[2].first + block.w) * problem_.layer.stride[2] - problem_.call.pad_begin[2];
  }

  // All outputs of the block's columns along the width.
  Range stored_columns(const Block& block) const {
    const std::int64_t ow = first_column(block);
    const std::int64_t first = std::max<std::int64_t>(0, ow);
    return {first, std::min(ow + block.columns * problem_.layer.stride[2], problem_.call.out[2]) - first};
  }

  void store_contiguous(const RunArgs& args, const Block& block, std::int64_t od, std::int64_t oh, const float* rows,
                        float* edge) const {
    const Dims& out = problem_.call.out;
    const std::int64_t outputs = problem_.out_channels_per_group();
    const std::int64_t stride_w = problem_.layer.stride[2];
    const std::int64_t ow = first_column(block);
    RowStoreArgs row;
    row.phase_stride = outputs * geometry_.pixel_stride;
    row.phases = stride_w;
    row.epilogue = &finisher_.epilogue(args);
    for (std::int64_t co = 0; co < outputs; ++co) {
      const std::int64_t channel = block.group * outputs + co;
      float* const dst =
          args.dst + (((block.image * problem_.layer.out_channels + channel) * out[0] + od) * out[1] + oh) * out[2];
      row.bias = args.bias == nullptr ? 0.0f : args.bias[channel];
      row.tile = rows + co * geometry_.pixel_stride;
      std::int64_t begin = ow;
      if (begin < 0) {  // the first position's outputs fall partly before the row: by way of `edge`
        row.dst = edge;
        row.count = stride_w;
        table_->row_store(&row);
        begin += stride_w;
        std::copy(edge + stride_w - begin, edge + stride_w - begin + std::min(begin, out[2]), dst);
        ++row.tile;
      }
      row.dst = dst + begin;
      row.count = std::max<std::int64_t>(0, std::min(ow + block.columns * stride_w, out[2]) - begin);
      table_->row_store(&row);
      const Range stored = stored_columns(block);
      finisher_.row(args, channel, dst + stored.first, dst + stored.first - args.dst, stored.size);
    }
  }

  void store_channels_last(const RunArgs& args, const Block& block, std::int64_t od, std::int64_t oh, const float* rows,
                           float* scratch) const {
    static constexpr float kZeros[kMaxOutputChannels] = {};
    const Dims& out = problem_.call.out;
    const std::int64_t outputs = problem_.out_channels_per_group();
    const std::int64_t stride_w = problem_.layer.stride[2];
    const std::int64_t first_channel = block.group * outputs;
    float* const dst =
        args.dst + ((block.image * out[0] + od) * out[1] + oh) * out[2] * problem_.layer.out_channels + first_channel;
    PixelStoreArgs store;
    store.tile = scratch;
    store.tile_stride = outputs;
    store.columns = outputs;
    store.dst_stride = stride_w * problem_.layer.out_channels;
    store.bias = args.bias == nullptr ? kZeros : args.bias + first_channel;
    store.epilogue = &finisher_.epilogue(args);
    for (std::int64_t rw = 0; rw < stride_w; ++rw) {
      const std::int64_t ow = first_column(block) + rw;
      const std::int64_t begin = ow < 0 ? 1 : 0;  // positions before the row: at most one, since positions() begins there
      const std::int64_t end = std::min(block.columns, ceil_div(out[2] - ow, stride_w));
      for (std::int64_t j = begin; j < end; j += kTransposePixels) {
        store.rows = std::min(kTransposePixels, end - j);
        const TransposeArgs transpose{
            rows + rw * outputs * geometry_.pixel_stride + j, geometry_.pixel_stride, scratch, outputs, outputs, store.rows};
        table_->transpose(&transpose);
        store.dst = dst + (ow + j * stride_w) * problem_.layer.out_channels;
        table_->pixel_store(&store);
      }
    }
    const Range stored = stored_columns(block);
    float* const first = dst + stored.first * problem_.layer.out_channels;
    finisher_.pixels(args, first_channel, first, problem_.layer.out_channels, first - args.dst, stored.size, outputs);
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  TileKernels kernels_;
  StripWeights form_;
  BlockGeometry geometry_;
  std::int64_t chunk_;
  Range range_[kSpatialDims];
  std::int64_t blocks_h_, blocks_w_;
  std::vector<std::vector<std::ptrdiff_t>> tap_offsets_;  // [strip]
};

double run_cycles(const PlanRequest& request, const TileKernels& kernels, const StripWeights& form,
                  const BlockDomain& domain, const BlockGeometry& b) {
  const Problem& p = request.problem;
  const double blocks = static_cast<double>(p.call.batch) * static_cast<double>(p.layer.groups) *
                        static_cast<double>(domain.size[0]) * static_cast<double>(ceil_div(domain.size[1], b.rows)) *
                        static_cast<double>(ceil_div(domain.size[2], b.columns));
  const std::int64_t chunks = ceil_div(domain.channels, channel_chunk(request));
  const double channels = static_cast<double>(std::min(domain.channels, channel_chunk(request)));
  double compute = 0.0;
  for (const Strip& strip : form.strips()) {
    const double steps = channels * static_cast<double>(strip.taps.size());
    compute += b.flat ? cost::kFlatPenalty * kernels.cycles(strip.rows, b.flat_pixels(b.rows, b.columns), steps)
                      : static_cast<double>(b.rows) * kernels.cycles(strip.rows, b.columns, steps);
  }
  if (b.block_floats * 4 > static_cast<std::int64_t>(request.caches.l1d)) compute *= kOnePass;
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  const double pack = static_cast<double>(b.block_floats) * (last ? cost::kTransposePerFloat : cost::kCopyPerFloat);
  const double store =
      static_cast<double>(p.dst_elements()) * (last ? cost::kTransposePerFloat + kStorePerFloat : kStorePerFloat);
  const double pixels = last ? static_cast<double>(p.call.batch) * static_cast<double>(p.layer.groups) *
                                   static_cast<double>(p.out_points()) * cost::kPixelStore
                             : 0.0;
  return blocks * (static_cast<double>(chunks) * compute + pack) + store + pixels;
}

class DirectFew final : public Algorithm {
 public:
  const char* name() const override { return "direct-few"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }
  SumOrder order() const override { return SumOrder::kStrips; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (!decline->reason.empty()) return nullptr;
    // By the layer as it was made: under `invariant` the planner decides by it, too.
    if (!few_outputs(request.original.layer)) {
      decline->reason = "more than " + std::to_string(kMaxOutputChannels) + " output channels per group, or more than " +
                        std::to_string(kMaxTileRows) + " rows with all phases, or a single phase";
      return nullptr;
    }
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kWide);
    StripWeights form(request.problem.layer, kernels.max_rows());
    BlockDomain domain;
    for (int d = 0; d < kSpatialDims; ++d) {
      domain.size[d] = positions(request.problem, d).size;
      domain.halo[d] = -form.offsets(d).min_offset;
    }
    domain.channels = request.problem.in_channels_per_group();
    domain.workspace_limit = request.workspace_limit;
    domain.tile_rows = form.rows();
    for (const Strip& strip : form.strips()) domain.call_rows.push_back(strip.rows);
    const BlockGeometry geometry = cheapest_geometry(domain, kernels, request.caches, [&](const BlockGeometry& b) {
      return run_cycles(request, kernels, form, domain, b);
    });
    auto execution = std::make_unique<DirectFewExecution>(request, kernels, std::move(form), geometry);
    if (execution->workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) {
      decline->for_workspace = true;
      decline->reason = "one row of all input channels needs " + std::to_string(execution->workspace_bytes()) +
                        " bytes of workspace, more than the limit of " + std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }
};

}  // namespace

bool few_outputs(const LayerSpec& layer) {
  const std::int64_t outputs = layer.out_channels / layer.groups;
  std::int64_t rows = outputs;
  for (int d = 0; d < kSpatialDims; ++d) {
    if (layer.stride[d] > kMaxTileRows / rows) return false;
    rows *= layer.stride[d];
  }
  return outputs <= kMaxOutputChannels && rows > outputs &&
         static_cast<double>(layer.kernel[0]) * static_cast<double>(layer.kernel[1]) *
                 static_cast<double>(layer.kernel[2]) <=
             static_cast<double>(kMaxFewKernelPoints);
}

const Algorithm& direct_few() {
  static const DirectFew algorithm;
  return algorithm;
}

}  // namespace convtranspose
