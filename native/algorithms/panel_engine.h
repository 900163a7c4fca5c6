// The part that direct_wide and gemm share: one panel of output channels, over the pixels of a packed block, for all phases
// along the width, so that output rows leave interleaved and whole.
//
// Tile: [phase along the width][channel of the panel][pixel], pixel rows `pixel_stride` floats apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "algorithms/ahead.h"
#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/streaming.h"
#include "algorithms/tile_kernels.h"
#include "pack/weights.h"
#include "problem/phases.h"

namespace convtranspose {

// Neighbouring pixels of a packed block that are computed together.
struct PixelSegment {
  std::ptrdiff_t src;   // floats from the start of the packed block
  std::int64_t pixels;  // per phase
  std::ptrdiff_t tile;  // floats from the start of a tile row
};

// Part of one output row: columns j0 .. j0+pixels-1 of every phase along the width.
struct OutputRun {
  std::int64_t image;
  std::int64_t group;
  std::int64_t od;
  std::int64_t oh;
  std::int64_t j0;
  std::int64_t pixels;
  std::ptrdiff_t tile;  // floats from the start of a tile row
};

class PanelEngine {
 public:
  PanelEngine(const PlanRequest& request, const PhaseSet& phases, TileKernels kernels, WeightLayout layout);

  // Where each tap of each phase reads, relative to a segment: offset(tap) = od*stride_d + oh*stride_h + ow, offsets counted
  // from the smallest of each dimension.
  void set_source_strides(std::int64_t stride_d, std::int64_t stride_h, std::int64_t stride_c);
  void set_pixel_stride(std::int64_t pixel_stride) { pixel_stride_ = pixel_stride; }

  const WeightLayout& layout() const { return layout_; }
  const PhaseSet& phases() const { return phases_; }
  const TileKernels& kernels() const { return kernels_; }
  std::int64_t tile_floats() const;  // tile and transposition scratch

  // What is computed and stored at once: a panel of output channels, all phases along the width, for one row of phases.
  struct Unit {
    const Panel& panel;
    std::int64_t phase_d, phase_h;
  };
  std::int64_t units() const {
    return phases_.dim[0].count() * phases_.dim[1].count() * static_cast<std::int64_t>(layout_.panels().size());
  }
  // In the order of the packed weights; where output rows are no whole lines of the caches, all rows of phases of a panel
  // come one after the other, so that those which share a line write it while it is at hand.
  Unit unit(std::int64_t index) const;

  // tile = sums of a unit over the segments.
  void compute(const float* weights, const float* block, std::int64_t group, const Unit& unit, const PixelSegment* segments,
               std::int64_t segment_count, float* tile, Ahead* ahead, KernelSet* used) const;

  // What to ask for while a unit is computed: the weights of the unit `next`, if there is one and weights do not stay in the
  // second-level cache,
  AheadRuns weights_ahead(const float* weights, std::int64_t group, std::int64_t next) const;
  // and the outputs that its stores will write, if those go through the caches: `rows` runs like `first`, each
  // `row_stride` outputs after the one before.
  AheadRuns outputs_ahead(const RunArgs& args, const Panel& panel, const OutputRun& first, std::int64_t rows,
                          std::int64_t row_stride) const;

  // Whether rows that follow each other in memory are best stored one after the other, since they share lines that pass by
  // the caches.
  static bool joins_rows(const PlanRequest& request, const PhaseSet& phases);

  // dst = tile + bias, finished, for one run. `lines` is that of the task, which calls finish_stores() after its last one.
  void store(const RunArgs& args, const Panel& panel, const OutputRun& run, float* tile, LineStream* lines) const;
  // For `rows` rows from that of the run on that no tap reaches: the same with sums of zero, whatever the tile holds.
  // Contiguous output only.
  void store_bias(const RunArgs& args, const Panel& panel, const OutputRun& run, std::int64_t rows, float* tile,
                  LineStream* lines) const;
  LineStream begin_stores() const { return LineStream(*table_); }
  void finish_stores(const RunArgs& args, LineStream* lines) const {
    if (!streaming_.now(args.fresh)) return;
    lines->flush();
    table_->stream_fence();
  }

  // The tile kernels that all panels use over segments of `pixels` pixels.
  KernelSet kernels_for(std::int64_t pixels) const;

  // Cycles of all panels and phases over `pixels` contiguous pixels.
  double compute_cycles(std::int64_t pixels) const;
  // And of storing all outputs, where the second-level cache holds `cache_bytes`.
  double store_cycles(std::size_t cache_bytes) const;

 private:
  float* first_output(const RunArgs& args, const Panel& panel, const OutputRun& run) const;  // contiguous format
  float* scratch(const Panel& panel, float* tile) const;                                     // behind the tile
  // The rows of a tile, of channels from first_channel on, each for itself past the caches: by itself where it begins on a
  // line, otherwise with what follows it in memory.
  void store_row_by_row(const RunArgs& args, const Panel& panel, std::int64_t first_channel, const RowStoreArgs& rows,
                        float* tile, LineStream* lines) const;
  void store_channels_last(const RunArgs& args, const Panel& panel, const OutputRun& run, float* tile) const;

  Problem problem_;
  Finisher finisher_;
  PhaseSet phases_;
  const KernelTable* table_;
  TileKernels kernels_;
  WeightLayout layout_;
  std::int64_t channels_;  // input channels of a group
  Streaming streaming_;    // of outputs
  bool stream_weights_;    // weights do not stay in them
  std::int64_t stride_c_ = 0;
  std::int64_t pixel_stride_ = 0;
  TapOffsets tap_offsets_;  // [phase]
};

}  // namespace convtranspose
