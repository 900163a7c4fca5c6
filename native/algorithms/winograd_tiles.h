// The tiles of Winograd and the blocks that they are computed in.
//
// With dilation, the inputs r, r + dilation, r + 2*dilation, ... of a dimension are a grid of their own: the taps that meet
// one of them meet all of them and no other. Each combination of grids is an image here ("image" is this, below); tap
// residue k and grid r together make the outputs stride*dilation*q + stride*r + dilation*k of the uncropped output, q as
// without dilation.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "problem/problem.h"

namespace convtranspose {

// A block: whole images, or a box of the tiles of one. The first tile along a dimension may be there for what runs over from
// it alone (halo): its own outputs belong to the block before. Where blocks that follow one another are neighbours along a
// dimension, the one before hands on what runs over instead (carry), of the tiles of a halo along other dimensions, too.
struct TileBox {
  std::int64_t first_image;
  std::int64_t images;
  Dims first;                           // tile, the halo included
  Dims size;                            // tiles, the halo included
  std::array<bool, kSpatialDims> halo;  // the first tile is one
  bool carry_in;                        // along WinogradTiles::carry: a block before it hands on what runs over,
  bool carry_out;                       // or it does so itself
  std::array<bool, kSpatialDims> end;   // holds the last tile
  Dims out_first;                       // outputs that the block stores (with dilation: among which those are)
  Dims out_size;
  std::int64_t tiles() const { return images * size[0] * size[1] * size[2]; }
};

class WinogradTiles {
 public:
  // `tile`: input positions of a tile; `points`: of a dimension, those of the input. Blocks hold at most `most` tiles if
  // that can be.
  WinogradTiles(const Problem& problem, const std::array<int, kSpatialDims>& tile,
                const std::array<int, kSpatialDims>& points, const std::array<int, kSpatialDims>& taps, std::int64_t most);

  // Sets columns, row_floats and product_floats.
  void set_columns(std::int64_t panel_columns);

  // Image `index` as it was given: image n, grid (grid[0], grid[1], grid[2]).
  struct Source {
    std::int64_t n;
    Dims grid;
  };
  Source source(std::int64_t index) const {
    return {index / (grids_[0] * grids_[1] * grids_[2]),
            {index / grids_[2] / grids_[1] % grids_[0], index / grids_[2] % grids_[1], index % grids_[2]}};
  }
  bool dilated() const { return grids_[0] * grids_[1] * grids_[2] > 1; }
  std::int64_t in_size(int d) const { return in_[d]; }  // of an image; grids that are smaller end with a zero

  std::int64_t block_count() const { return blocks_n_ * blocks_[0] * blocks_[1] * blocks_[2]; }
  TileBox block(std::int64_t index) const;
  std::int64_t most_tiles() const { return most_; }  // of a block
  double mean_tiles() const;                         // of all blocks, halos included

  std::int64_t point_count() const { return std::int64_t{points[0]} * points[1] * points[2]; }
  // The point of the input that is point `index` of a class with `of_class` points: infinity is the last of both.
  std::int64_t point_of(const std::array<int, kSpatialDims>& of_class, std::int64_t index) const;

  std::array<int, kSpatialDims> points;
  std::int64_t images = 1;        // of a whole block
  int carry = -1;                 // dimension along which blocks carry: neighbours along it follow one another. Blocks have
                                  // a single tile in each dimension before it
  std::int64_t slab = 0;          // tiles of a block in the dimensions after it: what each step along it holds
  std::int64_t columns = 0;       // of a panel: tiles that a kernel multiplies at once
  std::int64_t row_floats = 0;    // all panels: floats of one channel of transformed input at one point
  std::int64_t front_floats = 0;  // before a row of products, for what is carried into a block
  std::int64_t product_floats = 0;  // from one row of products to the next
  std::int64_t most_positions = 0;  // input positions of the largest block
  std::int64_t most_outputs = 0;    // of one channel, that a block stores

 private:
  TileBox box(std::int64_t n, std::int64_t d, std::int64_t h, std::int64_t w) const;

  Dims in_, out_, stride_, pad_, grids_;
  std::int64_t batch_;
  std::array<int, kSpatialDims> tile_, taps_;
  Dims tiles_;   // of an image
  Dims extent_;  // tiles of a whole block, without halo
  Dims blocks_;  // of an image
  std::int64_t blocks_n_;
  std::int64_t most_ = 0;
};

}  // namespace convtranspose
