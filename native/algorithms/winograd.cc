// Winograd (Toom-Cook) on the phases, by overlap-add. Along a dimension every phase is the product of the input, a
// polynomial, with the phase's taps, another. The input is cut into disjoint tiles of m positions, whose values at the
// points of pack/winograd_points.h serve all phases; for every point a GEMM [phases * output channels x input channels] x
// [input channels x tiles] multiplies them with the taps' values, and the output transform turns values into coefficients. A
// product is longer than its tile by taps - 1: what runs over is added to the next tile's first outputs.
//
// Blocks: as many tiles as fit a budget are transformed at once, into memory that all threads share (stage 2b), then
// multiplied, one block of output channels a task (stage 2b + 1). Tiles before a block whose product runs over into it are
// computed once more (halo).
//
// Where there is a unit for products of matrices, it makes them from terms of the values (winograd_terms.h): in a stage of
// their own, a point or a part of its output channels a task, into memory that all threads share. A point's input then
// passes through the caches once.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <optional>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/tile_kernels.h"
#include "algorithms/winograd_design.h"
#include "algorithms/winograd_output.h"
#include "algorithms/winograd_terms.h"
#include "algorithms/winograd_tiles.h"
#include "pack/input.h"
#include "pack/winograd_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::size_t kMaxWorkspaceBytes = 8 << 20;  // for each thread
constexpr std::int64_t kInputTaskFloats = 8 * 1024;  // of input that a task transforms
constexpr std::int64_t kEvenTasks = 4;               // or a multiple of it, that transform the input of a block
constexpr std::int64_t kTransposedChannels = 32;     // at a time, of channels-last input
constexpr int kMaxWeightExponent = 40;
constexpr int kMinWeightExponent = -60;
constexpr std::int64_t kSmallestTile = 2;
constexpr std::int64_t kMaxBlocks = 1 << 16;  // of tiles, each of which all threads share

class WinogradExecution final : public Execution {
 public:
  // rounds: in which the products of a block of tiles are made, some blocks of output channels each; 1 unless they are of
  // terms.
  WinogradExecution(const PlanRequest& request, WinogradWeights form, TileKernels tile_kernels, const WinogradTiles& tiles,
                    int rounds, int limit_exponent)
      : problem_(request.problem),
        table_(request.kernels),
        form_(std::move(form)),
        kernels_(std::move(tile_kernels)),
        chunk_(winograd_channel_chunk(request.problem, form_.tile())),
        tiles_(tiles),
        output_(request.problem, *request.kernels, form_, tiles_, request.caches),
        scale_(static_cast<float>(std::ldexp(1.0, 128 - limit_exponent))),
        rounds_(rounds),
        panels_first_(form_.tile().combined && shared_bytes() <= request.caches.l2 / 2) {
    const std::int64_t channels = problem_.in_channels_per_group();
    if (form_.tile().matrices) terms_.emplace(request, tiles_);
    slice_ = std::clamp<std::int64_t>(kInputTaskFloats / std::max<std::int64_t>(1, tiles_.most_positions), 1, channels);
    // As many tasks as few threads share evenly.
    slice_ = ceil_div(channels, round_up(ceil_div(channels, slice_), kEvenTasks));
    if (last()) slice_ = std::min(channels, round_up(slice_, kTransposedChannels));
    if (terms_) slice_ = round_up(slice_, std::int64_t{kTermBlock});
    for (int d = 0; d < kSpatialDims; ++d) points_[d] = tiles_.points[d];
    list_kernels();
    phases = problem_.layer.stride[0] * problem_.layer.stride[1] * problem_.layer.stride[2];
    blocking = {{"tile", *std::max_element(form_.tile().size.begin(), form_.tile().size.end())},
                {"tiles", tiles_.most_tiles()},
                {"channels", form_.blocks().front().channels},
                {"combined", form_.tile().combined ? 1 : 0},
                {"matrices", terms_ ? 1 : 0},
                {"rounds", rounds_}};
    precision = form_.tile().size[0] > 2 || form_.tile().size[1] > 2 || form_.tile().size[2] > 2 ? Precision::kHigh
                                                                                                 : Precision::kHighest;
    notes.push_back("inputs that hold an infinity, a NaN or a magnitude of 2^" + std::to_string(limit_exponent) +
                    " or more run as algorithm 'direct'");
    if (tiles_.dilated()) notes.push_back("calls with a residual run as algorithm 'direct'");
  }

  const PackedForm* packed_form() const override { return &form_; }
  int stages() const override { return static_cast<int>(stages_of_block() * problem_.layer.groups * tiles_.block_count()); }
  std::int64_t tasks(int stage) const override {
    stage %= stages_of_block();
    if (stage == 0) return ceil_div(problem_.in_channels_per_group(), slice_);
    if (!terms_) return static_cast<std::int64_t>(form_.blocks().size());
    const Range blocks = round_of(stage);
    return stage % 2 == 1 ? static_cast<std::int64_t>(steps_.size()) * parts_of(blocks) : blocks.end - blocks.begin;
  }
  std::size_t shared_bytes() const override {
    const std::int64_t beyond = terms_ ? output_.beyond() : 0;  // otherwise scratch for outputs stands behind the products
    return static_cast<std::size_t>(input_shared_floats() + output_.carry_floats() + products_shared_floats() + beyond) *
           sizeof(float);
  }
  std::size_t workspace_bytes() const override {
    const std::int64_t multiplied =
        terms_ ? std::max(terms_->scratch_floats(), output_.floats()) : front_floats() + product_floats() + output_.floats();
    return static_cast<std::size_t>(std::max(input_floats(), multiplied)) * sizeof(float);
  }

