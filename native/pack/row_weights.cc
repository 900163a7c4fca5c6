#include "pack/row_weights.h"

#include <algorithm>
#include <map>

#include "problem/checked.h"

namespace convtranspose {
namespace {

// Offsets along the width that every phase uses -> the weight position of each phase there.
std::map<std::int64_t, std::vector<std::int64_t>> joint_offsets(const std::vector<Phase1d>& phases) {
  std::map<std::int64_t, std::vector<std::int64_t>> at;
  for (const Phase1d& phase : phases) {
    for (const Tap1d& tap : phase.taps) at[tap.offset].push_back(tap.index);
  }
  std::erase_if(at, [&](const auto& entry) { return entry.second.size() != phases.size(); });
  return at;
}

}  // namespace

RowWeights::RowWeights(const Problem& problem, const PhaseSet& phases, bool join, const std::vector<std::int64_t>& sizes)
    : layer_(problem.layer) {
  std::int64_t first = 0;
  for (const std::int64_t size : sizes) {
    for (; first + size <= problem.out_channels_per_group(); first += size) blocks_.push_back({first, size});
  }
  const auto joint = join ? joint_offsets(phases.dim[2].phases) : std::map<std::int64_t, std::vector<std::int64_t>>{};
  const std::int64_t channels = problem.in_channels_per_group();
  const std::int64_t channel_step = problem.out_channels_per_group() * problem.kernel_points();
  for (const Phase1d& phase_d : phases.dim[0].phases) {
    for (const Phase1d& phase_h : phases.dim[1].phases) {
      RowProgram program;
      // Calls body(channel, depth tap, height tap, where that row of weights begins).
      const auto for_each_row = [&](const auto& body) {
        for (std::int64_t c = 0; c < channels; ++c) {
          for (const Tap1d& td : phase_d.taps) {
            for (const Tap1d& th : phase_h.taps) {
              body(c, td, th, c * channel_step + (td.index * layer_.kernel[1] + th.index) * layer_.kernel[2]);
            }
          }
        }
      };
      const auto next = [&] { return static_cast<std::int64_t>(sources_.size()); };
      for_each_row([&](std::int64_t c, const Tap1d& td, const Tap1d& th, std::int64_t row) {
        for (const auto& [offset, positions] : joint) {
          program.taps.push_back({c, {td.offset, th.offset, offset}, next()});
          for (const std::int64_t position : positions) sources_.push_back(row + position);
          ++program.joint;
        }
      });
      for (const Phase1d& phase_w : phases.dim[2].phases) {
        const std::size_t before = program.taps.size();
        for_each_row([&](std::int64_t c, const Tap1d& td, const Tap1d& th, std::int64_t row) {
          for (const Tap1d& tw : phase_w.taps) {
            if (joint.contains(tw.offset)) continue;
            program.taps.push_back({c, {td.offset, th.offset, tw.offset}, next()});
            sources_.push_back(row + tw.index);
          }
        });
        program.singles.push_back(static_cast<std::int64_t>(program.taps.size() - before));
      }
      programs_.push_back(std::move(program));
    }
  }
  channel_elements_ = static_cast<std::int64_t>(sources_.size());
  const std::int64_t block_elements = channel_elements_ * sizes.front();
  task_blocks_ = std::max<std::int64_t>(1, kPackTask / std::max<std::int64_t>(1, block_elements));
  key_ = join ? "rows joint" : "rows single";
  for (const std::int64_t size : sizes) key_.append(" ").append(std::to_string(size));
  for (int d = 0; d < kSpatialDims; ++d) {
    const PhaseSet1d& set = phases.dim[d];
    key_.append(d == 0 ? " k" : "x").append(std::to_string(layer_.kernel[d]));
    key_.append("s").append(std::to_string(layer_.stride[d])).append("d").append(std::to_string(layer_.dilation[d]));
    key_.append("f").append(std::to_string(set.phases.front().residue)).append("n").append(std::to_string(set.count()));
  }
}

std::int64_t RowWeights::tasks() const {
  return elements() == 0 ? 0 : ceil_div(layer_.groups * static_cast<std::int64_t>(blocks_.size()), task_blocks_);
}

void RowWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const std::int64_t group_step = layer_.in_channels / layer_.groups * outputs * kernel_points;
  const std::int64_t group_blocks = static_cast<std::int64_t>(blocks_.size());
  const std::int64_t end = std::min((task + 1) * task_blocks_, layer_.groups * group_blocks);
  for (std::int64_t index = task * task_blocks_; index < end; ++index) {
    const std::int64_t group = index / group_blocks;
    const RowBlock& block = blocks_[static_cast<std::size_t>(index % group_blocks)];
    const float* const from = weights + group * group_step + block.first * kernel_points;
    float* out = packed + (group * outputs + block.first) * channel_elements_;
    for (const std::int64_t source : sources_) {
      for (std::int64_t o = 0; o < block.outputs; ++o) *out++ = from[source + o * kernel_points];
    }
  }
}

}  // namespace convtranspose
