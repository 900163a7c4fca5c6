#include "pack/position_weights.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {

PositionWeights::PositionWeights(const LayerSpec& layer, std::int64_t widest, std::int64_t lanes)
    : layer_(layer),
      columns_(layer.kernel[1] * layer.kernel[2] * layer.out_channels),
      panels_(split_panels(columns_, widest, lanes)),
      pitch_(panels_.back().begin + panels_.back().width),
      task_channels_(std::clamp<std::int64_t>(kPackTask / panels_.front().width, 1, layer.in_channels)) {
  // A layer is planned with other dimensions where the input has size 1: see problem/canonical.h.
  key_ = "positions k" + std::to_string(layer.kernel[1]) + "x" + std::to_string(layer.kernel[2]) + " panels";
  for (const Panel& panel : panels_) key_.append(" ").append(std::to_string(panel.width));
}

std::int64_t PositionWeights::tasks() const {
  return static_cast<std::int64_t>(panels_.size()) * ceil_div(layer_.in_channels, task_channels_);
}

void PositionWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t slices = ceil_div(layer_.in_channels, task_channels_);
  const Panel& panel = panels_[static_cast<std::size_t>(task / slices)];
  const std::int64_t first = task % slices * task_channels_;
  const std::int64_t end = std::min(layer_.in_channels, first + task_channels_);
  const std::int64_t points = layer_.kernel[1] * layer_.kernel[2], outputs = layer_.out_channels;
  for (std::int64_t c = first; c < end; ++c) {
    const float* const from = weights + c * outputs * points;
    float* const to = packed + offset(panel) + c * panel.width;
    for (std::int64_t i = 0; i < panel.rows; ++i) {
      const std::int64_t column = panel.first + i;
      to[i] = from[column % outputs * points + column / outputs];
    }
    std::fill(to + panel.rows, to + panel.width, 0.0f);
  }
}

}  // namespace convtranspose
