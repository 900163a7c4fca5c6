#include "algorithms/lane_map.h"

#include <algorithm>
#include <numeric>

namespace convtranspose {
namespace {

// Taps of each reach: as many as there is room for in the reaches of all vectors, of which `places` are
// [vector][tap][lane]. 0: not even of one.
std::int64_t taps_together(const std::vector<std::int64_t>& places, std::int64_t taps, std::int64_t lanes) {
  const auto fits = [&](std::int64_t together) {
    for (std::size_t at = 0; at < places.size(); at += static_cast<std::size_t>(taps * lanes)) {
      for (std::int64_t tap = 0; tap < taps; tap += together) {
        const auto begin = places.begin() + static_cast<std::ptrdiff_t>(at) + tap * lanes;
        const auto [least, most] = std::minmax_element(begin, begin + std::min(together, taps - tap) * lanes);
        if (*most - *least >= lanes) return false;
      }
    }
    return true;
  };
  std::int64_t together = taps;
  while (together > 0 && !fits(together)) --together;
  return together;
}

}  // namespace

std::optional<LaneMap> make_lane_map(const PhaseSet1d& width, std::int64_t channels, std::int64_t lanes) {
  const std::int64_t phases = width.count();
  LaneMap map;
  map.taps = static_cast<std::int64_t>(width.phases.front().taps.size());
  for (const Phase1d& phase : width.phases) {
    if (static_cast<std::int64_t>(phase.taps.size()) != map.taps) return std::nullopt;
  }
  const std::int64_t floats = std::lcm(phases * channels, lanes);
  map.period = floats / phases;
  map.reaches.resize(static_cast<std::size_t>(floats / lanes));
  std::vector<std::int64_t> places;
  for (std::int64_t first = 0; first < floats; first += lanes) {
    for (std::size_t tap = 0; tap < static_cast<std::size_t>(map.taps); ++tap) {
      for (std::int64_t at = first; at < first + lanes; ++at) {
        const std::int64_t pixel = at / channels, channel = at % channels;
        const Tap1d& read = width.phases[static_cast<std::size_t>(pixel % phases)].taps[tap];
        places.push_back((pixel / phases + read.offset - width.min_offset) * channels + channel);
        map.weights.push_back(static_cast<std::int32_t>(read.index * channels + channel));
      }
    }
  }
  if (map.taps == 0) return map;
  const std::int64_t together = taps_together(places, map.taps, lanes);
  if (together == 0) return std::nullopt;
  auto place = places.cbegin();
  for (std::vector<LaneReach>& reaches : map.reaches) {
    for (std::int64_t tap = 0; tap < map.taps; tap += together) {
      const std::int64_t taps = std::min(together, map.taps - tap);
      const auto end = place + taps * lanes;
      const std::int64_t least = *std::min_element(place, end);
      reaches.push_back({least, tap, taps});
      for (; place != end; ++place) map.lanes.push_back(static_cast<std::int32_t>(*place - least));
    }
  }
  return map;
}

}  // namespace convtranspose
