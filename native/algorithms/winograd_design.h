// How Winograd is to compute a problem: the tiles, what is multiplied, and in which blocks; and what that would cost.
#pragma once

#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/tile_kernels.h"
#include "algorithms/winograd_tiles.h"
#include "pack/winograd_weights.h"

namespace convtranspose {

struct WinogradDesign {
  // Of the panels that a kernel multiplies.
  struct PanelShape {
    std::int64_t rows, columns;
  };

  WinogradWeights::Tile tile{};
  std::int64_t block_channels = 0;
  std::int64_t tiles = 0;  // of a block, at most
  int rounds = 1;          // with matrices: in which a block's products are made
  PanelShape panel{1, 1};
  double cycles = 0.0;
};

// The cheapest one that the precision allows, of a layer that WinogradWeights can use. (Tiles of four lose accuracy:
// 'highest' is for those of two.) Its cycles are 0 if there are so many phases that the products of any block are too large.
WinogradDesign choose_winograd_design(const PlanRequest& request, const TileKernels& kernels);

// The same in blocks of at most so many tiles, and what it costs then.
WinogradDesign in_blocks_of(const PlanRequest& request, const TileKernels& kernels, WinogradDesign design,
                            std::int64_t tiles);

// The tiles and blocks that go with it. Their columns are not set.
WinogradTiles winograd_tiles(const Problem& problem, const WinogradDesign& design);

// Input channels that are summed in registers before they are added to the rest.
std::int64_t winograd_channel_chunk(const Problem& problem, const WinogradWeights::Tile& tile);

// Inputs below 2^this can overflow nowhere.
int winograd_input_limit(const PlanRequest& request, const WinogradWeights::Tile& tile);

}  // namespace convtranspose
