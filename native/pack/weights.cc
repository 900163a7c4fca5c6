#include "pack/weights.h"

#include <algorithm>

#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {

std::vector<Panel> split_panels(std::int64_t channels, std::int64_t widest, std::int64_t granule) {
  std::vector<Panel> panels;
  const std::int64_t units = ceil_div(channels, granule);
  const std::int64_t units_per_panel = widest / granule;
  const std::int64_t count = ceil_div(units, units_per_panel);
  std::int64_t first = 0;
  std::int64_t begin = 0;
  for (std::int64_t p = 0; p < count; ++p) {
    const std::int64_t width = (units * (p + 1) / count - units * p / count) * granule;
    const std::int64_t rows = width < channels - first ? width : channels - first;
    panels.push_back({first, rows, width, begin});
    first += rows;
    begin += width;
  }
  return panels;
}

WeightLayout::WeightLayout(const LayerSpec& layer, std::vector<Panel> panels, std::int64_t chunk)
    : layer_(layer), panels_(std::move(panels)), chunk_(chunk) {
  for (int d = 0; d < kSpatialDims; ++d) {
    taps_[d] = taps_by_residue(layer.kernel[d], layer.stride[d], layer.dilation[d]);
  }
  std::int64_t sum = 0;
  for (const auto& taps : taps_[2]) {
    taps_before_w_.push_back(sum);
    sum += static_cast<std::int64_t>(taps.size());
  }
  sum = 0;
  for (const auto& depth : taps_[0]) {
    for (const auto& height : taps_[1]) {
      taps_before_dh_.push_back(sum);
      sum += static_cast<std::int64_t>(depth.size() * height.size());
    }
  }
  for (const Panel& panel : panels_) {
    total_width_ += panel.width;
    widest_ = std::max(widest_, panel.width);
  }
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t kernel_points = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
  group_elements_ = channels * total_width_ * kernel_points;
  // All panels of a few channels, so that the raw weights are read in their order; few panels of one where they are large.
  task_channels_ = std::clamp<std::int64_t>(kPackTask / std::max<std::int64_t>(total_width_ * kernel_points, 1), 1,
                                            std::max<std::int64_t>(channels, 1));
  task_panels_ = static_cast<std::int64_t>(panels_.size());
  if (task_channels_ == 1) {
    task_panels_ = std::clamp<std::int64_t>(kPackTask / std::max<std::int64_t>(widest_ * kernel_points, 1), 1,
                                            std::max<std::int64_t>(task_panels_, 1));
  }

  key_ = "chunk" + std::to_string(chunk_);
  for (int d = 0; d < kSpatialDims; ++d) {
    key_.append(d == 0 ? " k" : "x").append(std::to_string(layer.kernel[d]));
    key_.append("s").append(std::to_string(layer.stride[d])).append("d").append(std::to_string(layer.dilation[d]));
  }
  key_ += " panels";
  for (std::size_t p = 0; p < panels_.size();) {  // run-length: "8*16"
    std::size_t end = p;
    while (end < panels_.size() && panels_[end].width == panels_[p].width) ++end;
    key_.append(p == 0 ? " " : "+").append(std::to_string(panels_[p].width)).append("*").append(std::to_string(end - p));
    p = end;
  }
}

std::vector<std::int64_t> WeightLayout::distinct_widths() const {
  std::vector<std::int64_t> widths;
  for (const Panel& panel : panels_) {
    if (std::find(widths.begin(), widths.end(), panel.width) == widths.end()) widths.push_back(panel.width);
  }
  return widths;
}

std::int64_t WeightLayout::taps(std::int64_t residue_d, std::int64_t residue_h, std::int64_t residue_w) const {
  return static_cast<std::int64_t>(taps_[0][residue_d].size() * taps_[1][residue_h].size() * taps_[2][residue_w].size());
}

std::int64_t WeightLayout::offset(std::int64_t group, std::int64_t residue_d, std::int64_t residue_h, const Panel& panel,
                                  std::int64_t residue_w) const {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t taps_dh = static_cast<std::int64_t>(taps_[0][residue_d].size() * taps_[1][residue_h].size());
  const std::int64_t kernel_w = layer_.kernel[2];
  return group * group_elements_ +
         channels * (taps_before_dh_[residue_d * layer_.stride[1] + residue_h] * kernel_w * total_width_ +
                     taps_dh * (panel.begin * kernel_w + taps_before_w_[residue_w] * panel.width));
}

std::int64_t WeightLayout::tasks() const {
  if (group_elements_ == 0) return 0;
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  return layer_.groups * ceil_div(channels, task_channels_) *
         ceil_div(static_cast<std::int64_t>(panels_.size()), task_panels_);
}

void WeightLayout::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t panels = static_cast<std::int64_t>(panels_.size());
  const std::int64_t panel_blocks = ceil_div(panels, task_panels_);
  const std::int64_t channel_blocks = ceil_div(channels, task_channels_);
  const std::int64_t first_panel = task % panel_blocks * task_panels_;
  const std::int64_t first = task / panel_blocks % channel_blocks * task_channels_;
  const std::int64_t group = task / panel_blocks / channel_blocks;
  const std::int64_t end_panel = std::min(first_panel + task_panels_, panels);
  for (std::int64_t p = first_panel; p < end_panel; ++p) {
    pack_panel(weights, group, panels_[static_cast<std::size_t>(p)], first, std::min(first + task_channels_, channels),
               packed);
  }
}

// The raw values of one channel and panel are neighbours: a few channels at a time, small enough for the first cache, are
// packed for all phases.
void WeightLayout::pack_panel(const float* weights, std::int64_t group, const Panel& panel, std::int64_t first,
                              std::int64_t end, float* packed) const noexcept {
  constexpr std::int64_t kBlock = 4096;  // floats
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const std::int64_t step = std::max<std::int64_t>(kBlock / (panel.rows * kernel_points), 1);
  for (; first < end; first += step) {
    const std::int64_t block_end = std::min(first + step, end);
    for (std::size_t rd = 0; rd < taps_[0].size(); ++rd) {
      for (std::size_t rh = 0; rh < taps_[1].size(); ++rh) {
        for (std::size_t rw = 0; rw < taps_[2].size(); ++rw) {
          pack_phase(weights, group, panel, {rd, rh, rw}, first, block_end, packed);
        }
      }
    }
  }
}

void WeightLayout::pack_phase(const float* weights, std::int64_t group, const Panel& panel,
                              const std::array<std::size_t, kSpatialDims>& residue, std::int64_t first, std::int64_t end,
                              float* packed) const noexcept {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const auto rd = static_cast<std::int64_t>(residue[0]);
  const auto rh = static_cast<std::int64_t>(residue[1]);
  const auto rw = static_cast<std::int64_t>(residue[2]);
  float* out = packed + offset(group, rd, rh, panel, rw) + first * taps(rd, rh, rw) * panel.width;
  for (std::int64_t c = first; c < end; ++c) {
    const float* const from = weights + ((group * channels + c) * outputs + panel.first) * kernel_points;
    for (const std::int64_t kd : taps_[0][residue[0]]) {
      for (const std::int64_t kh : taps_[1][residue[1]]) {
        for (const std::int64_t kw : taps_[2][residue[2]]) {
          const float* const tap = from + (kd * layer_.kernel[1] + kh) * layer_.kernel[2] + kw;
          for (std::int64_t i = 0; i < panel.rows; ++i) out[i] = tap[i * kernel_points];
          for (std::int64_t i = panel.rows; i < panel.width; ++i) out[i] = 0.0f;
          out += panel.width;
        }
      }
    }
  }
}

}  // namespace convtranspose
