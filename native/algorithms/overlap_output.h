// From products of single inputs to outputs: what the kernel positions of an output channel give is added up at the outputs
// it belongs to (overlap-add), and rows of outputs are stored once nothing more comes to them.
//
// Positions are those of phases.h: with o' = o + pad_begin, input i and tap k give to o' = i*stride + k*dilation. Along the
// width, outputs of one phase f (o = f + stride*j) are neighbours in an accumulator. Planes of the input never overlap here:
// see OverlapOutput::can_add.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/algorithm.h"
#include "algorithms/finisher.h"
#include "algorithms/streaming.h"
#include "pack/overlap_weights.h"

namespace convtranspose {

// Some rows of some planes of the input, whose products are made together. A plane is one depth position of one image: plane
// p is depth p % in[0] of image p / in[0].
struct OverlapStep {
  std::int64_t plane, planes;
  std::int64_t group;
  std::int64_t begin;             // the first row whose products are in the accumulators
  std::int64_t row, rows;         // of the input
  std::int64_t column, columns;   // of the input
  std::int64_t row_pitch;         // of positions in the sums
  std::int64_t plane_pitch;       // likewise
  std::int64_t out_row, out_end;  // rows o' that are whole after it
  std::int64_t pixel, pixels;     // j: what of them is stored
  bool last;                      // of a task
};

// What the steps of a plan have at most.
struct OverlapExtents {
  std::int64_t planes, rows, columns, pixels;
  std::int64_t channels;  // of a task
  std::int64_t live;      // channels whose products are added in turns
  bool steps;             // a task has several
};

class OverlapOutput {
 public:
  // Whether no two planes of the input give to the same plane of the output.
  static bool can_add(const LayerSpec& layer) { return (layer.kernel[0] - 1) * layer.dilation[0] < layer.stride[0]; }

  // Of contiguous output, for a layer that can_add. `form` must outlive this.
  OverlapOutput(const PlanRequest& request, const OverlapWeights& form, const OverlapExtents& extents);

  // Along the width: the positions j that hold outputs; input columns [first, end), one at
  // least, with all that give to j in [pixel, pixel + pixels).
  struct Columns {
    std::int64_t first, end;
  };
  static Columns columns_of(const Problem& problem, const OverlapWeights& form, std::int64_t pixel, std::int64_t pixels);
  // How many more columns than `pixels` that are at most.
  static std::int64_t halo_of(const Problem& problem, const OverlapWeights& form);
  // Blocks of so many pixels from `pixel` on, up to the one that begins at the result, need equally many columns.
  static std::int64_t equal_columns(const Problem& problem, const OverlapWeights& form, std::int64_t pixel,
                                    std::int64_t pixels);

  // Floats of one task: accumulators of the channels in turns, a row of zeros, what is kept from step to step. kMaxSize
  // where they are more than that.
  std::int64_t accumulator_floats() const;
  std::int64_t scratch_floats() const;

  // Before the first step of a task.
  void clear(float* accumulators) const;

  // Before the first products of an output channel of a step are added: what the steps before gave to it. `index`: which
  // channel of the task.
  void resume(const OverlapStep& step, std::int64_t channel, std::int64_t index, float* accumulators) const;

  // Adds the products of rows [first, end) of the group's weights. sums: [row - first][position], pitch floats apart.
  void add(const OverlapStep& step, const float* sums, std::ptrdiff_t pitch, std::int64_t first, std::int64_t end,
           float scale, float* accumulators) const;

  // After the last products of an output channel of a step: stores its whole rows, and keeps what is not whole yet.
  void store(const RunArgs& args, const OverlapStep& step, std::int64_t channel, std::int64_t index, float* accumulators,
             float* scratch) const;

  // A task calls it after its last store().
  void finish(const RunArgs& args) const;

 private:
  std::int64_t shift_of(std::int64_t phase) const { return shift_of(problem_, phase); }
  static std::int64_t shift_of(const Problem& problem, std::int64_t phase);
  std::int64_t row_floats() const { return problem_.layer.stride[2] * pitch_; }
  std::int64_t accumulator_plane() const { return rows_ * row_floats(); }  // floats
  std::int64_t slot_floats() const { return extents_.planes * problem_.layer.kernel[0] * accumulator_plane(); }
  std::int64_t slot(std::int64_t channel) const { return channel % extents_.live * slot_floats(); }
  std::int64_t kept_floats() const { return kept_rows_ * row_floats(); }  // of one plane
  float* kept(float* accumulators, std::int64_t index) const;
  bool reached(const OverlapStep& step, std::int64_t row) const;
  void store_plane(const RunArgs& args, const OverlapStep& step, std::int64_t image, std::int64_t channel, std::int64_t od,
                   const float* plane, const float* zeros, float* scratch) const;
  std::int64_t kernel_plane(std::int64_t beyond) const;  // that gives to output plane depth*stride + beyond, or -1

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  const OverlapWeights* form_;
  OverlapExtents extents_;
  Streaming streaming_;
  std::int64_t lead_;                   // place of j = 0 in a phase's accumulator, where column 0 is the first
  std::int64_t pitch_;                  // floats of an accumulator of one row and phase
  std::int64_t rows_;                   // of a plane of accumulators
  std::int64_t kept_rows_;              // of it that are not whole after a step
  std::vector<std::int64_t> previous_;  // [kh] rows of the input since another tap gave to the same output; 0: none
};

}  // namespace convtranspose
