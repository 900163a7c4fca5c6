#include "problem/phases.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {

std::vector<std::vector<std::int64_t>> taps_by_residue(std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
  std::vector<std::vector<std::int64_t>> taps(static_cast<std::size_t>(stride));
  for (std::int64_t k = 0; k < kernel; ++k) taps[static_cast<std::size_t>(k * dilation % stride)].push_back(k);
  return taps;
}

std::vector<std::int64_t> PhaseSet1d::computed_sizes() const {
  std::vector<std::int64_t> sizes;
  for (const Phase1d& phase : phases) {
    const bool known = std::find(sizes.begin(), sizes.end(), phase.size) != sizes.end();
    if (!phase.taps.empty() && !known) sizes.push_back(phase.size);
  }
  return sizes;
}

PhaseSet1d make_phases(std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                       std::int64_t pad_begin) {
  PhaseSet1d set;
  const auto taps = taps_by_residue(kernel, stride, dilation);
  bool any = false;
  for (std::int64_t first = 0; first < std::min(stride, out); ++first) {
    Phase1d phase;
    phase.first = first;
    phase.size = ceil_div(out - first, stride);
    phase.residue = floor_mod(first + pad_begin, stride);
    for (const std::int64_t k : taps[static_cast<std::size_t>(phase.residue)]) {
      const std::int64_t offset = floor_div(first + pad_begin - k * dilation, stride);
      phase.taps.push_back({k, offset});
      set.min_offset = any ? std::min(set.min_offset, offset) : offset;
      set.max_offset = any ? std::max(set.max_offset, offset) : offset;
      any = true;
    }
    set.phases.push_back(std::move(phase));
  }
  return set;
}

PhaseSet make_phases(const Problem& problem) {
  PhaseSet set;
  for (int d = 0; d < kSpatialDims; ++d) {
    set.dim[d] = make_phases(problem.call.out[d], problem.layer.kernel[d], problem.layer.stride[d],
                             problem.layer.dilation[d], problem.call.pad_begin[d]);
  }
  return set;
}

bool has_gaps(const PhaseSet& phases) {
  bool gaps = false;
  for (const PhaseSet1d& dim : phases.dim) {
    for (const Phase1d& phase : dim.phases) gaps = gaps || phase.taps.empty();
  }
  return gaps;
}

// As many as the products of those along each dimension.
PhaseTotals phase_totals(const PhaseSet& phases) {
  PhaseTotals totals;
  for (const PhaseSet1d& dim : phases.dim) {
    std::int64_t taps = 0, reached = 0;
    for (const Phase1d& phase : dim.phases) {
      taps += static_cast<std::int64_t>(phase.taps.size());
      reached += phase.taps.empty() ? 0 : 1;
    }
    totals.taps *= taps;
    totals.reached *= reached;
  }
  return totals;
}

double mean_taps(const PhaseSet& phases) {
  return static_cast<double>(phase_totals(phases).taps) / static_cast<double>(phases.count());
}

TapOffsets::TapOffsets(const PhaseSet& phases, std::int64_t stride_d, std::int64_t stride_h, std::int64_t stride_w)
    : phases_h_(phases.dim[1].count()), phases_w_(phases.dim[2].count()) {
  const auto count = [&phases](int d) { return static_cast<std::size_t>(phases.dim[d].count()); };
  begins_.reserve(count(0) * count(1) * count(2) + 1);
  offsets_.reserve(static_cast<std::size_t>(phase_totals(phases).taps));
  for (const Phase1d& d : phases.dim[0].phases) {
    for (const Phase1d& h : phases.dim[1].phases) {
      for (const Phase1d& w : phases.dim[2].phases) {
        for (const Tap1d& td : d.taps) {
          for (const Tap1d& th : h.taps) {
            for (const Tap1d& tw : w.taps) {
              offsets_.push_back((td.offset - phases.dim[0].min_offset) * stride_d +
                                 (th.offset - phases.dim[1].min_offset) * stride_h +
                                 (tw.offset - phases.dim[2].min_offset) * stride_w);
            }
          }
        }
        begins_.push_back(offsets_.size());
      }
    }
  }
}

}  // namespace convtranspose
