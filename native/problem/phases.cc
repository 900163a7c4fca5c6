#include "problem/phases.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {

std::vector<std::int64_t> taps_of_residue(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                                          std::int64_t residue) {
  std::vector<std::int64_t> taps;
  for (std::int64_t k = 0; k < kernel; ++k) {
    if (k * dilation % stride == residue) taps.push_back(k);
  }
  return taps;
}

PhaseSet1d make_phases(std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                       std::int64_t pad_begin) {
  PhaseSet1d set;
  bool any = false;
  for (std::int64_t first = 0; first < std::min(stride, out); ++first) {
    Phase1d phase;
    phase.first = first;
    phase.size = ceil_div(out - first, stride);
    phase.residue = floor_mod(first + pad_begin, stride);
    for (const std::int64_t k : taps_of_residue(kernel, stride, dilation, phase.residue)) {
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

}  // namespace convtranspose
