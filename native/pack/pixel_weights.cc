#include "pack/pixel_weights.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {

PixelWeights::PixelWeights(const LayerSpec& layer, std::int64_t columns)
    : out_channels_(layer.out_channels),
      inputs_(layer.in_channels / layer.groups),
      outputs_(layer.out_channels / layer.groups),
      kernel_points_(layer.kernel[0] * layer.kernel[1] * layer.kernel[2]),
      columns_(columns),
      panels_(ceil_div(out_channels_, columns)),
      task_points_(std::max<std::int64_t>(1, kPackTask / std::max<std::int64_t>(1, inputs_ * columns))),
      key_("pixels" + std::to_string(columns)) {}

std::int64_t PixelWeights::tasks() const { return elements() == 0 ? 0 : ceil_div(panels_ * kernel_points_, task_points_); }

void PixelWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t end = std::min((task + 1) * task_points_, panels_ * kernel_points_);
  for (std::int64_t point = task * task_points_; point < end; ++point) {
    const std::int64_t first = point / kernel_points_ * columns_, k = point % kernel_points_;
    float* to = packed + point * point_elements();
    for (std::int64_t i = 0; i < inputs_; ++i) {
      for (std::int64_t c = first; c < first + columns_; ++c, ++to) {
        const std::int64_t row = c / outputs_ * inputs_ + i;
        *to = c < out_channels_ ? weights[(row * outputs_ + c % outputs_) * kernel_points_ + k] : 0.0f;
      }
    }
  }
}

}  // namespace convtranspose
