// The term kernels for AMX, and what splits floats into terms with AVX-512 and its conversions to bfloat16.
//
// What kernel.h calls inputs are rows of matrices: one position is one line of the caches, so that any shift by a tap is
// aligned. amx_overlap.cc has weights there, and inputs where kernel.h has weights.
// Four sums of matrices are kept in registers, with two matrices of inputs and two of weights; the terms of a step are
// multiplied in an order that needs 14 loads for 24 products.

// GCC's own header passes on a deliberately undefined vector in most intrinsics and then warns of it where it is inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONVTRANSPOSE_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONVTRANSPOSE_SANITIZED
#endif

#include "kernels/kernel.h"
#include "kernels/simd/unroll.h"
#include "kernels/tables.h"

namespace convtranspose {
namespace amx {
namespace {

constexpr int kRowBytes = 64;
constexpr int kSquare = kTermSquare * kTermSquare;
constexpr int kPairs = kTermBlock / 2;  // of channels

struct TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
alignas(64) constexpr TileConfig kConfig = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

void begin() { _tile_loadconfig(&kConfig); }
void end() { _tile_release(); }

// ---- Terms ------------------------------------------------------------------------------------------------------------

inline __m512 float_of(__m256i bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16)); }

// As an integer, by which magnitudes compare: a NaN is larger than all numbers.
inline __m512i magnitude(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

// Interleaves the two halves of 32 lanes: lane 2j of the result is lane j, lane 2j + 1 lane 16 + j.
inline __m512i interleaved(__m512i v) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), v);
}

// One pair of channels at 16 positions, into terms `term_stride` elements apart.
struct PairSplit {
  __m512 scale;
  __m512i largest;  // magnitude met

  template <int kTerms>
  inline void store(__m512 even, __m512 odd, uint16_t* dst, ptrdiff_t term_stride) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    largest = _mm512_max_epi32(largest, _mm512_max_epi32(magnitude(even), magnitude(odd)));
    even = _mm512_mul_ps(even, scale);
    odd = _mm512_mul_ps(odd, scale);
    for (int k = 0; k < kTerms; ++k, dst += term_stride) {
      const __m512i term = interleaved(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even)));
      _mm512_store_si512(dst, term);
      if (k + 1 == kTerms) break;
      even = _mm512_sub_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32(term, 16)));
      odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(_mm512_and_si512(term, upper)));
    }
  }

  bool below(float limit) const { return _mm512_cmpge_epi32_mask(largest, _mm512_castps_si512(_mm512_set1_ps(limit))) == 0; }
};

// The lines of two planes that are read a little later, no nearer than the second-level cache: planes may share few sets of
// the first.
inline void fetch_lines(const float* even, ptrdiff_t to_odd) {
  constexpr int64_t kFloatsAhead = 128;
  _mm_prefetch(reinterpret_cast<const char*>(even + kFloatsAhead), _MM_HINT_T1);
  _mm_prefetch(reinterpret_cast<const char*>(even + to_odd + kFloatsAhead), _MM_HINT_T1);
}

