// Phases: for stride s, the outputs o with equal o mod s form a phase, and a phase is a stride-1 convolution with the taps
// that reach it. Phase f of a dimension holds the outputs o = f + s*j, j = 0 .. size-1, and
//
//   y[f + s*j] = sum over its taps of x[j + offset] * w[index]      (x outside its range counts as absent)
//
// because o + pad_begin - k*dilation = s*i  <=>  i = j + (f + pad_begin - k*dilation)/s, where s divides.
//
// Which taps a phase has depends on its residue (f + pad_begin) mod s alone, so packed weights are kept by residue and serve
// every padding and every size.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "problem/problem.h"

namespace convtranspose {

// [residue] -> the weight positions k, ascending, with k*dilation = residue (mod stride).
std::vector<std::vector<std::int64_t>> taps_by_residue(std::int64_t kernel, std::int64_t stride, std::int64_t dilation);

struct Tap1d {
  std::int64_t index;   // weight position k in this dimension
  std::int64_t offset;  // input position relative to j
};

struct Phase1d {
  std::int64_t first;       // f: also the output position of j = 0
  std::int64_t size;        // number of outputs, at least 1
  std::int64_t residue;     // (f + pad_begin) mod stride
  std::vector<Tap1d> taps;  // ascending index; may be empty (outputs hold the bias)
};

// The phases of one dimension: min(stride, out) of them, in order of `first`, sizes descending.
struct PhaseSet1d {
  std::vector<Phase1d> phases;
  std::int64_t min_offset = 0;  // over all taps of all phases; both 0 if there is none
  std::int64_t max_offset = 0;
  std::int64_t count() const { return static_cast<std::int64_t>(phases.size()); }
  std::int64_t max_size() const { return phases.empty() ? 0 : phases.front().size; }
  std::int64_t halo() const { return max_offset - min_offset; }
  std::vector<std::int64_t> computed_sizes() const;  // distinct sizes of the phases that have taps: at most two
};

// Time and memory grow with min(stride, out) and kernel: callers bound both first.
PhaseSet1d make_phases(std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                       std::int64_t pad_begin);

struct PhaseSet {
  PhaseSet1d dim[kSpatialDims];
  std::int64_t count() const { return dim[0].count() * dim[1].count() * dim[2].count(); }
};

PhaseSet make_phases(const Problem& problem);

// Whether some phases have no taps.
bool has_gaps(const PhaseSet& phases);

// Of all phases: their taps, and how many have any.
struct PhaseTotals {
  std::int64_t taps = 1;
  std::int64_t reached = 1;
};
PhaseTotals phase_totals(const PhaseSet& phases);
// Taps of a phase, on the average.
double mean_taps(const PhaseSet& phases);

// Where the taps of every phase read, the tap along the width innermost, in an input whose positions are these strides
// apart, relative to the phase's first pixel; counted from the smallest offset of each dimension.
class TapOffsets {
 public:
  TapOffsets() = default;
  TapOffsets(const PhaseSet& phases, std::int64_t stride_d, std::int64_t stride_h, std::int64_t stride_w);

  // Of the phase that is number fd along the depth, fh along the height and fw along the width.
  std::span<const std::ptrdiff_t> of(std::int64_t fd, std::int64_t fh, std::int64_t fw) const {
    return (*this)[number(fd, fh, fw)];
  }

  // Phases are counted with those along the width innermost.
  std::int64_t number(std::int64_t fd, std::int64_t fh, std::int64_t fw) const {
    return (fd * phases_h_ + fh) * phases_w_ + fw;
  }
  std::int64_t phases() const { return static_cast<std::int64_t>(begins_.size()) - 1; }
  std::span<const std::ptrdiff_t> operator[](std::int64_t phase) const {
    const std::size_t begin = begins_[static_cast<std::size_t>(phase)];
    return {offsets_.data() + begin, begins_[static_cast<std::size_t>(phase) + 1] - begin};
  }

 private:
  std::vector<std::ptrdiff_t> offsets_;
  std::vector<std::size_t> begins_{0};  // [phase], and the end of the last
  std::int64_t phases_h_ = 0, phases_w_ = 0;
};

}  // namespace convtranspose
