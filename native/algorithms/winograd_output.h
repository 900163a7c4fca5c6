// The last step of Winograd: from the products at all points to outputs, for one block of tiles and of output channels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/winograd_tiles.h"
#include "pack/winograd_weights.h"

namespace convtranspose {

class WinogradOutput {
 public:
  static constexpr std::int64_t kMaxPhasesAlongWidth = 64;

  // `form` and `tiles` must outlive this.
  WinogradOutput(const Problem& problem, const KernelTable& table, const WinogradWeights& form, const WinogradTiles& tiles);

  KernelSet kernels() const;
  std::int64_t reach() const;   // floats before the products that are read and discarded
  std::int64_t floats() const;  // scratch

  // products: [class][point][phase][channel][tile], rows of tiles.row_floats.
  void store(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block, const float* products,
             float* scratch, KernelSet* used) const;

 private:
  // Values or coefficients of one phase, [depth][height][width][tile]; nullptr: no product reaches it.
  struct View {
    const float* data;
    std::ptrdiff_t stride_d, stride_h, stride_w;
  };
  struct Buffers {
    float *depth, *height, *over, *row, *interleaved, *tails, *staged;
    const std::uint32_t* mask[kSpatialDims];
  };
  // What is constant while one channel's row of phases is stored.
  struct Pass;

  int taps(int d, std::int64_t residue) const { return residue < extra_[d] ? most_taps_[d] : most_taps_[d] - 1; }
  std::int64_t stride() const;  // of a row of tiles in scratch
  void fill_masks(const TileBox& box, std::uint32_t* masks) const;
  void transform(int d, int taps, const float* src, std::ptrdiff_t src_stride, float* dst, std::ptrdiff_t dst_stride,
                 float* over, std::ptrdiff_t over_stride, std::int64_t begin, std::int64_t end, std::int64_t shift,
                 const std::uint32_t* mask, KernelSet* used) const;
  void store_phase_row(const Pass& pass, const float* products, const std::int64_t* class_begin, std::int64_t channels,
                       std::int64_t channel, std::int64_t tiles) const;
  template <typename ViewOf>
  void store_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin, std::int64_t tiles,
                  ViewOf view_of) const;
  void transpose_staged(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                        const float* staged) const;
  std::int64_t staged_floats() const;

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  const WinogradWeights* form_;
  const WinogradTiles* tiles_;
  std::array<int, kSpatialDims> tile_;
  std::array<int, kSpatialDims> most_taps_;
  Dims extra_;                                      // residues below this have most_taps_
  Dims tail_;                                       // outputs after the last tile
  int kernel_[kSpatialDims][kMaxWinogradTaps + 1];  // [dimension][taps]: row of the table, or -1
  struct Place {
    std::size_t cls;
    std::int64_t phase;
  };
  std::vector<Place> place_;  // [residue_d][residue_h][residue_w]
};

}  // namespace convtranspose