  void run_task(const RunArgs& args, int stage, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t group = stage / stages_of_block() / tiles_.block_count();
    const TileBox box = tiles_.block(stage / stages_of_block() % tiles_.block_count());
    const ChannelBlock* const blocks = form_.blocks().data();
    float* const scratch = reinterpret_cast<float*>(workspace.data);
    stage %= stages_of_block();
    if (stage == 0) {
      transform_input(args, group, box, task, scratch, workspace.used);
    } else if (!terms_) {
      multiply(args, group, box, blocks[task], scratch, workspace.used);
    } else if (stage % 2 == 1) {
      multiply_terms(args, group, round_of(stage), task, scratch, workspace.used);
    } else {
      output_.store(args, group, box, blocks[round_of(stage).begin + task], block_products(args, task), carry(args), scratch,
                    workspace.used);
    }
  }

 private:
  bool last() const { return problem_.call.format == MemoryFormat::kChannelsLast; }
  // The input's, then one for outputs; with terms, products and outputs in rounds, each for some blocks of channels.
  int stages_of_block() const { return terms_ ? 1 + 2 * rounds_ : 2; }
  struct Range {
    std::int64_t begin, end;
  };
  Range round_of(int stage) const {
    const std::int64_t round = (stage - 1) / 2, blocks = static_cast<std::int64_t>(form_.blocks().size());
    return {blocks * round / rounds_, blocks * (round + 1) / rounds_};
  }

  // The transformed input is [point][panel of tiles][channel][tile of the panel], or split (winograd_terms.h).
  std::int64_t columns() const { return tiles_.columns; }  // of a panel
  std::int64_t panel_floats() const { return problem_.in_channels_per_group() * columns(); }
  std::int64_t point_floats() const { return problem_.in_channels_per_group() * tiles_.row_floats + kFloatsPerLine; }

  std::int64_t input_shared_floats() const {
    return terms_ ? tiles_.point_count() * terms_->point_elements() / 2 : tiles_.point_count() * point_floats();
  }

  // Shared memory: the transformed input, what runs over, and, of terms, the products of a round: those of one block of
  // channels after the other, with room before each.
  float* carry(const RunArgs& args) const { return reinterpret_cast<float*>(args.shared) + input_shared_floats(); }
  std::int64_t block_stride() const { return front_floats() + product_floats(); }
  std::int64_t products_shared_floats() const {
    return terms_ ? ceil_div(static_cast<std::int64_t>(form_.blocks().size()), std::int64_t{rounds_}) * block_stride() : 0;
  }
  float* block_products(const RunArgs& args, std::int64_t block_of_round) const {
    return carry(args) + output_.carry_floats() + block_of_round * block_stride() + front_floats();
  }

  // ---- Input ----------------------------------------------------------------------------------------------------------

  // A row of tiles in scratch, with room for what kernels write beyond it.
  std::int64_t scratch_row() const { return tiles_.row_floats + kFloatsPerLine; }
  std::int64_t planes_floats() const {  // transposed channels-last input, or the grids of one channel
    const std::int64_t channels = last() ? kTransposedChannels : tiles_.dilated() ? 1 : 0;
    if (!tiles_.dilated()) return round_up(channels * tiles_.most_positions, kFloatsPerLine);
    // With room behind each image, and for images that are gathered and not wanted.
    const std::int64_t grid = tiles_.most_positions / tiles_.images + 2 * kFloatsPerLine;
    return channels * round_up(grid, kFloatsPerLine) * (tiles_.images + problem_.layer.dilation[2]);
  }
  std::int64_t input_floats() const {
    const auto& m = form_.tile().size;
    const std::int64_t split = m[0] * m[1] * m[2];
    const std::int64_t wide = m[0] * m[1] * points_[2];
    const std::int64_t high = m[0] * points_[1] * points_[2];
    return (split + wide + high) * scratch_row() + 2 * kFloatsPerLine + planes_floats() + values_floats();
  }
  // Values of some channels before they are split, [point][channel][tile].
  std::int64_t value_point() const { return kTermBlock * scratch_row(); }
  std::int64_t values_floats() const { return terms_ ? tiles_.point_count() * value_point() : 0; }

  void transform_input(const RunArgs& args, std::int64_t group, const TileBox& box, std::int64_t task, float* scratch,
                       KernelSet* used) const {
    // The outputs of a block are spread among those of others: nobody has them together when they are complete.
    if (tiles_.dilated() && args.residual != nullptr) {
      args.refused->store(true, std::memory_order_relaxed);
      return;
    }
    const std::int64_t channels = problem_.in_channels_per_group();
    const auto& m = form_.tile().size;
    float* const split = scratch + kFloatsPerLine;
    float* const values = scratch + input_floats() - values_floats();
    float* const planes = values - planes_floats();
    float* const check = planes - kFloatsPerLine;
    std::memset(check, 0, kFloatsPerLine * sizeof(float));
    // What follows the last tile is read by whole vectors, so it must hold zeros.
    std::memset(split, 0, static_cast<std::size_t>(m[0] * m[1] * m[2] * scratch_row()) * sizeof(float));
    const std::int64_t end = std::min(channels, (task + 1) * slice_);
    for (std::int64_t c = task * slice_; c < end; ++c) {
      if (last() && (c - task * slice_) % kTransposedChannels == 0) {
        transpose_planes(args, group, box, c, std::min(end, c + kTransposedChannels), planes);
      }
      if (tiles_.dilated() && !last()) gather_planes(args, group, box, c, planes, check);
      const std::int64_t transposed =
          last() ? (c - task * slice_) % kTransposedChannels * box.images * image_floats(box) : 0;
      split_channel(input_planes(args, group, box, c, planes + transposed), box, split, check);
      if (!terms_) {
        evaluate_channel(
            split, {reinterpret_cast<float*>(args.shared) + c * columns(), point_floats(), columns(), panel_floats()}, used);
        continue;
      }
      evaluate_channel(split, {values + c % kTermBlock * scratch_row(), value_point(), tiles_.row_floats, 0}, used);
      if (c + 1 < end && (c + 1) % kTermBlock != 0) continue;
      const std::int64_t first = c / kTermBlock * kTermBlock;
      for (std::int64_t p = 0; p < tiles_.point_count(); ++p) {
        auto* const to = reinterpret_cast<std::uint16_t*>(args.shared) + p * terms_->point_elements();
        if (!terms_->split(values + p * value_point(), scratch_row(), first, c + 1 - first, to)) {
          args.refused->store(true, std::memory_order_relaxed);
        }
      }
    }
    for (int i = 0; i < table_->lanes; ++i) {
      if (check[i] != check[i]) args.refused->store(true, std::memory_order_relaxed);
    }
  }

