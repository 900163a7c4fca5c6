// From tiles that have pixels as rows and output channels as columns to output rows: what direct_channels and amx share.
//
// Tile: [pixel][phase along the width][channel of the panel].
#pragma once

#include <cstddef>
#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/streaming.h"
#include "pack/weights.h"
#include "problem/phases.h"

namespace convtranspose {

// Neighbouring pixels of one row, with all phases along the width.
struct PixelRow {
  std::int64_t image, group;
  std::int64_t od, oh;   // output row
  std::int64_t j0;       // first pixel
  std::int64_t columns;  // pixels
  std::int64_t first;    // place of the first pixel in the tile
};

class PixelStore {
 public:
  PixelStore(const PlanRequest& request, std::int64_t phases_w);

  // Floats of scratch for tiles of so many pixels and channels; none for channels-last output.
  std::int64_t scratch_floats(std::int64_t pixels, std::int64_t width) const;

  // Before the rows of a tile of so many pixels are stored: brings it into the order of the output, in scratch, unless rows
  // are long enough to do that on their way.
  void begin_tile(const RunArgs& args, const Panel& panel, const float* tile, std::int64_t pixels, float* scratch) const;

  // dst = tile + bias, finished, for one row of a tile of `pixels` pixels. A task calls finish() after its last one.
  void store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, const float* tile,
             float* scratch) const;
  void finish(const RunArgs& args) const;

  bool contiguous() const { return problem_.call.format == MemoryFormat::kContiguous; }

 private:
  std::int64_t channel_stride(std::int64_t pixels) const;
  bool in_one_pass(const RunArgs& args) const;
  void store_in_one_pass(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile) const;
  void store_contiguous(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels,
                        float* scratch) const;
  void store_channels_last(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile) const;
  std::int64_t outputs(const PixelRow& row) const;
  std::ptrdiff_t first_output(const Panel& panel, const PixelRow& row) const;  // contiguous, of the first channel

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  std::int64_t phases_w_;  // fewer than the stride where the output is narrower
  Streaming streaming_;
};

}  // namespace convtranspose
