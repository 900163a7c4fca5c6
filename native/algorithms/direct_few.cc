// Direct, for few output channels: all phases of all output channels of a group are rows of one tile, so that every input
// vector that is loaded serves all of them (with one output channel, a tile per phase would load a vector for each
// multiplication).
// A chunk of channels is computed for a whole block before the next: its rows are packed where they stay in the first cache,
// or read from the input itself, and those of the next chunk are fetched meanwhile.
// Positions, residues and strips are those of pack/strip_weights.h.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "algorithms/algorithm.h"
#include "algorithms/block_geometry.h"
#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/limits.h"
#include "algorithms/streaming.h"
#include "algorithms/tile_kernels.h"
#include "pack/input.h"
#include "pack/strip_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxOutputChannels = 4;  // per group: more rows than that fill a tile by themselves
constexpr std::int64_t kMaxTileRows = 64;
constexpr std::int64_t kMaxFewKernelPoints = 65536;  // their positions are listed
constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kFloatsPerAlias = 512;  // planes a multiple of this apart share few sets of the caches
// Products that are summed in registers before they are added to the tile: more of them, and the block of so many channels
// leaves the first-level cache; fewer, and adding takes its share.
constexpr std::int64_t kChunkProducts = 128;
constexpr std::int64_t kChunkGranule = 8;
constexpr std::int64_t kMaxColumns = 2048;  // of a block
constexpr std::int64_t kSlackBytes = 2048;  // scratch of the epilogues, and room behind the tile
// Cycles, and factors of them.
constexpr double kStorePerFloat = 2.0 * cost::kStorePerFloat;  // rows of a tile are short
constexpr double kBeyondFirst = 1.15;                          // tiles over a block in the second-level cache
constexpr double kInPlace = 1.1;                               // tiles over planes far apart
// Input is fetched while tiles are computed, which other algorithms wait for; with few channels there is nothing to wait
// for.
constexpr double kFetchedAhead = 0.78;
constexpr std::int64_t kChannelsToFetch = 9;
constexpr double kBlockOverhead = 200.0;
constexpr double kCopyRow = 10.0;    // of a channel, beside its floats
constexpr double kAccumulate = 2.0;  // for a vector of the tile that is added to

// Channels per chunk, by the layer alone. With one tap to a phase the order of the products is gemm's, and so is the chunk.
std::int64_t channel_chunk(const PlanRequest& request, const StripWeights& form) {
  std::int64_t taps = 0;
  for (const Strip& strip : form.strips()) taps = std::max(taps, static_cast<std::int64_t>(strip.taps.size()));
  if (taps <= 1) return request.channel_chunk;
  return std::max(kChunkGranule, kChunkProducts / taps / kChunkGranule * kChunkGranule);
}

// Channels that are packed at once: channels last, whole lines of the pixels, where chunks are less.
std::int64_t packed_channels(MemoryFormat format, std::int64_t chunk) {
  return format == MemoryFormat::kChannelsLast && kFloatsPerLine % chunk == 0 ? kFloatsPerLine : chunk;
}

// Channels last: whether the rows of a tile are, in order, the floats of the pixels of an output row: a row store
// interleaves them.
bool interleaves(const Problem& problem) {
  return problem.layer.groups == 1 && problem.layer.stride[2] * problem.layer.out_channels <= kMaxInterleaved;
}

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

// What all plans of a request share.
struct Setting {
  const PlanRequest& request;
  const TileKernels& kernels;
  const StripWeights& form;
  std::int64_t chunk;
  BlockDomain domain;
};

// Columns of positions [first, first + count) that blocks span.
struct Span {
  std::int64_t first, count;
};

// All spans of a row of blocks, from left to right. Equal ones are not listed: a row may have any number of them.
class Spans {
 public:
  Spans() = default;
  // Of `columns` columns each, and one of what is left.
  Spans(std::int64_t width, std::int64_t columns) : width_(width), columns_(columns), count_(ceil_div(width, columns)) {}
  explicit Spans(std::vector<Span> listed) : listed_(std::move(listed)), count_(static_cast<std::int64_t>(listed_.size())) {}

