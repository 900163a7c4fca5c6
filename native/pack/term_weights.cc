#include "pack/term_weights.h"

#include <algorithm>
#include <cstring>

#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kWidest = 2 * kTermSquare;  // panel, however they are stored

LayerSpec whole_blocks(LayerSpec layer) {
  layer.in_channels = layer.groups * round_up(layer.in_channels / layer.groups, kTermBlock);
  return layer;
}

std::vector<Panel> panels_of(const LayerSpec& layer, TermColumns columns, std::int64_t widest) {
  const LayerSpec made = layer_of_columns(layer, columns);
  const std::int64_t count = made.out_channels / made.groups;
  if (columns != TermColumns::kResidues) return split_panels(count, widest, kTermSquare);
  const std::int64_t together = layer.stride[2];
  std::vector<Panel> panels;
  const std::int64_t most = widest / together * together;
  for (std::int64_t first = 0, begin = 0; first < count; first += most) {
    const std::int64_t rows = std::min(most, count - first);
    panels.push_back({first, rows, round_up(rows, kTermSquare), begin});
    begin += panels.back().width;
  }
  return panels;
}

const char* name_of(TermColumns columns) {
  return columns == TermColumns::kResidues        ? " residues "
         : columns == TermColumns::kPixelResidues ? " pixel residues "
                                                  : " ";
}

// dst[pair of channels][column][channel of the pair] = scale * values[channel][column]
void pair_channels(const float* values, std::int64_t width, float scale, float* dst) {
  for (int c = 0; c < kTermBlock; c += 2, values += 2 * width) {
    for (std::int64_t j = 0; j < width; ++j, dst += 2) {
      dst[0] = scale * values[j];
      dst[1] = scale * values[width + j];
    }
  }
}

}  // namespace

LayerSpec layer_of_columns(const LayerSpec& layer, TermColumns columns) {
  LayerSpec made = layer;
  if (columns == TermColumns::kChannels) return made;
  for (int d = 0; d < kSpatialDims; ++d) {
    made.kernel[d] /= layer.stride[d];
    made.stride[d] = 1;
    made.out_channels *= layer.stride[d];
  }
  return made;
}

TermWeights::TermWeights(const LayerSpec& layer, TermColumns columns, int terms, float scale, const TermKernels& kernels,
                         TermStorage storage)
    : layer_(layer),
      columns_(layer_of_columns(layer, columns)),
      column_kind_(columns),
      terms_(terms),
      storage_(storage),
      scale_(scale),
      split_(kernels.split_weights),
      channel_blocks_(ceil_div(layer.in_channels / layer.groups, kTermBlock)),
      layout_(whole_blocks(columns_), panels_of(layer, columns, widest_panel(storage)), kTermBlock),
      key_((floats() ? "floats" : "terms" + std::to_string(terms)) + name_of(columns) + layout_.key()) {
  const Dims between{layer.kernel[1] * layer.kernel[2], layer.kernel[2], 1};
  const Dims residues = columns == TermColumns::kChannels ? Dims{1, 1, 1} : layer.stride;
  for (int d = 0; d < kSpatialDims; ++d) {
    taps_[d] = taps_by_residue(columns_.kernel[d], columns_.stride[d], columns_.dilation[d]);
    for (auto& taps : taps_[d]) {
      for (std::int64_t& tap : taps) tap *= residues[d] * between[d];
    }
  }
}

std::int64_t TermWeights::column_offset(std::int64_t column) const {
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const Dims residues = column_kind_ == TermColumns::kChannels ? Dims{1, 1, 1} : layer_.stride;
  const std::int64_t within = column % (outputs * residues[2]), row = column / (outputs * residues[2]);
  const bool pixels = column_kind_ == TermColumns::kPixelResidues;
  const std::int64_t co = pixels ? within % outputs : within / residues[2];
  const std::int64_t rw = pixels ? within / outputs : within % residues[2];
  const std::int64_t rd = row / residues[1], rh = row % residues[1];
  return ((co * layer_.kernel[0] + rd) * layer_.kernel[1] + rh) * layer_.kernel[2] + rw;
}

std::int64_t TermWeights::elements() const {
  return floats() ? layout_.elements() : ceil_div(layout_.elements() * terms_, 2);  // two to a float
}

std::int64_t TermWeights::tasks() const {
  return elements() == 0 ? 0 : layer_.groups * channel_blocks_ * static_cast<std::int64_t>(panels().size());
}

// One block of channels of one panel: its raw values are near each other for all taps.
void TermWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t count = static_cast<std::int64_t>(panels().size());
  const Panel& panel = panels()[static_cast<std::size_t>(task % count)];
  const std::int64_t block = task / count % channel_blocks_;
  const std::int64_t group = task / count / channel_blocks_;
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t channel_floats =
      layer_.out_channels / layer_.groups * layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const std::int64_t first = block * kTermBlock;
  const std::int64_t present = std::min<std::int64_t>(kTermBlock, channels - first);
  const std::int64_t tap_elements = kTermBlock * panel.width * stored();
  const float* const from = weights + (group * channels + first) * channel_floats;
  std::int64_t offset_of[kWidest];
  for (std::int64_t j = 0; j < panel.rows; ++j) offset_of[j] = column_offset(panel.first + j);

  alignas(64) float values[kTermBlock * kWidest];
  std::memset(values, 0, sizeof values);
  TermWeightsArgs call{values, static_cast<int>(panel.width / kTermSquare), terms_, nullptr, scale_};
  for (std::int64_t rd = 0; rd < columns_.stride[0]; ++rd) {
    for (std::int64_t rh = 0; rh < columns_.stride[1]; ++rh) {
      for (std::int64_t rw = 0; rw < columns_.stride[2]; ++rw) {
        std::int64_t at = offset(group, rd, rh, panel, rw) + block * taps(rd, rh, rw) * tap_elements;
        for (const std::int64_t kd : taps_[0][static_cast<std::size_t>(rd)]) {
          for (const std::int64_t kh : taps_[1][static_cast<std::size_t>(rh)]) {
            for (const std::int64_t kw : taps_[2][static_cast<std::size_t>(rw)]) {
              const float* tap = from + kd + kh + kw;
              for (std::int64_t c = 0; c < present; ++c, tap += channel_floats) {
                for (std::int64_t j = 0; j < panel.rows; ++j) values[c * panel.width + j] = tap[offset_of[j]];
              }
              if (floats()) {
                pair_channels(values, panel.width, scale_, packed + at);
              } else {
                call.dst = reinterpret_cast<std::uint16_t*>(packed) + at;
                split_(&call);
              }
              at += tap_elements;
            }
          }
        }
      }
    }
  }
}

}  // namespace convtranspose
