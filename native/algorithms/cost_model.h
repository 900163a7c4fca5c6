// What a run is expected to cost, in cycles of one core: committed constants and arithmetic, never a measurement at run
// time, so that a choice depends on the problem, the instruction set and the cache sizes alone. Only ratios between
// algorithms matter; they were fitted to the native bench.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/kernel.h"

namespace convtranspose::cost {

inline constexpr double kClock = 3.0e9;      // cycles a second, for explain()'s estimate only
inline constexpr double kFmaPerCycle = 2.0;  // vector operations
inline constexpr double kLoadsPerCycle = 2.0;
inline constexpr double kFmaLatency = 4.0;     // a tile with fewer accumulators than latency * rate waits
inline constexpr double kCallOverhead = 30.0;  // a tile kernel call: arguments, first loads, last stores
inline constexpr double kFlatPenalty = 1.25;   // tiles across row ends: a page a channel, and more lines a vector
inline constexpr double kCopyPerFloat = 0.25;  // packing by rows
inline constexpr double kTransposePerFloat = 0.6;
inline constexpr double kStorePerFloat = 0.3;        // epilogue in the layout of the tile
inline constexpr double kStreamBytesPerCycle = 7.0;  // weights from beyond the second-level cache
inline constexpr double kPixelStore = 4.0;           // a pixel of a few channels, stored channels last
inline constexpr double kPixelStoreBeyond = 40.0;    // the same where its lines come from beyond the second-level cache
inline constexpr double kPackWeightPerFloat = 2.0;

// Bytes of a group's weights, `floats` of them, if these are too many to stay in a second-level cache of `cache_bytes`
// beside the pixels that they are multiplied with; otherwise 0.
inline std::int64_t streamed_bytes(std::int64_t floats, std::size_t cache_bytes) {
  const std::int64_t bytes = floats * static_cast<std::int64_t>(sizeof(float));
  return bytes > static_cast<std::int64_t>(cache_bytes / 2) ? bytes : 0;
}

// How a tile kernel reads its vectors: what a load counts, since one that crosses a line is two, and how long it holds up
// the products although others could go on. The vectors come from the second-level cache, so tall tiles, which use each for
// more products, do better.
struct VectorLoad {
  double loads;
  double stall;  // cycles
};
inline constexpr VectorLoad kAlignedPixels{1.0, 0.25};
inline constexpr VectorLoad kUnalignedPixels{2.0, 0.75};
inline constexpr VectorLoad kWeightVectors{1.0, 0.5};

// One step (channel, tap) of a tile kernel of `rows` x `vectors` accumulators.
inline double step(double rows, double vectors, const VectorLoad& load) {
  return std::max({rows * vectors / kFmaPerCycle, (rows + vectors * load.loads) / kLoadsPerCycle, kFmaLatency}) +
         vectors * load.stall;
}

// A tile kernel call of `steps` steps.
inline double call(const TileKernel& kernel, int lanes, double steps, const VectorLoad& load) {
  const double vectors = static_cast<double>(kernel.nr) / lanes;
  return kCallOverhead + kernel.mr * vectors + steps * step(kernel.mr, vectors, load);
}

}  // namespace convtranspose::cost
