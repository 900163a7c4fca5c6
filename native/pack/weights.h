// Packed weights: for every group, row of phases, panel of output channels and phase along the width, one contiguous run of
// values in exactly the order in which a tile kernel reads them,
//
//   [group][depth residue][height residue][panel][width residue][channel chunk][channel][tap][panel width]
//
// Phases are named by residue (see phases.h), so one packed form serves every padding and every input size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "problem/problem.h"

namespace convtranspose {

// Rows of output channels that one tile kernel call handles.
struct Panel {
  std::int64_t first;  // output channel within the group
  std::int64_t rows;   // channels
  std::int64_t width;  // rows as stored, zero-filled: rows <= width
  std::int64_t begin;  // sum of the widths before it
};

// Where the values of one problem's layer stand. Depends on the layer and on the panels, not on sizes or padding.
class WeightLayout final : public PackedForm {
 public:
  // `panel_widths`: rows and stored width of each panel, in order; their rows add up to the output channels of a group.
  // `chunk`: channels that are accumulated in registers before they are added to the tile.
  WeightLayout(const LayerSpec& layer, std::vector<Panel> panels, std::int64_t chunk);

  const std::vector<Panel>& panels() const { return panels_; }
  std::int64_t chunk() const { return chunk_; }
  std::int64_t widest_panel() const { return widest_; }
  std::vector<std::int64_t> distinct_widths() const;  // of panels; split_panels() makes at most two
  std::int64_t taps(std::int64_t residue_d, std::int64_t residue_h, std::int64_t residue_w) const;
  std::int64_t elements() const override { return layer_.groups * group_elements_; }
  std::int64_t group_elements() const { return group_elements_; }

  // Start of the run of a phase and panel. Channel c of it begins at + c * taps * panel.width.
  std::int64_t offset(std::int64_t group, std::int64_t residue_d, std::int64_t residue_h, const Panel& panel,
                      std::int64_t residue_w) const;

  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override;
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override;

 private:
  // Pack channels [first, end) of one group for one panel; for one of its phases.
  void pack_panel(const float* weights, std::int64_t group, const Panel& panel, std::int64_t first, std::int64_t end,
                  float* packed) const noexcept;
  void pack_phase(const float* weights, std::int64_t group, const Panel& panel,
                  const std::array<std::size_t, kSpatialDims>& residue, std::int64_t first, std::int64_t end,
                  float* packed) const noexcept;

  LayerSpec layer_;
  std::vector<Panel> panels_;
  std::int64_t chunk_;
  std::int64_t total_width_ = 0;  // of all panels
  std::int64_t widest_ = 0;       // panel, as stored
  std::int64_t group_elements_ = 0;
  // A task packs so many neighbouring input channels for so many neighbouring panels of a group.
  std::int64_t task_channels_ = 1;
  std::int64_t task_panels_ = 1;
  std::vector<std::vector<std::int64_t>> taps_[kSpatialDims];  // [dimension][residue] -> weight positions
  std::vector<std::int64_t> taps_before_w_;                    // [residue_w]: taps along the width of all smaller residues
  std::vector<std::int64_t> taps_before_dh_;  // [residue_d * stride_h + residue_h]: taps (d x h) of all smaller ones
  std::string key_;
};

// Splits `channels` into panels of at most `widest` rows, as even as possible; widths are rounded up to `granule`.
std::vector<Panel> split_panels(std::int64_t channels, std::int64_t widest, std::int64_t granule);

}  // namespace convtranspose
