// From tiles that have pixels as rows and output channels as columns to output rows: what direct_channels and amx share.
//
// Tile: [pixel][phase along the width][channel of the panel].
#pragma once

#include <cstddef>
#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/row_stride.h"
#include "algorithms/streaming.h"
#include "algorithms/tile_store.h"
#include "problem/phases.h"

namespace convtranspose {

class PixelStore final : public TileStore {
 public:
  PixelStore(const PlanRequest& request, const PhaseSet& phases);

  // None for channels-last output.
  std::int64_t scratch_floats(std::int64_t pixels, std::int64_t width) const override;

  // Brings the tile into the order of the output, in scratch, unless rows are long enough to do that on their way.
  void begin_tile(const RunArgs& args, const Panel& panel, const float* tile, std::int64_t pixels,
                  float* scratch) const override;
  // Channels last, `tile` is nullptr for outputs that no product reaches.
  void store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, const float* tile,
             float* scratch) const override;
  void finish(const RunArgs& args) const override;

  bool contiguous() const { return problem_.call.format == MemoryFormat::kContiguous; }

 private:
  std::int64_t channel_stride(std::int64_t pixels) const { return row_stride(phases_w_ * pixels); }
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
