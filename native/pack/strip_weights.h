// Packed weights for tiles whose rows are all phases of all output channels of a group.
//
// Phases are taken by residue: position q of a dimension stands for the outputs q*stride + residue - pad_begin, so that taps
// fall on the same input offsets whatever the padding: tap k of residue r = k*dilation mod stride reads input q + u with
// u = (r - k*dilation)/stride. The offsets used by exactly the same set of residues form a segment; a segment is computed
// for the rows of its residues alone, in strips of neighbouring rows, and added to the tile. (Giving absent taps a zero
// weight would be simpler, but zero times an infinite input is not zero.) With stride 2 along height and width and a kernel
// of odd sizes there are four segments, of all rows, of half of them twice and of a quarter: mixed tile kernels (kernel.h)
// do all four in one strip.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "problem/problem.h"

namespace convtranspose {

// The input offsets of one dimension that are used by exactly the residues of `residues`.
struct OffsetGroup {
  std::vector<std::int64_t> residues;  // ascending
  std::vector<std::int64_t> offsets;   // ascending
};

struct Offsets1d {
  std::vector<OffsetGroup> groups;
  std::int64_t min_offset = 0;  // the largest is 0: tap 0 of residue 0
};

// One tile kernel call per channel chunk and pixel tile.
struct Strip {
  std::int64_t first_row;
  std::int64_t rows;
  bool accumulate = false;                     // the rows already hold something
  bool mixed = false;                          // the taps of all four segments, in the order of mixed kernels
  std::array<std::int64_t, 3> subset_taps{};   // the last of them, those of the second to fourth segment
  std::vector<std::int64_t> weight_positions;  // [tap][row of its segment]: co * kernel points + flat kernel position
  std::vector<std::array<std::int64_t, kSpatialDims>> taps;  // input offsets, at most 0
  std::int64_t packed_offset = 0;                            // floats from the start of a group
};

// Tile rows are [residue_d][residue_h][residue_w][channel]; packed weights are [group][strip][channel][tap][row of its
// segment].
class StripWeights final : public PackedForm {
 public:
  // `max_rows`: the tallest strip that a wide tile kernel can do. `mixed`: whether mixed kernels can do all rows. The
  // product of the strides and of the output channels of a group is the number of rows: callers bound it.
  StripWeights(const LayerSpec& layer, std::int64_t max_rows, bool mixed);

  std::int64_t rows() const { return rows_; }
  const std::vector<Strip>& strips() const { return strips_; }
  const std::vector<std::int64_t>& empty_rows() const { return empty_rows_; }  // no tap reaches them: they hold the bias
  const Offsets1d& offsets(int d) const { return dims_[d]; }
  std::int64_t group_elements() const { return group_elements_; }

  std::int64_t elements() const override { return layer_.groups * group_elements_; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  void add_segment(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw, std::int64_t max_rows,
                   std::vector<bool>* written);
  void add_mixed();
  void list_taps(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw, const std::vector<std::int64_t>& rows,
                 Strip* strip) const;
  std::vector<std::int64_t> rows_of(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw) const;

  LayerSpec layer_;
  Offsets1d dims_[kSpatialDims];
  std::int64_t rows_;
  std::int64_t group_elements_ = 0;
  std::int64_t task_channels_ = 1;  // a task packs so many neighbouring input channels of a group
  std::vector<Strip> strips_;
  std::vector<std::int64_t> empty_rows_;
  std::string key_;
};

}  // namespace convtranspose