  // Input positions that a box of tiles covers, as far as they exist.
  std::int64_t rows_of(const TileBox& box, int d) const {
    const std::int64_t m = form_.tile().size[d];
    return std::min(tiles_.in_size(d) - box.first[d] * m, box.size[d] * m);
  }
  std::int64_t plane_floats(const TileBox& box) const { return rows_of(box, 0) * rows_of(box, 1) * rows_of(box, 2); }

  // Where the rows of one channel of a box stand.
  struct Planes {
    const float* data;  // first position of the box, first image
    std::ptrdiff_t stride_image, stride_d, stride_h;
  };
  Planes input_planes(const RunArgs& args, std::int64_t group, const TileBox& box, std::int64_t channel,
                      const float* transposed) const {
    if (tiles_.dilated()) {
      return {transposed, grid_floats(box), rows_of(box, 1) * rows_of(box, 2), rows_of(box, 2)};
    }
    if (last()) return {transposed, plane_floats(box), rows_of(box, 1) * rows_of(box, 2), rows_of(box, 2)};
    const Dims& in = problem_.call.in;
    const auto& m = form_.tile().size;
    const std::int64_t plane =
        box.first_image * problem_.layer.in_channels + group * problem_.in_channels_per_group() + channel;
    const std::int64_t position = (box.first[0] * m[0] * in[1] + box.first[1] * m[1]) * in[2] + box.first[2] * m[2];
    return {args.src + plane * problem_.in_points() + position, problem_.layer.in_channels * problem_.in_points(),
            in[1] * in[2], in[2]};
  }

  std::int64_t image_floats(const TileBox& box) const { return tiles_.dilated() ? grid_floats(box) : plane_floats(box); }
  // A grid of one channel, and room for what kernels write beyond its rows.
  std::int64_t grid_floats(const TileBox& box) const { return round_up(plane_floats(box), kFloatsPerLine) + kFloatsPerLine; }

  // Where box coordinate `at` of an image of the tiles stands along dimension d of the input.
  std::int64_t position(const TileBox& box, const WinogradTiles::Source& source, int d, std::int64_t at) const {
    return problem_.layer.dilation[d] * (box.first[d] * form_.tile().size[d] + at) + source.grid[d];
  }
  // How many of a box's positions along dimension d exist, the first one being at `first` of the input.
  std::int64_t existing(const TileBox& box, int d, std::int64_t first) const {
    return std::clamp<std::int64_t>(ceil_div(problem_.call.in[d] - first, problem_.layer.dilation[d]), 0, rows_of(box, d));
  }

  // planes[image][position], images grid_floats() apart: one channel's grids.
  void gather_planes(const RunArgs& args, std::int64_t group, const TileBox& box, std::int64_t channel, float* planes,
                     float* check) const {
    const Dims& in = problem_.call.in;
    const Dims& dilation = problem_.layer.dilation;
    const std::int64_t columns = rows_of(box, 2);
    const bool together = box.first_image % dilation[2] == 0 && box.images % dilation[2] == 0;
    const bool split = dilation[2] == 2 || dilation[2] == 4;
    const std::int64_t grids = together ? dilation[2] : 1;  // of which the rows are gathered at once
    for (std::int64_t i = 0; i < box.images; i += grids) {
      const WinogradTiles::Source source = tiles_.source(box.first_image + i);
      const float* const plane =
          args.src + (source.n * problem_.layer.in_channels + group * problem_.in_channels_per_group() + channel) *
                         problem_.in_points();
      const std::int64_t first_h = position(box, source, 1, 0), first_w = position(box, source, 2, 0);
      const std::int64_t rows = existing(box, 1, first_h);
      for (std::int64_t d = 0; d < rows_of(box, 0); ++d) {
        float* const to = planes + i * grid_floats(box) + d * rows_of(box, 1) * columns;
        const std::int64_t from_d = position(box, source, 0, d);
        const std::int64_t present = from_d < in[0] && first_w < in[2] ? rows : 0;
        const float* const from = plane + (from_d * in[1] + first_h) * in[2] + first_w;
        const std::int64_t from_row = dilation[1] * in[2];
        if (split) {
          // All grids from this one on; those that are not wanted are overwritten, or stand behind the last one.
          const std::int64_t count = std::min(in[2] - first_w, columns * dilation[2]);
          const RowSplitArgs call{from, from_row, present, count, dilation[2], to, grid_floats(box), columns, scale_, check};
          table_->row_split(&call);
        }
        for (std::int64_t r = 0; r < grids; ++r) {
          float* const grid = to + r * grid_floats(box);
          const std::int64_t count = existing(box, 2, first_w + r);
          for (std::int64_t h = 0; h < present && !split; ++h) {
            for (std::int64_t w = 0; w < count; ++w) grid[h * columns + w] = from[h * from_row + w * dilation[2] + r];
          }
          for (std::int64_t h = 0; h < present && count < columns; ++h) grid[h * columns + count] = 0.0f;  // at most one
          std::fill(grid + present * columns, grid + rows_of(box, 1) * columns, 0.0f);
        }
      }
    }
  }

