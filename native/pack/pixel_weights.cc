#include "pack/pixel_weights.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {

PixelWeights::PixelWeights(const LayerSpec& layer)
    : channels_(layer.in_channels),
      kernel_points_(layer.kernel[0] * layer.kernel[1] * layer.kernel[2]),
      task_points_(std::max<std::int64_t>(1, kPackTask / std::max<std::int64_t>(1, channels_))) {}

std::int64_t PixelWeights::tasks() const { return elements() == 0 ? 0 : ceil_div(kernel_points_, task_points_); }

void PixelWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t end = std::min((task + 1) * task_points_, kernel_points_);
  for (std::int64_t k = task * task_points_; k < end; ++k) {
    for (std::int64_t c = 0; c < channels_; ++c) packed[k * channels_ + c] = weights[c * kernel_points_ + k];
  }
}

}  // namespace convtranspose
