// Vectors of eight floats: AVX2 and FMA. The names are those of baseline.h, which says what they mean.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/simd/unroll.h"

namespace convtranspose::avx2 {
namespace {

constexpr int kLanes = 8;
typedef __m256 Vec;

CONVTRANSPOSE_INLINE Vec zero() { return _mm256_setzero_ps(); }
CONVTRANSPOSE_INLINE Vec broadcast(float value) { return _mm256_set1_ps(value); }
CONVTRANSPOSE_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
CONVTRANSPOSE_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }

CONVTRANSPOSE_INLINE Vec load_partial(const float* p, int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane));
}
// In pieces, because masked stores are slow on AMD processors.
CONVTRANSPOSE_INLINE void store_partial(float* p, Vec v, int64_t count) {
  if (count >= kLanes) {
    store(p, v);
    return;
  }
  __m128 rest = _mm256_castps256_ps128(v);
  if (count & 4) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if (count & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if (count & 1) _mm_store_ss(p, rest);
}

CONVTRANSPOSE_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
CONVTRANSPOSE_INLINE Vec subtract(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
CONVTRANSPOSE_INLINE Vec multiply(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
CONVTRANSPOSE_INLINE Vec divide(Vec a, Vec b) { return _mm256_div_ps(a, b); }
CONVTRANSPOSE_INLINE Vec product_error(Vec a, Vec b, Vec product) { return _mm256_fmsub_ps(a, b, product); }
CONVTRANSPOSE_INLINE Vec absolute(Vec v) { return _mm256_andnot_ps(broadcast(-0.0f), v); }
CONVTRANSPOSE_INLINE Vec copy_sign(Vec magnitude, Vec sign) {
  return _mm256_or_ps(magnitude, _mm256_and_ps(broadcast(-0.0f), sign));
}
CONVTRANSPOSE_INLINE Vec choose_less(Vec a, Vec b, Vec yes, Vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
CONVTRANSPOSE_INLINE Vec zero_where_less(Vec a, Vec b, Vec v) {
  return _mm256_andnot_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), v);
}
constexpr float kRounder = 12582912.0f;
CONVTRANSPOSE_INLINE Vec power_of_two(Vec t) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000)));
}
CONVTRANSPOSE_INLINE Vec masked(Vec v, const uint32_t* mask) {
  return _mm256_and_ps(v, _mm256_loadu_ps(reinterpret_cast<const float*>(mask)));
}

// The instructions return their second operand when one is a NaN or both are zeros.
CONVTRANSPOSE_INLINE Vec at_least(Vec v, Vec lower) { return _mm256_max_ps(lower, v); }
CONVTRANSPOSE_INLINE Vec at_most(Vec v, Vec upper) { return _mm256_min_ps(upper, v); }

typedef Vec Factor;
CONVTRANSPOSE_INLINE Factor load_factor(const float* p) { return _mm256_broadcast_ss(p); }
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
CONVTRANSPOSE_INLINE Vec madd(Factor factor, Vec v, Vec sum) { return _mm256_fmadd_ps(factor, v, sum); }
CONVTRANSPOSE_INLINE Vec madd_vectors(Vec a, Vec b, Vec sum) { return _mm256_fmadd_ps(a, b, sum); }
CONVTRANSPOSE_INLINE Vec subtract_product(Vec a, Vec b, Vec from) { return _mm256_fnmadd_ps(a, b, from); }
CONVTRANSPOSE_INLINE Vec fused_madd(Vec a, Vec b, Vec sum) { return _mm256_fmadd_ps(a, b, sum); }

constexpr bool kStoresPast = true;
CONVTRANSPOSE_INLINE void store_past(float* p, Vec v) { _mm256_stream_ps(p, v); }
void fence_past() { _mm_sfence(); }

// GCC makes a value that is used two or three times an operand in memory of each use, and the loads become the limit. Clang
// loads many values before it uses them, and has no registers left for the sums: for it the order is kept as well.
#if defined(__clang__)
CONVTRANSPOSE_INLINE void keep(Vec& v) { __asm__ volatile("" : "+v"(v)); }
#else
CONVTRANSPOSE_INLINE void keep(Vec& v) { __asm__("" : "+v"(v)); }
#endif

CONVTRANSPOSE_INLINE void interleave2(Vec a, Vec b, Vec* low, Vec* high) {
  Vec even = _mm256_unpacklo_ps(a, b);
  Vec odd = _mm256_unpackhi_ps(a, b);
  keep(even);  // clang would make one of the shuffles of all stages, of half vectors and many more
  keep(odd);
  *low = _mm256_permute2f128_ps(even, odd, 0x20);
  *high = _mm256_permute2f128_ps(even, odd, 0x31);
}

CONVTRANSPOSE_INLINE void deinterleave2(Vec low, Vec high, Vec* even, Vec* odd) {
  const Vec first = _mm256_permute2f128_ps(low, high, 0x20);
  const Vec second = _mm256_permute2f128_ps(low, high, 0x31);
  *even = _mm256_shuffle_ps(first, second, 0x88);
  *odd = _mm256_shuffle_ps(first, second, 0xdd);
}

struct Lanes {
  __m256i of;
  Vec none;
};
CONVTRANSPOSE_INLINE Lanes lane_list(const int32_t* lanes) {
  const __m256i of = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes));
  return {of, _mm256_castsi256_ps(_mm256_srai_epi32(of, 31))};
}
CONVTRANSPOSE_INLINE Vec pick(Vec from, Lanes lanes) {
  return _mm256_andnot_ps(lanes.none, _mm256_permutevar8x32_ps(from, lanes.of));
}

template <class Map>
CONVTRANSPOSE_INLINE Vec permute(Vec v) {
  return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(Map::source(0), Map::source(1), Map::source(2), Map::source(3),
                                                       Map::source(4), Map::source(5), Map::source(6), Map::source(7)));
}

template <unsigned kMask>
CONVTRANSPOSE_INLINE Vec select(Vec a, Vec b) {
  return _mm256_blend_ps(a, b, kMask);
}

CONVTRANSPOSE_INLINE void transpose_square(Vec (&v)[kLanes]) {
  // 4x4 within each 128-bit half: quad[4*g + k] holds column k (low half) and 4 + k (high half) of rows 4g .. 4g+3.
  Vec quad[kLanes];
  unroll<2>([&](auto group) CONVTRANSPOSE_INLINE_LAMBDA {
    constexpr int g = 4 * group;
    const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(v[g], v[g + 1]));
    const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(v[g], v[g + 1]));
    const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(v[g + 2], v[g + 3]));
    const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(v[g + 2], v[g + 3]));
    quad[g] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
    quad[g + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
    quad[g + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
    quad[g + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
  });
  unroll<4>([&](auto k) CONVTRANSPOSE_INLINE_LAMBDA {
    v[k] = _mm256_permute2f128_ps(quad[k], quad[k + 4], 0x20);
    v[k + 4] = _mm256_permute2f128_ps(quad[k], quad[k + 4], 0x31);
  });
}

}  // namespace
}  // namespace convtranspose::avx2
