// Where the rows of Winograd's outputs go: the row of a residue that a row of tiles gives, one coefficient along depth and
// height of each tile, is a part of a row of outputs of one image, or, with dilation, of one grid.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/winograd_tiles.h"
#include "pack/winograd_points.h"
#include "problem/checked.h"

namespace convtranspose {

// What is constant while rows of one residue along depth and height are stored, for some channels of a block of tiles.
struct WinogradPass {
  const TileBox* box;
  const RunArgs* args;
  bool stream;  // rows pass by the caches
  std::int64_t rd, rh;
  std::int64_t channel;   // of the result: the first one
  std::int64_t channels;  // from it on
  std::int64_t tiles;     // of a channel
  const float* bias;      // of the first channel, or nullptr
  float* dst;  // of output (out_first_d, out_first_h, out_first_w) of the block's first image and the first channel
  std::int64_t first_n;                                           // image that dst points at, as given
  std::int64_t stride_channel, stride_image, stride_d, stride_h;  // of dst

  float bias_of(std::int64_t c) const { return bias == nullptr ? 0.0f : bias[c]; }
};

class WinogradRowStore {
 public:
  static constexpr std::int64_t kMaxPhasesAlongWidth = 64;
  static constexpr int kOver = kMaxWinogradTaps - 1;  // coefficients that run over a tile, at most

  // tile: positions of one. together: channels of a pass, at most. `tiles` must outlive this.
  WinogradRowStore(const Problem& problem, const KernelTable& table, const WinogradTiles& tiles,
                   const std::array<int, kSpatialDims>& tile, std::int64_t together);

  int most_taps(int d) const { return most_taps_[d]; }
  int taps(int d, std::int64_t residue) const { return residue < extra_[d] ? most_taps_[d] : most_taps_[d] - 1; }
  std::int64_t tail(int d) const { return tail_[d]; }  // outputs after the last tile

  // Whether outputs of this residue are in tiles, or after the last one.
  bool in_tiles(int d, std::int64_t residue) const;
  bool in_tail(int d, std::int64_t residue) const;

  // Whether the pixels of a grid are stored by themselves (channels last).
  bool scatters_pixels() const { return tiles_->dilated() && problem_.call.format == MemoryFormat::kChannelsLast; }

  std::int64_t floats() const { return 2 * tails_floats() + whole_floats(); }  // scratch

  // Whether coefficient (jd, jh) along depth and height is one of outputs that the pass stores.
  bool wanted(const WinogradPass& pass, std::int64_t jd, std::int64_t jh) const;

  // Whether whole rows are copied at once: where the first outputs of a row are not wanted, the tail of the row before takes
  // their place.
  bool joins(const TileBox& box) const;
  // Outputs after the last tile of a row of such a block.
  std::int64_t row_tail(const TileBox& box) const { return box.end[2] ? tail_[2] : 0; }

  // Finishes what a row store stored of channel c of the pass. Rows are finished before they are put where they belong,
  // unless there is a residual, which is in the order of the result: then place() does it (channels last: the transpose).
  void finish(const WinogradPass& pass, std::int64_t c, float* data, std::int64_t count) const {
    if (pass.args->residual == nullptr) finisher_.row(*pass.args, pass.channel + c, data, 0, count);
  }
  const Finisher& finisher() const { return finisher_; }

  // What runs over each tile into the next one along the width: of phase f, coefficient tile + j, at[f][j*stride[f] + tile];
  // nullptr where nothing does.
  struct Over {
    const float* at[kMaxPhasesAlongWidth];
    std::ptrdiff_t stride[kMaxPhasesAlongWidth];
  };

  // rows: of coefficient (jd, jh), [channel of the pass][tile][position][phase] from the channels `first` to end - 1 on,
  // rows of tiles.product_floats. over: nullptr where each row is followed by its tail (see joins). scratch: floats().
  void place(const WinogradPass& pass, std::int64_t jd, std::int64_t jh, std::int64_t first, std::int64_t end, float* rows,
             const Over* over, float* scratch) const;

 private:
  // The rows of tiles [first, end) along depth or height have outputs at o = origin + step*tile.
  struct Range {
    std::int64_t first, end, origin, step;
  };
  // Rows of tiles along the height: those of a slab of an image; without dilation, of all slabs of an image, or of all
  // images if each has a single one.
  struct Run {
    std::int64_t channel;  // of the pass
    std::int64_t tile;     // first
    float* dst;            // of its row
    std::int64_t rows;
    std::ptrdiff_t stride;     // of dst, from row to row
    std::int64_t of_image;     // rows of this image and channel
    std::int64_t grid;         // along the width
    std::int64_t blocks;       // slabs or images
    std::int64_t tile_block;   // tiles from one to the next,
    std::ptrdiff_t dst_block;  // and floats of dst
  };
  // A call of place().
  struct Placing {
    const WinogradPass* pass;
    std::int64_t jd, jh;
    std::int64_t first, end;  // channels of the pass
    Range depth, height;      // of the first grid
    float* rows;
    float* tails;                // of all runs, one after the other
    std::int64_t channel_tails;  // floats of one channel
    float* whole;                // scratch for a row of all grids
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

  std::int64_t tails_floats() const;
  std::int64_t whole_floats() const;  // a row of all grids of a dilated layer
  // The first output of a row of tiles, a halo apart, relative to the outputs of the block: before them if it is negative.
  std::int64_t row_origin(const TileBox& box) const;
  // Where the last tile along dimension d ends in the uncropped output.
  std::int64_t covered(int d) const { return problem_.layer.stride[d] * tile_[d] * ceil_div(problem_.call.in[d], tile_[d]); }
  bool has_outputs(int d, std::int64_t residue, std::int64_t begin, std::int64_t end) const;
  Range range(const WinogradPass& pass, int d, std::int64_t j, std::int64_t residue, std::int64_t grid) const;
  template <typename Visit>
  void for_each_run(const Placing& placing, const Visit& visit) const;
  std::int64_t gather_tails(const Placing& placing, const Over& over, float* tails) const;
  void copy_rows(const Placing& placing, bool patch) const;
  void place_grids(const Placing& placing) const;
  void place_pixels(const Placing& placing) const;
  GridRow grid_row(const Placing& placing, const Run& run, std::int64_t row, const float* tail) const;
  void scatter_grid(const GridRow& row, std::int64_t grid, float* dst) const;
  void scatter_pixels(const WinogradPass& pass, const GridRow& row, std::int64_t grid, float* dst) const;
  void store_grids(const Placing& placing, const GridRow& row, float* dst) const;

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  const WinogradTiles* tiles_;
  std::array<int, kSpatialDims> tile_;
  std::int64_t together_;
  std::array<int, kSpatialDims> most_taps_;
  Dims extra_;  // residues below this have most_taps_
  Dims tail_;
};

}  // namespace convtranspose