  // planes[channel][image][position], images image_floats() apart: some channels of channels-last input.
  void transpose_planes(const RunArgs& args, std::int64_t group, const TileBox& box, std::int64_t first, std::int64_t end,
                        float* planes) const {
    const std::int64_t channel_floats = box.images * image_floats(box), columns = rows_of(box, 2);
    for (std::int64_t i = 0; i < box.images; ++i) {
      const WinogradTiles::Source source = tiles_.source(box.first_image + i);
      const InputView view = input_view(problem_, args.src, source.n, group);
      const std::int64_t w = position(box, source, 2, 0);
      for (std::int64_t d = 0; d < rows_of(box, 0); ++d) {
        for (std::int64_t h = 0; h < rows_of(box, 1); ++h) {
          float* const to = planes + i * image_floats(box) + (d * rows_of(box, 1) + h) * columns;
          const std::int64_t from_d = position(box, source, 0, d), from_h = position(box, source, 1, h);
          const std::int64_t count = from_d < view.in[0] && from_h < view.in[1] ? existing(box, 2, w) : 0;
          const std::int64_t pixel = (from_d * view.in[1] + from_h) * view.in[2] + w;
          const TransposeArgs transpose{view.data + pixel * view.pixel_stride + first,
                                        problem_.layer.dilation[2] * view.pixel_stride,
                                        to,
                                        channel_floats,
                                        count,
                                        end - first};
          if (count > 0) table_->transpose(&transpose);
          for (std::int64_t c = 0; c < end - first && count < columns; ++c) {
            std::fill(to + c * channel_floats + count, to + c * channel_floats + columns, 0.0f);
          }
        }
      }
    }
  }

  // split[jd][jh][jw][tile]: the coefficients of all tiles of the box.
  void split_channel(const Planes& planes, const TileBox& box, float* split, float* check) const {
    const auto& m = form_.tile().size;
    const std::int64_t rows_d = rows_of(box, 0), rows_h = rows_of(box, 1);
    RowSplitArgs call;
    call.src_row = m[1] * planes.stride_h;
    call.count = rows_of(box, 2);
    call.parts = m[2];
    call.dst_stride = scratch_row();
    call.dst_row = box.size[2];
    call.scale = scale_;
    call.check = check;
    const std::int64_t tiles = box.size[1] * box.size[2];
    std::int64_t tile = 0;
    for (std::int64_t i = 0; i < box.images; ++i) {
      for (std::int64_t td = 0; td < box.size[0]; ++td, tile += tiles) {
        for (std::int64_t jd = 0; jd < m[0]; ++jd) {
          const std::int64_t d = td * m[0] + jd;
          for (std::int64_t jh = 0; jh < m[1]; ++jh) {
            call.src = planes.data + i * planes.stride_image + d * planes.stride_d + jh * planes.stride_h;
            call.rows = d < rows_d ? ceil_div(rows_h - jh, m[1]) : 0;
            call.dst = split + (jd * m[1] + jh) * m[2] * scratch_row() + tile;
            table_->row_split(&call);
            // Rows beyond the input.
            const std::int64_t done = call.rows * box.size[2];
            for (std::int64_t jw = 0; jw < m[2] && done < tiles; ++jw) {
              std::memset(call.dst + jw * scratch_row() + done, 0, static_cast<std::size_t>(tiles - done) * sizeof(float));
            }
          }
        }
      }
    }
  }

  // Where the values of a channel go: runs of so many tiles, one behind the other, at each point.
  struct ValuesAt {
    float* first;
    std::int64_t point_stride;
    std::int64_t run;
    std::int64_t run_stride;
  };

  // From coefficients to values at all points.
  void evaluate_channel(const float* split, const ValuesAt& dst, KernelSet* used) const {
    const auto& m = form_.tile().size;
    const std::int64_t stride = scratch_row();
    // Where the next transform reads: [jd][jh][w][tile], w over coefficients or points.
    const float* from = split;
    float* scratch = const_cast<float*>(split) + m[0] * m[1] * m[2] * stride;
    std::array<std::int64_t, kSpatialDims> size{m[0], m[1], m[2]};
    int remaining = 0;
    for (int d = 0; d < kSpatialDims; ++d) remaining += input_[d] >= 0 ? 1 : 0;
    for (int d = kSpatialDims - 1; d >= 0; --d) {
      if (input_[d] < 0) continue;
      const bool last_one = --remaining == 0;
      const WinogradInputKernel& kernel = table_->winograd_input[input_[d]];
      used->set(static_cast<std::size_t>(winograd_input_number(*table_, input_[d])));
      // Around dimension d: `outer` positions before it, `inner` after it.
      std::int64_t outer = 1, inner = 1;
      for (int e = 0; e < d; ++e) outer *= size[e];
      for (int e = d + 1; e < kSpatialDims; ++e) inner *= size[e];
      const std::int64_t to_stride = last_one ? dst.point_stride : stride;
      const std::int64_t run_stride = last_one ? dst.run_stride : dst.run;
      float* const to = last_one ? dst.first : scratch;
      for (std::int64_t o = 0; o < outer; ++o) {
        for (std::int64_t i = 0; i < inner; ++i) {
          const WinogradInputArgs call{from + (o * size[d] * inner + i) * stride,
                                       inner * stride,
                                       to + (o * points_[d] * inner + i) * to_stride,
                                       inner * to_stride,
                                       tiles_.row_floats,
                                       dst.run,
                                       run_stride};
          kernel.fn(&call);
        }
      }
      size[d] = points_[d];
      from = to;
      scratch += outer * points_[d] * inner * stride;
    }
  }

