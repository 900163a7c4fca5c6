// Packed weights for products of single inputs by all positions of a two-dimensional kernel of all output channels. Columns
// are [height tap][width tap][output channel], in panels:
//
//   [panel][input channel][column of the panel]
//
// What fills up the last panel is zero.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "pack/weights.h"
#include "problem/problem.h"

namespace convtranspose {

class PositionWeights final : public PackedForm {
 public:
  // Of a layer without groups whose kernel has a depth of 1. `widest`: columns of a panel at most, a multiple of `lanes`.
  PositionWeights(const LayerSpec& layer, std::int64_t widest, std::int64_t lanes);

  const std::vector<Panel>& panels() const { return panels_; }  // rows of a Panel are columns here
  std::int64_t columns() const { return columns_; }             // that are no padding
  std::int64_t pitch() const { return pitch_; }                 // of all panels
  // Where channel c of a panel begins: + c * panel.width.
  std::int64_t offset(const Panel& panel) const { return panel.begin * layer_.in_channels; }

  std::int64_t elements() const override { return pitch_ * layer_.in_channels; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  LayerSpec layer_;
  std::int64_t columns_;
  std::vector<Panel> panels_;
  std::int64_t pitch_;
  std::int64_t task_channels_;  // a task packs so many neighbouring input channels of a panel
  std::string key_;
};

}  // namespace convtranspose
