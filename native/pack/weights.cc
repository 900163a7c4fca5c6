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
  group_elements_ = channels * total_width_ * layer.kernel[0] * layer.kernel[1] * layer.kernel[2];

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

void WeightLayout::pack(const float* weights, float* packed) const {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  std::vector<std::int64_t> tap_index;
  float* out = packed;
  for (std::int64_t group = 0; group < layer_.groups; ++group) {
    for (const auto& depth : taps_[0]) {
      for (const auto& height : taps_[1]) {
        for (const Panel& panel : panels_) {
          for (const auto& width : taps_[2]) {
            tap_index.clear();
            for (const std::int64_t kd : depth) {
              for (const std::int64_t kh : height) {
                for (const std::int64_t kw : width) {
                  tap_index.push_back((kd * layer_.kernel[1] + kh) * layer_.kernel[2] + kw);
                }
              }
            }
            for (std::int64_t c = 0; c < channels; ++c) {
              const float* from = weights + ((group * channels + c) * outputs + panel.first) * kernel_points;
              for (const std::int64_t tap : tap_index) {
                for (std::int64_t i = 0; i < panel.rows; ++i) out[i] = from[i * kernel_points + tap];
                for (std::int64_t i = panel.rows; i < panel.width; ++i) out[i] = 0.0f;
                out += panel.width;
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace convtranspose
