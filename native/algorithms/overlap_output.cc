#include "algorithms/overlap_output.h"

#include <algorithm>
#include <cstring>

#include "algorithms/row_stride.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kReadBeyond = 4 * kFloatsPerLine;  // row stores read a vector beyond
constexpr std::int64_t kMostPhasesPast = 8;               // that row_store_past interleaves
constexpr std::int64_t kStagedFloats = 4096;              // rows that share lines are stored together

}  // namespace

OverlapOutput::OverlapOutput(const PlanRequest& request, const OverlapWeights& form, const OverlapExtents& extents)
    : problem_(request.problem),
      finisher_(request.problem, *request.kernels),
      table_(request.kernels),
      form_(&form),
      extents_(extents),
      streaming_{streams(request.problem, *request.kernels, request.caches, kStreamDense),
                 streams(request.problem, *request.kernels, request.caches, kStreamFresh)} {
  const LayerSpec& layer = problem_.layer;
  const std::int64_t stride = layer.stride[2];
  const std::int64_t all_pixels = ceil_div(problem_.call.out[2], stride);
  const std::int64_t most = form.most_shift();
  lead_ = round_up(std::max<std::int64_t>(0, shift_of(stride - 1)), kFloatsPerLine);
  const std::int64_t summed = lead_ - shift_of(0) + extents.columns + most;
  const std::int64_t stored =
      lead_ + std::max({extents.pixels, extents.pixels + most - shift_of(0), all_pixels - problem_.call.in[2] + 1});
  pitch_ = row_stride(std::max(summed, stored) + kFloatsPerLine);
  rows_ = std::max(extents.rows * layer.stride[1],
                   (extents.rows - 1) * layer.stride[1] + (layer.kernel[1] - 1) * layer.dilation[1] + 1);
  kept_rows_ =
      extents.steps ? std::max<std::int64_t>(0, (layer.kernel[1] - 1) * layer.dilation[1] + 1 - layer.stride[1]) : 0;
  for (std::int64_t kh = 0; kh < layer.kernel[1]; ++kh) {
    std::int64_t rows = 0;
    for (std::int64_t later = kh + 1; later < layer.kernel[1] && rows == 0; ++later) {
      const std::int64_t distance = (later - kh) * layer.dilation[1];
      if (distance % layer.stride[1] == 0) rows = distance / layer.stride[1];
    }
    previous_.push_back(rows);
  }
}

// Where j = 0 of a phase stands among the q = input position + shift of a tap.
std::int64_t OverlapOutput::shift_of(const Problem& problem, std::int64_t phase) {
  return floor_div(phase + problem.call.pad_begin[2], problem.layer.stride[2]);
}

OverlapOutput::Columns OverlapOutput::columns_of(const Problem& problem, const OverlapWeights& form, std::int64_t pixel,
                                                 std::int64_t pixels) {
  const std::int64_t width = problem.call.in[2];
  const std::int64_t first = std::clamp<std::int64_t>(pixel + shift_of(problem, 0) - form.most_shift(), 0, width - 1);
  const std::int64_t end = pixel + pixels + shift_of(problem, problem.layer.stride[2] - 1);
  return {first, std::clamp<std::int64_t>(end, first + 1, width)};
}

std::int64_t OverlapOutput::halo_of(const Problem& problem, const OverlapWeights& form) {
  return form.most_shift() + shift_of(problem, problem.layer.stride[2] - 1) - shift_of(problem, 0);
}

std::int64_t OverlapOutput::equal_columns(const Problem& problem, const OverlapWeights& form, std::int64_t pixel,
                                          std::int64_t pixels) {
  const std::int64_t width = problem.call.in[2];
  const std::int64_t all = ceil_div(problem.call.out[2], problem.layer.stride[2]);
  const std::int64_t first = pixel + shift_of(problem, 0) - form.most_shift();
  const std::int64_t beyond = shift_of(problem, problem.layer.stride[2] - 1);
  if (first >= width - 1) return all;  // behind the input
  // In front of it, or where it lies on both sides; the last block may have fewer pixels.
  const std::int64_t end = pixel + pixels + beyond;
  const std::int64_t last_end = end <= 1 ? 1 : first > 0 && end <= width ? width : end;
  return std::max(pixel + pixels, std::min(floor_div(last_end - beyond, pixels), (all - 1) / pixels) * pixels);
}

