// The pixels of a phase in parts, by the taps that read the input there rather than the padding around it. Of a small image
// many pixels lie beside it: 8 x 8 inputs under a 3 x 3 kernel of dilation 2 reach 12 x 12 outputs, whose nine taps read
// zeros more often than not.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernel.h"
#include "problem/phases.h"

namespace convtranspose {

struct TapPart {
  // Neighbouring pixels along the width; pixels of an image are numbered in their order in memory.
  struct Run {
    std::int64_t first;
    std::int64_t count;
  };
  std::vector<Run> runs;
  std::int64_t pixels = 0;         // of an image: those of all runs
  std::vector<std::int64_t> taps;  // numbers of the phase's taps, ascending; none where all of them read padding
};

// Of phase (fd, fh, fw), whose pixels are taken to be `extents` (depths, rows, columns) in number, of an input of the sizes
// `in`. Pixels are parted by depth and row, and, if `columns`, by column as well. Every pixel is in one part. One part with
// all taps says that nothing is gained.
std::vector<TapPart> tap_parts(const PhaseSet& phases, const Dims& in, const Dims& extents, const Dims& phase, bool columns);

// What a kernel reads for the taps of a part: `offsets` are those of all of the phase's taps, `width` the panel's.
std::vector<TapStep> tap_steps(const TapPart& part, std::span<const std::ptrdiff_t> offsets, std::int64_t width);

}  // namespace convtranspose
