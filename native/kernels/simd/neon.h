// Vectors of four floats: Advanced SIMD of armv8.0, which has 32 registers and a fused multiply-add by one lane. The names
// are those of baseline.h, which says what they mean.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

// GCC would move many loads ahead of the products to hide their latency, which leaves too few registers for the sums; the
// processors that matter reorder by themselves.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "kernels/simd/unroll.h"

namespace convtranspose::neon {
namespace {

constexpr int kLanes = 4;
typedef float32x4_t Vec;

CONVTRANSPOSE_INLINE Vec zero() { return vdupq_n_f32(0.0f); }
CONVTRANSPOSE_INLINE Vec broadcast(float value) { return vdupq_n_f32(value); }
CONVTRANSPOSE_INLINE Vec load(const float* p) { return vld1q_f32(p); }
CONVTRANSPOSE_INLINE void store(float* p, Vec v) { vst1q_f32(p, v); }

CONVTRANSPOSE_INLINE Vec load_partial(const float* p, int64_t count) {
  Vec v = zero();
  if (count > 0) v = vld1q_lane_f32(p, v, 0);
  if (count > 1) v = vld1q_lane_f32(p + 1, v, 1);
  if (count > 2) v = vld1q_lane_f32(p + 2, v, 2);
  if (count > 3) v = vld1q_lane_f32(p + 3, v, 3);
  return v;
}
CONVTRANSPOSE_INLINE void store_partial(float* p, Vec v, int64_t count) {
  if (count > 0) vst1q_lane_f32(p, v, 0);
  if (count > 1) vst1q_lane_f32(p + 1, v, 1);
  if (count > 2) vst1q_lane_f32(p + 2, v, 2);
  if (count > 3) vst1q_lane_f32(p + 3, v, 3);
}

CONVTRANSPOSE_INLINE Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
CONVTRANSPOSE_INLINE Vec subtract(Vec a, Vec b) { return vsubq_f32(a, b); }
CONVTRANSPOSE_INLINE Vec multiply(Vec a, Vec b) { return vmulq_f32(a, b); }
CONVTRANSPOSE_INLINE Vec divide(Vec a, Vec b) { return vdivq_f32(a, b); }
CONVTRANSPOSE_INLINE Vec product_error(Vec a, Vec b, Vec product) { return vfmaq_f32(vnegq_f32(product), a, b); }
CONVTRANSPOSE_INLINE Vec absolute(Vec v) { return vabsq_f32(v); }
CONVTRANSPOSE_INLINE Vec copy_sign(Vec magnitude, Vec sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude); }
CONVTRANSPOSE_INLINE Vec choose_less(Vec a, Vec b, Vec yes, Vec no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }
CONVTRANSPOSE_INLINE Vec zero_where_less(Vec a, Vec b, Vec v) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), vcltq_f32(a, b)));
}
constexpr float kRounder = 12582912.0f;
CONVTRANSPOSE_INLINE Vec power_of_two(Vec t) {
  return vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(t), 23), vdupq_n_s32(0x3f800000)));
}
CONVTRANSPOSE_INLINE Vec masked(Vec v, const uint32_t* mask) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vld1q_u32(mask)));
}

// Not vmaxq and vminq: those would order the two zeros.
CONVTRANSPOSE_INLINE Vec at_least(Vec v, Vec lower) { return vbslq_f32(vcltq_f32(v, lower), lower, v); }
CONVTRANSPOSE_INLINE Vec at_most(Vec v, Vec upper) { return vbslq_f32(vcgtq_f32(v, upper), upper, v); }

typedef float Factor;
CONVTRANSPOSE_INLINE Factor load_factor(const float* p) { return *p; }
CONVTRANSPOSE_INLINE Vec madd(Factor factor, Vec v, Vec sum) { return vfmaq_n_f32(sum, v, factor); }
CONVTRANSPOSE_INLINE Vec madd_vectors(Vec a, Vec b, Vec sum) { return vfmaq_f32(sum, a, b); }
CONVTRANSPOSE_INLINE Vec subtract_product(Vec a, Vec b, Vec from) { return vfmsq_f32(from, a, b); }
CONVTRANSPOSE_INLINE Vec fused_madd(Vec a, Vec b, Vec sum) { return vfmaq_f32(sum, a, b); }

