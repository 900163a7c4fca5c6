// Packed weights for pixel kernels: [kernel position][channel], for layers of one input and one output channel per group.
#pragma once

#include <cstdint>
#include <string>

#include "pack/packed_form.h"
#include "problem/problem.h"

namespace convtranspose {

class PixelWeights final : public PackedForm {
 public:
  explicit PixelWeights(const LayerSpec& layer);

  std::int64_t elements() const override { return channels_ * kernel_points_; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  std::int64_t channels_;
  std::int64_t kernel_points_;
  std::int64_t task_points_;  // kernel positions of a task
  std::string key_ = "pixels";
};

}  // namespace convtranspose