  // ---- Products -------------------------------------------------------------------------------------------------------

  // Floats before the products that the output transform may read (and discard).
  std::int64_t front_floats() const { return output_.reach(); }
  std::int64_t product_floats() const {
    std::int64_t rows = 0;
    for (const PhaseClass& cls : form_.classes()) rows += cls.point_count() * cls.phases();
    return rows * most_block_channels() * tiles_.product_floats + combined_floats();
  }
  // The weights of a chunk of a panel, or of all panels of a class in a block.
  std::int64_t combined_floats() const {
    if (!form_.tile().combined) return 0;
    const std::int64_t channels = problem_.in_channels_per_group();
    std::int64_t values = std::min(channels, chunk_) * WinogradWeights::kMaxPanelRows;
    if (!panels_first_) {
      for (const PhaseClass& cls : form_.classes())
        values = std::max(values, cls.phases() * most_block_channels() * channels);
    }
    return round_up(values, kFloatsPerLine);
  }
  std::int64_t most_block_channels() const {
    std::int64_t most = 0;
    for (const ChannelBlock& block : form_.blocks()) most = std::max(most, block.channels);
    return most;
  }

  // What the kernels ask for ahead of its use: `count` ranges of `floats`, `stride` apart, spread over so many steps
  // (channels of kernel calls). Asking for all of it at once would leave no room for what the kernels themselves load.
  class Ahead {
   public:
    void add(const float* begin, std::int64_t floats, std::ptrdiff_t stride, std::int64_t count) {
      if (floats * count > 0) range_[ranges_++] = {begin, floats, stride, count};
    }
    void spread(std::int64_t steps) {
      std::int64_t floats = 0;
      for (int r = 0; r < ranges_; ++r) floats += range_[r].floats * range_[r].count;
      while (step_ > kMinStep && step_ / 2 * steps >= floats) step_ /= 2;
    }
    void next(std::int64_t channels, TileArgs* call) {
      call->prefetch = nullptr;
      call->prefetch_stride = 0;
      if (at_ == ranges_) return;
      Range& range = range_[at_];
      call->prefetch = range.begin + asked_;
      call->prefetch_stride = step_;
      asked_ += channels * step_;
      if (asked_ < range.floats) return;
      asked_ = 0;
      range.begin += range.stride;
      if (--range.count == 0) ++at_;
    }

   private:
    static constexpr std::int64_t kMinStep = 2;
    struct Range {
      const float* begin;
      std::int64_t floats;
      std::ptrdiff_t stride;
      std::int64_t count;
    };
    Range range_[2];
    int ranges_ = 0, at_ = 0;
    std::int64_t asked_ = 0, step_ = kFloatsPerLine;
  };

  // One class of phases of a task.
  struct ClassRun {
    const RunArgs* args;
    std::int64_t group;
    const ChannelBlock* block;
    std::size_t cls;
    std::int64_t points;
    const std::vector<Panel>* panels;
    std::int64_t tile_panels;
    float* combined;
    float* values;  // of point 0
    std::int64_t rows;
  };

  void multiply(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block, float* scratch,
                KernelSet* used) const {
    float* const combined = scratch + front_floats();
    float* const products = combined + combined_floats();
    float* values = products;
    for (std::size_t c = 0; c < form_.classes().size(); ++c) {
      const PhaseClass& cls = form_.classes()[c];
      const ClassRun run{&args,
                         group,
                         &block,
                         c,
                         cls.point_count(),
                         &form_.panels(c, block.channels),
                         ceil_div(box.tiles(), columns()),
                         combined,
                         values + tiles_.front_floats,
                         cls.phases() * block.channels};
      for (const Panel& panel : *run.panels) *used |= kernels_.set_for(panel.rows, columns());
      if (panels_first_) {
        multiply_panels_first(run);
      } else {
        multiply_points_first(run);
      }
      values += run.points * run.rows * tiles_.product_floats;
    }
    output_.store(args, group, box, block, products, carry(args), values, used);
  }

  const float* input_at(std::size_t c, std::int64_t point, const RunArgs& args) const {
    return reinterpret_cast<const float*>(args.shared) + tiles_.point_of(form_.classes()[c].points, point) * point_floats();
  }

  // A class of phases at a point.
  struct ClassPoint {
    std::size_t cls;
    std::int64_t point;
    std::int64_t first_row;  // of a block's products
  };

  WinogradTerms::Step term_step(const RunArgs& args, std::int64_t group, const Range& round, std::int64_t block,
                                const ClassPoint& at) const {
    const ChannelBlock& channels = form_.blocks()[static_cast<std::size_t>(round.begin + block)];
    const PhaseClass& cls = form_.classes()[at.cls];
    const Panel& panel = form_.panels(at.cls, channels.channels).front();
    return {args.weights + form_.offset(group, channels, at.cls, at.point, panel), cls.phases() * channels.channels,
            term_input(args, at), block_products(args, block) + tiles_.front_floats + at.first_row * tiles_.product_floats};
  }
  const std::uint16_t* term_input(const RunArgs& args, const ClassPoint& at) const {
    return reinterpret_cast<const std::uint16_t*>(args.shared) +
           tiles_.point_of(form_.classes()[at.cls].points, at.point) * terms_->point_elements();
  }

  // Tasks of each point of a round.
  std::int64_t parts_of(const Range& round) const {
    return std::min(round.end - round.begin, ceil_div(kWantedTasks, static_cast<std::int64_t>(steps_.size())));
  }

