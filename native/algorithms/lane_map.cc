#include "algorithms/lane_map.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

namespace convtranspose {
namespace {

constexpr std::int64_t kNone = -1;  // nothing is read

struct Range {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  std::int64_t most = 0;
};

Range range(std::span<const std::int64_t> places) {
  Range found;
  for (const std::int64_t place : places) {
    if (place == kNone) continue;
    found.least = std::min(found.least, place);
    found.most = std::max(found.most, place);
  }
  found.least = std::min(found.least, found.most);
  return found;
}

// The places of so many taps of a vector, from one on.
std::span<const std::int64_t> part(std::span<const std::int64_t> places, std::int64_t tap, std::int64_t taps,
                                   std::int64_t lanes) {
  return places.subspan(static_cast<std::size_t>(tap * lanes), static_cast<std::size_t>(taps * lanes));
}

// Taps of a reach: as many as each vector finds in one vector of the input. 0: not even one. `places`:
// [vector][tap][lane].
std::int64_t taps_together(std::span<const std::int64_t> places, std::int64_t taps, std::int64_t lanes) {
  const std::int64_t all = static_cast<std::int64_t>(places.size()) / lanes;  // taps of all vectors
  const auto fits = [&](std::int64_t together) {
    for (std::int64_t vector = 0; vector < all; vector += taps) {
      for (std::int64_t tap = 0; tap < taps; tap += together) {
        const Range reach = range(part(places, vector + tap, std::min(together, taps - tap), lanes));
        if (reach.most - reach.least >= lanes) return false;
      }
    }
    return true;
  };
  std::int64_t together = 0;
  while (together < taps && fits(together + 1)) ++together;
  return together;
}

}  // namespace

std::optional<LaneMap> make_lane_map(const PhaseSet1d& width, const LayerSpec& layer, std::int64_t lanes,
                                     std::int64_t most) {
  const std::int64_t inputs = layer.in_channels, channels = layer.out_channels, phases = width.count();
  const std::int64_t floats = std::lcm(phases * channels, lanes);
  LaneMap map;
  for (const Phase1d& phase : width.phases) map.taps = std::max(map.taps, static_cast<std::int64_t>(phase.taps.size()));
  if (map.taps * floats > most) return std::nullopt;
  map.period = floats / phases / channels * inputs;
  map.reaches.resize(static_cast<std::size_t>(floats / lanes));
  if (map.taps == 0) return map;
  std::vector<std::int64_t> places;
  for (std::int64_t first = 0; first < floats; first += lanes) {
    for (std::size_t tap = 0; tap < static_cast<std::size_t>(map.taps); ++tap) {
      for (std::int64_t at = first; at < first + lanes; ++at) {
        const std::int64_t pixel = at / channels, channel = at % channels;
        const Phase1d& phase = width.phases[static_cast<std::size_t>(pixel % phases)];
        const bool reads = tap < phase.taps.size();
        const std::int64_t from = reads ? pixel / phases + phase.taps[tap].offset - width.min_offset : 0;
        places.push_back(reads ? from * inputs + channel * inputs / channels : kNone);
        map.weights.push_back(reads ? static_cast<std::int32_t>(phase.taps[tap].index * channels + channel) : kNone);
      }
    }
  }
  const std::int64_t together = taps_together(places, map.taps, lanes);
  if (together == 0) return std::nullopt;
  for (std::int64_t v = 0; v < map.vectors(); ++v) {
    for (std::int64_t tap = 0; tap < map.taps; tap += together) {
      const std::int64_t taps = std::min(together, map.taps - tap);
      const std::span<const std::int64_t> of = part(places, v * map.taps + tap, taps, lanes);
      const std::int64_t least = range(of).least;
      map.reaches[static_cast<std::size_t>(v)].push_back({least, tap, taps});
      for (const std::int64_t place : of) {
        map.lanes.push_back(static_cast<std::int32_t>(place == kNone ? kNone : place - least));
      }
    }
  }
  return map;
}

}  // namespace convtranspose
