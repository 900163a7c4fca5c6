// Packed weights for pixel kernels: [panel of output channels][kernel position][input channel of the group][output channel
// of the panel], the last panel filled up with zeros.
#pragma once

#include <cstdint>
#include <string>

#include "pack/packed_form.h"
#include "problem/problem.h"

namespace convtranspose {

class PixelWeights final : public PackedForm {
 public:
  // `columns`: output channels of a panel. No task is smaller than a kernel position of a panel.
  PixelWeights(const LayerSpec& layer, std::int64_t columns);

  std::int64_t columns() const { return columns_; }
  std::int64_t panels() const { return panels_; }
  std::int64_t panel_elements() const { return kernel_points_ * point_elements(); }
  std::int64_t point_elements() const { return inputs_ * columns_; }  // of a kernel position of a panel

  std::int64_t elements() const override { return panels_ * panel_elements(); }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  std::int64_t out_channels_;
  std::int64_t inputs_, outputs_;  // of a group
  std::int64_t kernel_points_;
  std::int64_t columns_;
  std::int64_t panels_;
  std::int64_t task_points_;  // kernel positions of a task, of all panels one after the other
  std::string key_;
};

}  // namespace convtranspose
