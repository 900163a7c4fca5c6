// The products of Winograd by a unit for matrices (kernels/kernel.h): values of input tiles and of taps, which are floats,
// are split into bfloat16 terms. 16 rows of a class of phases are the rows of a matrix and 16 tiles its columns, so that
// products stand as the output transform reads them: nothing is transposed.
#pragma once

#include <cstdint>
#include <span>

#include "algorithms/algorithm.h"
#include "algorithms/winograd_tiles.h"
#include "pack/winograd_weights.h"

namespace convtranspose {

class WinogradTerms {
 public:
  // Tiles that kernels multiply at once, where a block has `tiles` of them.
  static std::int64_t columns(std::int64_t tiles) { return tiles <= kTermSquare ? kTermSquare : 2 * kTermSquare; }

  // Inputs of magnitude 2^this and more are refused: their values at the points, up to `growth` times as large, might be too
  // large to split.
  static int input_limit(double growth);

  // Values of inputs of `channels` channels at so many points, split.
  static std::int64_t input_bytes(std::int64_t points, std::int64_t channels, std::int64_t tiles);

  // Cycles of the products of one block of so many tiles with `rows` rows of weights, at one point, and of splitting the
  // values of one channel's tiles at one point.
  static double multiply_cycles(std::int64_t rows, std::int64_t channels, std::int64_t tiles);
  static double split_cycles(std::int64_t tiles);

  // `tiles`: its columns, row_floats and product_floats are set.
  WinogradTerms(const PlanRequest& request, const WinogradTiles& tiles);

  // Elements of a point's input.
  std::int64_t point_elements() const { return tile_groups_ * group_stride(); }
  // Whether the second-level cache does not hold the input of all points.
  bool fetches() const { return fetches_; }
  // What a thread needs to multiply.
  std::int64_t scratch_floats() const;

  // Splits the values at one point of up to kTermBlock channels from `first` on, a multiple of kTermBlock:
  // values[c*stride + tile], for all tiles of a row (WinogradTiles::row_floats). dst: the point's input. Returns whether
  // all were in range.
  bool split(const float* values, std::int64_t stride, std::int64_t first, std::int64_t channels, std::uint16_t* dst) const;

  // A class of phases of a block of output channels, at a point:
  //   values[row*product_floats + tile] = sum over all channels of weights times input
  // for so many rows, a multiple of kTermSquare, and for all tiles of a row. weights: as of WinogradWeights, matrices.
  struct Step {
    const float* weights;
    std::int64_t rows;
    const std::uint16_t* input;
    float* values;
  };

  // Steps, one after the other: weights are split while those before them are multiplied.
  class Multiplier {
   public:
    // scratch: scratch_floats(), 64-byte aligned. To be used between TermKernels::begin and end.
    Multiplier(const WinogradTerms& terms, const Step& first, float* scratch);

    // `next`: the step after it, or nullptr. `later`: input that is needed afterwards.
    void multiply(const Step& step, const Step* next, std::span<const std::uint16_t> later, KernelSet* used);

   private:
    TermSplitAhead split_ahead(const float* weights, std::int64_t rows);

    const WinogradTerms& terms_;
    std::uint16_t *here_, *there_;  // terms of weights: those that are multiplied, and the next ones
    TermSplitJob* jobs_;
  };

  // The kernels that multiply so many rows.
  KernelSet kernels(std::int64_t rows) const;

 private:
  // Of weights, that are multiplied at once.
  std::int64_t most_rows() const { return columns_ == 1 ? 4 : 2; }
  int rows_at_once(std::int64_t left) const;
  int columns_at_once(int rows, std::int64_t left) const;
  std::int64_t most_weights() const { return most_rows() * blocks_ * kMostTerms * kTermElements; }
  // From some tiles that stand beside each other to the next.
  std::int64_t group_stride() const { return blocks_ * kMostTerms * columns_ * kTermElements; }

  const KernelTable* table_;
  std::int64_t blocks_;          // of channels
  std::int64_t columns_;         // of matrices that stand beside each other
  std::int64_t tile_groups_;     // of tiles, a row of products
  std::int64_t product_floats_;  // from one row of products to the next
  std::int64_t chunk_;           // blocks of channels that a kernel sums
  bool fetches_;
  float weight_scale_, sum_scale_;
};

}  // namespace convtranspose
