// Vectors of four floats in the compiler's own vector extension: SSE2 on x86-64, the plain vector unit elsewhere. There is
// no fused multiply-add at this level, so a product is rounded before it is added (the build forbids contraction).
//
// The vector headers of all instruction sets define the same names; this one says what they mean.
#pragma once

#include <stdint.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "kernels/simd/unroll.h"

namespace convtranspose::baseline {
namespace {

constexpr int kLanes = 4;
typedef float Vec __attribute__((vector_size(16)));
typedef float UnalignedVec __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t LaneMask __attribute__((vector_size(16)));

#if defined(__clang__)
#define CONVTRANSPOSE_SHUFFLE(a, b, l0, l1, l2, l3) __builtin_shufflevector(a, b, l0, l1, l2, l3)
#else
#define CONVTRANSPOSE_SHUFFLE(a, b, l0, l1, l2, l3) __builtin_shuffle(a, b, LaneMask{l0, l1, l2, l3})
#endif

CONVTRANSPOSE_INLINE Vec zero() { return Vec{}; }
CONVTRANSPOSE_INLINE Vec broadcast(float value) { return Vec{value, value, value, value}; }

// Any alignment of a float will do.
CONVTRANSPOSE_INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
CONVTRANSPOSE_INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }

// The first `count` lanes, 0 <= count <= kLanes; memory of the others is not touched, and their loaded value is zero.
CONVTRANSPOSE_INLINE Vec load_partial(const float* p, int64_t count) {
  return Vec{count > 0 ? p[0] : 0.0f, count > 1 ? p[1] : 0.0f, count > 2 ? p[2] : 0.0f, count > 3 ? p[3] : 0.0f};
}
CONVTRANSPOSE_INLINE void store_partial(float* p, Vec v, int64_t count) {
  if (count > 0) p[0] = v[0];
  if (count > 1) p[1] = v[1];
  if (count > 2) p[2] = v[2];
  if (count > 3) p[3] = v[3];
}

CONVTRANSPOSE_INLINE Vec add(Vec a, Vec b) { return a + b; }
CONVTRANSPOSE_INLINE Vec subtract(Vec a, Vec b) { return a - b; }
CONVTRANSPOSE_INLINE Vec multiply(Vec a, Vec b) { return a * b; }
CONVTRANSPOSE_INLINE Vec divide(Vec a, Vec b) { return a / b; }

// a*b - product, where product is near a*b (as rounded, say), to within 2^-34 of it; exactly where multiplication and
// addition are one instruction. Magnitudes of a and b are below 2^60, and what is lost where the difference is subnormal is
// lost. (Here the factors are split in halves of 12 bits, of which all products are exact.)
CONVTRANSPOSE_INLINE Vec product_error(Vec a, Vec b, Vec product) {
  const Vec high_a = reinterpret_cast<Vec>(reinterpret_cast<LaneMask>(a) & -4096);
  const Vec high_b = reinterpret_cast<Vec>(reinterpret_cast<LaneMask>(b) & -4096);
  const Vec low_a = a - high_a, low_b = b - high_b;
  return ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b;
}

// The magnitude of v; `magnitude` (not negative) with the sign of `sign`. A NaN stays a NaN.
CONVTRANSPOSE_INLINE Vec absolute(Vec v) { return reinterpret_cast<Vec>(reinterpret_cast<LaneMask>(v) & 0x7fffffff); }
CONVTRANSPOSE_INLINE Vec copy_sign(Vec magnitude, Vec sign) {
  return reinterpret_cast<Vec>(reinterpret_cast<LaneMask>(magnitude) | (reinterpret_cast<LaneMask>(sign) & INT32_MIN));
}

// a < b ? yes : no, in each lane; no where one is a NaN.
CONVTRANSPOSE_INLINE Vec choose_less(Vec a, Vec b, Vec yes, Vec no) { return a < b ? yes : no; }

// a < b ? 0 : v, in each lane; v where one is a NaN.
CONVTRANSPOSE_INLINE Vec zero_where_less(Vec a, Vec b, Vec v) {
  return reinterpret_cast<Vec>(reinterpret_cast<LaneMask>(v) & ~(a < b));
}

// 2^n for t = n + kRounder, n an integer from -126 to 127. Adding kRounder to a small value rounds it to an integer.
constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
CONVTRANSPOSE_INLINE Vec power_of_two(Vec t) {
  return reinterpret_cast<Vec>((reinterpret_cast<LaneMask>(t) << 23) + 0x3f800000);
}

// v in the lanes whose mask is all ones, zero where it is 0, whatever v holds there.
CONVTRANSPOSE_INLINE Vec masked(Vec v, const uint32_t* mask) {
  LaneMask lanes;
  __builtin_memcpy(&lanes, mask, sizeof lanes);
  return reinterpret_cast<Vec>(reinterpret_cast<LaneMask>(v) & lanes);
}

// Limits of v; a NaN of v stays, and so does the zero of v when the limit is the other zero.
CONVTRANSPOSE_INLINE Vec at_least(Vec v, Vec lower) { return v < lower ? lower : v; }
CONVTRANSPOSE_INLINE Vec at_most(Vec v, Vec upper) { return v > upper ? upper : v; }

// What multiplies a whole vector: one float, in the form that the instruction takes.
typedef Vec Factor;
CONVTRANSPOSE_INLINE Factor load_factor(const float* p) { return broadcast(*p); }

// kCount consecutive floats of which each is to be a factor. Where an instruction can multiply by one lane of a register
// they are loaded as vectors; here each one is loaded when factor<kIndex> asks for it.
template <int kCount>
struct Factors {
  const float* first;
};
template <int kCount>
CONVTRANSPOSE_INLINE Factors<kCount> load_factors(const float* p) {
  return {p};
}
template <int kIndex, int kCount>
CONVTRANSPOSE_INLINE Factor factor(Factors<kCount> factors) {
  return load_factor(factors.first + kIndex);
}

// sum + factor * v
CONVTRANSPOSE_INLINE Vec madd(Factor factor, Vec v, Vec sum) { return sum + factor * v; }
CONVTRANSPOSE_INLINE Vec madd_vectors(Vec a, Vec b, Vec sum) { return sum + a * b; }
CONVTRANSPOSE_INLINE Vec subtract_product(Vec a, Vec b, Vec from) { return from - a * b; }
// a*b + sum where sum cancels most of the product, of which no error is to be left: as product_error() has it.
CONVTRANSPOSE_INLINE Vec fused_madd(Vec a, Vec b, Vec sum) {
  const Vec product = a * b;
  return (product + sum) + product_error(a, b, product);
}

// Stores that pass by the caches (p: 64-byte aligned), if kStoresPast; afterwards the thread calls fence_past before others
// may read. On x86-64 alone: elsewhere these are plain stores.
#if defined(__SSE2__)
constexpr bool kStoresPast = true;
CONVTRANSPOSE_INLINE void store_past(float* p, Vec v) { _mm_stream_ps(p, v); }
void fence_past() { _mm_sfence(); }
#else
constexpr bool kStoresPast = false;
CONVTRANSPOSE_INLINE void store_past(float* p, Vec v) { store(p, v); }
void fence_past() {}
#endif

// Makes the compiler hold v in a register instead of loading it once more where it is used. Instructions at this level take
// no unaligned operand from memory, so there is nothing to prevent.
CONVTRANSPOSE_INLINE void keep(Vec&) {}

// a0 b0 a1 b1 ... over two vectors.
CONVTRANSPOSE_INLINE void interleave2(Vec a, Vec b, Vec* low, Vec* high) {
  *low = CONVTRANSPOSE_SHUFFLE(a, b, 0, 4, 1, 5);
  *high = CONVTRANSPOSE_SHUFFLE(a, b, 2, 6, 3, 7);
}

// The reverse: the even and the odd elements of two vectors read as one sequence.
CONVTRANSPOSE_INLINE void deinterleave2(Vec low, Vec high, Vec* even, Vec* odd) {
  *even = CONVTRANSPOSE_SHUFFLE(low, high, 0, 2, 4, 6);
  *odd = CONVTRANSPOSE_SHUFFLE(low, high, 1, 3, 5, 7);
}

// result[lane] = v[Map::source(lane)]
template <class Map>
CONVTRANSPOSE_INLINE Vec permute(Vec v) {
  return CONVTRANSPOSE_SHUFFLE(v, v, Map::source(0), Map::source(1), Map::source(2), Map::source(3));
}

// result[lane] = bit `lane` of kMask ? b[lane] : a[lane]
template <unsigned kMask>
CONVTRANSPOSE_INLINE Vec select(Vec a, Vec b) {
  constexpr int k0 = kMask & 1 ? 4 : 0, k1 = kMask & 2 ? 5 : 1, k2 = kMask & 4 ? 6 : 2, k3 = kMask & 8 ? 7 : 3;
  return CONVTRANSPOSE_SHUFFLE(a, b, k0, k1, k2, k3);
}

// Transposes the square of kLanes vectors in place.
CONVTRANSPOSE_INLINE void transpose_square(Vec (&v)[kLanes]) {
  Vec low02, high02, low13, high13;
  interleave2(v[0], v[2], &low02, &high02);
  interleave2(v[1], v[3], &low13, &high13);
  interleave2(low02, low13, &v[0], &v[1]);
  interleave2(high02, high13, &v[2], &v[3]);
}

}  // namespace
}  // namespace convtranspose::baseline
