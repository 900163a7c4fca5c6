// From tiles that have pixels as rows and the residues of all strides as columns (pack/term_weights.h) to output rows.
//
// Tile: [pixel][column of the panel]; pixel q of an image makes the outputs stride*q + residue - pad_begin.
#pragma once

#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/pixel_store.h"
#include "algorithms/streaming.h"
#include "pack/weights.h"

namespace convtranspose {

class ResidueStore {
 public:
  // Of contiguous output.
  explicit ResidueStore(const PlanRequest& request);

  // The first pixel along each dimension that holds an output, and how many there are.
  Dims first() const { return first_; }
  Dims size() const { return size_; }

  // Floats of scratch for tiles of so many pixels and columns.
  std::int64_t scratch_floats(std::int64_t pixels, std::int64_t width) const;

  // Before the rows of a tile of so many pixels are stored.
  void begin_tile(const Panel& panel, const float* tile, std::int64_t pixels, float* scratch) const;

  // dst = tile + bias, finished, for all outputs of one row of a tile; od, oh and j0 of the row are pixels, counted from
  // first(). A task calls finish() after its last one.
  void store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, float* scratch) const;
  void finish(const RunArgs& args) const;

 private:
  std::int64_t column_stride(std::int64_t pixels) const;

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  Dims first_, size_;
  Streaming streaming_;
};

}  // namespace convtranspose
