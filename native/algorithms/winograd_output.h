// The last step of Winograd: from the products at all points to outputs, for one block of tiles and of output channels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/streaming.h"
#include "algorithms/winograd_tiles.h"
#include "pack/winograd_weights.h"

namespace convtranspose {

class WinogradOutput {
 public:
  static constexpr std::int64_t kMaxPhasesAlongWidth = 64;

  // `form` and `tiles` must outlive this.
  WinogradOutput(const Problem& problem, const KernelTable& table, const WinogradWeights& form, const WinogradTiles& tiles,
                 const CacheInfo& caches);

  KernelSet kernels() const;
  std::int64_t reach() const;         // floats before the products that are read and discarded
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
    float *depth, *height, *over, *row, *interleaved, *tails, *finished, *whole, *staged;
    const std::uint32_t* mask[kSpatialDims];
  };
  // A finished row of one grid (winograd_tiles.h): values[q][residue] for `count` places from `first` of the image on, then
  // tail[q][residue] for more. The same row of the next grid along the width stands `next` and `tail_next` further on.
  struct GridRow {
    const float* values;
    std::ptrdiff_t next;
    const float* tail;
    std::ptrdiff_t tail_next;
    std::int64_t first, count, tail_count;
  };
  // What is constant while a row of phases of some channels is stored.
  struct Pass;

  int taps(int d, std::int64_t residue) const { return residue < extra_[d] ? most_taps_[d] : most_taps_[d] - 1; }
  std::int64_t stride() const;  // of a row of scratch: all tiles of some channels
  std::int64_t tails_floats() const;
  std::int64_t whole_floats() const;  // a row of all grids of a dilated layer
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
  void store_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin, const View* views) const;
  void scatter_grid(const GridRow& row, std::int64_t grid, float* dst) const;
  void scatter_pixels(const Pass& pass, const GridRow& row, std::int64_t grid, float* dst) const;
  void store_grids(const Pass& pass, const GridRow& row, float* dst) const;
  void transpose_staged(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                        const float* staged, bool stream) const;
  std::int64_t staged_floats() const;
  bool stores_lines() const;  // of the caches, whole ones
  bool scatters_pixels() const;

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  const WinogradWeights* form_;
  const WinogradTiles* tiles_;
  Streaming streaming_;
  std::array<int, kSpatialDims> tile_;
  std::array<int, kSpatialDims> most_taps_;
  Dims extra_;                                      // residues below this have most_taps_
  Dims tail_;                                       // outputs after the last tile
  std::int64_t together_;                           // channels that are transformed at a time
  int kernel_[kSpatialDims][kMaxWinogradTaps + 1];  // [dimension][taps]: row of the table, or -1
  struct Place {
    std::size_t cls;
    std::int64_t phase;
  };
  std::vector<Place> place_;  // [residue_d][residue_h][residue_w]
};

}  // namespace convtranspose