std::int64_t OverlapOutput::accumulator_floats() const {
  const Checked row = Checked(problem_.layer.stride[2]) * pitch_;
  const Checked of_kernel = Checked(problem_.layer.kernel[0]) * row;
  const Checked all =
      of_kernel * extents_.live * extents_.planes * rows_ + row + kReadBeyond + of_kernel * extents_.channels * kept_rows_;
  return all.fits() ? all.value : kMaxSize;
}

float* OverlapOutput::kept(float* accumulators, std::int64_t index) const {
  return accumulators + extents_.live * slot_floats() + row_floats() + kReadBeyond +
         index * problem_.layer.kernel[0] * kept_floats();
}

std::int64_t OverlapOutput::scratch_floats() const {
  const std::int64_t row = round_up(extents_.pixels * problem_.layer.stride[2], kFloatsPerLine);
  return std::max(row, kStagedFloats) + kReadBeyond;
}

void OverlapOutput::clear(float* accumulators) const {
  std::memset(accumulators, 0, static_cast<std::size_t>(accumulator_floats()) * sizeof(float));
}

void OverlapOutput::add(const OverlapStep& step, const float* sums, std::ptrdiff_t pitch, std::int64_t first,
                        std::int64_t end, float scale, float* accumulators) const {
  const LayerSpec& layer = problem_.layer;
  TermOverlapArgs call;
  call.src_stride = pitch;
  call.src_row = step.row_pitch;
  call.count = step.columns;
  call.dst_row = layer.stride[1] * row_floats();
  call.scale = scale;
  for (std::int64_t row = first; row < end;) {
    const std::int64_t channel = row / form_->channel_rows(), within = row % form_->channel_rows();
    const OverlapRun& run = form_->run_of(within);
    const std::int64_t tap = within - run.first;
    call.taps = std::min(static_cast<std::int64_t>(run.shift.size()) - tap, end - row);
    call.shift = run.shift.data() + tap;
    call.size = step.columns + run.shift.back();
    const std::int64_t phase = floor_mod(run.residue - problem_.call.pad_begin[2], layer.stride[2]);
    float* const to = accumulators + slot(channel) + run.kd * accumulator_plane() +
                      run.kh * layer.dilation[1] * row_floats() + phase * pitch_ + lead_ - shift_of(phase);
    // Rows before the first output that another tap has given to.
    const std::int64_t previous = previous_[static_cast<std::size_t>(run.kh)];
    const std::int64_t fresh = tap > 0         ? 0
                               : previous == 0 ? step.rows
                                               : std::clamp<std::int64_t>(step.begin + previous - step.row, 0, step.rows);
    for (std::int64_t p = 0; p < step.planes; ++p) {
      const float* const from = sums + (row - first) * pitch + p * step.plane_pitch;
      float* const plane = to + p * layer.kernel[0] * accumulator_plane();
      call.src = from;
      call.dst = plane;
      call.rows = fresh;
      call.accumulate = false;
      if (call.rows > 0) table_->terms->overlap(&call);
      call.src = from + fresh * step.row_pitch;
      call.dst = plane + fresh * call.dst_row;
      call.rows = step.rows - fresh;
      call.accumulate = true;
      if (call.rows > 0) table_->terms->overlap(&call);
    }
    row += call.taps;
  }
}

bool OverlapOutput::reached(const OverlapStep& step, std::int64_t row) const {
  const LayerSpec& layer = problem_.layer;
  for (std::int64_t kh = 0; kh < layer.kernel[1]; ++kh) {
    const std::int64_t from = row - kh * layer.dilation[1];
    if (floor_mod(from, layer.stride[1]) != 0) continue;
    const std::int64_t input = floor_div(from, layer.stride[1]);
    if (input >= step.begin && input < step.row + step.rows) return true;
  }
  return false;
}

std::int64_t OverlapOutput::kernel_plane(std::int64_t beyond) const {
  const std::int64_t dilation = problem_.layer.dilation[0];
  return beyond >= 0 && beyond % dilation == 0 && beyond / dilation < problem_.layer.kernel[0] ? beyond / dilation : -1;
}

// A task has several steps only where it computes one plane of the input.
void OverlapOutput::resume(const OverlapStep& step, std::int64_t channel, std::int64_t index, float* accumulators) const {
  if (step.row == step.begin) return;
  const float* from = kept(accumulators, index);
  float* to = accumulators + slot(channel);
  for (std::int64_t kd = 0; kd < problem_.layer.kernel[0]; ++kd, from += kept_floats(), to += accumulator_plane()) {
    std::memcpy(to, from, static_cast<std::size_t>(kept_floats()) * sizeof(float));
  }
}

