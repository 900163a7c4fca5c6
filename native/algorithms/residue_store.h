// From tiles that have pixels as rows and the residues of all strides as columns (pack/term_weights.h) to output rows:
// kResidues to contiguous ones, kPixelResidues to those of channels-last order.
//
// Tile: [pixel][column of the panel]; pixel q of an image makes the outputs stride*q + residue - pad_begin.
#pragma once

#include <cstdint>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/streaming.h"
#include "algorithms/tile_store.h"

namespace convtranspose {

class ResidueStore final : public TileStore {
 public:
  explicit ResidueStore(const PlanRequest& request);

  // The first pixel along each dimension that holds an output, and how many there are. Rows are counted from it.
  Dims first() const { return first_; }
  Dims size() const { return size_; }

  std::int64_t scratch_floats(std::int64_t pixels, std::int64_t width) const override;
  bool joins_panels() const override { return joins_panels_; }
  void begin_tile(const RunArgs& args, const Panel& panel, const float* tile, std::int64_t pixels,
                  float* scratch) const override;
  void store(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels, const float* tile,
             float* scratch) const override;
  void finish(const RunArgs& args) const override;

 private:
  bool contiguous() const { return problem_.call.format == MemoryFormat::kContiguous; }
  void store_contiguous(const RunArgs& args, const Panel& panel, const PixelRow& row, std::int64_t pixels,
                        float* scratch) const;
  void store_channels_last(const RunArgs& args, const Panel& panel, const PixelRow& row, const float* tile, float* bias,
                           float* joined) const;
  std::int64_t joined_floats(std::int64_t pixels) const;
  bool place(const PixelRow& row, std::int64_t residue, std::int64_t* od, std::int64_t* oh) const;

  // For channels-last outputs: the columns of a panel of one row of pixels, in which those from `begin` to `end` are
  // neighbours in the output.
  struct PixelColumns {
    const RunArgs& args;
    const Panel& panel;
    const PixelRow& row;
    const float* tile;
    const float* bias;    // of each column
    std::int64_t ow;      // output position of the first pixel and residue 0: may lie outside
    std::ptrdiff_t line;  // positions before the row of outputs
    bool stream;          // whole lines past the caches
  };
  void join_pixels(const PixelColumns& columns, std::int64_t begin, std::int64_t end, float* joined) const;
  void store_pixels(const PixelColumns& columns, std::int64_t begin, std::int64_t end) const;
  std::int64_t row_floats() const { return problem_.layer.stride[2] * problem_.layer.out_channels; }
  void store_inner(const PixelColumns& columns, std::int64_t begin, std::int64_t end, std::int64_t pixel,
                   std::int64_t count) const;
  std::int64_t residue_of(const PixelColumns& columns, std::int64_t column) const;
  std::int64_t next_residue(const PixelColumns& columns, std::int64_t column, std::int64_t end) const;

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  Dims first_, size_;
  Streaming streaming_;
  // Channels-last outputs that make no whole lines: those of all residues of a row are put together and pass by the caches.
  bool joins_panels_ = false;
};

}  // namespace convtranspose
