#include "algorithms/tap_parts.h"

#include <algorithm>

namespace convtranspose {
namespace {

// Neighbouring positions of one dimension, and the taps [begin, end) that read the input there.
struct Stretch {
  std::int64_t first, count;
  std::size_t begin, end;
};

// The offsets of a phase's taps descend, so those that read the input are neighbours.
std::vector<Stretch> stretches(const Phase1d& phase, std::int64_t in, std::int64_t extent, bool parted) {
  if (!parted) return {{0, extent, 0, phase.taps.size()}};
  std::vector<Stretch> all;
  for (std::int64_t q = 0; q < extent; ++q) {
    const auto reads = [&](const Tap1d& tap) { return q + tap.offset >= 0 && q + tap.offset < in; };
    const auto first = std::find_if(phase.taps.begin(), phase.taps.end(), reads);
    const auto last = std::find_if_not(first, phase.taps.end(), reads);
    const Stretch here{q, 1, static_cast<std::size_t>(first - phase.taps.begin()),
                       static_cast<std::size_t>(last - phase.taps.begin())};
    const bool same = !all.empty() && (all.back().begin == here.begin || here.begin == here.end) &&
                      all.back().end - all.back().begin == here.end - here.begin;
    if (same) {
      ++all.back().count;
    } else {
      all.push_back(here);
    }
  }
  return all;
}

}  // namespace

std::vector<TapPart> tap_parts(const PhaseSet& phases, const Dims& in, const Dims& extents, const Dims& phase,
                               bool columns) {
  std::vector<Stretch> along[kSpatialDims];
  std::size_t taps[kSpatialDims];
  for (int d = 0; d < kSpatialDims; ++d) {
    const Phase1d& of = phases.dim[d].phases[static_cast<std::size_t>(phase[d])];
    along[d] = stretches(of, in[d], extents[d], d < kSpatialDims - 1 || columns);
    taps[d] = of.taps.size();
  }
  std::vector<TapPart> parts;
  for (const Stretch& d : along[0]) {
    for (const Stretch& h : along[1]) {
      for (const Stretch& w : along[2]) {
        TapPart part;
        part.pixels = d.count * h.count * w.count;
        for (std::int64_t qd = d.first; qd < d.first + d.count; ++qd) {
          for (std::int64_t qh = h.first; qh < h.first + h.count; ++qh) {
            part.runs.push_back({(qd * extents[1] + qh) * extents[2] + w.first, w.count});
          }
        }
        for (std::size_t td = d.begin; td < d.end; ++td) {
          for (std::size_t th = h.begin; th < h.end; ++th) {
            for (std::size_t tw = w.begin; tw < w.end; ++tw) {
              part.taps.push_back(static_cast<std::int64_t>((td * taps[1] + th) * taps[2] + tw));
            }
          }
        }
        parts.push_back(std::move(part));
      }
    }
  }
  return parts;
}

std::vector<TapStep> tap_steps(const TapPart& part, std::span<const std::ptrdiff_t> offsets, std::int64_t width) {
  std::vector<TapStep> steps;
  steps.reserve(part.taps.size());
  for (const std::int64_t tap : part.taps) steps.push_back({offsets[static_cast<std::size_t>(tap)], tap * width});
  return steps;
}

}  // namespace convtranspose
