// Blocks of padded input planes for the kernels with vectors along pixels: how many rows and columns, laid out how, so that
// a block stays in the second-level cache beside its tile.
//
// A block is one depth position x some rows x some columns. Two layouts: by rows ([depth][row][channel][column]: a tile
// stays within a row; few pages at a time) and flat ([channel][depth][row][column]: a tile may run over the end of a row, so
// that narrow images leave no lane idle).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "algorithms/tile_kernels.h"
#include "problem/problem.h"
#include "runtime/cpu.h"

namespace convtranspose {

// What the blocks are cut from.
struct BlockDomain {
  static constexpr std::int64_t kMaxRows = 64;

  Dims size;                            // pixels that tiles cover (depth, rows, columns)
  Dims halo;                            // input positions that taps reach beyond those, first to last
  std::int64_t channels;                // input channels
  std::int64_t tile_rows;               // rows of the tile: everything computed for a pixel before it is stored
  std::vector<std::int64_t> call_rows;  // rows of the tile kernel calls
  std::int64_t workspace_limit;         // bytes: blocks and tiles shrink to it as far as they can
  std::int64_t most_rows = kMaxRows;    // of a block, at most kMaxRows
  bool whole_lines = false;  // by rows: those of each channel begin at cache lines (direct-wide gains nothing by it)
};

struct BlockGeometry {
  bool flat = false;
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  Dims box{1, 1, 1};                                      // packed input positions
  std::int64_t stride_d = 0, stride_h = 0, stride_c = 0;  // floats of the packed block
  std::int64_t block_floats = 0;                          // with room for whole vectors at the end
  std::int64_t pixel_stride = 0;                          // floats of a tile row
  double cycles = 0.0;                                    // of a whole run

  // Neighbouring pixels of `row_count` rows of `column_count` columns in the flat layout.
  std::int64_t flat_pixels(std::int64_t row_count, std::int64_t column_count) const {
    return (row_count - 1) * stride_h + column_count;
  }
};

// The block of `rows` x `columns` positions. Whether it fits anywhere is not asked; `cycles` is left at 0.
BlockGeometry block_geometry(const BlockDomain& domain, const TileKernels& kernels, bool flat, std::int64_t rows,
                             std::int64_t columns);

// The cheaper of the two layouts by `run_cycles`, each with the largest block that the caches hold.
BlockGeometry cheapest_geometry(const BlockDomain& domain, const TileKernels& kernels, const CacheInfo& caches,
                                const std::function<double(const BlockGeometry&)>& run_cycles);

}  // namespace convtranspose