  // A part of the blocks of channels of a round at one point.
  void multiply_terms(const RunArgs& args, std::int64_t group, const Range& round, std::int64_t task, float* scratch,
                      KernelSet* used) const {
    const std::int64_t parts = parts_of(round), part = task % parts, blocks = round.end - round.begin;
    const auto index = static_cast<std::size_t>(task / parts);
    const std::int64_t begin = blocks * part / parts, end = blocks * (part + 1) / parts;
    // Meanwhile the next point's input comes: a part of it with each part, and with each step.
    const std::int64_t lines = terms_->fetches() ? terms_->point_elements() / kTermBlock : 0;
    const std::uint16_t* const later = term_input(args, steps_[(index + 1) % steps_.size()]);
    WinogradTerms::Step step = term_step(args, group, round, begin, steps_[index]);
    table_->terms->begin();
    WinogradTerms::Multiplier multiplier(*terms_, step, scratch);
    for (std::int64_t b = begin; b < end; ++b) {
      const WinogradTerms::Step next = b + 1 < end ? term_step(args, group, round, b + 1, steps_[index]) : step;
      const std::int64_t from = lines * b / blocks, to = lines * (b + 1) / blocks;
      multiplier.multiply(step, b + 1 < end ? &next : nullptr,
                          {later + from * kTermBlock, static_cast<std::size_t>((to - from) * kTermBlock)}, used);
      step = next;
    }
    table_->terms->end();
  }

  // A panel of tiles and its products stay in the first-level cache while all rows of a block pass by.
  void multiply_points_first(const ClassRun& run) const {
    const std::int64_t channels = problem_.in_channels_per_group();
    for (std::int64_t point = 0; point < run.points; ++point) {
      Ahead ahead = point_ahead(run, point);
      const float* const weights = point_weights(run, point);
      const float* const input = input_at(run.cls, point, *run.args);
      float* const values = run.values + point * run.rows * tiles_.product_floats;
      for (std::int64_t t = 0; t < run.tile_panels; ++t) {
        for (std::int64_t ci = 0; ci < channels; ci += chunk_) {
          for (const Panel& panel : *run.panels) {
            multiply_chunk(panel, weights + panel.begin * channels + ci * panel.rows, input + t * panel_floats(), ci,
                           values + panel.first * tiles_.product_floats + t * columns(), &ahead);
          }
        }
      }
    }
  }

  // The taps of a panel of rows stay in the second-level cache while they are combined for all points.
  void multiply_panels_first(const ClassRun& run) const {
    const std::int64_t channels = problem_.in_channels_per_group();
    for (std::size_t p = 0; p < run.panels->size(); ++p) {
      const Panel& panel = (*run.panels)[p];
      Ahead ahead = taps_ahead(run, p);
      for (std::int64_t point = 0; point < run.points; ++point) {
        const float* const input = input_at(run.cls, point, *run.args);
        float* const values = run.values + (point * run.rows + panel.first) * tiles_.product_floats;
        for (std::int64_t ci = 0; ci < channels; ci += chunk_) {
          const std::int64_t count = std::min(chunk_, channels - ci);
          const float* const weights = combine(run, point, panel.begin * channels + ci * panel.rows, panel.rows * count);
          for (std::int64_t t = 0; t < run.tile_panels; ++t) {
            multiply_chunk(panel, weights, input + t * panel_floats(), ci, values + t * columns(), &ahead);
          }
        }
      }
    }
  }

  // values (+)= weights of a panel of rows times input of a panel of tiles, for the channels of a chunk.
  void multiply_chunk(const Panel& panel, const float* weights, const float* input, std::int64_t ci, float* values,
                      Ahead* ahead) const {
    static constexpr std::ptrdiff_t kNoOffset[1] = {0};
    TileArgs call;
    call.tap_offset = kNoOffset;
    call.row_offset = nullptr;
    call.src_channel_stride = columns();
    call.taps = 1;
    call.tile_stride = tiles_.product_floats;
    call.channels = std::min(chunk_, problem_.in_channels_per_group() - ci);
    call.weights = weights;
    call.accumulate = ci > 0;
    call.src = input + ci * columns();
    call.tile = values;
    for (const TileKernel* kernel : by_rows_[static_cast<std::size_t>(panel.rows)]) {
      ahead->next(call.channels, &call);
      kernel->fn(&call);
      call.src += kernel->nr;
      call.tile += kernel->nr;
    }
  }

  // What comes after a point: the weights of the next one (combined: only after all points, other taps), and its input.
  Ahead point_ahead(const ClassRun& run, std::int64_t point) const {
    const std::int64_t channels = problem_.in_channels_per_group();
    Ahead ahead;
    std::size_t c = run.cls;
    if (++point == run.points) {
      point = 0;
      if (++c == form_.classes().size()) c = 0;
    }
    if (!form_.tile().combined) {
      // Weights stand in the order of their use, up to the end of the group.
      const std::int64_t floats = run.rows * channels;
      const float* const next = run.args->weights + form_.offset(run.group, *run.block, run.cls,
                                                                 point == 0 ? run.points : point, run.panels->front());
      if (next + floats <= run.args->weights + form_.elements()) ahead.add(next, floats, 0, 1);
    }
    ahead.add(input_at(c, point, *run.args), run.tile_panels * panel_floats(), 0, 1);
    ahead.spread(channels * run.tile_panels * static_cast<std::int64_t>(run.panels->size()));
    return ahead;
  }