  std::int64_t count() const { return count_; }
  Span operator[](std::int64_t i) const {
    if (!listed_.empty()) return listed_[static_cast<std::size_t>(i)];
    return {i * columns_, std::min(columns_, width_ - i * columns_)};
  }
  // Calls visit(i, times): span i stands for so many that are as wide as it and no more at a side.
  template <typename Visit>
  void for_each_kind(Visit visit) const {
    if (count_ <= 3) {
      for (std::int64_t i = 0; i < count_; ++i) visit(i, std::int64_t{1});
      return;
    }
    visit(0, std::int64_t{1});
    visit(1, count_ - 2);
    visit(count_ - 1, std::int64_t{1});
  }

 private:
  std::vector<Span> listed_;  // at most three
  std::int64_t width_ = 0, columns_ = 0, count_ = 0;
};

struct Geometry {
  BlockGeometry block;
  Spans spans;
  bool in_place = false;  // blocks whose halo lies inside the input are read where they are
};

class DirectFewExecution final : public Execution {
 public:
  DirectFewExecution(const PlanRequest& request, TileKernels tile_kernels, StripWeights form, std::int64_t chunk,
                     const Geometry& geometry)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        kernels_(std::move(tile_kernels)),
        form_(std::move(form)),
        geometry_(geometry.block),
        spans_(geometry.spans),
        in_place_(geometry.in_place),
        chunk_(chunk),
        packed_channels_(packed_channels(problem_.call.format, chunk)) {
    if (problem_.call.format == MemoryFormat::kContiguous && !rows_share_lines(problem_.call)) {
      streaming_ = {streams(problem_, *table_, request.caches, kStreamSparse),
                    streams(problem_, *table_, request.caches, kStreamFresh)};
      if (workspace_bytes() > static_cast<std::size_t>(request.workspace_limit)) streaming_ = {};
    }
    for (int d = 0; d < kSpatialDims; ++d) range_[d] = positions(problem_, d);
    blocks_h_ = ceil_div(range_[1].size, geometry_.rows);
    blocks_w_ = spans_.count();
    blocks_ = problem_.call.batch * problem_.layer.groups * range_[0].size * blocks_h_ * blocks_w_;
    tasks_ = std::min(blocks_, parts_per_block(1, geometry_.cycles, blocks_));
    packed_taps_ = tap_offsets(geometry_.stride_d, geometry_.stride_h);
    if (in_place_) plane_taps_ = tap_offsets(problem_.call.in[1] * problem_.call.in[2], problem_.call.in[2]);
    estimated_seconds = geometry_.cycles / cost::kClock;
    phases = problem_.layer.stride[0] * problem_.layer.stride[1] * problem_.layer.stride[2];
    blocking = {{"rows", geometry_.rows},
                {"columns", geometry_.columns},
                {"flat", geometry_.flat ? 1 : 0},
                {"inPlace", in_place_ ? 1 : 0},
                {"channelChunk", chunk_},
                {"tileRows", form_.rows()},
                {"strips", static_cast<std::int64_t>(form_.strips().size())}};
    list_kernels();
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return tasks_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(geometry_.block_floats + tile_floats() + edge_floats() + kMaxInterleaved +
                                    row_floats()) *
           sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    float* const packed = reinterpret_cast<float*>(workspace.data);
    float* const tile = packed + geometry_.block_floats;
    float* const edge = tile + tile_floats();
    for (std::int64_t f = 0; f < kMaxInterleaved; ++f) {
      edge[edge_floats() + f] = args.bias == nullptr ? 0.0f : args.bias[f % problem_.layer.out_channels];
    }
    clear_gaps(packed);
    const std::int64_t end = first_block(task + 1);
    for (std::int64_t index = first_block(task); index < end; ++index) {
      const Block block = block_at(index);
      InputAhead next;
      if (index + 1 < end) next = input_ahead(args, block_at(index + 1));
      const std::int64_t tile_row = compute(args, block, packed, tile, next, workspace.used);
      for (std::int64_t r = 0; r < block.rows; ++r) store_row(args, block, r, tile + r * tile_row, edge);
    }
    if (streaming_.now(args.fresh)) table_->stream_fence();
  }

 private:
  struct Block {
    std::int64_t image, group, d, h, w, rows, columns;
  };

