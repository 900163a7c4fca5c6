#include "algorithms/pixel_store.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kMaxPanel = 256;
constexpr std::int64_t kLongRow = 16;  // outputs from which on a row is transposed by itself

constexpr float kZeros[kMaxPanel] = {};

}  // namespace

PixelStore::PixelStore(const PlanRequest& request, const PhaseSet& phases)
    : problem_(request.problem),
      finisher_(request.problem, *request.kernels),
      table_(request.kernels),
      phases_w_(phases.dim[2].count()) {
  // Rows that share lines with others would be read again for each of them.
  if (contiguous() && problem_.call.out[2] % kFloatsPerLine != 0) return;
  // Where some outputs have no product there is little to compute between the stores.
  const bool dense = !contiguous() && has_gaps(phases);
  streaming_ = {streams(problem_, *table_, request.caches, dense ? kStreamDense : kStreamSparse),
                streams(problem_, *table_, request.caches, kStreamFresh)};
}

std::int64_t PixelStore::scratch_floats(std::int64_t pixels, std::int64_t width) const {
  return contiguous() ? width * channel_stride(pixels) + kFloatsPerLine * 4 : 0;  // row stores read a vector beyond
}

// What passes by the caches is stored row by row: lines of many channels by turns took a tenth longer.
bool PixelStore::in_one_pass(const RunArgs& args) const {
  return problem_.call.out[2] >= kLongRow && !streaming_.now(args.fresh);
}

void PixelStore::begin_tile(const RunArgs& args, const Panel& panel, const float* tile, std::int64_t pixels,
                            float* scratch) const {
  if (!contiguous() || in_one_pass(args)) return;
  const TransposeArgs transpose{tile, panel.width, scratch, channel_stride(pixels), phases_w_ * pixels, panel.rows};
  table_->transpose(&transpose);
}

std::int64_t PixelStore::outputs(const PixelRow& row) const {
  const std::int64_t stride_w = problem_.layer.stride[2];
  return std::min(row.columns * stride_w, problem_.call.out[2] - row.j0 * stride_w);
}

void PixelStore::store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, const float* tile,
                       float* scratch) const {
  if (!contiguous()) {
    store_channels_last(args, panel, row, tile);
  } else if (in_one_pass(args)) {
    store_in_one_pass(args, panel, row, tile);
  } else {
    store_contiguous(args, panel, row, pixels, scratch);
  }
}

std::ptrdiff_t PixelStore::first_output(const Panel& panel, const PixelRow& row) const {
  const Dims& out = problem_.call.out;
  const std::int64_t channel = row.group * problem_.out_channels_per_group() + panel.first;
  return (row.image * problem_.layer.out_channels + channel) * problem_.out_points() + (row.od * out[1] + row.oh) * out[2] +
         row.j0 * problem_.layer.stride[2];
}

void PixelStore::store_in_one_pass(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile) const {
  const std::int64_t plane = problem_.out_points();
  const std::int64_t first_channel = row.group * problem_.out_channels_per_group() + panel.first;
  const std::ptrdiff_t index = first_output(panel, row);
  TransposeStoreArgs call;
  call.transpose = {
      tile + row.first * phases_w_ * panel.width, panel.width, args.dst + index, plane, outputs(row), panel.rows};
  call.bias = args.bias == nullptr ? kZeros : args.bias + first_channel;
  call.epilogue = &finisher_.epilogue(args);
  table_->transpose_store(&call);
  for (std::int64_t c = 0; c < panel.rows && finisher_.follows(args); ++c) {
    finisher_.row(args, first_channel + c, call.transpose.dst + c * plane, index + c * plane, call.transpose.rows);
  }
}

void PixelStore::store_contiguous(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels,
                                  float* scratch) const {
  const std::int64_t plane = problem_.out_points();
  const std::int64_t first_channel = row.group * problem_.out_channels_per_group() + panel.first;
  const std::int64_t stride = channel_stride(pixels);
  const bool stream = streaming_.now(args.fresh);
  std::ptrdiff_t index = first_output(panel, row);
  RowStoreArgs call;
  call.phase_stride = 0;
  call.phases = 1;  // they stand in the order of the outputs
  call.count = outputs(row);
  call.epilogue = &finisher_.epilogue(args);
  if (!stream && !finisher_.follows(args)) {  // all channels at once
    call.tile = scratch + row.first * phases_w_;
    call.biases = args.bias == nullptr ? kZeros : args.bias + first_channel;
    call.bias_row = 1;
    call.rows = panel.rows;
    call.tile_stride = stride;
    call.dst = args.dst + index;
    call.dst_stride = plane;
    table_->row_store(&call);
    return;
  }
  for (std::int64_t c = 0; c < panel.rows; ++c, index += plane) {
    float* const sums = scratch + c * stride + row.first * phases_w_;
    float* const dst = args.dst + index;
    call.tile = sums;
    call.bias = args.bias == nullptr ? 0.0f : args.bias[first_channel + c];
    const bool past = stream && is_line(dst) && !finisher_.follows(args);
    call.dst = stream && !past ? sums : dst;
    (past ? table_->row_store_past : table_->row_store)(&call);
    finisher_.row(args, first_channel + c, call.dst, index, call.count);
    if (stream && !past) stream_row(*table_, sums, call.count, dst);
  }
}

void PixelStore::store_channels_last(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile) const {
  const Dims& out = problem_.call.out;
  const std::int64_t out_channels = problem_.layer.out_channels;
  const std::int64_t first_channel = row.group * problem_.out_channels_per_group() + panel.first;
  PixelStoreArgs call;
  call.tile = tile == nullptr ? kZeros : tile + row.first * phases_w_ * panel.width;
  call.tile_stride = tile == nullptr ? 0 : panel.width;
  call.rows = outputs(row);
  call.columns = panel.rows;
  call.dst =
      args.dst +
      (((row.image * out[0] + row.od) * out[1] + row.oh) * out[2] + row.j0 * problem_.layer.stride[2]) * out_channels +
      first_channel;
  call.dst_stride = out_channels;
  call.bias = args.bias == nullptr ? kZeros : args.bias + first_channel;
  call.epilogue = &finisher_.epilogue(args);
  const bool past = streaming_.now(args.fresh) && !finisher_.follows(args) && call.columns % kFloatsPerLine == 0 &&
                    out_channels % kFloatsPerLine == 0 && is_line(call.dst);
  (past ? table_->pixel_store_past : table_->pixel_store)(&call);
  finisher_.pixels(args, first_channel, call.dst, call.dst_stride, call.dst - args.dst, call.rows, call.columns);
}

void PixelStore::finish(const RunArgs& args) const {
  if (streaming_.now(args.fresh)) table_->stream_fence();
}

}  // namespace convtranspose
