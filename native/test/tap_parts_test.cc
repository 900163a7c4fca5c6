#include "algorithms/tap_parts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "problem/problem.h"

namespace convtranspose {
namespace {

// The taps of a phase that read the input at a pixel: along depth and height, and, if `columns`, along the width.
std::set<std::int64_t> reading(const PhaseSet& phases, const Dims& in, const Dims& phase, const Dims& pixel, bool columns) {
  const auto taps = [&](int d) -> const std::vector<Tap1d>& {
    return phases.dim[d].phases[static_cast<std::size_t>(phase[d])].taps;
  };
  const auto inside = [&](int d, std::size_t tap) {
    const std::int64_t i = pixel[d] + taps(d)[tap].offset;
    return i >= 0 && i < in[d];
  };
  std::set<std::int64_t> found;
  std::int64_t number = 0;
  for (std::size_t d = 0; d < taps(0).size(); ++d) {
    for (std::size_t h = 0; h < taps(1).size(); ++h) {
      for (std::size_t w = 0; w < taps(2).size(); ++w, ++number) {
        if (inside(0, d) && inside(1, h) && (!columns || inside(2, w))) found.insert(number);
      }
    }
  }
  return found;
}

TEST_CASE("tap parts: every pixel is in one part, which has just the taps that read the input there") {
  std::mt19937 random(20261207);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  int without_taps = 0, single = 0, many = 0;
  for (int round = 0; round < 400; ++round) {
    Problem p;
    for (int d = 0; d < kSpatialDims; ++d) {
      p.layer.kernel[d] = pick(1, 4);
      p.layer.stride[d] = pick(1, 3);
      p.layer.dilation[d] = round % 5 == 0 ? pick(4, 9) : pick(1, 3);
      p.call.in[d] = pick(1, 6);
      p.call.pad_begin[d] = pick(-1, 5);
      p.call.out[d] = pick(1, 9);
    }
    const PhaseSet phases = make_phases(p);
    const TapOffsets offsets(phases, 1000, 100, 7);
    for (std::int64_t number = 0; number < offsets.phases(); ++number) {
      const std::int64_t phases_h = phases.dim[1].count(), phases_w = phases.dim[2].count();
      const Dims phase{number / phases_w / phases_h, number / phases_w % phases_h, number % phases_w};
      REQUIRE(offsets.number(phase[0], phase[1], phase[2]) == number);
      const Dims extents{phases.dim[0].phases[static_cast<std::size_t>(phase[0])].size,
                         phases.dim[1].phases[static_cast<std::size_t>(phase[1])].size, phases.dim[2].max_size()};
      for (const bool columns : {false, true}) {
        std::vector<int> times(static_cast<std::size_t>(extents[0] * extents[1] * extents[2]));
        const std::vector<TapPart> parts = tap_parts(phases, p.call.in, extents, phase, columns);
        for (const TapPart& part : parts) {
          std::int64_t pixels = 0;
          for (const TapPart::Run& run : part.runs) {
            pixels += run.count;
            for (std::int64_t i = run.first; i < run.first + run.count; ++i) {
              ++times[static_cast<std::size_t>(i)];
              const Dims pixel{i / extents[2] / extents[1], i / extents[2] % extents[1], i % extents[2]};
              REQUIRE(std::set<std::int64_t>(part.taps.begin(), part.taps.end()) ==
                      reading(phases, p.call.in, phase, pixel, columns));
            }
          }
          REQUIRE(part.pixels == pixels);
          REQUIRE(std::is_sorted(part.taps.begin(), part.taps.end()));
          const std::vector<TapStep> steps = tap_steps(part, offsets[number], 48);
          REQUIRE(steps.size() == part.taps.size());
          for (std::size_t t = 0; t < steps.size(); ++t) {
            REQUIRE(steps[t].src == offsets[number][static_cast<std::size_t>(part.taps[t])]);
            REQUIRE(steps[t].weights == 48 * part.taps[t]);
          }
          without_taps += part.taps.empty() && !offsets[number].empty() ? 1 : 0;
          single += parts.size() == 1 && part.taps.size() < offsets[number].size() ? 1 : 0;
        }
        many += parts.size() > 8 ? 1 : 0;
        REQUIRE(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
      }
    }
  }
  CHECK(without_taps > 20);
  CHECK(single > 20);
  CHECK(many > 20);
}

}  // namespace
}  // namespace convtranspose
