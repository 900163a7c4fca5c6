// Blocks of pixels: some columns of some rows of some depth positions of some images, for all groups. What
// direct_channels, direct_residues and amx cut their problems into.
#pragma once

#include <algorithm>
#include <cstdint>

#include "problem/checked.h"
#include "problem/phases.h"
#include "problem/problem.h"

namespace convtranspose {

struct PixelExtents {
  std::int64_t images = 1, depths = 1, rows = 1, columns = 1;

  std::int64_t pixels() const { return images * depths * rows * columns; }
};

// All of a problem, those of the largest phase.
inline PixelExtents all_pixels(const Problem& problem, const PhaseSet& phases) {
  return {problem.call.batch, phases.dim[0].max_size(), phases.dim[1].max_size(), phases.dim[2].max_size()};
}

class PixelBlocks {
 public:
  struct Origin {
    std::int64_t group, image, d, h, w;
  };

  // Blocks of `block` over `whole`, for each of `groups`; the last of an extent may be smaller.
  PixelBlocks(const PixelExtents& whole, const PixelExtents& block, std::int64_t groups)
      : block_(block),
        images_(ceil_div(whole.images, block.images)),
        depths_(ceil_div(whole.depths, block.depths)),
        rows_(ceil_div(whole.rows, block.rows)),
        columns_(ceil_div(whole.columns, block.columns)),
        count_(groups * images_ * depths_ * rows_ * columns_) {}

  std::int64_t count() const { return count_; }

  // The first pixel of block `index`.
  Origin origin(std::int64_t index) const {
    Origin origin;
    origin.w = index % columns_ * block_.columns;
    index /= columns_;
    origin.h = index % rows_ * block_.rows;
    index /= rows_;
    origin.d = index % depths_ * block_.depths;
    index /= depths_;
    origin.image = index % images_ * block_.images;
    origin.group = index / images_;
    return origin;
  }

 private:
  PixelExtents block_;
  std::int64_t images_, depths_, rows_, columns_, count_;
};

// Calls visit(extents) for blocks of `block` over `whole`, once for each size: whole blocks and those at the ends.
template <typename Visit>
void for_each_block_size(const PixelExtents& whole, const PixelExtents& block, Visit visit) {
  struct Sizes {
    std::int64_t size[2];
    int count;
  };
  const auto sizes = [](std::int64_t extent, std::int64_t of_block) -> Sizes {
    const std::int64_t first = std::min(extent, of_block), last = (extent - 1) % of_block + 1;
    return {{first, last}, first == last ? 1 : 2};
  };
  const Sizes all[4] = {sizes(whole.images, block.images), sizes(whole.depths, block.depths), sizes(whole.rows, block.rows),
                        sizes(whole.columns, block.columns)};
  for (int i = 0; i < all[0].count; ++i) {
    for (int d = 0; d < all[1].count; ++d) {
      for (int h = 0; h < all[2].count; ++h) {
        for (int w = 0; w < all[3].count; ++w) {
          visit(PixelExtents{all[0].size[i], all[1].size[d], all[2].size[h], all[3].size[w]});
        }
      }
    }
  }
}

// The same for the pixels of all phases that have taps.
template <typename Visit>
void for_each_block_size(const Problem& problem, const PhaseSet& phases, const PixelExtents& block, Visit visit) {
  if (phases.dim[2].computed_sizes().empty()) return;
  for (const std::int64_t depths : phases.dim[0].computed_sizes()) {
    for (const std::int64_t rows : phases.dim[1].computed_sizes()) {
      for_each_block_size({problem.call.batch, depths, rows, phases.dim[2].max_size()}, block, visit);
    }
  }
}

// Grows *extent, of a block that `fits()` judges, to the largest even share of `whole` that fits. Returns whether that is
// all of it: only then is it worth growing the next one.
template <typename Fits>
bool grow_extent(std::int64_t* extent, std::int64_t whole, const Fits& fits) {
  std::int64_t best = 1;
  for (std::int64_t size = 2; size <= whole; ++size) {
    *extent = size;
    if (!fits()) break;
    best = size;
  }
  *extent = ceil_div(whole, ceil_div(whole, best));
  return *extent == whole;
}

}  // namespace convtranspose
