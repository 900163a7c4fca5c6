#include "pack/winograd_weights.h"

#include <algorithm>
#include <numeric>

#include "kernels/kernel.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxPhasesPerKernel = 4096;

}  // namespace

bool WinogradWeights::can_use(const LayerSpec& layer) {
  bool several = false;
  std::int64_t phases = 1;
  for (int d = 0; d < kSpatialDims; ++d) {
    if (layer.stride[d] > layer.kernel[d] || std::gcd(layer.stride[d], layer.dilation[d]) != 1) return false;
    if (taps(layer, d, 0) > kMaxWinogradTaps || layer.stride[d] > kMaxPhasesPerKernel / phases) return false;
    phases *= layer.stride[d];
    several = several || layer.kernel[d] > layer.stride[d];
  }
  return several;
}

int WinogradWeights::taps(const LayerSpec& layer, int d, std::int64_t residue) {
  if (residue >= layer.kernel[d]) return 0;
  return static_cast<int>(
      std::min<std::int64_t>(ceil_div(layer.kernel[d] - residue, layer.stride[d]), kMaxWinogradTaps + 1));
}

WinogradWeights::WinogradWeights(const LayerSpec& layer, const Tile& tile, std::int64_t block_channels,
                                 std::int64_t panel_rows)
    : layer_(layer),
      tile_(tile),
      in_channels_(layer.in_channels / layer.groups),
      row_floats_(tile.matrices ? round_up(in_channels_, std::int64_t{kTermBlock}) : in_channels_) {
  for (std::int64_t rd = 0; rd < layer.stride[0]; ++rd) {
    for (std::int64_t rh = 0; rh < layer.stride[1]; ++rh) {
      for (std::int64_t rw = 0; rw < layer.stride[2]; ++rw) {
        PhaseClass phase;
        phase.taps = {taps(layer, 0, rd), taps(layer, 1, rh), taps(layer, 2, rw)};
        auto found =
            std::find_if(classes_.begin(), classes_.end(), [&](const PhaseClass& c) { return c.taps == phase.taps; });
        if (found == classes_.end()) {
          for (int d = 0; d < kSpatialDims; ++d) phase.points[d] = winograd_points(tile.size[d], phase.taps[d]);
          classes_.push_back(phase);
          found = classes_.end() - 1;
        }
        found->residues.push_back({rd, rh, rw});
      }
    }
  }
  const std::int64_t outputs = layer.out_channels / layer.groups;
  for (const Panel& panel : split_panels(outputs, block_channels, 1)) {
    blocks_.push_back({panel.first, panel.rows, group_elements_});
    for (std::size_t c = 0; c < classes_.size(); ++c) {
      group_elements_ += values(c) * stride(c, blocks_.back());
    }
  }
  // split_panels makes at most two sizes; larger ones need not come first.
  std::int64_t other = blocks_.front().channels;
  for (const ChannelBlock& block : blocks_) {
    if (block.channels != blocks_.front().channels) other = block.channels;
  }
  task_channels_ = std::clamp<std::int64_t>(
      kPackTask /
          std::max<std::int64_t>(
              1, group_elements_ / std::max<std::int64_t>(1, in_channels_ * static_cast<std::int64_t>(blocks_.size()))),
      1, std::max<std::int64_t>(1, in_channels_));
  for (const PhaseClass& cls : classes_) {
    evaluations_.push_back(make_evaluation(cls));
    panels_.push_back({split_panels(cls.phases() * blocks_.front().channels, panel_rows, 1),
                       split_panels(cls.phases() * other, panel_rows, 1)});
  }
  key_ = tile.combined ? "winograd-taps" : tile.matrices ? "winograd-matrices" : "winograd";
  for (int d = 0; d < kSpatialDims; ++d) {
    key_.append(d == 0 ? " " : "x");
    if (!tile.combined) key_.append("m").append(std::to_string(tile.size[d]));
    key_.append("k").append(std::to_string(layer.kernel[d])).append("s").append(std::to_string(layer.stride[d]));
  }
  key_.append(" block").append(std::to_string(block_channels)).append(" panel").append(std::to_string(panel_rows));
}

std::int64_t WinogradWeights::offset(std::int64_t group, const ChannelBlock& block, std::size_t cls, std::int64_t index,
                                     const Panel& panel) const {
  std::int64_t at = group * group_elements_ + block.offset;
  for (std::size_t c = 0; c < cls; ++c) at += values(c) * stride(c, block);
  return at + index * stride(cls, block) + panel.begin * row_floats_;
}