  // The taps after those of panel p: of the next panel, or of the first one of the next class or block.
  Ahead taps_ahead(const ClassRun& run, std::size_t p) const {
    const std::int64_t channels = problem_.in_channels_per_group();
    std::size_t c = run.cls;
    const ChannelBlock* block = run.block;
    Ahead ahead;
    const std::int64_t steps = channels * run.tile_panels * run.points;
    if (++p == run.panels->size()) {
      p = 0;
      if (++c == form_.classes().size()) {
        c = 0;
        ++block;
        if (block == form_.blocks().data() + form_.blocks().size()) return ahead;
      }
    }
    const Panel& panel = form_.panels(c, block->channels)[p];
    ahead.add(run.args->weights + form_.offset(run.group, *block, c, 0, panel), panel.rows * channels,
              form_.stride(c, *block), form_.classes()[c].tap_count());
    ahead.spread(steps);
    return ahead;
  }

  // The taps' values at a point, for all panels of a block: as packed, or combined now.
  const float* point_weights(const ClassRun& run, std::int64_t point) const {
    if (form_.tile().combined) {
      return combine(run, point, 0, run.rows * problem_.in_channels_per_group());
    }
    return run.args->weights + form_.offset(run.group, *run.block, run.cls, point, run.panels->front());
  }

  // `count` values of a class at a point, from `begin` on.
  const float* combine(const ClassRun& run, std::int64_t point, std::int64_t begin, std::int64_t count) const {
    const Combination& combination = combinations_[run.cls][static_cast<std::size_t>(point)];
    const float* const taps =
        run.args->weights + form_.offset(run.group, *run.block, run.cls, 0, run.panels->front()) + begin;
    const std::int64_t stride = form_.stride(run.cls, *run.block);
    if (combination.factor.size() == 1 && combination.factor[0] == 1.0f) return taps + combination.tap[0] * stride;
    std::ptrdiff_t offset[kMaxWinogradTaps * kMaxWinogradTaps * kMaxWinogradTaps];
    for (std::size_t k = 0; k < combination.tap.size(); ++k) offset[k] = combination.tap[k] * stride;
    const CombineArgs call{
        taps, offset, combination.factor.data(), static_cast<std::int64_t>(combination.tap.size()), run.combined, count};
    table_->combine(&call);
    return run.combined;
  }

  // How a point's weights follow from the taps.
  struct Combination {
    std::vector<std::int64_t> tap;
    std::vector<float> factor;
  };

  void list_kernels() {
    for (int d = 0; d < kSpatialDims; ++d) {
      input_[d] = -1;
      for (int i = 0; i < table_->winograd_input_count; ++i) {
        const WinogradInputKernel& kernel = table_->winograd_input[i];
        if (form_.tile().size[d] > 1 && kernel.tile == form_.tile().size[d] && kernel.points == points_[d]) input_[d] = i;
      }
      if (input_[d] >= 0) kernels.set(static_cast<std::size_t>(winograd_input_number(*table_, input_[d])));
    }
    kernels |= output_.kernels();
    if (terms_) {
      std::int64_t row = 0;
      for (std::size_t c = 0; c < form_.classes().size(); ++c) {
        const PhaseClass& cls = form_.classes()[c];
        const std::int64_t rows = cls.phases() * most_block_channels();
        kernels |= terms_->kernels(rows);
        for (std::int64_t point = 0; point < cls.point_count(); ++point, row += rows) steps_.push_back({c, point, row});
      }
      return;
    }
    for (std::size_t c = 0; c < form_.classes().size(); ++c) {
      for (const ChannelBlock& block : form_.blocks()) {
        for (const Panel& panel : form_.panels(c, block.channels)) {
          by_rows_.resize(std::max(by_rows_.size(), static_cast<std::size_t>(panel.rows + 1)));
          auto& of_panel = by_rows_[static_cast<std::size_t>(panel.rows)];
          if (!of_panel.empty()) continue;  // there may be thousands of panels, of few heights
          kernels |= kernels_.set_for(panel.rows, columns());
          for (std::int64_t left = columns(); left > 0; left -= of_panel.back()->nr) {
            of_panel.push_back(&kernels_.pick(panel.rows, left));
          }
        }
      }
    }
    if (!form_.tile().combined) return;
    for (const PhaseClass& cls : form_.classes()) {
      std::vector<Combination> of_class;
      for (std::int64_t point = 0; point < cls.point_count(); ++point) of_class.push_back(combination(cls, point));
      combinations_.push_back(std::move(of_class));
    }
  }

  Combination combination(const PhaseClass& cls, std::int64_t point) const {
    double along[kSpatialDims][kMaxWinogradTaps];
    for (int d = kSpatialDims - 1; d >= 0; --d) {
      winograd_tap_factors(form_.tile().size[d], cls.taps[d], static_cast<int>(point % cls.points[d]), along[d]);
      point /= cls.points[d];
    }
    Combination result;
    std::int64_t tap = 0;
    for (int jd = 0; jd < cls.taps[0]; ++jd) {
      for (int jh = 0; jh < cls.taps[1]; ++jh) {
        for (int jw = 0; jw < cls.taps[2]; ++jw, ++tap) {
          const double factor = along[0][jd] * along[1][jh] * along[2][jw];
          if (factor == 0.0) continue;
          result.tap.push_back(tap);
          result.factor.push_back(static_cast<float>(factor));
        }
      }
    }
    return result;
  }

  Problem problem_;
  const KernelTable* table_;
  WinogradWeights form_;
  TileKernels kernels_;
  std::int64_t chunk_;
  WinogradTiles tiles_;
  WinogradOutput output_;
  std::optional<WinogradTerms> terms_;
  float scale_;
  int rounds_;
  // Weights pass through the caches once, and the input of all points stays there; otherwise the input of a point stays
  // while all panels of a block use it.
  bool panels_first_;
  std::vector<std::vector<const TileKernel*>> by_rows_;  // [rows]: that multiply a panel of tiles
  std::int64_t slice_;                                   // input channels of a task
  std::array<int, kSpatialDims> points_;                 // of the input
  int input_[kSpatialDims];                              // row of the input transform, or -1
  std::vector<std::vector<Combination>> combinations_;   // [class][point], combined weights only
  std::vector<ClassPoint> steps_;                        // of terms
};

