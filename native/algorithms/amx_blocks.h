// Blocks of the input for products by matrices (amx.cc): how many pixels, laid out how, so that the split block stays in the
// second-level cache and a tile of sums in the first.
//
// A block is split as [block of 32 channels][term][position][channel]. Its pixels are computed tile by tile; a tile is
// covered by matrices of 16 neighbouring positions.
#pragma once

#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/pixel_blocks.h"
#include "pack/term_weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {

struct AmxBlocks : PixelExtents {
  bool interleaved = false;  // images are innermost
  Dims box{1, 1, 1};
  std::int64_t stride_w = 1, stride_h = 1, stride_d = 1, stride_image = 1;  // of positions
  std::int64_t positions = 1;                                               // with room for a whole matrix at the end
  std::int64_t block_elements = 0;                                          // of all channels and terms
  PixelExtents tile;                                                        // what is summed before it is stored
  std::int64_t tile_pixels = 0;                                             // as whole matrices
  double cycles = 0.0;                                                      // of a block, without storing
};

// The pixels of a tile in its order: runs of neighbouring positions, each in whole matrices. The dimensions from `merged` on
// are one run, with the halo between their rows computed and thrown away.
struct AmxRuns {
  std::int64_t count;  // positions of a run
  std::int64_t pitch;  // pixels of the tile from one to the next
  int merged;          // 3: rows are runs; 2: planes; 1: images; 0: all
};

AmxRuns amx_runs(const AmxBlocks& blocks, const PixelExtents& extents);

// Pixels of a tile of so many, as whole matrices; and how many matrices that are.
std::int64_t amx_tile_pixels(const AmxBlocks& blocks, const PixelExtents& extents);
inline std::int64_t amx_matrices(const AmxBlocks& blocks, const PixelExtents& extents) {
  return amx_tile_pixels(blocks, extents) / kTermSquare;
}

// Matrices of positions that one kernel call multiplies by so many columns of matrices of weights, with `left` to go.
inline int amx_rows(const TermWeights& form, std::int64_t left, std::int64_t columns) {
  if (left == 0) return 0;
  if (form.floats()) return static_cast<int>(ceil_div(left, ceil_div(left, kMostTermRows)));  // even shares
  return columns == 1 && left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// Blocks of 32 channels that one kernel call sums, for all phases.
std::int64_t amx_channel_chunk(const PhaseSet& phases);

// Whether so many bytes of weights and split input stay in the second-level cache.
bool amx_stays(const CacheInfo& caches, double bytes);

// The cheapest blocks for request.problem.
AmxBlocks choose_amx_blocks(const PlanRequest& request, const PhaseSet& phases, const TermWeights& form);

}  // namespace convtranspose