WinogradWeights::Evaluation WinogradWeights::make_evaluation(const PhaseClass& cls) const {
  Evaluation evaluation;
  const std::int64_t count = tile_.combined ? cls.tap_count() : cls.point_count();
  for (std::int64_t v = 0; v < count; ++v) {
    double along[kSpatialDims][kMaxWinogradTaps];
    std::int64_t rest = v;
    for (int d = kSpatialDims - 1; d >= 0; --d) {
      const std::int64_t size = tile_.combined ? cls.taps[d] : cls.points[d];
      const int index = static_cast<int>(rest % size);
      rest /= size;
      if (tile_.combined) {
        for (int j = 0; j < cls.taps[d]; ++j) along[d][j] = j == index ? 1.0 : 0.0;
      } else {
        winograd_tap_factors(tile_.size[d], cls.taps[d], index, along[d]);
      }
    }
    for (int jd = 0; jd < cls.taps[0]; ++jd) {
      for (int jh = 0; jh < cls.taps[1]; ++jh) {
        for (int jw = 0; jw < cls.taps[2]; ++jw) {
          evaluation.factor.push_back(along[0][jd] * along[1][jh] * along[2][jw]);
        }
      }
    }
  }
  for (const auto& residue : cls.residues) {
    for (int jd = 0; jd < cls.taps[0]; ++jd) {
      for (int jh = 0; jh < cls.taps[1]; ++jh) {
        for (int jw = 0; jw < cls.taps[2]; ++jw) {
          const std::int64_t kd = residue[0] + jd * layer_.stride[0];
          const std::int64_t kh = residue[1] + jh * layer_.stride[1];
          const std::int64_t kw = residue[2] + jw * layer_.stride[2];
          evaluation.position.push_back((kd * layer_.kernel[1] + kh) * layer_.kernel[2] + kw);
        }
      }
    }
  }
  return evaluation;
}

std::int64_t WinogradWeights::tasks() const {
  if (group_elements_ == 0) return 0;
  return layer_.groups * static_cast<std::int64_t>(blocks_.size()) * ceil_div(in_channels_, task_channels_);
}

void WinogradWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t slices = ceil_div(in_channels_, task_channels_);
  const std::int64_t blocks = static_cast<std::int64_t>(blocks_.size());
  const std::int64_t first = task % slices * task_channels_;
  const ChannelBlock& block = blocks_[static_cast<std::size_t>(task / slices % blocks)];
  const std::int64_t group = task / slices / blocks;
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    for (const Panel& panel : panels(c, block.channels)) {
      pack_panel(weights, group, block, c, panel, first, std::min(first + task_channels_, in_channels_), packed);
    }
  }
}

void WinogradWeights::pack_panel(const float* weights, std::int64_t group, const ChannelBlock& block, std::size_t cls,
                                 const Panel& panel, std::int64_t first, std::int64_t end, float* packed) const noexcept {
  constexpr int kMaxTaps = kMaxWinogradTaps * kMaxWinogradTaps * kMaxWinogradTaps;
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const std::int64_t taps = classes_[cls].tap_count();
  const Evaluation& evaluation = evaluations_[cls];
  std::int64_t filter[kMaxPanelRows];           // weight position of each row's first tap, relative to the input channel
  const std::int64_t* position[kMaxPanelRows];  // of its other taps, relative to that
  for (std::int64_t i = 0; i < panel.rows; ++i) {
    const std::int64_t row = panel.first + i;
    filter[i] = (block.first + row % block.channels) * kernel_points;
    position[i] = evaluation.position.data() + row / block.channels * taps;
  }
  double tap[kMaxTaps][kMaxPanelRows];
  for (std::int64_t ci = first; ci < end; ++ci) {
    const float* const from = weights + (group * in_channels_ + ci) * outputs * kernel_points;
    for (std::int64_t t = 0; t < taps; ++t) {
      for (std::int64_t i = 0; i < panel.rows; ++i) tap[t][i] = static_cast<double>(from[filter[i] + position[i][t]]);
    }
    const double* factor = evaluation.factor.data();
    for (std::int64_t v = 0; v < values(cls); ++v, factor += taps) {
      double sum[kMaxPanelRows] = {};
      for (std::int64_t t = 0; t < taps; ++t) {
        if (factor[t] == 0.0) continue;
        for (std::int64_t i = 0; i < panel.rows; ++i) sum[i] += factor[t] * tap[t][i];
      }
      float* const out = packed + offset(group, block, cls, v, panel);
      if (tile_.matrices) {
        float* const column = out + ci / kTermBlock * kTermElements + ci % kTermBlock;
        for (std::int64_t i = 0; i < panel.rows; ++i) column[i * kTermBlock] = static_cast<float>(sum[i]);
      } else {
        for (std::int64_t i = 0; i < panel.rows; ++i) out[ci * panel.rows + i] = static_cast<float>(sum[i]);
      }
    }
  }
  // Channels that there are not.
  for (std::int64_t ci = end == in_channels_ ? in_channels_ : row_floats_; ci < row_floats_; ++ci) {
    for (std::int64_t v = 0; v < values(cls); ++v) {
      float* const column = packed + offset(group, block, cls, v, panel) + ci / kTermBlock * kTermElements + ci % kTermBlock;
      for (std::int64_t i = 0; i < panel.rows; ++i) column[i * kTermBlock] = 0.0f;
    }
  }
}

}  // namespace convtranspose
