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
    streaming_ = {streams(problem_, *table_, request.caches, kStreamDense),
                  streams(problem_, *table_, request.caches, kStreamFresh)};
  }
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t stride = problem_.layer.stride[d], pad = problem_.call.pad_begin[d];
    first_[d] = floor_div(pad, stride);
    size_[d] = floor_div(problem_.call.out[d] - 1 + pad, stride) - first_[d] + 1;
  }
}

std::int64_t ResidueStore::scratch_floats(std::int64_t pixels, std::int64_t width) const {
  return width * row_stride(pixels) + kReadBeyond + round_up(pixels * problem_.layer.stride[2], kFloatsPerLine);
}

void ResidueStore::begin_tile(const RunArgs&, const Panel& panel, const float* tile, std::int64_t pixels,
                              float* scratch) const {
  const TransposeArgs transpose{tile, panel.width, scratch, row_stride(pixels), pixels, panel.rows};
  table_->transpose(&transpose);
}

void ResidueStore::store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, const float*,
                         float* scratch) const {
  const Dims& out = problem_.call.out;
  const Dims& stride = problem_.layer.stride;
  const Dims& pad = problem_.call.pad_begin;
  const std::int64_t channels = problem_.out_channels_per_group();
  const std::int64_t between = row_stride(pixels);
  float* const line = scratch + panel.width * between + kReadBeyond;
  // Outputs of the first pixel along the width may lie before the first one.
  const std::int64_t ow = (first_[2] + row.j0) * stride[2] - pad[2];
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
    const std::int64_t od = (first_[0] + row.od) * stride[0] + index / channels / stride[1] - pad[0];
    const std::int64_t oh = (first_[1] + row.oh) * stride[1] + index / channels % stride[1] - pad[1];
    if (od < 0 || od >= out[0] || oh < 0 || oh >= out[1]) continue;
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

void ResidueStore::finish(const RunArgs& args) const {
  if (streaming_.now(args.fresh)) table_->stream_fence();
}

}  // namespace convtranspose
