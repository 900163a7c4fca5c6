#include "algorithms/residue_store.h"

#include <algorithm>
#include <cstring>

#include "algorithms/row_stride.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kReadBeyond = 4 * kFloatsPerLine;  // row stores read a vector beyond

}  // namespace

ResidueStore::ResidueStore(const PlanRequest& request)
    : problem_(request.problem), finisher_(request.problem, *request.kernels), table_(request.kernels) {
  if (!rows_share_lines(problem_.call)) {
    streaming_ = {streams(problem_, *table_, request.caches, contiguous() ? kStreamDense : kStreamSparse),
                  streams(problem_, *table_, request.caches, kStreamFresh)};
  }
  joins_panels_ = !contiguous() && problem_.layer.groups == 1 && row_floats() % kFloatsPerLine != 0 &&
                  (streaming_.always || streaming_.fresh);
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t stride = problem_.layer.stride[d], pad = problem_.call.pad_begin[d];
    first_[d] = floor_div(pad, stride);
    size_[d] = floor_div(problem_.call.out[d] - 1 + pad, stride) - first_[d] + 1;
  }
}

std::int64_t ResidueStore::scratch_floats(std::int64_t pixels, std::int64_t width) const {
  if (!contiguous()) return joined_floats(pixels) + width;
  return width * row_stride(pixels) + kReadBeyond + round_up(pixels * problem_.layer.stride[2], kFloatsPerLine);
}

void ResidueStore::begin_tile(const RunArgs&, const Panel& panel, const float* tile, std::int64_t pixels,
                              float* scratch) const {
  if (!contiguous()) return;
  const TransposeArgs transpose{tile, panel.width, scratch, row_stride(pixels), pixels, panel.rows};
  table_->transpose(&transpose);
}

void ResidueStore::store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels,
                         const float* tile, float* scratch) const {
  if (contiguous()) {
    store_contiguous(args, panel, row, pixels, scratch);
  } else {
    store_channels_last(args, panel, row, tile, scratch + joined_floats(pixels), scratch);
  }
}

// The output row of a residue of depth and height; false if it lies outside.
bool ResidueStore::place(const PixelRow& row, std::int64_t residue, std::int64_t* od, std::int64_t* oh) const {
  const Dims& stride = problem_.layer.stride;
  *od = (first_[0] + row.od) * stride[0] + residue / stride[1] - problem_.call.pad_begin[0];
  *oh = (first_[1] + row.oh) * stride[1] + residue % stride[1] - problem_.call.pad_begin[1];
  return *od >= 0 && *od < problem_.call.out[0] && *oh >= 0 && *oh < problem_.call.out[1];
}