  std::vector<std::vector<std::ptrdiff_t>> tap_offsets(std::int64_t stride_d, std::int64_t stride_h) const {
    std::vector<std::vector<std::ptrdiff_t>> all;
    for (const Strip& strip : form_.strips()) {
      std::vector<std::ptrdiff_t> offsets;
      for (const auto& tap : strip.taps) {
        offsets.push_back((tap[0] - form_.offsets(0).min_offset) * stride_d +
                          (tap[1] - form_.offsets(1).min_offset) * stride_h + tap[2] - form_.offsets(2).min_offset);
      }
      all.push_back(std::move(offsets));
    }
    return all;
  }

  std::int64_t first_block(std::int64_t task) const { return blocks_ * task / tasks_; }
  Block block_at(std::int64_t index) const {
    Block block;
    const Span span = spans_[index % blocks_w_];
    block.w = span.first;
    block.columns = span.count;
    index /= blocks_w_;
    block.h = index % blocks_h_ * geometry_.rows;
    index /= blocks_h_;
    block.d = index % range_[0].size;
    index /= range_[0].size;
    block.group = index % problem_.layer.groups;
    block.image = index / problem_.layer.groups;
    block.rows = std::min(geometry_.rows, range_[1].size - block.h);
    return block;
  }

  InputBox input_box(const Block& block) const {
    InputBox box;
    box.first = {range_[0].first + block.d + form_.offsets(0).min_offset,
                 range_[1].first + block.h + form_.offsets(1).min_offset,
                 range_[2].first + block.w + form_.offsets(2).min_offset};
    box.size = geometry_.box;
    box.size[2] -= geometry_.columns - block.columns;
    return box;
  }

  // Where the first input position of a block's box stands in src, if the tiles of the block may read the input there: all
  // of the box lies inside, and whole vectors end before the end of src. Otherwise nullptr: it is to be packed.
  const float* readable(const RunArgs& args, const Block& block) const {
    if (!in_place_) return nullptr;
    InputBox box = input_box(block);
    box.size[1] -= geometry_.rows - block.rows;
    for (int d = 0; d < kSpatialDims; ++d) {
      if (box.first[d] < 0 || box.first[d] + box.size[d] > problem_.call.in[d]) return nullptr;
    }
    const InputView view = input_view(problem_, args.src, block.image, block.group);
    const Dims& in = problem_.call.in;
    const float* const first = view.data + (box.first[0] * in[1] + box.first[1]) * in[2] + box.first[2];
    const std::int64_t to_last_row =
        ((view.channels - 1) * in[0] + box.size[0] - 1) * in[1] * in[2] + (box.size[1] - 1) * in[2];
    const std::int64_t vectors = covered(block.columns) + box.size[2] - block.columns;
    return first - args.src + to_last_row + vectors <= problem_.src_elements() ? first : nullptr;
  }

  std::int64_t covered(std::int64_t columns) const {
    std::int64_t most = 0;
    for (const Strip& strip : form_.strips()) most = std::max(most, kernels_.covered(strip.rows, columns));
    return most;
  }

  // Room behind the tile, since row stores read up to one vector beyond a phase.
  std::int64_t tile_floats() const {
    return form_.rows() * geometry_.pixel_stride + round_up(kernels_.lanes(), kFloatsPerLine);
  }
  // One position's outputs along the width (contiguous), or a piece of transposed tile (channels last). Behind it are the
  // biases of the rows that are interleaved.
  static constexpr std::int64_t kTransposePixels = 64;
  std::int64_t edge_floats() const {
    return round_up(std::max(problem_.layer.stride[2], kMaxOutputChannels * kTransposePixels), kFloatsPerLine);
  }

  // A row of outputs that passes by the caches, behind the biases.
  std::int64_t row_floats() const {
    if (!streaming_.always && !streaming_.fresh) return 0;
    return round_up(geometry_.columns * problem_.layer.stride[2], kFloatsPerLine);
  }

  void list_kernels() {
    const auto ends = [](std::int64_t extent, std::int64_t block) {
      return std::array<std::int64_t, 2>{std::min(extent, block), (extent - 1) % block + 1};
    };
    for (const Strip& strip : form_.strips()) {
      spans_.for_each_kind([&](std::int64_t i, std::int64_t) {
        const std::int64_t columns = spans_[i].count;
        for (const std::int64_t rows : ends(range_[1].size, geometry_.rows)) {
          kernels |= kernels_.set_for(strip.rows, geometry_.flat ? geometry_.flat_pixels(rows, columns) : columns);
        }
      });
    }
  }

