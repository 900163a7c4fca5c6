// What brings tiles that have pixels as rows to the rows of the output, finished: pixel_store.h for tiles whose columns are
// output channels, residue_store.h for those whose columns are residues.
#pragma once

#include <cstdint>

#include "algorithms/algorithm.h"
#include "pack/weights.h"

namespace convtranspose {

// Neighbouring pixels of one row.
struct PixelRow {
  std::int64_t image, group;
  std::int64_t od, oh;   // output row; for residues the row of pixels
  std::int64_t j0;       // first pixel
  std::int64_t columns;  // pixels
  std::int64_t first;    // place of the first pixel in the tile
};

class TileStore {
 public:
  virtual ~TileStore() = default;

  // Floats of scratch for tiles of so many pixels and columns.
  virtual std::int64_t scratch_floats(std::int64_t pixels, std::int64_t width) const = 0;

  // Whether all panels of a tile are to be stored one after the other, rather than all tiles of a panel: so outputs are put
  // together before they pass by the caches.
  virtual bool joins_panels() const { return false; }

  // Before the rows of a tile of so many pixels are stored.
  virtual void begin_tile(const RunArgs& args, const Panel& panel, const float* tile, std::int64_t pixels,
                          float* scratch) const = 0;

  // dst = tile + bias, finished, for all outputs of one row of a tile of `pixels` pixels.
  virtual void store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, const float* tile,
                     float* scratch) const = 0;

  // A task calls it after its last store().
  virtual void finish(const RunArgs& args) const = 0;
};

}  // namespace convtranspose
