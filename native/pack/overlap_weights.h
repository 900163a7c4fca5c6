// Packed weights for products whose rows are kernel positions: split into terms of bfloat16, as the inputs of term kernels
// stand (kernels/kernel.h),
//
//   [group][matrix of 16 rows][block of 32 channels][term][row][channel]
//
// where a row is a position of the kernel of an output channel: [output channel][depth tap][height tap, the last one first]
// [residue of the width][tap of the residue]. What a tap of the height gives to is met first by the taps after it, so that
// sums begin with the last. All are multiplied by a power of two: see algorithms/term_scale.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "pack/packed_form.h"
#include "problem/problem.h"

namespace convtranspose {

// The rows of an output channel whose products are added up along the width: taps of the same residue, residue = k*dilation
// mod stride, at one depth and height of the kernel.
struct OverlapRun {
  std::int64_t kd, kh;
  std::int64_t residue;
  std::int64_t first;                   // row
  std::span<const std::int64_t> shift;  // k*dilation / stride of each tap, ascending; kept by the weights
};

class OverlapWeights final : public PackedForm {
 public:
  // Of a layer with kernels that are bounded (algorithms/limits.h).
  OverlapWeights(const LayerSpec& layer, int terms, float scale, const TermKernels& kernels);
  OverlapWeights(OverlapWeights&&) = default;
  OverlapWeights(const OverlapWeights&) = delete;  // runs refer to shifts_

  int terms() const { return terms_; }
  std::int64_t channel_blocks() const { return channel_blocks_; }  // of a group
  std::int64_t channel_rows() const { return channel_rows_; }      // of an output channel
  std::int64_t rows() const { return rows_; }                      // of a group
  std::int64_t matrices() const { return matrices_; }              // of a group
  const std::vector<OverlapRun>& runs() const { return runs_; }    // of an output channel, in the order of its rows
  // The run that a row of an output channel belongs to.
  const OverlapRun& run_of(std::int64_t row) const { return runs_[run_of_[static_cast<std::size_t>(row)]]; }

  std::int64_t most_shift() const { return most_shift_; }  // of all taps

  // From one matrix to the next, and where one begins: in terms.
  std::int64_t matrix_elements() const { return channel_blocks_ * terms_ * kTermElements; }
  std::int64_t offset(std::int64_t group, std::int64_t matrix) const {
    return (group * matrices_ + matrix) * matrix_elements();
  }

  std::int64_t elements() const override;
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  LayerSpec layer_;
  int terms_;
  float scale_;
  TermSplitFn split_;
  std::int64_t channel_blocks_, channel_rows_, rows_, matrices_;
  std::vector<std::vector<std::int64_t>> shifts_;  // [residue]
  std::int64_t most_shift_ = 0;
  std::vector<OverlapRun> runs_;
  std::vector<std::size_t> run_of_;     // [row of an output channel]
  std::vector<std::int64_t> position_;  // [row of an output channel], of the raw kernel
  std::string key_;
};

}  // namespace convtranspose