  // What is read next: while channels are computed, the input of the next ones is fetched into the second-level cache, since
  // whoever reads it would wait for each line. (No more than that: planes a power of two apart share few sets.)
  struct InputAhead {
    const float* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t row_lines = 0;  // of the caches, of each channel (contiguous); pixels (channels last)
    std::int64_t lines() const { return rows * row_lines; }
  };

  InputAhead input_ahead(const RunArgs& args, const Block& block) const {
    InputAhead ahead;
    const Dims& in = problem_.call.in;
    if (in[0] != 1) return ahead;
    const InputBox box = input_box(block);
    const InputView view = input_view(problem_, args.src, block.image, block.group);
    const std::int64_t first_row = std::max<std::int64_t>(0, box.first[1]);
    const std::int64_t first_column = std::clamp<std::int64_t>(box.first[2], 0, in[2]);
    const std::int64_t columns = std::clamp(box.first[2] + box.size[2], first_column, in[2]) - first_column;
    ahead.rows = std::max<std::int64_t>(0, std::min(in[1], box.first[1] + box.size[1]) - first_row);
    ahead.row_lines = view.format == MemoryFormat::kContiguous ? ceil_div(columns, kFloatsPerLine) : columns;
    ahead.data = view.data + (first_row * in[2] + first_column) * view.pixel_stride;
    return ahead;
  }

  // What the calls for a chunk of channels fetch: `lines` from `first` on, of those that some channels have in the input.
  struct Fetch {
    InputAhead ahead;
    std::int64_t channel = 0;  // the first of these,
    std::int64_t channels = 0;
    std::int64_t first = 0;
    std::int64_t lines = 0;
  };

  // For the chunk that begins at channel c: its part of the channels that are packed next, or of the first ones of the next
  // block.
  Fetch fetch_after(std::int64_t c, const InputAhead& here, const InputAhead& next) const {
    const std::int64_t channels = problem_.in_channels_per_group();
    const std::int64_t packed_from = c - c % packed_channels_;
    const std::int64_t wanted = packed_from + packed_channels_;
    Fetch fetch;
    fetch.ahead = wanted < channels ? here : next;
    fetch.channel = wanted < channels ? wanted : 0;
    fetch.channels = std::min(packed_channels_, channels - fetch.channel);
    std::int64_t lines = fetch.ahead.lines();
    if (problem_.call.format == MemoryFormat::kChannelsLast) lines *= ceil_div(fetch.channels, kFloatsPerLine);
    const std::int64_t chunks = ceil_div(std::min(packed_channels_, channels - packed_from), chunk_);
    const std::int64_t chunk = (c - packed_from) / chunk_;
    fetch.first = lines * chunk / chunks;
    fetch.lines = lines * (chunk + 1) / chunks - fetch.first;
    return fetch;
  }

  // `call` asks for the lines [first, last) of them.
  void ask(const Fetch& fetch, std::int64_t first, std::int64_t last, TileArgs* call) const {
    const InputAhead& ahead = fetch.ahead;
    const std::int64_t in_w = problem_.call.in[2];
    const std::int64_t at = fetch.first + first;
    call->prefetch_lines = last - first;
    if (problem_.call.format == MemoryFormat::kContiguous) {
      call->prefetch = ahead.data + fetch.channel * problem_.in_points() + at / ahead.row_lines * in_w +
                       at % ahead.row_lines * kFloatsPerLine;
      return;
    }
    // The lines of the last of sixteen channels: those that they share with the ones before have been fetched with these.
    const std::int64_t pixel = at % ahead.lines();
    const std::int64_t end = std::min(fetch.channels, (at / ahead.lines() + 1) * kFloatsPerLine);
    call->prefetch_step = problem_.layer.in_channels;
    call->prefetch = ahead.data + (pixel / ahead.row_lines * in_w + pixel % ahead.row_lines) * call->prefetch_step +
                     fetch.channel + end - 1;
    call->prefetch_lines = ceil_div(last - first, call->channels);
    call->prefetch_stride = call->prefetch_lines * call->prefetch_step;
  }

