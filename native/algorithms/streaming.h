// Stores that pass by the caches: for outputs too large to be found there by whoever reads them next. They save reading the
// lines that are about to be overwritten.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/kernel.h"
#include "problem/problem.h"
#include "runtime/cpu.h"

namespace convtranspose {

// Second-level caches that an output fills before it passes by them: where hardly anything is computed between the stores,
// and where outputs leave a row at a time between products. (Smaller ones of these were slower so: 17 MB by 3% with 2 MB of
// cache; 34 MB gained 9%, 67 MB 20%.)
inline constexpr double kStreamDense = 2;
inline constexpr double kStreamSparse = 8;
// Of outputs in fresh memory (RunArgs), with 2 MB of cache, those from 1 to 4 MB gained 5 to 14 % by it, 32 % with little to
// compute, those of 0.4 and 0.5 MB 3 to 7 % (Winograd) or nothing (the direct ones).
inline constexpr double kStreamFresh = 0.125;

// When an output passes by the caches: always, or only in fresh memory.
struct Streaming {
  bool always = false;
  bool fresh = false;

  // `is_fresh`: RunArgs::fresh of the run.
  bool now(bool is_fresh) const { return always || (fresh && is_fresh); }
};

// Whether the output of this problem is to pass by the caches: whether it is larger than `caches_full` second-level caches.
bool streams(const Problem& problem, const KernelTable& table, const CacheInfo& caches, double caches_full);

// Whether the rows of an output are short and share lines of the caches, which are then read again for each of them.
bool rows_share_lines(const CallSpec& call);

// Whether a line of the caches begins here.
bool is_line(const float* p);

// Stores the first values of src[0, count) at dst, as many as make whole lines there, and says how many that were: those
// before the first line's start (dst need not be aligned) are copied, less than a line is left over.
std::int64_t stream_lines(const KernelTable& table, const float* src, std::int64_t count, float* dst);

// The same, and what is left over is copied.
void stream_row(const KernelTable& table, const float* src, std::int64_t count, float* dst);

// Stores rows of some channels past the caches. Where a row of a channel begins at the end of the one before, the line that
// both have a part of is stored whole: in memory that is not in the caches a part of a line would cost reading it first.
class LineStream {
 public:
  static constexpr std::int64_t kChannels = 32;

  explicit LineStream(const KernelTable& table) : table_(&table) {}
  LineStream(const LineStream&) = delete;
  LineStream& operator=(const LineStream&) = delete;

  // Stores src[0, count) at dst. Up to a line of it waits for what follows, until flush().
  void put(std::int64_t channel, const float* src, std::int64_t count, float* dst);
  void flush();

 private:
  struct Waiting {
    float* end = nullptr;    // where the row ended
    std::int64_t count = 0;  // of the last floats before, which begin at a line
    float floats[16];
  };
  void flush(Waiting* waiting) const;

  const KernelTable* table_;
  std::int64_t channels_ = 0;  // that ever put something
  std::array<Waiting, kChannels> waiting_;
};

}  // namespace convtranspose