void OverlapOutput::store(const RunArgs& args, const OverlapStep& step, std::int64_t channel, std::int64_t index,
                          float* accumulators, float* scratch) const {
  const LayerSpec& layer = problem_.layer;
  const CallSpec& call = problem_.call;
  const float* const zeros = accumulators + extents_.live * slot_floats();
  const float* const channel_slot = accumulators + slot(channel);
  for (std::int64_t p = 0; p < step.planes; ++p) {
    const std::int64_t image = (step.plane + p) / call.in[0], depth = (step.plane + p) % call.in[0];
    // The planes behind those of the last one of the input are its own, and so are those in front of the first.
    const std::int64_t first = depth * layer.stride[0] - call.pad_begin[0];
    const std::int64_t begin = depth == 0 ? 0 : std::max<std::int64_t>(0, first);
    const std::int64_t end = depth == call.in[0] - 1 ? call.out[0] : std::min(call.out[0], first + layer.stride[0]);
    for (std::int64_t od = begin; od < end; ++od) {
      const std::int64_t kd = kernel_plane(od - first);
      const float* const plane = kd < 0 ? nullptr : channel_slot + (p * layer.kernel[0] + kd) * accumulator_plane();
      store_plane(args, step, image, channel, od, plane, zeros, scratch);
    }
  }
  if (step.last || kept_rows_ == 0) return;
  const float* from = channel_slot + step.rows * layer.stride[1] * row_floats();
  float* to = kept(accumulators, index);
  for (std::int64_t kd = 0; kd < layer.kernel[0]; ++kd, from += accumulator_plane(), to += kept_floats()) {
    std::memcpy(to, from, static_cast<std::size_t>(kept_floats()) * sizeof(float));
  }
}

// plane: the accumulators of output plane `od`, or nullptr if nothing gives to it.
void OverlapOutput::store_plane(const RunArgs& args, const OverlapStep& step, std::int64_t image, std::int64_t channel,
                                std::int64_t od, const float* plane, const float* zeros, float* scratch) const {
  const Dims& out = problem_.call.out;
  const Dims& stride = problem_.layer.stride;
  const std::int64_t pad = problem_.call.pad_begin[1];
  const std::int64_t out_channel = step.group * problem_.out_channels_per_group() + channel;
  const std::int64_t begin = std::max<std::int64_t>(0, step.out_row - pad), end = std::min(out[1], step.out_end - pad);
  const std::int64_t count = std::min(step.pixels * stride[2], out[2] - step.pixel * stride[2]);
  const std::ptrdiff_t first =
      ((image * problem_.layer.out_channels + out_channel) * out[0] + od) * out[1] * out[2] + step.pixel * stride[2];
  const std::int64_t place = lead_ + step.pixel - step.column;
  const bool stream = streaming_.now(args.fresh);
  const bool by_itself = stream && stride[2] <= kMostPhasesPast && !finisher_.follows(args) &&
                         out[2] % kFloatsPerLine == 0 && is_line(args.dst + first);
  RowStoreArgs call;
  call.phase_stride = pitch_;
  call.phases = stride[2];
  call.count = count;
  call.bias = args.bias == nullptr ? 0.0f : args.bias[out_channel];
  call.epilogue = &finisher_.epilogue(args);
  std::int64_t staged = 0;
  std::ptrdiff_t staged_at = 0;
  for (std::int64_t oh = begin; oh < end; ++oh) {
    const std::int64_t row = oh + pad;
    const bool whole = plane != nullptr && reached(step, row);
    call.tile = (whole ? plane + (row - step.row * stride[1]) * row_floats() : zeros) + place;
    const std::ptrdiff_t at = first + oh * out[2];
    if (!stream || by_itself) {
      call.dst = args.dst + at;
      (by_itself ? table_->row_store_past : table_->row_store)(&call);
      finisher_.row(args, out_channel, call.dst, at, count);
      continue;
    }
    if (staged > 0 && (staged_at + staged != at || staged + count > kStagedFloats)) {
      stream_row(*table_, scratch, staged, args.dst + staged_at);
      staged = 0;
    }
    if (staged == 0) staged_at = at;
    call.dst = scratch + staged;
    table_->row_store(&call);
    finisher_.row(args, out_channel, call.dst, at, count);
    staged += count;
  }
  if (staged > 0) stream_row(*table_, scratch, staged, args.dst + staged_at);
}

void OverlapOutput::finish(const RunArgs& args) const {
  if (streaming_.now(args.fresh)) table_->stream_fence();
}

}  // namespace convtranspose