  // Fills the tile; returns the distance of its rows of pixels.
  std::int64_t compute(const RunArgs& args, const Block& block, float* packed, float* tile, const InputAhead& next,
                       KernelSet* used) const {
    const InputAhead here = input_ahead(args, block);
    const float* const planes = readable(args, block);
    const std::int64_t stride_h = planes != nullptr ? problem_.call.in[2] : geometry_.stride_h;
    std::int64_t tile_row = geometry_.stride_h;
    std::int64_t segments = 1;
    std::int64_t pixels = geometry_.flat_pixels(block.rows, block.columns);
    if (!geometry_.flat) {
      tile_row = covered(block.columns);
      segments = block.rows;
      pixels = block.columns;
    }
    for (const std::int64_t row : form_.empty_rows()) {
      std::memset(tile + row * geometry_.pixel_stride, 0, static_cast<std::size_t>(geometry_.pixel_stride) * sizeof(float));
    }
    const std::int64_t channels = problem_.in_channels_per_group();
    const float* const weights = args.weights + block.group * form_.group_elements();
    const std::int64_t plane = problem_.in_points();
    TileArgs call;
    call.row_offset = nullptr;
    call.src_channel_stride = planes != nullptr ? plane : geometry_.stride_c;
    call.tile_stride = geometry_.pixel_stride;
    call.prefetch_stride = plane;
    for (std::int64_t c = 0; c < channels; c += chunk_) {
      call.channels = std::min(chunk_, channels - c);
      if (planes == nullptr && c % packed_channels_ == 0) {
        pack(args, block, c, std::min(packed_channels_, channels - c), packed);
      }
      const Fetch fetch = fetch_after(c, here, next);
      const float* const src = planes != nullptr ? planes + c * plane : packed + c % packed_channels_ * geometry_.stride_c;
      for (std::size_t s = 0; s < form_.strips().size(); ++s) {
        const Strip& strip = form_.strips()[s];
        const auto& offsets = planes != nullptr ? plane_taps_[s] : packed_taps_[s];
        call.tap_offset = offsets.data();
        call.taps = static_cast<std::int64_t>(offsets.size());
        if (strip.mixed) {
          call.subset_taps = strip.subset_taps.data();
          for (const std::int64_t taps : strip.subset_taps) call.taps -= taps;
        }
        call.weights = weights + strip.packed_offset + c * static_cast<std::int64_t>(strip.weight_positions.size());
        call.accumulate = strip.accumulate || c > 0;
        const std::int64_t lines = s == 0 ? fetch.lines : 0;
        call.prefetch_lines = 0;
        for (std::int64_t segment = 0; segment < segments; ++segment) {
          float* const to = tile + strip.first_row * geometry_.pixel_stride + segment * tile_row;
          for (std::int64_t pixel = 0; pixel < pixels;) {
            const TileKernel& kernel = kernels_.pick(strip.rows, pixels - pixel);
            call.src = src + segment * stride_h + pixel;
            call.tile = to + pixel;
            if (lines > 0) {
              const std::int64_t total = segments * pixels;
              const std::int64_t first = lines * (segment * pixels + pixel) / total;
              ask(fetch, first, lines * (segment * pixels + std::min(pixel + kernel.nr, pixels)) / total, &call);
            }
            kernel.fn(&call);
            used->set(kernels_.number(kernel));
            pixel += kernel.nr;
          }
        }
      }
    }
    return tile_row;
  }

  // Packs channels [first, first + count) of a group.
  void pack(const RunArgs& args, const Block& block, std::int64_t first, std::int64_t count, float* packed) const {
    InputView view = input_view(problem_, args.src, block.image, block.group);
    view.data += first * (problem_.call.format == MemoryFormat::kContiguous ? problem_.in_points() : 1);
    view.channels = count;
    pack_planes(view, input_box(block), geometry_.stride_d, geometry_.stride_h, geometry_.stride_c, *table_, packed);
    // Tiles read whole vectors: what follows the last position is zeroed, since stale denormals would cost time.
    const std::int64_t slack = kernels_.max_columns();
    std::memset(packed + geometry_.block_floats - slack, 0, static_cast<std::size_t>(slack) * sizeof(float));
  }

