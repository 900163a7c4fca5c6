// Vectors of sixteen floats: AVX-512 F, BW, VL, DQ. The names are those of baseline.h, which says what they mean.
#pragma once

// GCC's own header passes on a deliberately undefined vector in most intrinsics and then warns of it where it is inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>
#include <stdint.h>

#include "kernels/simd/unroll.h"

namespace convtranspose::avx512 {
namespace {

constexpr int kLanes = 16;
typedef __m512 Vec;

CONVTRANSPOSE_INLINE Vec zero() { return _mm512_setzero_ps(); }
CONVTRANSPOSE_INLINE Vec broadcast(float value) { return _mm512_set1_ps(value); }
CONVTRANSPOSE_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
CONVTRANSPOSE_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }

CONVTRANSPOSE_INLINE __mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1u); }
CONVTRANSPOSE_INLINE Vec load_partial(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first_lanes(count), p); }
CONVTRANSPOSE_INLINE void store_partial(float* p, Vec v, int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count), v); }

CONVTRANSPOSE_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
CONVTRANSPOSE_INLINE Vec subtract(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
CONVTRANSPOSE_INLINE Vec multiply(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
CONVTRANSPOSE_INLINE Vec divide(Vec a, Vec b) { return _mm512_div_ps(a, b); }
CONVTRANSPOSE_INLINE Vec product_error(Vec a, Vec b, Vec product) { return _mm512_fmsub_ps(a, b, product); }
CONVTRANSPOSE_INLINE Vec absolute(Vec v) { return _mm512_andnot_ps(broadcast(-0.0f), v); }
CONVTRANSPOSE_INLINE Vec copy_sign(Vec magnitude, Vec sign) {
  return _mm512_or_ps(magnitude, _mm512_and_ps(broadcast(-0.0f), sign));
}
CONVTRANSPOSE_INLINE Vec choose_less(Vec a, Vec b, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
CONVTRANSPOSE_INLINE Vec zero_where_less(Vec a, Vec b, Vec v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), v);
}
constexpr float kRounder = 12582912.0f;
CONVTRANSPOSE_INLINE Vec power_of_two(Vec t) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(0x3f800000)));
}
CONVTRANSPOSE_INLINE Vec masked(Vec v, const uint32_t* mask) {
  return _mm512_and_ps(v, _mm512_loadu_ps(reinterpret_cast<const float*>(mask)));
}

// The instructions return their second operand when one is a NaN or both are zeros.
CONVTRANSPOSE_INLINE Vec at_least(Vec v, Vec lower) { return _mm512_max_ps(lower, v); }
CONVTRANSPOSE_INLINE Vec at_most(Vec v, Vec upper) { return _mm512_min_ps(upper, v); }

typedef Vec Factor;
CONVTRANSPOSE_INLINE Factor load_factor(const float* p) { return _mm512_set1_ps(*p); }
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
CONVTRANSPOSE_INLINE Vec madd(Factor factor, Vec v, Vec sum) { return _mm512_fmadd_ps(factor, v, sum); }
CONVTRANSPOSE_INLINE Vec madd_vectors(Vec a, Vec b, Vec sum) { return _mm512_fmadd_ps(a, b, sum); }
CONVTRANSPOSE_INLINE Vec subtract_product(Vec a, Vec b, Vec from) { return _mm512_fnmadd_ps(a, b, from); }
CONVTRANSPOSE_INLINE Vec fused_madd(Vec a, Vec b, Vec sum) { return _mm512_fmadd_ps(a, b, sum); }

constexpr bool kStoresPast = true;
CONVTRANSPOSE_INLINE void store_past(float* p, Vec v) { _mm512_stream_ps(p, v); }
void fence_past() { _mm_sfence(); }

// GCC makes a value that is used two or three times an operand in memory of each use, and the loads become the limit. Clang
// loads many values before it uses them, and has no registers left for the sums: for it the order is kept as well.
#if defined(__clang__)
CONVTRANSPOSE_INLINE void keep(Vec& v) { __asm__ volatile("" : "+v"(v)); }
#else
CONVTRANSPOSE_INLINE void keep(Vec& v) { __asm__("" : "+v"(v)); }
#endif

CONVTRANSPOSE_INLINE void interleave2(Vec a, Vec b, Vec* low, Vec* high) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  *low = _mm512_permutex2var_ps(a, first, b);
  *high = _mm512_permutex2var_ps(a, second, b);
}

CONVTRANSPOSE_INLINE void deinterleave2(Vec low, Vec high, Vec* even, Vec* odd) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  *even = _mm512_permutex2var_ps(low, evens, high);
  *odd = _mm512_permutex2var_ps(low, odds, high);
}

struct Lanes {
  __m512i of;
  __mmask16 any;
};
CONVTRANSPOSE_INLINE Lanes lane_list(const int32_t* lanes) {
  const __m512i of = _mm512_loadu_si512(lanes);
  return {of, _mm512_cmpge_epi32_mask(of, _mm512_setzero_si512())};
}
CONVTRANSPOSE_INLINE Vec pick(Vec from, Lanes lanes) { return _mm512_maskz_permutexvar_ps(lanes.any, lanes.of, from); }

template <class Map>
CONVTRANSPOSE_INLINE Vec permute(Vec v) {
  const __m512i lanes =
      _mm512_setr_epi32(Map::source(0), Map::source(1), Map::source(2), Map::source(3), Map::source(4), Map::source(5),
                        Map::source(6), Map::source(7), Map::source(8), Map::source(9), Map::source(10), Map::source(11),
                        Map::source(12), Map::source(13), Map::source(14), Map::source(15));
  return _mm512_permutexvar_ps(lanes, v);
}

template <unsigned kMask>
CONVTRANSPOSE_INLINE Vec select(Vec a, Vec b) {
  return _mm512_mask_blend_ps(static_cast<__mmask16>(kMask), a, b);
}

CONVTRANSPOSE_INLINE void transpose_square(Vec (&v)[kLanes]) {
  // 4x4 within each 128-bit quarter: quad[4*g + k] holds columns k, 4 + k, 8 + k, 12 + k of rows 4g .. 4g+3.
  Vec quad[kLanes];
  unroll<4>([&](auto group) CONVTRANSPOSE_INLINE_LAMBDA {
    constexpr int g = 4 * group;
    const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(v[g], v[g + 1]));
    const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(v[g], v[g + 1]));
    const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(v[g + 2], v[g + 3]));
    const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(v[g + 2], v[g + 3]));
    quad[g] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
    quad[g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
    quad[g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
    quad[g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
  });
  // Then a 4x4 transpose of whole quarters.
  unroll<4>([&](auto k) CONVTRANSPOSE_INLINE_LAMBDA {
    const Vec low01 = _mm512_shuffle_f32x4(quad[k], quad[k + 4], 0x44);
    const Vec high01 = _mm512_shuffle_f32x4(quad[k], quad[k + 4], 0xee);
    const Vec low23 = _mm512_shuffle_f32x4(quad[k + 8], quad[k + 12], 0x44);
    const Vec high23 = _mm512_shuffle_f32x4(quad[k + 8], quad[k + 12], 0xee);
    v[k] = _mm512_shuffle_f32x4(low01, low23, 0x88);
    v[k + 4] = _mm512_shuffle_f32x4(low01, low23, 0xdd);
    v[k + 8] = _mm512_shuffle_f32x4(high01, high23, 0x88);
    v[k + 12] = _mm512_shuffle_f32x4(high01, high23, 0xdd);
  });
}

}  // namespace
}  // namespace convtranspose::avx512
