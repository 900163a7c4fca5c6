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
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t stride = problem_.layer.stride[d], pad = problem_.call.pad_begin[d];
    first_[d] = floor_div(pad, stride);
    size_[d] = floor_div(problem_.call.out[d] - 1 + pad, stride) - first_[d] + 1;
  }
}

std::int64_t ResidueStore::scratch_floats(std::int64_t pixels, std::int64_t width) const {
  if (!contiguous()) return width + round_up(pixels * width, kFloatsPerLine);
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
    store_channels_last(args, panel, row, tile, scratch);
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

// scratch: a bias of each column, and a row of outputs.
void ResidueStore::store_channels_last(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile,
                                       float* scratch) const {
  const Dims& out = problem_.call.out;
  const std::int64_t stride = problem_.layer.stride[2];
  const std::int64_t channels = problem_.out_channels_per_group();
  const std::int64_t out_channels = problem_.layer.out_channels;
  const std::int64_t first_channel = row.group * channels;
  const std::int64_t ow = (first_[2] + row.j0) * stride - problem_.call.pad_begin[2];
  float* const bias = scratch;
  float* const finished = scratch + panel.width;
  for (std::int64_t c = 0; c < panel.rows; ++c) {
    bias[c] = args.bias == nullptr ? 0.0f : args.bias[first_channel + (panel.first + c) % channels];
  }
  PixelStoreArgs call;
  call.tile_stride = panel.width;
  call.dst_stride = stride * out_channels;
  call.epilogue = &finisher_.epilogue(args);
  const bool passes = streaming_.now(args.fresh);
  const bool whole_lines = call.dst_stride % kFloatsPerLine == 0;
  const bool stream = passes && !finisher_.follows(args) && whole_lines;
  // Columns that are neighbours in the output: of one row, and of one position where there are several groups.
  const std::int64_t together = problem_.layer.groups == 1 ? stride * channels : channels;
  for (std::int64_t column = 0, end; column < panel.rows; column = end) {
    const std::int64_t q = panel.first + column;
    end = std::min(panel.rows, column + together - q % together);
    std::int64_t od, oh;
    if (!place(row, q / (stride * channels), &od, &oh)) continue;
    const std::ptrdiff_t line = ((row.image * out[0] + od) * out[1] + oh) * out[2];
    if (passes && !whole_lines && end - column == call.dst_stride) {  // a row of outputs, which may begin and end outside
      call.tile = tile + row.first * panel.width + column;
      call.rows = row.columns;
      call.columns = end - column;
      call.bias = bias + column;
      call.dst = finished;
      table_->pixel_store(&call);
      const std::int64_t begin = std::max<std::int64_t>(0, -ow);
      const std::int64_t count = std::min(row.columns * stride, out[2] - ow) - begin;
      const std::ptrdiff_t at = (line + ow + begin) * channels;
      finisher_.pixels(args, 0, finished + begin * channels, channels, at, count, channels);
      stream_row(*table_, finished + begin * channels, count * channels, args.dst + at);
      continue;
    }
    // Only the first and the last pixel may have outputs that lie outside.
    const std::int64_t first_residue = q % (stride * channels) / channels;
    const std::int64_t last_residue = (q + end - column - 1) % (stride * channels) / channels;
    const std::int64_t inner = std::max<std::int64_t>(0, ceil_div(-ow - first_residue, stride));
    const std::int64_t inner_end = std::min(row.columns, floor_div(out[2] - 1 - ow - last_residue, stride) + 1);
    // The outputs of `count` pixels from `pixel` on, of the columns from `begin` on that hold residue `residue` and those
    // up to `last`.
    const auto store_pixels = [&](std::int64_t pixel, std::int64_t count, std::int64_t begin, std::int64_t last) {
      const std::int64_t at = panel.first + begin;
      const std::int64_t residue = at % (stride * channels) / channels;
      call.tile = tile + (row.first + pixel) * panel.width + begin;
      call.rows = count;
      call.columns = last - begin;
      call.bias = bias + begin;
      call.dst = args.dst + (line + ow + pixel * stride + residue) * out_channels + first_channel + at % channels;
      const bool past = stream && call.columns % kFloatsPerLine == 0 && is_line(call.dst);
      (past ? table_->pixel_store_past : table_->pixel_store)(&call);
      if (!finisher_.follows(args)) return;
      float* data = call.dst;
      for (std::int64_t c = begin, next; c < last; c = next) {
        next = std::min(last, c + channels - (panel.first + c) % channels);
        float* const of_residue = data + (c - begin);
        finisher_.pixels(args, first_channel + (panel.first + c) % channels, of_residue, call.dst_stride,
                         of_residue - args.dst, count, next - c);
      }
    };
    const auto store_edge = [&](std::int64_t pixel) {
      for (std::int64_t c = column, next; c < end; c = next) {
        next = std::min(end, c + channels - (panel.first + c) % channels);
        const std::int64_t x = ow + pixel * stride + (panel.first + c) % (stride * channels) / channels;
        if (x >= 0 && x < out[2]) store_pixels(pixel, 1, c, next);
      }
    };
    for (std::int64_t pixel = 0; pixel < std::min(inner, row.columns); ++pixel) store_edge(pixel);
    if (inner < inner_end) store_pixels(inner, inner_end - inner, column, end);
    for (std::int64_t pixel = std::max(inner, inner_end); pixel < row.columns; ++pixel) store_edge(pixel);
  }
}

void ResidueStore::finish(const RunArgs& args) const {
  if (streaming_.now(args.fresh)) table_->stream_fence();
}

}  // namespace convtranspose