  // The same for what follows the rows of each channel, where these begin at lines: no block writes there.
  void clear_gaps(float* packed) const {
    const std::int64_t gap = geometry_.flat ? 0 : geometry_.stride_c - geometry_.box[2];
    if (gap == 0) return;
    const std::int64_t rows = geometry_.box[0] * geometry_.box[1] * (geometry_.stride_h / geometry_.stride_c);
    for (std::int64_t r = 0; r < rows; ++r) std::fill_n(packed + r * geometry_.stride_c + geometry_.box[2], gap, 0.0f);
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

  // Outputs of the block's columns along the width, `floats` of each in memory, whose phases are rows of a tile. dst: where
  // the first one of stored_columns() goes.
  void interleave(const Block& block, RowStoreArgs row, std::int64_t floats, float* dst, float* edge) const {
    const std::int64_t out_w = problem_.call.out[2];
    const std::int64_t stride_w = problem_.layer.stride[2];
    const std::int64_t first = first_column(block);
    std::int64_t begin = first;
    if (begin < 0) {  // the first position's outputs fall partly before the row: by way of `edge`
      row.dst = edge;
      row.count = stride_w * floats;
      table_->row_store(&row);
      begin += stride_w;
      const float* const inside = edge + (stride_w - begin) * floats;
      std::copy(inside, inside + std::min(begin, out_w) * floats, dst);
      ++row.tile;
    }
    row.dst = dst + (begin - std::max<std::int64_t>(0, first)) * floats;
    row.count = std::max<std::int64_t>(0, std::min(first + block.columns * stride_w, out_w) - begin) * floats;
    table_->row_store(&row);
  }

  void store_contiguous(const RunArgs& args, const Block& block, std::int64_t od, std::int64_t oh, const float* rows,
                        float* edge) const {
    const Dims& out = problem_.call.out;
    const std::int64_t outputs = problem_.out_channels_per_group();
    const bool stream = streaming_.now(args.fresh);
    RowStoreArgs row;
    row.phase_stride = outputs * geometry_.pixel_stride;
    row.phases = problem_.layer.stride[2];
    row.epilogue = &finisher_.epilogue(args);
    for (std::int64_t co = 0; co < outputs; ++co) {
      const std::int64_t channel = block.group * outputs + co;
      const Range stored = stored_columns(block);
      float* const dst = args.dst +
                         (((block.image * problem_.layer.out_channels + channel) * out[0] + od) * out[1] + oh) * out[2] +
                         stored.first;
      float* const to = stream ? edge + edge_floats() + kMaxInterleaved : dst;
      row.bias = args.bias == nullptr ? 0.0f : args.bias[channel];
      row.tile = rows + co * geometry_.pixel_stride;
      interleave(block, row, 1, to, edge);
      finisher_.row(args, channel, to, dst - args.dst, stored.size);
      if (stream) stream_row(*table_, to, stored.size, dst);
    }
  }

  void store_channels_last(const RunArgs& args, const Block& block, std::int64_t od, std::int64_t oh, const float* rows,
                           float* scratch) const {
    const Dims& out = problem_.call.out;
    const std::int64_t channels = problem_.layer.out_channels;
    const std::int64_t outputs = problem_.out_channels_per_group();
    const std::int64_t first_channel = block.group * outputs;
    float* const dst = args.dst + ((block.image * out[0] + od) * out[1] + oh) * out[2] * channels + first_channel;
    if (interleaves(problem_)) {
      const RowStoreArgs row{rows,
                             geometry_.pixel_stride,
                             problem_.layer.stride[2] * outputs,
                             0,
                             nullptr,
                             0.0f,
                             &finisher_.epilogue(args),
                             scratch + edge_floats()};
      interleave(block, row, outputs, dst + stored_columns(block).first * channels, scratch);
    } else {
      store_residues(args, block, rows, first_channel, dst, scratch);
    }
    const Range stored = stored_columns(block);
    float* const first = dst + stored.first * channels;
    finisher_.pixels(args, first_channel, first, channels, first - args.dst, stored.size, outputs);
  }

  // Channels last, one residue along the width after the other: a pixel's channels are neighbours, and its pixels are not.
  void store_residues(const RunArgs& args, const Block& block, const float* rows, std::int64_t first_channel, float* dst,
                      float* scratch) const {
    static constexpr float kZeros[kMaxOutputChannels] = {};
    const std::int64_t outputs = problem_.out_channels_per_group();
    const std::int64_t stride_w = problem_.layer.stride[2];
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
      const std::int64_t end = std::min(block.columns, ceil_div(problem_.call.out[2] - ow, stride_w));
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
  Finisher finisher_;
  const KernelTable* table_;
  TileKernels kernels_;
  StripWeights form_;
  BlockGeometry geometry_;
  Spans spans_;
  bool in_place_;
  std::int64_t chunk_;
  std::int64_t packed_channels_;
  Streaming streaming_;
  Range range_[kSpatialDims];
  std::int64_t blocks_h_, blocks_w_, blocks_;
  std::int64_t tasks_;                                    // runs of neighbouring blocks
  std::vector<std::vector<std::ptrdiff_t>> packed_taps_;  // [strip], in a packed block
  std::vector<std::vector<std::ptrdiff_t>> plane_taps_;   // [strip], in src
};

// Cycles of a whole run.
double run_cycles(const Setting& s, const Geometry& geometry) {
  const Problem& p = s.request.problem;
  const BlockGeometry& b = geometry.block;
  const double rows_of_blocks = static_cast<double>(p.call.batch) * static_cast<double>(p.layer.groups) *
                                static_cast<double>(s.domain.size[0]) *
                                static_cast<double>(ceil_div(s.domain.size[1], b.rows));
  const std::int64_t all_channels = p.in_channels_per_group();
  const double chunks = static_cast<double>(ceil_div(all_channels, s.chunk));
  const double channels = static_cast<double>(std::min(all_channels, s.chunk));
  const double packs = static_cast<double>(ceil_div(all_channels, s.domain.channels));
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  double cycles = 0.0;
  geometry.spans.for_each_kind([&](std::int64_t i, std::int64_t spans) {
    const std::int64_t columns = geometry.spans[i].count;
    const std::int64_t pixels = b.flat ? b.flat_pixels(b.rows, columns) : columns;
    const double times = b.flat ? 1.0 : static_cast<double>(b.rows);
    double compute = 0.0;
    for (const Strip& strip : s.form.strips()) {
      const double rows = static_cast<double>(strip.rows);
      const double steps = channels * static_cast<double>(strip.weight_positions.size()) / rows;
      compute += times * s.kernels.cycles(strip.rows, pixels, steps);
      const double vectors = times * static_cast<double>(pixels) / static_cast<double>(s.kernels.lanes());
      if (chunks > 1.0 || strip.accumulate) compute += rows * vectors * kAccumulate;
    }
    const std::int64_t chunk_floats = b.block_floats * std::min(all_channels, s.chunk) / s.domain.channels;
    const std::int64_t bytes = (chunk_floats + s.form.rows() * b.pixel_stride) * 4;
    // In place, the blocks at the sides are packed; those above and below are few.
    const bool in_place = geometry.in_place && i > 0 && i + 1 < geometry.spans.count();
    if (in_place) {
      compute *= kInPlace;
    } else if (bytes > static_cast<std::int64_t>(s.request.caches.l1d)) {
      compute *= kBeyondFirst;
    }
    const double packed = static_cast<double>(s.domain.channels * b.box[0] * b.box[1] * (columns + s.domain.halo[2]));
    const double packed_rows = static_cast<double>(s.domain.channels * b.box[0] * b.box[1]);
    const double pack = in_place ? 0.0
                        : last   ? packed * cost::kTransposePerFloat
                                 : packed * cost::kCopyPerFloat + packed_rows * kCopyRow;
    cycles += static_cast<double>(spans) * (chunks * compute + packs * pack + kBlockOverhead);
  });
  const bool several = last && p.layer.out_channels > 1;  // beside each other
  const double store =
      static_cast<double>(p.dst_elements()) * (several ? cost::kTransposePerFloat + kStorePerFloat : kStorePerFloat);
  const bool apart = last && !interleaves(p);
  const double pixels = apart ? static_cast<double>(p.call.batch) * static_cast<double>(p.layer.groups) *
                                    static_cast<double>(p.out_points()) * cost::kPixelStore
                              : 0.0;
  return (all_channels >= kChannelsToFetch ? kFetchedAhead : 1.0) * (rows_of_blocks * cycles + store + pixels);
}

// One span for tiles that reach over each side of the input, as narrow as a tile is wide, and one between them, whose tiles
// can read the input where it is. None if there are none.
Spans inner_spans(const Setting& s, std::int64_t tile) {
  const Problem& p = s.request.problem;
  if (p.call.format != MemoryFormat::kContiguous || p.in_points() % kFloatsPerAlias == 0) return {};
  const std::int64_t width = s.domain.size[2];
  const std::int64_t first = positions(p, 2).first;
  const std::int64_t inside = std::min(p.call.in[2] - first, width);  // columns before it read nothing beyond the right side
  const std::int64_t left = first < s.domain.halo[2] ? tile : 0;
  const std::int64_t middle = (inside - left) / tile * tile;
  if (left > 0 && left < s.domain.halo[2] - first) return {};
  if (middle < tile || middle > kMaxColumns) return {};
  std::vector<Span> spans;
  spans.push_back({0, left});
  spans.push_back({left, middle});
  if (left + middle < width) spans.push_back({left + middle, width - left - middle});
  if (left == 0) spans.erase(spans.begin());
  return Spans(std::move(spans));
}

Geometry cheapest(const Setting& s) {
  static constexpr std::int64_t kRows[] = {1, 2, 4, 8, 12, 17, 33};
  static constexpr std::int64_t kParts[] = {1, 2, 4};
  const std::int64_t width = s.domain.size[2];
  std::int64_t tile = 0;  // columns of the widest tile
  for (const Strip& strip : s.form.strips()) {
    tile = std::max<std::int64_t>(tile, s.kernels.pick(strip.rows, s.kernels.max_columns()).nr);
  }
  Geometry best;
  const auto consider = [&](bool in_place, bool flat, std::int64_t rows, Spans spans, std::int64_t limit) {
    Geometry g;
    std::int64_t columns = 0;
    spans.for_each_kind([&](std::int64_t i, std::int64_t) { columns = std::max(columns, spans[i].count); });
    g.block = block_geometry(s.domain, s.kernels, flat, rows, columns);
    g.spans = std::move(spans);
    g.in_place = in_place;
    if ((g.block.block_floats + s.form.rows() * g.block.pixel_stride) * 4 > limit) return;
    g.block.cycles = run_cycles(s, g);
    if (best.spans.count() == 0 || g.block.cycles < best.block.cycles) best = std::move(g);
  };
  const std::int64_t limit =
      std::min(static_cast<std::int64_t>(s.request.caches.l2) / 4, s.domain.workspace_limit - kSlackBytes);
  const Spans inner = inner_spans(s, tile);
  const std::int64_t least_parts = ceil_div(width, kMaxColumns);
  for (const std::int64_t rows : kRows) {
    if (rows > s.domain.size[1]) break;
    if (inner.count() > 0) consider(true, false, rows, inner, limit);
    std::int64_t tried = 0;
    for (const std::int64_t parts : kParts) {
      const std::int64_t columns = std::min(width, round_up(ceil_div(width, parts * least_parts), tile));
      if (columns == tried) continue;
      tried = columns;
      consider(false, false, rows, Spans(width, columns), limit);
      if (rows > 1) consider(false, true, rows, Spans(width, columns), limit);
    }
  }
  // The smallest there is, whether or not it fits.
  if (best.spans.count() == 0) {
    consider(false, false, 1, Spans(width, std::min(width, tile)), std::numeric_limits<std::int64_t>::max());
  }
  return best;
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
    const LayerSpec& layer = request.problem.layer;
    TileKernels kernels(table, TileKernels::Family::kWide);
    const TileKernels mixed(table, TileKernels::Family::kMixed);
    StripWeights form(layer, kernels.max_rows(), mixed.has_rows(4 * (layer.out_channels / layer.groups)));
    if (form.strips().front().mixed) kernels = mixed;
    const std::int64_t chunk = channel_chunk(request, form);
    Setting setting{request, kernels, form, chunk, {}};
    BlockDomain& domain = setting.domain;
    for (int d = 0; d < kSpatialDims; ++d) {
      domain.size[d] = positions(request.problem, d).size;
      domain.halo[d] = -form.offsets(d).min_offset;
    }
    domain.channels = std::min(packed_channels(request.problem.call.format, chunk), request.problem.in_channels_per_group());
    domain.workspace_limit = request.workspace_limit;
    domain.tile_rows = form.rows();
    domain.whole_lines = request.problem.call.format == MemoryFormat::kChannelsLast;
    for (const Strip& strip : form.strips()) domain.call_rows.push_back(strip.rows);
    const Geometry geometry = cheapest(setting);
    auto execution = std::make_unique<DirectFewExecution>(request, kernels, std::move(form), chunk, geometry);
    if (lacks_workspace(request, execution->workspace_bytes(), "one row of all input channels", decline)) return nullptr;
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
