// Direct, for few output channels: all phases of all output channels of a group are rows of one tile, so that every input
// vector that is loaded serves all of them (with one output channel, a tile per phase would load a vector for each
// multiplication).
//
// Phases are taken by residue here: position q of a dimension stands for the outputs q*stride + residue - pad_begin, so that
// taps fall on the same input offsets whatever the padding: tap k of residue r = k*dilation mod stride reads input q + u
// with u = (r - k*dilation)/stride. The offsets used by exactly the same set of residues form a segment; a segment is
// computed for the rows of its residues alone, in strips of neighbouring rows, and added to the tile. (Giving absent taps a
// zero weight would be simpler, but zero times an infinite input is not zero.)
#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "algorithms/algorithm.h"
#include "algorithms/block_geometry.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/tile_kernels.h"
#include "pack/input.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxOutputChannels = 4;  // per group: more rows than that fill a tile by themselves
constexpr std::int64_t kMaxTileRows = 64;
constexpr std::int64_t kMinChannelChunk = 64;
constexpr std::int64_t kFloatsPerLine = 16;

// The input offsets of one dimension that are used by exactly the residues of `residues`.
struct OffsetGroup {
  std::vector<std::int64_t> residues;  // ascending
  std::vector<std::int64_t> offsets;   // ascending
};

struct Offsets1d {
  std::vector<OffsetGroup> groups;
  std::int64_t min_offset = 0;  // the largest is 0: tap 0 of residue 0
};

// Position k of the tap of residue r at offset u, or -1.
std::int64_t tap_at(const LayerSpec& layer, int d, std::int64_t residue, std::int64_t offset) {
  const std::int64_t distance = residue - offset * layer.stride[d];
  if (distance < 0 || distance % layer.dilation[d] != 0) return -1;
  const std::int64_t k = distance / layer.dilation[d];
  return k < layer.kernel[d] ? k : -1;
}

Offsets1d group_offsets(const LayerSpec& layer, int d) {
  std::map<std::int64_t, std::vector<std::int64_t>> residues_at;  // offset -> residues that use it
  for (std::int64_t r = 0; r < layer.stride[d]; ++r) {
    for (const std::int64_t k : taps_of_residue(layer.kernel[d], layer.stride[d], layer.dilation[d], r)) {
      residues_at[(r - k * layer.dilation[d]) / layer.stride[d]].push_back(r);
    }
  }
  std::map<std::vector<std::int64_t>, std::vector<std::int64_t>> offsets_of;
  for (const auto& [offset, residues] : residues_at) offsets_of[residues].push_back(offset);
  Offsets1d result;
  result.min_offset = residues_at.begin()->first;
  for (auto& [residues, offsets] : offsets_of) result.groups.push_back({residues, offsets});
  // Largest sets first: their strips are tall, and later ones add to rows that hold something already.
  std::stable_sort(result.groups.begin(), result.groups.end(),
                   [](const OffsetGroup& a, const OffsetGroup& b) { return a.residues.size() > b.residues.size(); });
  return result;
}

// One tile kernel call per channel chunk and pixel tile.
struct Strip {
  std::int64_t first_row;
  std::int64_t rows;
  bool accumulate;                                           // the rows already hold something
  std::vector<std::int64_t> weight_positions;                // [tap][row]: co * kernel points + flat kernel position
  std::vector<std::array<std::int64_t, kSpatialDims>> taps;  // input offsets, at most 0
  std::int64_t packed_offset = 0;                            // floats from the start of a group
};

