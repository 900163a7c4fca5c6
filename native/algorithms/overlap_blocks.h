// What amx_overlap.cc cuts a problem into, so that split input stays in the second-level cache, and what that costs.
//
// A step multiplies some rows of some planes of the input (overlap_output.h) by the weights. A block is all steps of one
// stripe of rows: of whole planes, or of some pixels of the width. A task is some blocks, or a part of the output channels
// of one.
#pragma once

#include <cstdint>

#include "algorithms/algorithm.h"
#include "pack/overlap_weights.h"

namespace convtranspose {

struct OverlapBlocks {
  // Of a step.
  std::int64_t planes = 1;   // more than one only where a step has all of their rows
  std::int64_t rows = 1;     // of the input
  std::int64_t pixels = 1;   // of the width, that are stored
  std::int64_t columns = 1;  // of the input, at most, for so many pixels
  bool whole_width = true;
  std::int64_t stripe = 1;  // rows of a block, without
  std::int64_t lead = 0;    // the rows before it that give to it

  // How many there are of each; blocks: all together, of all groups.
  std::int64_t plane_blocks = 1, stripes = 1, pixel_blocks = 1, blocks = 1;
  std::int64_t per_task = 1;  // blocks, where these have no parts
  std::int64_t parts = 1;     // of the output channels: tasks of a block
  bool one_step = false;      // a task has no other
  bool ahead = false;         // input is split while other input is multiplied

  std::int64_t chunk = 1;           // blocks of channels that a kernel call sums
  std::int64_t split_elements = 0;  // of the split input of a step
  double cycles = 0.0;              // of a whole run

  std::int64_t row_pitch(std::int64_t columns_of_step) const;
  // Positions of a step: rows and planes that begin at a matrix have some between them that count as well.
  std::int64_t positions(std::int64_t step_planes, std::int64_t step_rows, std::int64_t step_columns) const;
  std::int64_t positions() const { return positions(planes, rows, columns); }  // at most
  std::int64_t channels_of_part(const Problem& problem) const;                 // at most
};

// Elements from two matrices of split positions to the next two.
inline std::ptrdiff_t overlap_group_stride(const OverlapWeights& form) {
  return form.channel_blocks() * form.terms() * 2 * kTermElements;
}

OverlapBlocks choose_overlap_blocks(const PlanRequest& request, const OverlapWeights& form);

}  // namespace convtranspose
