// Packed weights for term kernels: split into terms of bfloat16, in the order in which the kernels read them,
//
//   [group][depth residue][height residue][panel][width residue][block of 32 channels][tap][term][matrix of 16 output
//   channels][pair of channels][output channel][channel of the pair]
//
// or, for the kernels that split them, as floats, in the same order without the terms and the matrices: panels are of at
// most 16 columns. Three terms take half as much memory again as floats do.
//
// All are multiplied by a power of two: see algorithms/term_scale.h. What stands here as output channels are those of the
// layer, or these of all residues of the strides: see TermColumns.
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
// kernel is a multiple of the stride and there is no dilation, those of all residues, which have taps at the same inputs, in
// the order in which an output position needs them: [depth residue][height residue][output channel][width residue] for
// planes, [depth residue][height residue][width residue][output channel] for pixels. Then the layer counts as one of stride
// 1 with so many output channels, the kernel as so much smaller.
enum class TermColumns { kChannels, kResidues, kPixelResidues };

enum class TermStorage { kTerms, kFloats };

// The layer that the columns belong to.
LayerSpec layer_of_columns(const LayerSpec& layer, TermColumns columns);

class TermWeights final : public PackedForm {
 public:
  // Of a layer with kernels that are bounded (algorithms/limits.h). Panels are of at most widest_panel() columns; of
  // kResidues those of the width (at most as many) are together.
  TermWeights(const LayerSpec& layer, TermColumns columns, int terms, float scale, const TermKernels& kernels,
              TermStorage storage = TermStorage::kTerms);

  static std::int64_t widest_panel(TermStorage storage) {
    return storage == TermStorage::kTerms ? 2 * kTermSquare : kTermSquare;
  }

  int terms() const { return terms_; }  // that the weights have, or will have when a kernel has split them
  bool floats() const { return storage_ == TermStorage::kFloats; }
  const std::vector<Panel>& panels() const { return layout_.panels(); }
  std::int64_t channel_blocks() const { return channel_blocks_; }  // of a group
  std::int64_t taps(std::int64_t residue_d, std::int64_t residue_h, std::int64_t residue_w) const {
    return layout_.taps(residue_d, residue_h, residue_w);
  }

  // What a weight takes: so many terms, or one float.
  std::int64_t stored() const { return floats() ? 1 : terms_; }

  // Start of the run of a phase and panel, in terms or in floats. Channel block c of it begins at + c * taps * 32 *
  // panel.width * stored().
  std::int64_t offset(std::int64_t group, std::int64_t residue_d, std::int64_t residue_h, const Panel& panel,
                      std::int64_t residue_w) const {
    return layout_.offset(group, residue_d, residue_h, panel, residue_w) * stored();
  }

  std::int64_t elements() const override;
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  // Of the raw weights of a channel, tap 0 of a column's output and residues.
  std::int64_t column_offset(std::int64_t column) const;

  LayerSpec layer_;    // as it was made
  LayerSpec columns_;  // of the columns
  TermColumns column_kind_;
  int terms_;
  TermStorage storage_;
  float scale_;
  TermWeightsFn split_;
  std::int64_t channel_blocks_;
  WeightLayout layout_;                                        // of the layer with whole blocks of channels, in values
  std::vector<std::vector<std::int64_t>> taps_[kSpatialDims];  // offsets of the raw weights along a dimension
  std::string key_;
};

}  // namespace convtranspose