// Four neighbouring channels of 16 positions, from pixels: lane i of channel[c] is channel c of position i. four(i): those
// of position i.
template <class Four>
CONVTRANSPOSE_INLINE void transpose_pixels(Four four, __m512 (&channel)[4]) {
  __m512 v[4];
  for (int i = 0; i < 4; ++i) {  // positions i, 4 + i, 8 + i, 12 + i
    v[i] = _mm512_castps128_ps512(four(i));
    v[i] = _mm512_insertf32x4(v[i], four(4 + i), 1);
    v[i] = _mm512_insertf32x4(v[i], four(8 + i), 2);
    v[i] = _mm512_insertf32x4(v[i], four(12 + i), 3);
  }
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
  const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
  const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
  channel[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
  channel[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
  channel[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
  channel[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
}

CONVTRANSPOSE_INLINE void load_pixels(const float* src, ptrdiff_t stride, __m512 (&channel)[4]) {
  transpose_pixels([=](int i) CONVTRANSPOSE_INLINE_LAMBDA { return _mm_loadu_ps(src + i * stride); }, channel);
}

// The last positions or channels: what is beyond them counts as zero.
inline void load_some_pixels(const float* src, ptrdiff_t stride, int64_t positions, int64_t channels, __m512 (&channel)[4]) {
  const unsigned lanes = (1u << channels) - 1;
  const auto four = [=](int i) CONVTRANSPOSE_INLINE_LAMBDA {
    return _mm_maskz_loadu_ps(static_cast<__mmask8>(i < positions ? lanes : 0), src + i * stride);
  };
  transpose_pixels(four, channel);
}

// The terms of 32 floats, each a line, the first at dst.
template <int kTerms>
inline void store_terms(__m512 low, __m512 high, uint16_t* dst, ptrdiff_t term_stride) {
  for (int k = 0; k < kTerms; ++k, dst += term_stride) {
    const __m512i term = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
    _mm512_store_si512(dst, term);
    if (k + 1 == kTerms) break;
    low = _mm512_sub_ps(low, float_of(_mm512_castsi512_si256(term)));
    high = _mm512_sub_ps(high, float_of(_mm512_extracti64x4_epi64(term, 1)));
  }
}

// TermSplitAhead in registers. With kTerms 0 there is nothing to do.
template <int kTerms, TermSource kSource>
class Ahead {
 public:
  explicit Ahead(TermSplitAhead* ahead)
      : ahead_(ahead),
        now_(ahead->now),
        next_(ahead->next),
        fetch_(ahead->fetch),
        split_{_mm512_set1_ps(ahead->scale), _mm512_setzero_si512()} {}

  bool left() const { return now_.left > 0; }

  // A pair of channels, or two of pixels, or a row.
  CONVTRANSPOSE_INLINE void one() {
    if (!left()) return;
    if constexpr (kSource == TermSource::kRows) {
      _mm_prefetch(reinterpret_cast<const char*>(now_.src + kSplitAhead), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(now_.src + kSplitAhead + kTermSquare), _MM_HINT_T1);
      store_terms<kTerms>(_mm512_mul_ps(_mm512_load_ps(now_.src), split_.scale),
                          _mm512_mul_ps(_mm512_load_ps(now_.src + kTermSquare), split_.scale), now_.dst,
                          ahead_->term_stride);
      advance(kTermBlock, kTermBlock, 1);
    } else if constexpr (kSource == TermSource::kPixels) {
      __m512 channel[4];
      load_pixels(now_.src, ahead_->src_stride, channel);
      split_.template store<kTerms>(channel[0], channel[1], now_.dst, ahead_->term_stride);
      split_.template store<kTerms>(channel[2], channel[3], now_.dst + kTermBlock, ahead_->term_stride);
      advance(4, 2 * kTermBlock, 2);
    } else {
      fetch_lines(now_.src, ahead_->src_stride);
      split_.template store<kTerms>(_mm512_loadu_ps(now_.src), _mm512_loadu_ps(now_.src + ahead_->src_stride), now_.dst,
                                    ahead_->term_stride);
      advance(2 * ahead_->src_stride, kTermBlock, 1);
    }
  }
  // What is done after a few products.
  CONVTRANSPOSE_INLINE void some() {
    if constexpr (kSource == TermSource::kRows) {
      one();
      if (ahead_->at_once > 1) one();
      if (ahead_->at_once > 2) one();
      if (ahead_->at_once > 3) one();
      fetch();
      return;
    }
    one();
    if constexpr (kSource == TermSource::kPlanes) one();
    if (ahead_->at_once <= 2) return;
    one();
    if constexpr (kSource == TermSource::kPlanes) one();
  }

  void save() const {
    ahead_->now = now_;
    ahead_->next = next_;
    ahead_->fetch = fetch_;
    ahead_->fine = split_.below(ahead_->limit) && ahead_->fine;
  }

 private:
  CONVTRANSPOSE_INLINE void advance(ptrdiff_t src, ptrdiff_t dst, int64_t done) {
    now_.src += src;
    // GCC would add to both pointers in one vector, which has no register left to live in.
    __asm__("" : "+r"(now_.src));
    now_.dst += dst;
    if ((now_.left -= done) == 0 && next_ != ahead_->end) now_ = *next_++;
  }
  CONVTRANSPOSE_INLINE void fetch() {
    constexpr int kLine = kTermBlock;
    if (ahead_->lines > 0) _mm_prefetch(reinterpret_cast<const char*>(fetch_), _MM_HINT_T1);
    if (ahead_->lines > 1) _mm_prefetch(reinterpret_cast<const char*>(fetch_ + kLine), _MM_HINT_T1);
    if (ahead_->lines > 2) _mm_prefetch(reinterpret_cast<const char*>(fetch_ + 2 * kLine), _MM_HINT_T1);
    if (ahead_->lines > 3) _mm_prefetch(reinterpret_cast<const char*>(fetch_ + 3 * kLine), _MM_HINT_T1);
    fetch_ += ahead_->lines * kLine;
  }

  TermSplitAhead* ahead_;
  TermSplitJob now_;
  const TermSplitJob* next_;
  const uint16_t* fetch_;
  PairSplit split_;
};

template <>
class Ahead<0, TermSource::kPlanes> {
 public:
  explicit Ahead(TermSplitAhead*) {}
  inline void some() {}
  void save() const {}
};

// ---- Products ---------------------------------------------------------------------------------------------------------

// Matrices from and to memory, so many bytes from row to row. Sanitizers see nothing of what these instructions do there,
// and are shown the ends of the rows before.
#if defined(CONVTRANSPOSE_SANITIZED)
inline void show_load(const void* from, ptrdiff_t bytes) {
  for (int i = 0; i < kTermSquare; ++i) {
    const volatile char* const row = static_cast<const volatile char*>(from) + i * bytes;
    (void)row[0];
    (void)row[kRowBytes - 1];
  }
}

inline void show_store(void* to, ptrdiff_t bytes) {
  for (int i = 0; i < kTermSquare; ++i) {
    volatile char* const row = static_cast<volatile char*>(to) + i * bytes;
    row[0] = 0;
    row[kRowBytes - 1] = 0;
  }
}
#else
inline void show_load(const void*, ptrdiff_t) {}
inline void show_store(void*, ptrdiff_t) {}
#endif

#define CONVTRANSPOSE_LOAD(tile, from, bytes) \
  do {                                        \
    show_load(from, bytes);                   \
    _tile_loadd(tile, from, bytes);           \
  } while (false)
#define CONVTRANSPOSE_STORE(tile, to, bytes) \
  do {                                       \
    show_store(to, bytes);                   \
    _tile_stored(tile, to, bytes);           \
  } while (false)

// Tile registers, which are written out since the compilers' intrinsics want literals: sums 0, 1 (first row of matrices), 2
// and 3 (second); inputs 4 and 5; weights 6 and 7.
template <int kRows>
inline void load_inputs(const uint16_t* a0, const uint16_t* a1) {
  CONVTRANSPOSE_LOAD(4, a0, kRowBytes);
  if constexpr (kRows == 2) CONVTRANSPOSE_LOAD(5, a1, kRowBytes);
}

template <int kColumns>
inline void load_weights(const uint16_t* b) {
  CONVTRANSPOSE_LOAD(6, b, kRowBytes);
  if constexpr (kColumns == 2) CONVTRANSPOSE_LOAD(7, b + kTermElements, kRowBytes);
}

template <int kRows, int kColumns>
inline void multiply_loaded() {
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kColumns == 2) _tile_dpbf16ps(1, 4, 7);
  if constexpr (kRows == 2) _tile_dpbf16ps(2, 5, 6);
  if constexpr (kRows == 2 && kColumns == 2) _tile_dpbf16ps(3, 5, 7);
}

// All products of one tap and block of channels; `at` is the distance between terms of the inputs.
template <int kTerms, int kRows, int kColumns, class Meanwhile>
CONVTRANSPOSE_INLINE void step(const uint16_t* a0, const uint16_t* a1, ptrdiff_t at, const uint16_t* b,
                               Meanwhile& meanwhile) {
  constexpr ptrdiff_t kTerm = kColumns * kTermElements;
  load_inputs<kRows>(a0, a1);
  if constexpr (kTerms == 3) {
    load_weights<kColumns>(b + 2 * kTerm);
    multiply_loaded<kRows, kColumns>();
    meanwhile.some();
  }
  if constexpr (kTerms >= 2) {
    load_weights<kColumns>(b + kTerm);
    multiply_loaded<kRows, kColumns>();
    meanwhile.some();
  }
  load_weights<kColumns>(b);
  multiply_loaded<kRows, kColumns>();
  meanwhile.some();
  if constexpr (kTerms == 3) {
    load_inputs<kRows>(a0 + 2 * at, a1 + 2 * at);
    multiply_loaded<kRows, kColumns>();
    meanwhile.some();
  }
  if constexpr (kTerms >= 2) {
    load_inputs<kRows>(a0 + at, a1 + at);
    multiply_loaded<kRows, kColumns>();
    meanwhile.some();
  }
  if constexpr (kTerms == 3) {
    load_weights<kColumns>(b + kTerm);
    multiply_loaded<kRows, kColumns>();
    meanwhile.some();
  }
}

// One column of four matrices: the terms of the weights stay in registers 5 to 7, those of the inputs pass through 4.
template <int kTerms>
inline void load_column(const uint16_t* b) {
  CONVTRANSPOSE_LOAD(5, b, kRowBytes);
  if constexpr (kTerms >= 2) CONVTRANSPOSE_LOAD(6, b + kTermElements, kRowBytes);
  if constexpr (kTerms == 3) CONVTRANSPOSE_LOAD(7, b + 2 * kTermElements, kRowBytes);
}

// Row of matrices number `sum`; between(sum, k) comes before it, with k = 0, and in its midst, with 1.
#define CONVTRANSPOSE_COLUMN_ROW(sum, between)            \
  do {                                                    \
    const uint16_t* const inputs = a[sum] + shift;        \
    between(sum, 0);                                      \
    CONVTRANSPOSE_LOAD(4, inputs, kRowBytes);             \
    if constexpr (kTerms == 3) _tile_dpbf16ps(sum, 4, 7); \
    if constexpr (kTerms >= 2) _tile_dpbf16ps(sum, 4, 6); \
    _tile_dpbf16ps(sum, 4, 5);                            \
    between(sum, 1);                                      \
    if constexpr (kTerms == 3) {                          \
      CONVTRANSPOSE_LOAD(4, inputs + 2 * at, kRowBytes);  \
      _tile_dpbf16ps(sum, 4, 5);                          \
    }                                                     \
    if constexpr (kTerms >= 2) {                          \
      CONVTRANSPOSE_LOAD(4, inputs + at, kRowBytes);      \
      _tile_dpbf16ps(sum, 4, 5);                          \
    }                                                     \
    if constexpr (kTerms == 3) _tile_dpbf16ps(sum, 4, 6); \
  } while (false)
#define CONVTRANSPOSE_NOTHING(row, k)

#define CONVTRANSPOSE_ROW_COLUMN(sum, b)                  \
  do {                                                    \
    CONVTRANSPOSE_LOAD(4, b, kRowBytes);                  \
    if constexpr (kTerms == 3) _tile_dpbf16ps(sum, 7, 4); \
    if constexpr (kTerms >= 2) _tile_dpbf16ps(sum, 6, 4); \
    _tile_dpbf16ps(sum, 5, 4);                            \
    if constexpr (kTerms == 3) {                          \
      CONVTRANSPOSE_LOAD(4, (b) + 2 * kTerm, kRowBytes);  \
      _tile_dpbf16ps(sum, 5, 4);                          \
    }                                                     \
    if constexpr (kTerms >= 2) {                          \
      CONVTRANSPOSE_LOAD(4, (b) + kTerm, kRowBytes);      \
      _tile_dpbf16ps(sum, 5, 4);                          \
    }                                                     \
    if constexpr (kTerms == 3) _tile_dpbf16ps(sum, 6, 4); \
  } while (false)

// One row of four matrices: the same with inputs and weights changed about. b1: the weights of the third and fourth column.
template <int kTerms, class Meanwhile>
CONVTRANSPOSE_INLINE void step_row(const uint16_t* a, ptrdiff_t at, const uint16_t* b0, const uint16_t* b1,
                                   Meanwhile& meanwhile) {
  constexpr ptrdiff_t kTerm = 2 * kTermElements;
  CONVTRANSPOSE_LOAD(5, a, kRowBytes);
  if constexpr (kTerms >= 2) CONVTRANSPOSE_LOAD(6, a + at, kRowBytes);
  if constexpr (kTerms == 3) CONVTRANSPOSE_LOAD(7, a + 2 * at, kRowBytes);
  CONVTRANSPOSE_ROW_COLUMN(0, b0);
  meanwhile.some();
  CONVTRANSPOSE_ROW_COLUMN(1, b0 + kTermElements);
  meanwhile.some();
  CONVTRANSPOSE_ROW_COLUMN(2, b1);
  meanwhile.some();
  CONVTRANSPOSE_ROW_COLUMN(3, b1 + kTermElements);
  meanwhile.some();
}

template <int kTerms>
inline void step_column(const uint16_t* const (&a)[4], ptrdiff_t shift, ptrdiff_t at, const uint16_t* b) {
  load_column<kTerms>(b);
  CONVTRANSPOSE_COLUMN_ROW(0, CONVTRANSPOSE_NOTHING);
  CONVTRANSPOSE_COLUMN_ROW(1, CONVTRANSPOSE_NOTHING);
  CONVTRANSPOSE_COLUMN_ROW(2, CONVTRANSPOSE_NOTHING);
  CONVTRANSPOSE_COLUMN_ROW(3, CONVTRANSPOSE_NOTHING);
}

// The sums as they are: matrix (r, j) at tile[r] + 16*j, with `stride` floats from row to row. All 64-byte aligned.
template <int kRows, int kColumns>
inline void store_matrices(float* const* tile, ptrdiff_t stride) {
  const ptrdiff_t bytes = stride * static_cast<ptrdiff_t>(sizeof(float));
  CONVTRANSPOSE_STORE(0, tile[0], bytes);
  if constexpr (kRows == 4) {
    CONVTRANSPOSE_STORE(1, tile[1], bytes);
    CONVTRANSPOSE_STORE(2, tile[2], bytes);
    CONVTRANSPOSE_STORE(3, tile[3], bytes);
  } else {
    if constexpr (kColumns >= 2) CONVTRANSPOSE_STORE(1, tile[0] + kTermSquare, bytes);
    if constexpr (kColumns == 4) {
      CONVTRANSPOSE_STORE(2, tile[0] + 2 * kTermSquare, bytes);
      CONVTRANSPOSE_STORE(3, tile[0] + 3 * kTermSquare, bytes);
    }
    if constexpr (kRows == 2) CONVTRANSPOSE_STORE(2, tile[1], bytes);
    if constexpr (kRows == 2 && kColumns == 2) CONVTRANSPOSE_STORE(3, tile[1] + kTermSquare, bytes);
  }
}

// What store_matrices stored of `unscaled` sums.
template <int kRows, int kColumns>
inline void load_sums(const TermArgs& args) {
  const ptrdiff_t bytes = args.tile_stride * static_cast<ptrdiff_t>(sizeof(float));
  CONVTRANSPOSE_LOAD(0, args.tile[0], bytes);
  if constexpr (kRows == 4) {
    CONVTRANSPOSE_LOAD(1, args.tile[1], bytes);
    CONVTRANSPOSE_LOAD(2, args.tile[2], bytes);
    CONVTRANSPOSE_LOAD(3, args.tile[3], bytes);
  } else {
    if constexpr (kColumns >= 2) CONVTRANSPOSE_LOAD(1, args.tile[0] + kTermSquare, bytes);
    if constexpr (kColumns == 4) {
      CONVTRANSPOSE_LOAD(2, args.tile[0] + 2 * kTermSquare, bytes);
      CONVTRANSPOSE_LOAD(3, args.tile[0] + 3 * kTermSquare, bytes);
    }
    if constexpr (kRows == 2) CONVTRANSPOSE_LOAD(2, args.tile[1], bytes);
    if constexpr (kRows == 2 && kColumns == 2) CONVTRANSPOSE_LOAD(3, args.tile[1] + kTermSquare, bytes);
  }
}

// sums: [row][position][column of matrices][16], at 64-byte aligned memory.
template <int kRows, int kColumns>
inline void store_sums(const TermArgs& args, const float* sums) {
  const __m512 scale = _mm512_set1_ps(args.scale);
  for (int r = 0; r < kRows; ++r) {
    float* tile = args.tile[r];
    for (int i = 0; i < kTermSquare; ++i, tile += args.tile_stride) {
      for (int j = 0; j < kColumns; ++j) {
        const __m512 sum = _mm512_load_ps(sums + ((r * kTermSquare + i) * kColumns + j) * kTermSquare);
        float* const to = tile + j * kTermSquare;
        _mm512_storeu_ps(to, args.accumulate ? _mm512_fmadd_ps(scale, sum, _mm512_loadu_ps(to)) : _mm512_mul_ps(scale, sum));
      }
    }
  }
}

template <int kTerms, int kRows, int kColumns, class Meanwhile>
CONVTRANSPOSE_INLINE void multiply_and(const TermArgs* args, Meanwhile& meanwhile) {
  constexpr ptrdiff_t kStep = kTerms * (kColumns == 4 ? 2 : kColumns) * kTermElements;
  if (args->unscaled && args->accumulate) {
    load_sums<kRows, kColumns>(*args);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const ptrdiff_t at = args->src_term_stride;
  const uint16_t* b = args->weights;
  for (int64_t c = 0; c < args->channel_blocks; ++c) {
    const ptrdiff_t channels = c * args->src_channel_stride;
    if constexpr (kRows == 4) {
      const uint16_t* const a[4] = {args->src[0] + channels, args->src[1] + channels, args->src[2] + channels,
                                    args->src[3] + channels};
      for (int64_t t = 0; t < args->taps; ++t, b += kStep) step_column<kTerms>(a, args->tap_offset[t], at, b);
    } else if constexpr (kColumns == 4) {
      const uint16_t* const a = args->src[0] + channels;
      for (int64_t t = 0; t < args->taps; ++t, b += kStep) {
        step_row<kTerms>(a + args->tap_offset[t], at, b, b + args->weights_stride, meanwhile);
      }
    } else {
      const uint16_t* const a0 = args->src[0] + channels;
      const uint16_t* const a1 = args->src[kRows - 1] + channels;
      for (int64_t t = 0; t < args->taps; ++t, b += kStep) {
        step<kTerms, kRows, kColumns>(a0 + args->tap_offset[t], a1 + args->tap_offset[t], at, b, meanwhile);
      }
    }
  }
  if (args->unscaled) {
    store_matrices<kRows, kColumns>(args->tile, args->tile_stride);
    return;
  }
  alignas(64) float sums[kRows * kColumns * kSquare];
  float* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = sums + r * kTermSquare * kColumns * kTermSquare;
  store_matrices<kRows, kColumns>(rows, kColumns * kTermSquare);
  store_sums<kRows, kColumns>(*args, sums);
}

// The terms of the weights of one pair of channels.
inline void split_pair(const float* values, uint16_t* terms) {
  _mm_prefetch(values + kSplitAhead, _MM_HINT_T0);
  _mm_prefetch(values + kSplitAhead + kTermSquare, _MM_HINT_T0);
  store_terms<kMostTerms>(_mm512_load_ps(values), _mm512_load_ps(values + kTermSquare), terms, kTermElements);
}

// Of the pairs [begin, end) of one tap, without a loop: they are to mix with products.
template <int kBegin, int kEnd>
inline void split_pairs(const float* values, uint16_t* terms) {
  if constexpr (kEnd - kBegin > 1) {
    constexpr int kHalf = (kBegin + kEnd) / 2;
    split_pairs<kBegin, kHalf>(values, terms);
    split_pairs<kHalf, kEnd>(values, terms);
  } else if constexpr (kEnd > kBegin) {
    split_pair(values + kBegin * kTermBlock, terms + kBegin * kTermBlock);
  }
}

// The share of the terms of the next tap that is made between the products of a row of matrices: as it is measured to be
// best, all before them where there are several rows.
constexpr int kFewRows = 2;
constexpr int first_pair(int rows, int row, int k) {
  return rows <= kFewRows || k == 0 ? kPairs * (2 * row + k) / (2 * rows) : kPairs * (row + 1) / rows;
}
#define CONVTRANSPOSE_SPLIT(row, k) \
  split_pairs<first_pair(kRows, row, k), first_pair(kRows, (row) + (k), 1 - (k))>(values, next)

// All products of one tap, the terms of which are at b, and the terms of the next one's values.
template <int kRows>
inline void step_split(const uint16_t* const (&a)[kRows], ptrdiff_t shift, ptrdiff_t at, const uint16_t* b,
                       const float* values, uint16_t* next) {
  constexpr int kTerms = kMostTerms;
  load_column<kTerms>(b);
  CONVTRANSPOSE_COLUMN_ROW(0, CONVTRANSPOSE_SPLIT);
  if constexpr (kRows > 1) CONVTRANSPOSE_COLUMN_ROW(1, CONVTRANSPOSE_SPLIT);
  if constexpr (kRows > 2) CONVTRANSPOSE_COLUMN_ROW(2, CONVTRANSPOSE_SPLIT);
  if constexpr (kRows > 3) CONVTRANSPOSE_COLUMN_ROW(3, CONVTRANSPOSE_SPLIT);
}

// Five sums leave registers for two terms of the weights, 6 and 7: the last one goes first.
#define CONVTRANSPOSE_LAST_TERM(row)                \
  CONVTRANSPOSE_LOAD(5, a[row] + shift, kRowBytes); \
  _tile_dpbf16ps(row, 5, 6);                        \
  split_pairs<kPairs*(row) / 10, kPairs*((row) + 1) / 10>(values, next)
#define CONVTRANSPOSE_OTHER_TERMS(row)                       \
  CONVTRANSPOSE_LOAD(5, a[row] + shift, kRowBytes);          \
  _tile_dpbf16ps(row, 5, 7);                                 \
  _tile_dpbf16ps(row, 5, 6);                                 \
  CONVTRANSPOSE_LOAD(5, a[row] + shift + 2 * at, kRowBytes); \
  _tile_dpbf16ps(row, 5, 6);                                 \
  CONVTRANSPOSE_LOAD(5, a[row] + shift + at, kRowBytes);     \
  _tile_dpbf16ps(row, 5, 6);                                 \
  _tile_dpbf16ps(row, 5, 7);                                 \
  split_pairs<kPairs*(5 + (row)) / 10, kPairs*(6 + (row)) / 10>(values, next)

template <>
inline void step_split<5>(const uint16_t* const (&a)[5], ptrdiff_t shift, ptrdiff_t at, const uint16_t* b,
                          const float* values, uint16_t* next) {
  CONVTRANSPOSE_LOAD(6, b + 2 * kTermElements, kRowBytes);
  CONVTRANSPOSE_LAST_TERM(0);
  CONVTRANSPOSE_LAST_TERM(1);
  CONVTRANSPOSE_LAST_TERM(2);
  CONVTRANSPOSE_LAST_TERM(3);
  CONVTRANSPOSE_LAST_TERM(4);
  CONVTRANSPOSE_LOAD(6, b, kRowBytes);
  CONVTRANSPOSE_LOAD(7, b + kTermElements, kRowBytes);
  CONVTRANSPOSE_OTHER_TERMS(0);
  CONVTRANSPOSE_OTHER_TERMS(1);
  CONVTRANSPOSE_OTHER_TERMS(2);
  CONVTRANSPOSE_OTHER_TERMS(3);
  CONVTRANSPOSE_OTHER_TERMS(4);
}

template <int kRows>
inline void store_column(const TermArgs& args) {
  alignas(64) float sums[kRows * kSquare];
  CONVTRANSPOSE_STORE(0, sums, kRowBytes);
  if constexpr (kRows > 1) CONVTRANSPOSE_STORE(1, sums + kSquare, kRowBytes);
  if constexpr (kRows > 2) CONVTRANSPOSE_STORE(2, sums + 2 * kSquare, kRowBytes);
  if constexpr (kRows > 3) CONVTRANSPOSE_STORE(3, sums + 3 * kSquare, kRowBytes);
  if constexpr (kRows > 4) CONVTRANSPOSE_STORE(4, sums + 4 * kSquare, kRowBytes);
  store_sums<kRows, 1>(args, sums);
}

template <int kRows>
void multiply_split(const TermArgs* args) {
  constexpr ptrdiff_t kTapTerms = kMostTerms * kTermElements;
  _tile_zero(0);
  if constexpr (kRows > 1) _tile_zero(1);
  if constexpr (kRows > 2) _tile_zero(2);
  if constexpr (kRows > 3) _tile_zero(3);
  if constexpr (kRows > 4) _tile_zero(4);
  const ptrdiff_t at = args->src_term_stride;
  const float* values = args->values;
  const float* const last = values + (args->channel_blocks * args->taps - 1) * kTermElements;
  uint16_t* terms = args->scratch;
  uint16_t* next = terms + kTapTerms;
  for (int pair = 0; pair < kPairs; ++pair) split_pair(values + pair * kTermBlock, terms + pair * kTermBlock);
  for (int64_t c = 0; c < args->channel_blocks; ++c) {
    const uint16_t* a[kRows];
    for (int r = 0; r < kRows; ++r) a[r] = args->src[r] + c * args->src_channel_stride;
    for (int64_t t = 0; t < args->taps; ++t) {
      if (values != last) values += kTermElements;  // those of the last tap are split once more
      // The compiler does not know that loads of matrices read what has been stored.
      __atomic_signal_fence(__ATOMIC_SEQ_CST);
      step_split<kRows>(a, args->tap_offset[t], at, terms, values, next);
      uint16_t* const free = terms;
      terms = next;
      next = free;
    }
  }
  store_column<kRows>(*args);
}

template <int kTerms, int kRows, int kColumns, TermSource kSource>
CONVTRANSPOSE_INLINE void multiply_ahead(const TermArgs* args) {
  Ahead<kTerms, kSource> ahead(args->ahead);
  multiply_and<kTerms, kRows, kColumns>(args, ahead);
  ahead.save();
}

template <int kTerms, int kRows, int kColumns>
void multiply(const TermArgs* args) {
  if constexpr (kRows * kColumns == 4 && kRows < 4) {
    if (args->ahead != nullptr) {
      switch (args->ahead->source) {
        case TermSource::kPlanes:
          return multiply_ahead<kTerms, kRows, kColumns, TermSource::kPlanes>(args);
        case TermSource::kPixels:
          return multiply_ahead<kTerms, kRows, kColumns, TermSource::kPixels>(args);
        case TermSource::kRows:
          return multiply_ahead<kTerms, kRows, kColumns, TermSource::kRows>(args);
      }
    }
  }
  Ahead<0, TermSource::kPlanes> nothing(nullptr);
  multiply_and<kTerms, kRows, kColumns>(args, nothing);
}

template <int kTerms, int kRows, int kColumns>
constexpr TermKernel kernel(const char* name) {
  return {name, kTerms, kRows, kColumns, multiply<kTerms, kRows, kColumns>};
}
template <int kRows>
constexpr TermKernel splitting(const char* name) {
  return {name, kMostTerms, kRows, 1, multiply_split<kRows>, true};
}

// clang-format off
constexpr TermKernel kMultiply[] = {
    kernel<1, 1, 1>("bf16-1x1"), kernel<1, 1, 2>("bf16-1x2"), kernel<1, 2, 1>("bf16-2x1"), kernel<1, 2, 2>("bf16-2x2"),
    kernel<1, 4, 1>("bf16-4x1"), kernel<1, 1, 4>("bf16-1x4"),
    kernel<2, 1, 1>("bf16x3-1x1"), kernel<2, 1, 2>("bf16x3-1x2"), kernel<2, 2, 1>("bf16x3-2x1"), kernel<2, 2, 2>("bf16x3-2x2"),
    kernel<2, 4, 1>("bf16x3-4x1"), kernel<2, 1, 4>("bf16x3-1x4"),
    kernel<3, 1, 1>("bf16x6-1x1"), kernel<3, 1, 2>("bf16x6-1x2"), kernel<3, 2, 1>("bf16x6-2x1"), kernel<3, 2, 2>("bf16x6-2x2"),
    kernel<3, 4, 1>("bf16x6-4x1"), kernel<3, 1, 4>("bf16x6-1x4"),
    splitting<1>("bf16x6-split-1x1"), splitting<2>("bf16x6-split-2x1"), splitting<3>("bf16x6-split-3x1"),
    splitting<4>("bf16x6-split-4x1"), splitting<5>("bf16x6-split-5x1"),
};
// clang-format on

// Of inputs, that are fetched while others are split: pixels of many channels are far apart.
constexpr int64_t kRowsAhead = 16;

template <int kTerms>
bool split_terms(const TermSplitArgs& args) {
  const int64_t second = args.channels - kTermSquare;
  const __mmask16 low_mask = static_cast<__mmask16>(second >= 0 ? 0xffff : (1u << args.channels) - 1);
  const __mmask16 high_mask = static_cast<__mmask16>(second <= 0 ? 0 : (1u << second) - 1);
  const __m512 scale = _mm512_set1_ps(args.scale);
  __m512i largest = _mm512_setzero_si512();
  for (int64_t i = 0; i < args.rows; ++i) {
    const float* const src = args.src + i * args.src_stride;
    uint16_t* const dst = args.dst + i * args.dst_stride;
    _mm_prefetch(reinterpret_cast<const char*>(src + kRowsAhead * args.src_stride), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(src + kRowsAhead * args.src_stride + kTermSquare), _MM_HINT_T0);
    __m512 low = _mm512_maskz_loadu_ps(low_mask, src);
    __m512 high = _mm512_maskz_loadu_ps(high_mask, src + kTermSquare);
    largest = _mm512_max_epi32(largest, _mm512_max_epi32(magnitude(low), magnitude(high)));
    low = _mm512_mul_ps(low, scale);
    high = _mm512_mul_ps(high, scale);
    store_terms<kTerms>(low, high, dst, args.term_stride);
  }
  return _mm512_cmpge_epi32_mask(largest, _mm512_castps_si512(_mm512_set1_ps(args.limit))) == 0;
}

bool split(const TermSplitArgs* args) {
  if (args->terms == 3) return split_terms<3>(*args);
  return args->terms == 2 ? split_terms<2>(*args) : split_terms<1>(*args);
}

// The nearest number with the upper half of a float's bits; ties to even.
inline __m512i rounded(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_and_si512(_mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff)),
                          _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
}

void split_weights(const TermWeightsArgs* args) {
  const int width = args->columns * kTermSquare;
  const __m512 scale = _mm512_set1_ps(args->scale);
  for (int column = 0; column < args->columns; ++column) {
    for (int pair = 0; pair < kTermBlock / 2; ++pair) {
      const float* const src = args->src + 2 * pair * width + column * kTermSquare;
      __m512 even = _mm512_mul_ps(_mm512_loadu_ps(src), scale);
      __m512 odd = _mm512_mul_ps(_mm512_loadu_ps(src + width), scale);
      for (int k = 0; k < args->terms; ++k) {
        const __m512i even_term = rounded(even), odd_term = rounded(odd);
        uint16_t* const dst = args->dst + ((k * args->columns + column) * (kTermBlock / 2) + pair) * kTermBlock;
        _mm512_storeu_si512(dst, _mm512_or_si512(odd_term, _mm512_srli_epi32(even_term, 16)));
        even = _mm512_sub_ps(even, _mm512_castsi512_ps(even_term));
        odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(odd_term));
      }
    }
  }
}

// Where the first term of matrix `m` begins.
inline uint16_t* matrix_of(const TermPlanesArgs& args, int64_t m) {
  return args.dst + (args.columns == 2 ? m / 2 * args.group_stride + m % 2 * kTermElements : m * args.group_stride);
}

// Position by position, so that a matrix is written where it stays near.
template <int kTerms>
bool split_planes_terms(const TermPlanesArgs& args) {
  const ptrdiff_t term_stride = args.columns * kTermElements;
  PairSplit split{_mm512_set1_ps(args.scale), _mm512_setzero_si512()};
  int64_t m = args.first_matrix;
  for (int64_t i = 0; i < args.positions; i += kTermSquare, ++m) {
    const int64_t left = args.positions - i;
    const __mmask16 lanes = static_cast<__mmask16>(left >= kTermSquare ? 0xffff : (1u << left) - 1);
    uint16_t* matrix = matrix_of(args, m);
    const float* src = args.src + i;
    for (int64_t c = 0; c < kTermBlock; c += 2, src += 2 * args.src_stride, matrix += kTermBlock) {
      const __m512 even = _mm512_maskz_loadu_ps(c < args.channels ? lanes : __mmask16{0}, src);
      const __m512 odd = _mm512_maskz_loadu_ps(c + 1 < args.channels ? lanes : __mmask16{0}, src + args.src_stride);
      fetch_lines(src, args.src_stride);
      split.store<kTerms>(even, odd, matrix, term_stride);
    }
  }
  return split.below(args.limit);
}

bool split_planes(const TermPlanesArgs* args) {
  if (args->terms == 3) return split_planes_terms<3>(*args);
  return args->terms == 2 ? split_planes_terms<2>(*args) : split_planes_terms<1>(*args);
}

template <int kTerms>
bool split_pixels_terms(const TermPlanesArgs& args) {
  const ptrdiff_t term_stride = args.columns * kTermElements;
  PairSplit split{_mm512_set1_ps(args.scale), _mm512_setzero_si512()};
  int64_t m = args.first_matrix;
  for (int64_t i = 0; i < args.positions; i += kTermSquare, ++m) {
    const int64_t positions = args.positions - i < kTermSquare ? args.positions - i : kTermSquare;
    uint16_t* matrix = matrix_of(args, m);
    const float* src = args.src + i * args.src_stride;
    for (int64_t c = 0; c < kTermBlock; c += 4, src += 4, matrix += 2 * kTermBlock) {
      const int64_t left = args.channels - c < 0 ? 0 : args.channels - c;
      __m512 channel[4];
      if (positions == kTermSquare && left >= 4) {
        load_pixels(src, args.src_stride, channel);
      } else {
        load_some_pixels(src, args.src_stride, left == 0 ? 0 : positions, left < 4 ? left : 4, channel);
      }
      split.store<kTerms>(channel[0], channel[1], matrix, term_stride);
      split.store<kTerms>(channel[2], channel[3], matrix + kTermBlock, term_stride);
    }
  }
  return split.below(args.limit);
}

bool split_pixels(const TermPlanesArgs* args) {
  if (args->terms == 3) return split_pixels_terms<3>(*args);
  return args->terms == 2 ? split_pixels_terms<2>(*args) : split_pixels_terms<1>(*args);
}

template <int kTerms, TermSource kSource>
inline void finish_ahead_terms(TermSplitAhead* args) {
  Ahead<kTerms, kSource> ahead(args);
  while (ahead.left()) ahead.one();
  ahead.save();
}

template <TermSource kSource>
inline void finish_ahead_of(TermSplitAhead* ahead) {
  if (ahead->terms == 3) return finish_ahead_terms<3, kSource>(ahead);
  ahead->terms == 2 ? finish_ahead_terms<2, kSource>(ahead) : finish_ahead_terms<1, kSource>(ahead);
}

void finish_ahead(TermSplitAhead* ahead) {
  switch (ahead->source) {
    case TermSource::kPlanes:
      return finish_ahead_of<TermSource::kPlanes>(ahead);
    case TermSource::kPixels:
      return finish_ahead_of<TermSource::kPixels>(ahead);
    case TermSource::kRows:
      return finish_ahead_of<TermSource::kRows>(ahead);
  }
}

// The lanes of a vector at x that read src[x - shift] with 0 <= x + lane - shift < count.
inline __mmask16 lanes_within(int64_t x, int64_t shift, int64_t count) {
  const int64_t first = shift - x, end = first + count;
  if (first >= kTermSquare || end <= 0) return 0;
  const unsigned from = first <= 0 ? 0xffffu : 0xffffu << first;
  const unsigned to = end >= kTermSquare ? 0xffffu : (1u << end) - 1;
  return static_cast<__mmask16>(from & to);
}

// kTaps: their number, or 0 for any.
template <int kTaps, bool kAccumulate>
inline void overlap_rows(const TermOverlapArgs& args) {
  const int64_t taps = kTaps == 0 ? args.taps : kTaps;
  const __m512 scale = _mm512_set1_ps(args.scale);
  const int64_t inner_begin = args.shift[taps - 1], inner_end = args.count + args.shift[0] - kTermSquare;
  ptrdiff_t at[kTaps == 0 ? 1 : kTaps];  // where a tap is read for x = 0
  for (int t = 0; t < kTaps; ++t) at[t] = t * args.src_stride - args.shift[t];
  const auto offset = [&](int64_t t) { return kTaps == 0 ? t * args.src_stride - args.shift[t] : at[t]; };
  for (int64_t i = 0; i < args.rows; ++i) {
    const float* const src = args.src + i * args.src_row;
    float* const dst = args.dst + i * args.dst_row;
    for (int64_t x = 0; x < args.size; x += kTermSquare) {
      __m512 sum = _mm512_setzero_ps();
      if (x >= inner_begin && x <= inner_end) {
        for (int64_t t = 0; t < taps; ++t) sum = _mm512_add_ps(sum, _mm512_loadu_ps(src + x + offset(t)));
      } else {
        for (int64_t t = 0; t < taps; ++t) {
          const __mmask16 lanes = lanes_within(x, args.shift[t], args.count);
          sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, src + x + offset(t)));
        }
      }
      const __m512 scaled = kAccumulate ? _mm512_fmadd_ps(scale, sum, _mm512_loadu_ps(dst + x)) : _mm512_mul_ps(scale, sum);
      _mm512_storeu_ps(dst + x, scaled);
    }
  }
}

template <bool kAccumulate>
inline void overlap_taps(const TermOverlapArgs& args) {
  switch (args.taps) {
    case 1:
      return overlap_rows<1, kAccumulate>(args);
    case 2:
      return overlap_rows<2, kAccumulate>(args);
    case 3:
      return overlap_rows<3, kAccumulate>(args);
    case 4:
      return overlap_rows<4, kAccumulate>(args);
    case 5:
      return overlap_rows<5, kAccumulate>(args);
    default:
      return overlap_rows<0, kAccumulate>(args);
  }
}

void overlap(const TermOverlapArgs* args) { args->accumulate ? overlap_taps<true>(*args) : overlap_taps<false>(*args); }

}  // namespace
}  // namespace amx

const TermKernels kAmxKernels = {
    amx::kMultiply,    sizeof(amx::kMultiply) / sizeof(TermKernel),
    amx::split,        amx::split_weights,
    amx::split_planes, amx::split_pixels,
    amx::finish_ahead, amx::overlap,
    amx::begin,        amx::end,
};

}  // namespace convtranspose