// There is no intrinsic for stores of pairs past the caches.
constexpr bool kStoresPast = false;
CONVTRANSPOSE_INLINE void store_past(float* p, Vec v) { store(p, v); }
void fence_past() {}

// Four to a register, then what is left of them; each multiplies straight from its lane.
template <int kLane>
struct QuadLane {
  Vec quad;
};
template <int kLane>
CONVTRANSPOSE_INLINE Vec madd(QuadLane<kLane> factor, Vec v, Vec sum) {
  return vfmaq_laneq_f32(sum, v, factor.quad, kLane);
}
template <int kLane>
struct PairLane {
  float32x2_t pair;
};
template <int kLane>
CONVTRANSPOSE_INLINE Vec madd(PairLane<kLane> factor, Vec v, Vec sum) {
  return vfmaq_lane_f32(sum, v, factor.pair, kLane);
}
template <int kCount>
struct Factors {
  Vec quad[kCount / 4 + 1];
  float32x2_t pair;
  Factor single;
};
template <int kCount>
CONVTRANSPOSE_INLINE Factors<kCount> load_factors(const float* p) {
  Factors<kCount> factors;
  unroll<kCount / 4>([&](auto q) CONVTRANSPOSE_INLINE_LAMBDA { factors.quad[q] = vld1q_f32(p + 4 * q); });
  if constexpr (kCount % 4 >= 2) factors.pair = vld1_f32(p + kCount / 4 * 4);
  if constexpr (kCount % 2 == 1) factors.single = p[kCount - 1];
  return factors;
}
template <int kIndex, int kCount>
CONVTRANSPOSE_INLINE auto factor(const Factors<kCount>& factors) {
  if constexpr (kIndex < kCount / 4 * 4) {
    return QuadLane<kIndex % 4>{factors.quad[kIndex / 4]};
  } else if constexpr (kIndex < kCount / 2 * 2) {
    return PairLane<kIndex % 2>{factors.pair};
  } else {
    return factors.single;
  }
}

// Operands are never in memory here.
template <class Value>
CONVTRANSPOSE_INLINE void keep(Value&) {}

CONVTRANSPOSE_INLINE void interleave2(Vec a, Vec b, Vec* low, Vec* high) {
  *low = vzip1q_f32(a, b);
  *high = vzip2q_f32(a, b);
}

CONVTRANSPOSE_INLINE void deinterleave2(Vec low, Vec high, Vec* even, Vec* odd) {
  *even = vuzp1q_f32(low, high);
  *odd = vuzp2q_f32(low, high);
}

typedef uint8x16_t Lanes;  // bytes; those of lane -1 are beyond all, which the instruction takes for zero
CONVTRANSPOSE_INLINE Lanes lane_list(const int32_t* lanes) {
  const uint32x4_t lane = vreinterpretq_u32_s32(vld1q_s32(lanes));
  return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100u), lane, 0x04040404u));
}
CONVTRANSPOSE_INLINE Vec pick(Vec from, Lanes lanes) {
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(from), lanes));
}

template <class Map>
CONVTRANSPOSE_INLINE Vec permute(Vec v) {
  constexpr auto word = [](int lane) { return 0x03020100u + 0x04040404u * static_cast<uint32_t>(Map::source(lane)); };
  const uint32x4_t bytes = {word(0), word(1), word(2), word(3)};
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(v), vreinterpretq_u8_u32(bytes)));
}

template <unsigned kMask>
CONVTRANSPOSE_INLINE Vec select(Vec a, Vec b) {
  constexpr auto lanes = [](int lane) { return (kMask >> lane & 1u) != 0 ? ~uint32_t{0} : uint32_t{0}; };
  const uint32x4_t mask = {lanes(0), lanes(1), lanes(2), lanes(3)};
  return vbslq_f32(mask, b, a);
}

CONVTRANSPOSE_INLINE void transpose_square(Vec (&v)[kLanes]) {
  const Vec low02 = vzip1q_f32(v[0], v[2]), high02 = vzip2q_f32(v[0], v[2]);
  const Vec low13 = vzip1q_f32(v[1], v[3]), high13 = vzip2q_f32(v[1], v[3]);
  v[0] = vzip1q_f32(low02, low13);
  v[1] = vzip2q_f32(low02, low13);
  v[2] = vzip1q_f32(high02, high13);
  v[3] = vzip2q_f32(high02, high13);
}

}  // namespace
}  // namespace convtranspose::neon
