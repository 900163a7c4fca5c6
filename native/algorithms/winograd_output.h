// The last step of Winograd: from the products at all points to outputs, for one block of tiles and of output channels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "algorithms/algorithm.h"
#include "algorithms/streaming.h"
#include "algorithms/winograd_joint.h"
#include "algorithms/winograd_row_store.h"
#include "algorithms/winograd_tiles.h"
#include "pack/winograd_weights.h"

namespace convtranspose {

class WinogradOutput {
 public:
  static constexpr std::int64_t kMaxPhasesAlongWidth = WinogradRowStore::kMaxPhasesAlongWidth;

  // `form` and `tiles` must outlive this.
  WinogradOutput(const Problem& problem, const KernelTable& table, const WinogradWeights& form, const WinogradTiles& tiles,
                 const CacheInfo& caches);

  KernelSet kernels() const;
  std::int64_t reach() const;         // floats before the products that are read and discarded,
  std::int64_t beyond() const;        // and behind them
  std::int64_t floats() const;        // scratch
  std::int64_t carry_floats() const;  // what runs over from a block into the next one, for all channels of a group

  // products: [class][point][phase][channel][tile], rows of tiles.product_floats; what is in front of the rows
  // (tiles.front_floats) is overwritten. carry: carry_floats(), from one block of tiles to the next.
  void store(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block, float* products,
             float* carry, float* scratch, KernelSet* used) const;

 private:
  // Values or coefficients of one phase, [depth][height][width][tile]; nullptr: no product reaches it.
  struct View {
    const float* data;
    std::ptrdiff_t stride_d, stride_h, stride_w;
  };
  struct Buffers {
    float *depth, *height, *over, *row, *interleaved, *placed, *staged;
    const std::uint32_t *mask[kSpatialDims], *ones;
  };
  // A WinogradPass, and what its transforms need.
  struct Pass;

  int taps(int d, std::int64_t residue) const { return rows_.taps(d, residue); }
  std::int64_t stride() const;        // of a row of scratch: all tiles of some channels
  std::int64_t carry_stride() const;  // of channels
  std::int64_t carry_slots() const;   // transforms of one phase that carry
  std::int64_t carry_slot() const;    // floats of one
  void fill_masks(const TileBox& box, std::uint32_t* masks) const;
  template <typename Visit>
  void for_each_span(const Pass& pass, std::int64_t begin, bool apart, const Visit& visit) const;
  void transform(const Pass& pass, int d, int taps, const float* src, std::ptrdiff_t src_stride, float* dst,
                 std::ptrdiff_t dst_stride, float* over, std::ptrdiff_t over_stride, std::int64_t begin, std::int64_t shift,
                 float* carry) const;
  void store_phase_row(const Pass& pass, const float* products, const std::int64_t* class_begin,
                       std::int64_t channels) const;
  void take_carried(const Pass& pass, float* over, std::ptrdiff_t over_stride, int rows, std::int64_t shift,
                    const float* carry) const;
  void hand_on(const Pass& pass, const float* over, std::ptrdiff_t over_stride, int rows, std::int64_t shift,
               float* carry) const;
  void store_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin, const View* views) const;
  void store_joint_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin, const View* views) const;
  // The kernel that transforms along height and width at once, or nullptr.
  const WinogradRowsKernel* joint_kernel(std::int64_t residue_h) const {
    const int row = joint_[static_cast<std::size_t>(rows_.taps(1, residue_h))];
    return row < 0 ? nullptr : &table_->winograd_rows[row];
  }
  void transpose_staged(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                        const float* staged, bool stream) const;
  std::int64_t staged_floats() const;
  bool stores_lines() const;       // of the caches, whole ones
  bool transforms_height() const;  // of some residue, by itself

  static std::int64_t channels_together(const Problem& problem, const WinogradWeights& form, const WinogradTiles& tiles);

  Problem problem_;
  const KernelTable* table_;
  const WinogradWeights* form_;
  const WinogradTiles* tiles_;
  Streaming streaming_;
  std::array<int, kSpatialDims> tile_;
  std::int64_t together_;  // channels that are transformed at a time
  WinogradRowStore rows_;
  int kernel_[kSpatialDims][kMaxWinogradTaps + 1];  // [dimension][taps]: row of the table, or -1
  JointKernels joint_;
  struct Place {
    std::size_t cls;
    std::int64_t phase;
  };
  std::vector<Place> place_;  // [residue_d][residue_h][residue_w]
};

}  // namespace convtranspose
