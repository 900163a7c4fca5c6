// Packed weights for term kernels: split into terms of bfloat16, in the order in which the kernels read them,
//
//   [group][depth residue][height residue][panel][width residue][block of 32 channels][tap][term][matrix of 16 output
//   channels][pair of channels][output channel][channel of the pair]
//
// All are multiplied by a power of two: see algorithms/amx.cc. What stands here as output channels are those of the layer,
// or these of all residues of the strides: see TermColumns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "pack/packed_form.h"
#include "pack/weights.h"
#include "problem/problem.h"

namespace convtranspose {

// What the columns of the matrices of weights are, in the terms of phases.h: the output channels of one phase, or, where the
// kernel is a multiple of the stride and there is no dilation, those of all residues, which have taps at the same inputs:
// [depth residue][height residue][output channel][width residue]. Then the layer counts as one of stride 1 with so many
// output channels, the kernel as so much smaller.
enum class TermColumns { kChannels, kResidues };

// The layer that the columns belong to.
LayerSpec layer_of_columns(const LayerSpec& layer, TermColumns columns);

class TermWeights final : public PackedForm {
 public:
  // Of a layer with kernels that are bounded (algorithms/limits.h). Panels are of at most 32 columns, residues of the width
  // (at most 32) together.
  TermWeights(const LayerSpec& layer, TermColumns columns, int terms, float scale, const TermKernels& kernels);

  int terms() const { return terms_; }
  const std::vector<Panel>& panels() const { return layout_.panels(); }
  std::int64_t channel_blocks() const { return channel_blocks_; }  // of a group
  std::int64_t taps(std::int64_t residue_d, std::int64_t residue_h, std::int64_t residue_w) const {
    return layout_.taps(residue_d, residue_h, residue_w);
  }

  // Start of the run of a phase and panel, in terms. Channel block c of it begins at + c * taps * 32 * panel.width *
  // terms().
  std::int64_t offset(std::int64_t group, std::int64_t residue_d, std::int64_t residue_h, const Panel& panel,
                      std::int64_t residue_w) const {
    return layout_.offset(group, residue_d, residue_h, panel, residue_w) * terms_;
  }

  std::int64_t elements() const override;
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  LayerSpec layer_;    // as it was made
  LayerSpec columns_;  // of the columns
  int terms_;
  float scale_;
  TermWeightsFn split_;
  std::int64_t channel_blocks_;
  WeightLayout layout_;                                        // of the layer with whole blocks of channels, in values
  std::vector<std::int64_t> column_offset_;                    // of the raw weights, relative to the first column
  std::vector<std::vector<std::int64_t>> taps_[kSpatialDims];  // offsets of the raw weights along a dimension
  std::string key_;
};

}  // namespace convtranspose
