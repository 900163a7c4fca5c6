#include "algorithms/block_geometry.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kFloatsPerSetPeriod = 256;  // channels a multiple of this apart would share few cache sets
constexpr std::int64_t kTileBytes = 96 * 1024;     // of a tile, to leave room for the block beside it
constexpr std::int64_t kMaxColumns = 8192;         // more would fit no cache
constexpr double kMaxBlockFloats = 1e12;
constexpr std::int64_t kSlackBytes = 16 * 1024;  // scratch of the epilogues, and room behind the tile

// Sizes that follow from rows, columns and layout.
void derive(const BlockDomain& domain, const TileKernels& kernels, BlockGeometry* b) {
  b->box = {1 + domain.halo[0], b->rows + domain.halo[1], b->columns + domain.halo[2]};
  if (b->flat) {
    b->stride_h = b->box[2];
    b->stride_d = b->box[1] * b->stride_h;
    b->stride_c = b->box[0] * b->stride_d;
    if (b->stride_c % kFloatsPerSetPeriod == 0) b->stride_c += kFloatsPerLine;
    b->block_floats = domain.channels * b->stride_c;
  } else {
    b->stride_c = domain.whole_lines ? round_up(b->box[2], kFloatsPerLine) : b->box[2];
    if (b->stride_c % kFloatsPerSetPeriod == 0) b->stride_c += kFloatsPerLine;
    b->stride_h = domain.channels * b->stride_c;
    b->stride_d = b->box[1] * b->stride_h;
    b->block_floats = b->box[0] * b->stride_d;
  }
  // A block far beyond any memory must not pass for a small one because its size overflowed.
  const double floats = static_cast<double>(domain.channels) * static_cast<double>(b->box[0]) *
                        static_cast<double>(b->box[1]) * static_cast<double>(b->box[2]);
  if (floats > kMaxBlockFloats) b->block_floats = static_cast<std::int64_t>(kMaxBlockFloats);
  b->block_floats = round_up(b->block_floats, kFloatsPerLine) + round_up(kernels.max_columns(), kFloatsPerLine);
  std::int64_t pixels = 0;
  for (const std::int64_t rows : domain.call_rows) {
    const std::int64_t covered =
        b->flat ? kernels.covered(rows, b->flat_pixels(b->rows, b->columns)) : b->rows * kernels.covered(rows, b->columns);
    pixels = std::max(pixels, covered);
  }
  b->pixel_stride = round_up(pixels, kFloatsPerLine);
}

BlockGeometry largest(const BlockDomain& domain, const TileKernels& kernels, const CacheInfo& caches, bool flat) {
  const auto fits = [&](const BlockGeometry& b) {
    const std::int64_t block_bytes = b.block_floats * 4;
    const std::int64_t tile_bytes = domain.tile_rows * b.pixel_stride * 4;
    return block_bytes <= static_cast<std::int64_t>(caches.l2) / 2 && tile_bytes <= kTileBytes &&
           block_bytes + tile_bytes + kSlackBytes <= domain.workspace_limit;
  };
  const std::int64_t height = domain.size[1];
  const std::int64_t width = domain.size[2];
  BlockGeometry b;
  b.flat = flat;
  b.columns = std::min(width, kMaxColumns);
  derive(domain, kernels, &b);
  while (!fits(b) && b.columns > kernels.lanes()) {
    b.columns = std::max<std::int64_t>(kernels.lanes(), round_up(ceil_div(b.columns, 2), kernels.lanes()));
    derive(domain, kernels, &b);
  }
  std::int64_t rows = 1;
  for (BlockGeometry taller = b; rows < std::min(height, domain.most_rows);) {
    taller.rows = rows + 1;
    derive(domain, kernels, &taller);
    if (!fits(taller)) break;
    ++rows;
  }
  // Even blocks over the image.
  return block_geometry(domain, kernels, flat, ceil_div(height, ceil_div(height, rows)),
                        ceil_div(width, ceil_div(width, b.columns)));
}

}  // namespace

BlockGeometry block_geometry(const BlockDomain& domain, const TileKernels& kernels, bool flat, std::int64_t rows,
                             std::int64_t columns) {
  BlockGeometry b;
  b.flat = flat;
  b.rows = rows;
  b.columns = columns;
  derive(domain, kernels, &b);
  return b;
}

BlockGeometry cheapest_geometry(const BlockDomain& domain, const TileKernels& kernels, const CacheInfo& caches,
                                const std::function<double(const BlockGeometry&)>& run_cycles) {
  BlockGeometry rows = largest(domain, kernels, caches, false);
  BlockGeometry flat = largest(domain, kernels, caches, true);
  rows.cycles = run_cycles(rows);
  flat.cycles = run_cycles(flat);
  return flat.cycles < rows.cycles ? flat : rows;
}

}  // namespace convtranspose
