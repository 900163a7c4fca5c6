// Packed weights for tiles whose columns are the residues of the width (see phases.h) of some output channels: where the
// kernel is a multiple of the stride, all residues of a position have taps at the same input offsets, and their outputs are
// neighbours in memory. Channels last those of all channels are, in the order [residue][channel]: there they count as the
// residues of one channel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "problem/problem.h"

namespace convtranspose {

// The columns that one tile kernel call handles: [channel][residue].
struct ResiduePanel {
  std::int64_t first_channel, channels;  // output channels within the group
  std::int64_t first_residue, residues;  // all of them, or, if no kernel is that wide, some of those of one channel
  std::int64_t width;                    // columns as stored, zero-filled
  std::int64_t begin;                    // sum of the widths before it

  std::int64_t columns() const { return channels * residues; }
};

// [group][depth residue][height residue][panel][channel][tap][panel width]; taps are in the order of kernel positions.
class ResidueWeights final : public PackedForm {
 public:
  // `widest`: columns of the widest kernel, a multiple of `lanes`. The layer's kernel[2] is a multiple of its stride[2],
  // with dilation 1. Channels last it has one group.
  ResidueWeights(const LayerSpec& layer, MemoryFormat format, std::int64_t widest, std::int64_t lanes);

  const std::vector<ResiduePanel>& panels() const { return panels_; }
  std::int64_t total_width() const { return total_width_; }
  std::int64_t taps(std::int64_t residue_d, std::int64_t residue_h) const;  // of a column
  std::int64_t group_elements() const { return group_elements_; }
  // Start of a panel's run. Channel c of it begins at + c * taps * panel.width.
  std::int64_t offset(std::int64_t group, std::int64_t residue_d, std::int64_t residue_h, const ResiduePanel& panel) const;

  std::int64_t elements() const override { return layer_.groups * group_elements_; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  // The columns of a panel for one tap; `tap`: its weight for residue 0 of output channel 0.
  void pack_columns(const float* tap, const ResiduePanel& panel, float* out) const noexcept;

  LayerSpec layer_;
  std::int64_t interleaved_;  // output channels whose residues count as those of one
  std::vector<ResiduePanel> panels_;
  std::vector<std::vector<std::int64_t>> taps_[2];  // depth, height: [residue] -> weight positions
  std::vector<std::int64_t> taps_before_;           // [residue_d * stride_h + residue_h]: taps of all smaller ones
  std::int64_t taps_w_;                             // of a residue along the width
  std::int64_t total_width_ = 0;
  std::int64_t group_elements_ = 0;
  std::int64_t task_channels_ = 1;  // a task packs so many neighbouring input channels of a group
  std::string key_;
};

}  // namespace convtranspose