// Packed weights: [group][strip][channel][tap][row].
class FewForm final : public PackedForm {
 public:
  FewForm(const LayerSpec& layer, std::int64_t max_rows) : layer_(layer) {
    const std::int64_t outputs = layer.out_channels / layer.groups;
    rows_ = layer.stride[0] * layer.stride[1] * layer.stride[2] * outputs;
    for (int d = 0; d < kSpatialDims; ++d) dims_[d] = group_offsets(layer, d);
    std::vector<bool> written(static_cast<std::size_t>(rows_), false);
    const std::int64_t channels = layer.in_channels / layer.groups;
    for (const OffsetGroup& gd : dims_[0].groups) {
      for (const OffsetGroup& gh : dims_[1].groups) {
        for (const OffsetGroup& gw : dims_[2].groups) add_segment(gd, gh, gw, max_rows, &written);
      }
    }
    std::int64_t offset = 0;
    for (Strip& strip : strips_) {
      strip.packed_offset = offset;
      offset += channels * static_cast<std::int64_t>(strip.taps.size()) * strip.rows;
    }
    group_elements_ = offset;
    for (std::int64_t row = 0; row < rows_; ++row) {
      if (!written[static_cast<std::size_t>(row)]) empty_rows_.push_back(row);
    }
    key_ = "few rows" + std::to_string(rows_) + " max" + std::to_string(max_rows);
    for (int d = 0; d < kSpatialDims; ++d) {
      key_.append(d == 0 ? " k" : "x").append(std::to_string(layer.kernel[d]));
      key_.append("s").append(std::to_string(layer.stride[d])).append("d").append(std::to_string(layer.dilation[d]));
    }
  }

  std::int64_t rows() const { return rows_; }
  const std::vector<Strip>& strips() const { return strips_; }
  const std::vector<std::int64_t>& empty_rows() const { return empty_rows_; }
  const Offsets1d& offsets(int d) const { return dims_[d]; }
  std::int64_t group_elements() const { return group_elements_; }

  std::int64_t elements() const override { return layer_.groups * group_elements_; }
  const std::string& key() const override { return key_; }
  void pack(const float* weights, float* packed) const override {
    const std::int64_t channels = layer_.in_channels / layer_.groups;
    const std::int64_t step = layer_.out_channels / layer_.groups * layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
    for (std::int64_t group = 0; group < layer_.groups; ++group) {
      for (const Strip& strip : strips_) {
        for (std::int64_t c = 0; c < channels; ++c) {
          const float* from = weights + (group * channels + c) * step;
          for (const std::int64_t position : strip.weight_positions) *packed++ = from[position];
        }
      }
    }
  }

 private:
  void add_segment(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw, std::int64_t max_rows,
                   std::vector<bool>* written) {
    const std::int64_t outputs = layer_.out_channels / layer_.groups;
    std::vector<std::int64_t> rows;  // ascending
    for (const std::int64_t rd : gd.residues) {
      for (const std::int64_t rh : gh.residues) {
        for (const std::int64_t rw : gw.residues) {
          for (std::int64_t co = 0; co < outputs; ++co) {
            rows.push_back(((rd * layer_.stride[1] + rh) * layer_.stride[2] + rw) * outputs + co);
          }
        }
      }
    }
    // Runs of neighbouring rows that either all hold something or all do not, cut evenly into strips that a kernel can do.
    for (std::size_t begin = 0; begin < rows.size();) {
      std::size_t end = begin + 1;
      const auto is_written = [&](std::size_t i) { return (*written)[static_cast<std::size_t>(rows[i])]; };
      while (end < rows.size() && rows[end] == rows[end - 1] + 1 && is_written(end) == is_written(begin)) ++end;
      const std::int64_t count = static_cast<std::int64_t>(end - begin);
      const std::int64_t parts = ceil_div(count, max_rows);
      for (std::int64_t part = 0; part < parts; ++part) {
        Strip strip;
        strip.first_row = rows[begin] + count * part / parts;
        strip.rows = rows[begin] + count * (part + 1) / parts - strip.first_row;
        strip.accumulate = is_written(begin);
        list_taps(gd, gh, gw, &strip);
        strips_.push_back(std::move(strip));
      }
      for (std::size_t i = begin; i < end; ++i) (*written)[static_cast<std::size_t>(rows[i])] = true;
      begin = end;
    }
  }

