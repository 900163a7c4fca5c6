// The machine's peak of single-precision multiply-adds: what every percentage of the benches is relative to.
//
// Clock rates and neighbours change from minute to minute, so a peak means something only when it was measured in the same
// run, close to the timing that it is compared with.
#pragma once

#include <string>

namespace convtranspose::bench {

// GFLOP/s (two operations per multiply-add) of a loop of independent multiply-adds in registers, all `threads` threads
// together: each thread's best slice of about half a millisecond within `seconds`. `isa` is a name as isa_name() spells
// it: "baseline", "avx2", "avx512", "amx" (as "avx512"), "neon"; 0 if this build or this processor has no such loop.
double measure_peak(const std::string& isa, int threads, double seconds);

// The best instruction set that measure_peak knows and this processor has.
std::string best_peak_isa();

}  // namespace convtranspose::bench
