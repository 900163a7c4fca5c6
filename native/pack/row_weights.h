// Packed weights for row kernels: for every block of output channels that a kernel computes together and every row of phases
// (depth phase, height phase), the factors in the order in which a row kernel takes its steps.
//
//   [group][block][depth phase][height phase]{ joint: [tap][width phase][channel of the block];
//                                              then single: [width phase][tap][channel of the block] }
//
// A tap is an input channel and an input offset per dimension. Joint are those whose offset along the width is used by every
// width phase. No weight is stored twice and none is made up.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "problem/phases.h"
#include "problem/problem.h"

namespace convtranspose {

struct RowTap {
  std::int64_t channel;                            // of the group
  std::array<std::int64_t, kSpatialDims> offsets;  // those of problem/phases.h
  std::int64_t weights;  // floats from the start of a block of one output channel; of several, as many times that
};

// The steps of one row of phases.
struct RowProgram {
  std::vector<RowTap> taps;  // joint ones first, then those of each width phase alone
  std::int64_t joint = 0;
  std::vector<std::int64_t> singles;  // per width phase
};

// Output channels of a group that are computed together. Their weights begin at channel_elements() * first.
struct RowBlock {
  std::int64_t first;
  std::int64_t outputs;
};

class RowWeights final : public PackedForm {
 public:
  // `join` false: every tap is a single one. Then the products of an output come in the order of channels and kernel
  // positions, whatever the padding; else joint ones come first, which saves loads. Memory and time grow with
  // in_channels/groups times the kernel's positions, and with the strides: callers bound them. `sizes`: how many output
  // channels a block may have, descending to 1.
  RowWeights(const Problem& problem, const PhaseSet& phases, bool join, const std::vector<std::int64_t>& sizes);

  // [depth phase * height phases + height phase]
  const std::vector<RowProgram>& programs() const { return programs_; }
  std::int64_t channel_elements() const { return channel_elements_; }  // floats of an output channel
  const std::vector<RowBlock>& blocks() const { return blocks_; }      // of a group, in order

  std::int64_t elements() const override { return layer_.out_channels * channel_elements_; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  LayerSpec layer_;
  std::vector<RowBlock> blocks_;
  std::vector<RowProgram> programs_;
  std::vector<std::int64_t> sources_;  // of an output channel's floats: from the weights of its group's first input channel
  std::int64_t channel_elements_ = 0;
  std::int64_t task_blocks_ = 1;  // of a task
  std::string key_;
};

}  // namespace convtranspose
