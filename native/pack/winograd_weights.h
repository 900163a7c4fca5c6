// Packed weights for Winograd: for every block of output channels, class of phases and point, the taps' values at that
// point,
//
//   [group][channel block][class][point][panel][channel][row of the panel]
//
// Phases are taken by residue: the taps of residue r of a dimension are k = r + stride*j, j = 0 .. taps - 1, and read the
// input at q - j (with dilation: of a grid of every dilation-th input). Residues of a dimension differ in their number of
// taps by at most one; phases with the same numbers of taps in all dimensions form a class: they have the same points. The
// rows of a class in a block are [phase][channel].
//
// "Combined" weights keep the taps themselves instead ([tap] in place of [point]) and leave the sums to whoever multiplies:
// less memory to read where few tiles share it.
//
// "Matrices" are for a unit that multiplies these (kernels/kernel.h): the rows of a class, 16 at a time, by 32 channels,
//
//   [group][channel block][class][point][matrix of rows][block of channels][row][channel]
//
// with zeros where there are no more channels. Their blocks are of 16 output channels, or of 32.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "pack/weights.h"
#include "pack/winograd_points.h"
#include "problem/problem.h"

namespace convtranspose {

struct PhaseClass {
  std::array<int, kSpatialDims> taps;
  std::array<int, kSpatialDims> points;
  std::vector<std::array<std::int64_t, kSpatialDims>> residues;  // of its phases, last dimension fastest
  std::int64_t point_count() const { return std::int64_t{points[0]} * points[1] * points[2]; }
  std::int64_t tap_count() const { return std::int64_t{taps[0]} * taps[1] * taps[2]; }
  std::int64_t phases() const { return static_cast<std::int64_t>(residues.size()); }
};

struct ChannelBlock {
  std::int64_t first;  // output channel within the group
  std::int64_t channels;
  std::int64_t offset;  // floats from the start of the group
};

class WinogradWeights final : public PackedForm {
 public:
  static constexpr std::int64_t kMaxPanelRows = 32;

  struct Tile {
    std::array<int, kSpatialDims> size;  // 1, 2 or 4 per dimension; 1 where no residue has more than one tap
    bool combined;
    bool matrices;  // never both
  };

  // `block_channels`: at most, per block. `panel_rows`: at most, per tile kernel call. Of layers
  // that can_use() accepts. panel_rows is at most kMaxPanelRows. With matrices, the former is a divisor of the
  // output channels of a group and a multiple of the latter, which is kTermSquare.
  WinogradWeights(const LayerSpec& layer, const Tile& tile, std::int64_t block_channels, std::int64_t panel_rows);

  // Whether every residue of every dimension has 1 to kMaxWinogradTaps taps, and some have two or more; dilation and stride
  // have no common factor.
  static bool can_use(const LayerSpec& layer);

  // Taps of a residue along dimension d, 0 if the kernel does not reach it, kMaxWinogradTaps + 1 for more than that; the
  // first residue has the most.
  static int taps(const LayerSpec& layer, int d, std::int64_t residue);
  static int most_taps(const LayerSpec& layer, int d) { return taps(layer, d, 0); }

  const Tile& tile() const { return tile_; }
  const std::vector<PhaseClass>& classes() const { return classes_; }
  const std::vector<ChannelBlock>& blocks() const { return blocks_; }

  // The rows of a class in a block of `channels` channels, as panels.
  const std::vector<Panel>& panels(std::size_t cls, std::int64_t channels) const {
    return panels_[cls][channels == blocks_.front().channels ? 0 : 1];
  }

  // Start of a panel of point (or, combined, of tap) `index`. From one point or tap to the next is `stride(...)`.
  std::int64_t offset(std::int64_t group, const ChannelBlock& block, std::size_t cls, std::int64_t index,
                      const Panel& panel) const;
  std::int64_t stride(std::size_t cls, const ChannelBlock& block) const {
    return classes_[cls].phases() * block.channels * row_floats_;
  }

  std::int64_t elements() const override { return layer_.groups * group_elements_; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  // What packing a class needs: value[v] = sum over t of factor[v*taps + t] * tap[t], with tap t of phase f at the weight
  // position position[f*taps + t].
  struct Evaluation {
    std::vector<double> factor;
    std::vector<std::int64_t> position;
  };
  Evaluation make_evaluation(const PhaseClass& cls) const;
  void pack_panel(const float* weights, std::int64_t group, const ChannelBlock& block, std::size_t cls, const Panel& panel,
                  std::int64_t first, std::int64_t end, float* packed) const noexcept;
  std::int64_t values(std::size_t cls) const {
    return tile_.combined ? classes_[cls].tap_count() : classes_[cls].point_count();
  }

  LayerSpec layer_;
  Tile tile_;
  std::int64_t in_channels_;  // of a group
  std::int64_t row_floats_;   // of a row: in_channels_, or with the zeros of matrices
  std::vector<PhaseClass> classes_;
  std::vector<Evaluation> evaluations_;  // [class]
  std::vector<ChannelBlock> blocks_;
  std::int64_t task_channels_;                             // input channels that one task packs, for one block
  std::vector<std::array<std::vector<Panel>, 2>> panels_;  // [class][whole blocks, the smaller ones]
  std::int64_t group_elements_ = 0;
  std::string key_;
};

}  // namespace convtranspose
