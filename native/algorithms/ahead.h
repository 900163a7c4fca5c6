// What tile kernels ask for ahead of its use, a line for each channel that they multiply (TileArgs::prefetch): memory that
// the processor would not fetch in time by itself, because it lies in short runs far apart or beyond what it looks ahead.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace convtranspose {

// Runs of memory, `floats` long: `count` of them `stride` floats apart, and that `outer_count` times, `outer_stride` apart.
// Nothing of it needs to exist: asking for memory that does not is harmless.
struct AheadRuns {
  const float* begin = nullptr;
  std::int64_t floats = 0;
  std::ptrdiff_t stride = 0;
  std::int64_t count = 1;
  std::ptrdiff_t outer_stride = 0;
  std::int64_t outer_count = 1;

  bool empty() const { return floats <= 0 || count <= 0 || outer_count <= 0; }
};

class Ahead {
 public:
  // Asks for these after all that was added before, as far as there are calls. Of more than kMostRuns the last are left out.
  void add(const AheadRuns& runs) {
    if (!runs.empty() && size_ < kMostRuns) runs_[size_++] = runs;
  }

  // What a kernel that multiplies `channels` channels is to ask for: TileArgs::prefetch.
  const float* next(std::int64_t channels) {
    if (at_ == size_) return nullptr;
    const AheadRuns& r = runs_[at_];
    const float* const from = r.begin + outer_ * r.outer_stride + run_ * r.stride + asked_;
    asked_ += channels * kFloatsPerLine;
    if (asked_ < r.floats) return from;
    asked_ = 0;
    if (++run_ < r.count) return from;
    run_ = 0;
    if (++outer_ < r.outer_count) return from;
    outer_ = 0;
    ++at_;
    return from;
  }

 private:
  static constexpr std::int64_t kFloatsPerLine = 16;
  static constexpr std::size_t kMostRuns = 4;

  std::array<AheadRuns, kMostRuns> runs_;
  std::size_t size_ = 0;
  std::size_t at_ = 0;      // of runs_
  std::int64_t outer_ = 0;  // of its outer count,
  std::int64_t run_ = 0;    // of its count,
  std::int64_t asked_ = 0;  // and of its floats, already asked for
};

}  // namespace convtranspose