  void list_taps(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw, Strip* strip) const {
    const std::int64_t outputs = layer_.out_channels / layer_.groups;
    const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
    for (const std::int64_t ud : gd.offsets) {
      for (const std::int64_t uh : gh.offsets) {
        for (const std::int64_t uw : gw.offsets) {
          strip->taps.push_back({ud, uh, uw});
          for (std::int64_t row = strip->first_row; row < strip->first_row + strip->rows; ++row) {
            const std::int64_t phase = row / outputs;
            const std::int64_t kw = tap_at(layer_, 2, phase % layer_.stride[2], uw);
            const std::int64_t kh = tap_at(layer_, 1, phase / layer_.stride[2] % layer_.stride[1], uh);
            const std::int64_t kd = tap_at(layer_, 0, phase / layer_.stride[2] / layer_.stride[1], ud);
            strip->weight_positions.push_back(row % outputs * kernel_points +
                                              (kd * layer_.kernel[1] + kh) * layer_.kernel[2] + kw);
          }
        }
      }
    }
  }

  LayerSpec layer_;
  Offsets1d dims_[kSpatialDims];
  std::int64_t rows_;
  std::int64_t group_elements_ = 0;
  std::vector<Strip> strips_;
  std::vector<std::int64_t> empty_rows_;  // that no tap reaches: they hold the bias
  std::string key_;
};

// Channels per chunk: short strips want longer sums than other algorithms' chunks give them. With one tap to a phase the
// order of the products is gemm's, and so is the chunk.
std::int64_t channel_chunk(const PlanRequest& request) { return std::max(request.channel_chunk, kMinChannelChunk); }

// The positions q of a dimension that hold an output.
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
  DirectFewExecution(const PlanRequest& request, TileKernels tile_kernels, FewForm form, const BlockGeometry& geometry)
      : problem_(request.problem),
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
  std::int64_t tasks() const override {
    return problem_.call.batch * problem_.layer.groups * range_[0].size * blocks_h_ * blocks_w_;
  }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(geometry_.block_floats + tile_floats() + edge_floats()) * sizeof(float);
  }

  void run_task(const RunArgs& args, std::int64_t task, Workspace workspace) const noexcept override {
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
    family = table_->wide;
    family_count = table_->wide_count;
    const auto ends = [](std::int64_t extent, std::int64_t block) {
      return std::array<std::int64_t, 2>{std::min(extent, block), (extent - 1) % block + 1};
    };
    for (const Strip& strip : form_.strips()) {
      for (const std::int64_t columns : ends(range_[2].size, geometry_.columns)) {
        for (const std::int64_t rows : ends(range_[1].size, geometry_.rows)) {
          kernels |= kernels_.bits_for(strip.rows, geometry_.flat ? geometry_.flat_pixels(rows, columns) : columns);
        }
      }
    }
  }

  // Fills the tile; returns the distance of its rows of pixels.
  std::int64_t compute(const RunArgs& args, const Block& block, const float* packed, float* tile,
                       std::uint64_t* used) const {
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
            *used |= kernels_.bit(kernel);
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

  void store_contiguous(const RunArgs& args, const Block& block, std::int64_t od, std::int64_t oh, const float* rows,
                        float* edge) const {
    const Dims& out = problem_.call.out;
    const std::int64_t outputs = problem_.out_channels_per_group();
    const std::int64_t stride_w = problem_.layer.stride[2];
    const std::int64_t ow = first_column(block);
    RowStoreArgs row;
    row.phase_stride = outputs * geometry_.pixel_stride;
    row.phases = stride_w;
    row.lower = problem_.call.post_ops.lower;
    row.upper = problem_.call.post_ops.upper;
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
    store.lower = problem_.call.post_ops.lower;
    store.upper = problem_.call.post_ops.upper;
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
  }

  Problem problem_;
  const KernelTable* table_;
  TileKernels kernels_;
  FewForm form_;
  BlockGeometry geometry_;
  std::int64_t chunk_;
  Range range_[kSpatialDims];
  std::int64_t blocks_h_, blocks_w_;
  std::vector<std::vector<std::ptrdiff_t>> tap_offsets_;  // [strip]
};

