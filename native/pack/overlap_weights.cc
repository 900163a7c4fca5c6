#include "pack/overlap_weights.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {

OverlapWeights::OverlapWeights(const LayerSpec& layer, int terms, float scale, const TermKernels& kernels)
    : layer_(layer),
      terms_(terms),
      scale_(scale),
      split_(kernels.split),
      channel_blocks_(ceil_div(layer.in_channels / layer.groups, kTermBlock)),
      channel_rows_(layer.kernel[0] * layer.kernel[1] * layer.kernel[2]),
      rows_(layer.out_channels / layer.groups * channel_rows_),
      matrices_(ceil_div(rows_, kTermSquare)) {
  // A layer is planned with other dimensions and strides where the input has size 1: see problem/canonical.h.
  key_ = "overlap" + std::to_string(terms);
  for (int d = 0; d < kSpatialDims; ++d) key_.append(d == 0 ? " k" : "x").append(std::to_string(layer.kernel[d]));
  key_.append("s").append(std::to_string(layer.stride[2])).append("d").append(std::to_string(layer.dilation[2]));
  const auto residues = taps_by_residue(layer.kernel[2], layer.stride[2], layer.dilation[2]);
  for (const std::vector<std::int64_t>& taps : residues) {
    std::vector<std::int64_t> shift;
    for (const std::int64_t kw : taps) shift.push_back(kw * layer.dilation[2] / layer.stride[2]);
    if (!shift.empty()) most_shift_ = std::max(most_shift_, shift.back());
    shifts_.push_back(std::move(shift));
  }
  runs_.reserve(static_cast<std::size_t>(layer.kernel[0] * layer.kernel[1]) * residues.size());
  run_of_.reserve(static_cast<std::size_t>(channel_rows_));
  position_.reserve(static_cast<std::size_t>(channel_rows_));
  for (std::int64_t kd = 0; kd < layer.kernel[0]; ++kd) {
    for (std::int64_t kh = layer.kernel[1] - 1; kh >= 0; --kh) {
      for (std::size_t r = 0; r < residues.size(); ++r) {
        if (residues[r].empty()) continue;
        const OverlapRun run{kd, kh, static_cast<std::int64_t>(r), static_cast<std::int64_t>(position_.size()), shifts_[r]};
        for (const std::int64_t kw : residues[r]) {
          run_of_.push_back(runs_.size());
          position_.push_back((kd * layer.kernel[1] + kh) * layer.kernel[2] + kw);
        }
        runs_.push_back(run);
      }
    }
  }
}

std::int64_t OverlapWeights::elements() const {
  return ceil_div(layer_.groups * matrices_ * matrix_elements(), 2);  // two to a float
}

std::int64_t OverlapWeights::tasks() const { return layer_.groups * matrices_; }

void OverlapWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t group = task / matrices_;
  const std::int64_t first_row = task % matrices_ * kTermSquare;
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t channel_floats = layer_.out_channels / layer_.groups * channel_rows_;
  const std::int64_t present = std::min<std::int64_t>(kTermSquare, rows_ - first_row);
  std::int64_t from[kTermSquare];
  for (std::int64_t i = 0; i < present; ++i) {
    const std::int64_t row = first_row + i;
    from[i] = row / channel_rows_ * channel_rows_ + position_[static_cast<std::size_t>(row % channel_rows_)];
  }
  alignas(64) float values[kTermSquare * kTermBlock] = {};
  TermSplitArgs call;
  call.src = values;
  call.src_stride = kTermBlock;
  call.rows = kTermSquare;
  call.channels = kTermBlock;
  call.terms = terms_;
  call.dst_stride = kTermBlock;
  call.term_stride = kTermElements;
  call.scale = scale_;
  call.limit = std::numeric_limits<float>::infinity();
  for (std::int64_t block = 0; block < channel_blocks_; ++block) {
    const float* src = weights + (group * channels + block * kTermBlock) * channel_floats;
    const std::int64_t count = std::min<std::int64_t>(kTermBlock, channels - block * kTermBlock);
    if (count < kTermBlock) std::memset(values, 0, sizeof values);
    for (std::int64_t c = 0; c < count; ++c, src += channel_floats) {
      for (std::int64_t i = 0; i < present; ++i) values[i * kTermBlock + c] = src[from[i]];
    }
    call.dst = reinterpret_cast<std::uint16_t*>(packed) + offset(group, task % matrices_) + block * terms_ * kTermElements;
    split_(&call);
  }
}

}  // namespace convtranspose