void ResidueStore::store_contiguous(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels,
                                    float* scratch) const {
  const Dims& out = problem_.call.out;
  const Dims& stride = problem_.layer.stride;
  const std::int64_t channels = problem_.out_channels_per_group();
  const std::int64_t between = row_stride(pixels);
  float* const line = scratch + panel.width * between + kReadBeyond;
  // Outputs of the first pixel along the width may lie before the first one.
  const std::int64_t ow = (first_[2] + row.j0) * stride[2] - problem_.call.pad_begin[2];
  const std::int64_t begin = std::max<std::int64_t>(0, -ow);
  const std::int64_t end = std::min(row.columns * stride[2], out[2] - ow);
  const bool stream = streaming_.now(args.fresh);
  RowStoreArgs call;
  call.phase_stride = between;
  call.phases = stride[2];
  call.count = end;
  call.epilogue = &finisher_.epilogue(args);
  for (std::int64_t column = 0; column < panel.rows; column += stride[2]) {
    const std::int64_t index = (panel.first + column) / stride[2];
    const std::int64_t channel = row.group * channels + index % channels;
    std::int64_t od, oh;
    if (!place(row, index / channels, &od, &oh)) continue;
    const std::ptrdiff_t at = (row.image * problem_.layer.out_channels + channel) * problem_.out_points() +
                              (od * out[1] + oh) * out[2] + ow + begin;
    const bool by_line = stream || begin > 0;
    call.tile = scratch + column * between + row.first;
    call.dst = by_line ? line : args.dst + at;
    call.bias = args.bias == nullptr ? 0.0f : args.bias[channel];
    table_->row_store(&call);
    finisher_.row(args, channel, call.dst + begin, at, end - begin);
    if (stream) {
      stream_row(*table_, line + begin, end - begin, args.dst + at);
    } else if (by_line) {
      std::memcpy(args.dst + at, line + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
    }
  }
}

std::int64_t ResidueStore::joined_floats(std::int64_t pixels) const {
  return joins_panels_ ? round_up(pixels * row_floats(), kFloatsPerLine) : 0;
}

// bias: room for that of each column. joined: outputs that are put together, of all panels of a tile.
void ResidueStore::store_channels_last(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile,
                                       float* bias, float* joined) const {
  const Dims& out = problem_.call.out;
  const std::int64_t stride = problem_.layer.stride[2];
  const std::int64_t channels = problem_.out_channels_per_group();
  const std::int64_t first_channel = row.group * channels;
  for (std::int64_t c = 0; c < panel.rows; ++c) {
    bias[c] = args.bias == nullptr ? 0.0f : args.bias[first_channel + (panel.first + c) % channels];
  }
  PixelColumns columns{args, panel, row, tile, bias, (first_[2] + row.j0) * stride - problem_.call.pad_begin[2], 0, false};
  const bool passes = streaming_.now(args.fresh);
  columns.stream = passes && row_floats() % kFloatsPerLine == 0 && !finisher_.follows(args);
  // Neighbours in the output: of one row, and of one position where there are several groups.
  const std::int64_t together = problem_.layer.groups == 1 ? stride * channels : channels;
  for (std::int64_t begin = 0, end; begin < panel.rows; begin = end) {
    const std::int64_t q = panel.first + begin;
    end = std::min(panel.rows, begin + together - q % together);
    std::int64_t od, oh;
    if (!place(row, q / (stride * channels), &od, &oh)) continue;
    columns.line = ((row.image * out[0] + od) * out[1] + oh) * out[2];
    if (passes && joins_panels_) {
      join_pixels(columns, begin, end, joined);
    } else {
      store_pixels(columns, begin, end);
    }
  }
}

// To the rows of outputs in scratch, [pixel of the tile][residue][channel]; the last columns bring these to memory.
void ResidueStore::join_pixels(const PixelColumns& columns, std::int64_t begin, std::int64_t end, float* joined) const {
  const std::int64_t stride = problem_.layer.stride[2], channels = problem_.layer.out_channels, floats = row_floats();
  const RunArgs& args = columns.args;
  float* const rows = joined + columns.row.first * floats;
  const std::int64_t place = (columns.panel.first + begin) % floats;
  PixelStoreArgs call;
  call.tile = columns.tile + columns.row.first * columns.panel.width + begin;
  call.tile_stride = columns.panel.width;
  call.rows = columns.row.columns;
  call.columns = end - begin;
  call.dst = rows + place;
  call.dst_stride = floats;
  call.bias = columns.bias + begin;
  call.epilogue = &finisher_.epilogue(args);
  table_->pixel_store(&call);
  if (place + call.columns < floats) return;
  // The first and the last pixel may have outputs that lie outside.
  const std::int64_t first = std::max<std::int64_t>(0, -columns.ow);
  const std::int64_t count = std::min(columns.row.columns * stride, problem_.call.out[2] - columns.ow) - first;
  const std::ptrdiff_t at = (columns.line + columns.ow + first) * channels;
  finisher_.pixels(args, 0, rows + first * channels, channels, at, count, channels);
  stream_row(*table_, rows + first * channels, count * channels, args.dst + at);
}

// The residue of the width that a column belongs to.
std::int64_t ResidueStore::residue_of(const PixelColumns& columns, std::int64_t column) const {
  const std::int64_t channels = problem_.out_channels_per_group();
  return (columns.panel.first + column) % (problem_.layer.stride[2] * channels) / channels;
}

// The column, up to `end`, at which those of the next residue begin.
std::int64_t ResidueStore::next_residue(const PixelColumns& columns, std::int64_t column, std::int64_t end) const {
  const std::int64_t channels = problem_.out_channels_per_group();
  return std::min(end, column + channels - (columns.panel.first + column) % channels);
}

// Straight to memory.
void ResidueStore::store_pixels(const PixelColumns& columns, std::int64_t begin, std::int64_t end) const {
  const std::int64_t stride = problem_.layer.stride[2], width = problem_.call.out[2], ow = columns.ow;
  const std::int64_t pixels = columns.row.columns;
  // Only the first and the last pixel may have outputs that lie outside.
  const std::int64_t inner = std::clamp<std::int64_t>(ceil_div(-ow - residue_of(columns, begin), stride), 0, pixels);
  const std::int64_t inner_end =
      std::clamp(floor_div(width - 1 - ow - residue_of(columns, end - 1), stride) + 1, inner, pixels);
  const auto store_edge = [&](std::int64_t pixel) {
    for (std::int64_t c = begin, next; c < end; c = next) {
      next = next_residue(columns, c, end);
      const std::int64_t x = ow + pixel * stride + residue_of(columns, c);
      if (x >= 0 && x < width) store_inner(columns, c, next, pixel, 1);
    }
  };
  for (std::int64_t pixel = 0; pixel < inner; ++pixel) store_edge(pixel);
  if (inner < inner_end) store_inner(columns, begin, end, inner, inner_end - inner);
  for (std::int64_t pixel = inner_end; pixel < pixels; ++pixel) store_edge(pixel);
}

// Of `count` pixels from `pixel` on, all of which lie inside.
void ResidueStore::store_inner(const PixelColumns& columns, std::int64_t begin, std::int64_t end, std::int64_t pixel,
                               std::int64_t count) const {
  const std::int64_t stride = problem_.layer.stride[2];
  const std::int64_t channels = problem_.out_channels_per_group(), out_channels = problem_.layer.out_channels;
  const std::int64_t first_channel = columns.row.group * channels;
  const RunArgs& args = columns.args;
  const auto channel_of = [&](std::int64_t column) { return first_channel + (columns.panel.first + column) % channels; };
  PixelStoreArgs call;
  call.tile = columns.tile + (columns.row.first + pixel) * columns.panel.width + begin;
  call.tile_stride = columns.panel.width;
  call.rows = count;
  call.columns = end - begin;
  call.dst = args.dst + channel_of(begin) +
             (columns.line + columns.ow + pixel * stride + residue_of(columns, begin)) * out_channels;
  call.dst_stride = stride * out_channels;
  call.bias = columns.bias + begin;
  call.epilogue = &finisher_.epilogue(args);
  const bool past = columns.stream && call.columns % kFloatsPerLine == 0 && is_line(call.dst);
  (past ? table_->pixel_store_past : table_->pixel_store)(&call);
  for (std::int64_t c = begin, next; c < end && finisher_.follows(args); c = next) {
    next = next_residue(columns, c, end);
    float* const data = call.dst + (c - begin);
    finisher_.pixels(args, channel_of(c), data, call.dst_stride, data - args.dst, count, next - c);
  }
}

void ResidueStore::finish(const RunArgs& args) const {
  if (streaming_.now(args.fresh)) table_->stream_fence();
}

}  // namespace convtranspose