// Whether each output along a dilated dimension is one of a grid's products (see winograd_tiles.h), even if of zeros.
bool grids_reach(const Problem& p, int d) {
  const std::int64_t stride = p.layer.stride[d], dilation = p.layer.dilation[d];
  if (dilation == 1) return true;
  const std::int64_t step = stride * dilation;
  const std::int64_t positions = ceil_div(p.call.in[d], dilation);
  for (std::int64_t k = 0; k < stride; ++k) {
    const std::int64_t taps = WinogradWeights::taps(p.layer, d, k);
    // Of the first grid, which ends first, and the last, which begins last: there may be very many between.
    const std::int64_t first = dilation * k - p.call.pad_begin[d], last = first + stride * (dilation - 1);
    if (last - step >= 0 || first + step * (positions + taps - 1) < p.call.out[d]) return false;
  }
  return true;
}

// Why no Winograd should run the problem, or "".
std::string decline_winograd(const PlanRequest& request) {
  const Problem& p = request.problem;
  if (p.call.invariant) return "its results depend on the cut into tiles, and 'invariant' was asked for";
  if (!WinogradWeights::can_use(p.layer)) {
    return "it is for two or three taps to a phase, in one dimension at least, and dilation that shares no factor with "
           "stride";
  }
  bool dilated = false;
  if (p.layer.stride[2] > WinogradOutput::kMaxPhasesAlongWidth) return "there are more than 64 phases along the width";
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t reached = p.layer.stride[d] * (p.call.in[d] - 1) + p.layer.dilation[d] * (p.layer.kernel[d] - 1) + 1;
    if (p.call.pad_begin[d] < 0 || p.call.out[d] + p.call.pad_begin[d] > reached) {
      return "there are outputs beyond the reach of the input";
    }
    if (p.call.pad_begin[d] >= p.layer.stride[d] * p.call.in[d]) return "the padding cuts away whole inputs";
    const bool tiled = WinogradWeights::most_taps(p.layer, d) > 1;
    if (tiled && ceil_div(p.call.in[d], p.layer.dilation[d]) <= kSmallestTile) return "an image is no more than a tile";
    if (!grids_reach(p, d)) return "there are outputs that no tap of a dilated phase reaches";
    dilated = dilated || p.layer.dilation[d] > 1;
  }
  if (dilated && p.call.format == MemoryFormat::kChannelsLast && p.layer.stride[2] > 1) {
    return "of dilated layers it computes contiguous ones, and channels-last ones of stride 1 along the width";
  }
  if (!request.weights.finite) return "the weights hold an infinity or a NaN";
  if (request.weights.exponent > kMaxWeightExponent || request.weights.exponent < kMinWeightExponent) {
    return "the largest weight is near 2^" + std::to_string(request.weights.exponent) +
           ", where sums of weights or products could overflow or lose bits";
  }
  return "";
}

class Winograd final : public Algorithm {
 public:
  const char* name() const override { return "winograd"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kWinograd; }
  SumOrder order() const override { return SumOrder::kTiles; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (decline->reason.empty()) decline->reason = decline_winograd(request);
    if (!decline->reason.empty()) return nullptr;
    const KernelTable& table = *request.kernels;
    const TileKernels kernels(table, TileKernels::Family::kWideAligned);
    WinogradDesign design = choose_winograd_design(request, kernels);
    if (design.cycles == 0.0) {
      decline->reason = "there are so many phases that the products of a few tiles take megabytes";
      return nullptr;
    }
    // What is carried from block to block grows with them, too.
    std::unique_ptr<Execution> execution = execute(request, kernels, design, decline);
    while (execution == nullptr && design.tiles > kernels.lanes()) {
      design = in_blocks_of(request, kernels, design, std::max<std::int64_t>(kernels.lanes(), design.tiles / 2));
      execution = execute(request, kernels, design, decline);
    }
    return execution;
  }

 private:
  // nullptr, and a reason, if it would need too much memory, or too many blocks.
  static std::unique_ptr<Execution> execute(const PlanRequest& request, const TileKernels& kernels,
                                            const WinogradDesign& design, Decline* decline) {
    WinogradTiles tiles = winograd_tiles(request.problem, design);
    if (tiles.block_count() > kMaxBlocks / request.problem.layer.groups) {
      decline->reason = "it would need more than " + std::to_string(kMaxBlocks) + " blocks, one after the other";
      return nullptr;
    }
    tiles.set_columns(design.panel.columns);
    WinogradWeights form(request.problem.layer, design.tile, design.block_channels, design.panel.rows);
    auto execution = std::make_unique<WinogradExecution>(request, std::move(form), kernels, tiles, design.rounds,
                                                         winograd_input_limit(request, design.tile));
    execution->estimated_seconds = design.cycles / cost::kClock;
    if (execution->workspace_bytes() > kMaxWorkspaceBytes) {
      decline->reason =
          "its outputs need " + std::to_string(execution->workspace_bytes()) + " bytes of scratch for each thread";
      return nullptr;
    }
    const std::size_t bytes = execution->workspace_bytes() + execution->shared_bytes();
    if (bytes > static_cast<std::size_t>(request.workspace_limit)) {
      decline->reason = "its smallest block needs " + std::to_string(bytes) + " bytes, more than the limit of " +
                        std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }
};

}  // namespace

const Algorithm& winograd() {
  static const Winograd algorithm;
  return algorithm;
}

}  // namespace convtranspose