double run_cycles(const PlanRequest& request, const TileKernels& kernels, const FewForm& form, const BlockDomain& domain,
                  const BlockGeometry& b) {
  const Problem& p = request.problem;
  const double blocks = static_cast<double>(p.call.batch * p.layer.groups * domain.size[0]) *
                        static_cast<double>(ceil_div(domain.size[1], b.rows)) *
                        static_cast<double>(ceil_div(domain.size[2], b.columns));
  const std::int64_t chunks = ceil_div(domain.channels, channel_chunk(request));
  const double channels = static_cast<double>(std::min(domain.channels, channel_chunk(request)));
  double compute = 0.0;
  for (const Strip& strip : form.strips()) {
    const double steps = channels * static_cast<double>(strip.taps.size());
    compute += b.flat ? cost::kFlatPenalty * kernels.cycles(strip.rows, b.flat_pixels(b.rows, b.columns), steps)
                      : static_cast<double>(b.rows) * kernels.cycles(strip.rows, b.columns, steps);
  }
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  const double pack = static_cast<double>(domain.channels * b.box[0] * b.box[1] * b.box[2]) *
                      (last ? cost::kTransposePerFloat : cost::kCopyPerFloat);
  const double store = static_cast<double>(p.dst_elements()) *
                       (last ? cost::kTransposePerFloat + cost::kStorePerFloat : cost::kStorePerFloat);
  return blocks * (static_cast<double>(chunks) * compute + pack) + store;
}

class DirectFew final : public Algorithm {
 public:
  const char* name() const override { return "direct-few"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, std::string* reason) const override {
    *reason = decline_phased(request);
    if (!reason->empty()) return nullptr;
    if (!few_outputs(request)) {
      *reason = "more than " + std::to_string(kMaxOutputChannels) + " output channels per group, or more than " +
                std::to_string(kMaxTileRows) + " rows with all phases, or a single phase";
      return nullptr;
    }
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table.wide, table.wide_count, table.lanes, cost::kUnalignedLoad);
    FewForm form(request.problem.layer, kernels.max_rows());
    BlockDomain domain;
    for (int d = 0; d < kSpatialDims; ++d) {
      domain.size[d] = positions(request.problem, d).size;
      domain.halo[d] = -form.offsets(d).min_offset;
    }
    domain.channels = request.problem.in_channels_per_group();
    domain.tile_rows = form.rows();
    for (const Strip& strip : form.strips()) domain.call_rows.push_back(strip.rows);
    const BlockGeometry geometry = cheapest_geometry(domain, kernels, request.caches, [&](const BlockGeometry& b) {
      return run_cycles(request, kernels, form, domain, b);
    });
    auto execution = std::make_unique<DirectFewExecution>(request, kernels, std::move(form), geometry);
    if (execution->workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) {
      *reason = "one row of all input channels needs " + std::to_string(execution->workspace_bytes()) +
                " bytes of workspace, more than the limit of " + std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }
};

}  // namespace

bool few_outputs(const PlanRequest& request) {
  // By the layer as it was made: a decision on sizes would let the bits of an output depend on them.
  const LayerSpec& layer = request.original.layer;
  const std::int64_t outputs = layer.out_channels / layer.groups;
  std::int64_t rows = outputs;
  for (int d = 0; d < kSpatialDims; ++d) {
    if (layer.stride[d] > kMaxTileRows / rows) return false;
    rows *= layer.stride[d];
  }
  return outputs <= kMaxOutputChannels && rows > outputs;
}

const Algorithm& direct_few() {
  static const DirectFew algorithm;
  return algorithm;
}

}  // namespace convtranspose
