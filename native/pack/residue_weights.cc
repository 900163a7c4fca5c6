#include "pack/residue_weights.h"

#include <algorithm>

#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {

ResidueWeights::ResidueWeights(const LayerSpec& layer, MemoryFormat format, std::int64_t widest, std::int64_t lanes)
    : layer_(layer),
      interleaved_(format == MemoryFormat::kChannelsLast ? layer.out_channels : 1),
      taps_w_(layer.kernel[2] / layer.stride[2]) {
  const std::int64_t outputs = layer.out_channels / layer.groups / interleaved_;
  const std::int64_t stride = layer.stride[2] * interleaved_;
  const auto add = [&](std::int64_t channel, std::int64_t channels, std::int64_t residue, std::int64_t residues) {
    const std::int64_t width = round_up(channels * residues, lanes);
    panels_.push_back({channel, channels, residue, residues, width, total_width_});
    total_width_ += width;
  };
  const std::int64_t whole = widest / stride;  // channels that a panel holds
  for (std::int64_t co = 0; co < outputs; co += std::max<std::int64_t>(whole, 1)) {
    if (whole > 0) {
      add(co, std::min(whole, outputs - co), 0, stride);
    } else {
      for (std::int64_t r = 0; r < stride; r += widest) add(co, 1, r, std::min(widest, stride - r));
    }
  }
  std::int64_t sum = 0;
  for (int d = 0; d < 2; ++d) taps_[d] = taps_by_residue(layer.kernel[d], layer.stride[d], layer.dilation[d]);
  for (const auto& depth : taps_[0]) {
    for (const auto& height : taps_[1]) {
      taps_before_.push_back(sum);
      sum += static_cast<std::int64_t>(depth.size() * height.size()) * taps_w_;
    }
  }
  const std::int64_t channels = layer.in_channels / layer.groups;
  group_elements_ = channels * sum * total_width_;
  task_channels_ = std::clamp<std::int64_t>(kPackTask / std::max<std::int64_t>(sum * total_width_, 1), 1,
                                            std::max<std::int64_t>(channels, 1));
  key_ = (interleaved_ > 1 ? "residues of channels widest" : "residues widest") + std::to_string(widest) + " lanes" +
         std::to_string(lanes);
  for (int d = 0; d < kSpatialDims; ++d) {
    key_.append(d == 0 ? " k" : "x").append(std::to_string(layer.kernel[d]));
    key_.append("s").append(std::to_string(layer.stride[d])).append("d").append(std::to_string(layer.dilation[d]));
  }
}

std::int64_t ResidueWeights::taps(std::int64_t residue_d, std::int64_t residue_h) const {
  return static_cast<std::int64_t>(taps_[0][static_cast<std::size_t>(residue_d)].size() *
                                   taps_[1][static_cast<std::size_t>(residue_h)].size()) *
         taps_w_;
}

std::int64_t ResidueWeights::offset(std::int64_t group, std::int64_t residue_d, std::int64_t residue_h,
                                    const ResiduePanel& panel) const {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t before = taps_before_[static_cast<std::size_t>(residue_d * layer_.stride[1] + residue_h)];
  return group * group_elements_ + channels * (before * total_width_ + taps(residue_d, residue_h) * panel.begin);
}

std::int64_t ResidueWeights::tasks() const {
  if (group_elements_ == 0) return 0;
  return layer_.groups * ceil_div(layer_.in_channels / layer_.groups, task_channels_);
}

void ResidueWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const std::int64_t blocks = ceil_div(channels, task_channels_);
  const std::int64_t group = task / blocks;
  const std::int64_t first = task % blocks * task_channels_;
  const std::int64_t end = std::min(first + task_channels_, channels);
  for (std::int64_t c = first; c < end; ++c) {
    const float* const from = weights + (group * channels + c) * outputs * kernel_points;
    for (std::int64_t rd = 0; rd < layer_.stride[0]; ++rd) {
      for (std::int64_t rh = 0; rh < layer_.stride[1]; ++rh) {
        for (const ResiduePanel& panel : panels_) {
          float* out = packed + offset(group, rd, rh, panel) + c * taps(rd, rh) * panel.width;
          for (const std::int64_t kd : taps_[0][static_cast<std::size_t>(rd)]) {
            for (const std::int64_t kh : taps_[1][static_cast<std::size_t>(rh)]) {
              for (std::int64_t t = 0; t < taps_w_; ++t) {
                pack_columns(from + (kd * layer_.kernel[1] + kh) * layer_.kernel[2] + t * layer_.stride[2], panel, out);
                out += panel.width;
              }
            }
          }
        }
      }
    }
  }
}

void ResidueWeights::pack_columns(const float* tap, const ResiduePanel& panel, float* out) const noexcept {
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  if (interleaved_ > 1) {
    for (std::int64_t i = 0; i < panel.residues; ++i) {
      const std::int64_t column = panel.first_residue + i;
      out[i] = tap[column % interleaved_ * kernel_points + column / interleaved_];
    }
  } else {
    const float* const first = tap + panel.first_channel * kernel_points + panel.first_residue;
    for (std::int64_t co = 0; co < panel.channels; ++co) {
      std::copy(first + co * kernel_points, first + co * kernel_points + panel.residues, out + co * panel.residues);
    }
  }
  std::fill(out + panel.columns(), out + panel.width, 0.0f);
}

}  // namespace convtranspose
