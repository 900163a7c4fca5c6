// Loops that are unrolled at compile time, so that arrays of vectors indexed by them live in registers. Compilers' own
// unrolling (pragmas, -funroll-loops) comes too late for that in some versions and then spills the accumulators.
//
// Everything here and in the other headers of the kernels has internal linkage: units compiled for wide instruction sets
// must leave no weak symbol that could replace the copy of a unit compiled for the baseline.
#pragma once

#define CONVTRANSPOSE_INLINE inline __attribute__((always_inline))
// Goes between the parameters and the body of a lambda.
#define CONVTRANSPOSE_INLINE_LAMBDA __attribute__((always_inline))

namespace convtranspose {
namespace {

template <int kValue>
struct Index {
  CONVTRANSPOSE_INLINE constexpr operator int() const { return kValue; }
};

// body(Index<0>), body(Index<1>), ..., body(Index<kCount - 1>), in this order.
template <int kCount, class Body>
CONVTRANSPOSE_INLINE void unroll(Body body) {
  if constexpr (kCount > 0) {
    unroll<kCount - 1>(body);
    body(Index<kCount - 1>());
  }
}

}  // namespace
}  // namespace convtranspose
