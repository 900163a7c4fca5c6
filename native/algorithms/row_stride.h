// How far apart rows of scratch stand.
#pragma once

#include <cstdint>

#include "problem/checked.h"

namespace convtranspose {

// From one row of so many floats to the next: whole lines, and rows do not share few sets of the caches.
inline std::int64_t row_stride(std::int64_t floats) {
  constexpr std::int64_t kFloatsPerLine = 16, kFloatsPerSetPeriod = 256;
  const std::int64_t lines = round_up(floats, kFloatsPerLine);
  return lines % kFloatsPerSetPeriod == 0 ? lines + kFloatsPerLine : lines;
}

}  // namespace convtranspose
