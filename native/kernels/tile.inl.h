// The tile kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace,
// after its vector header. kRows x kVectors accumulators stay in registers over the whole loop. There is always a channel
// and a tap, so loops test at their end: around a loop that might not run, clang 21 keeps two sets of the accumulators.
#pragma once

template <int kRows, int kVectors>
CONVTRANSPOSE_INLINE void clear(Vec (&sum)[kRows][kVectors]) {
  unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { sum[i][v] = zero(); });
  });
}

template <int kRows, int kVectors>
CONVTRANSPOSE_INLINE void finish_tile(const TileArgs* args, const Vec (&sum)[kRows][kVectors]) {
  float* row = args->tile;
  if (args->accumulate) {
    unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      unroll<kVectors>([&](auto v)
                           CONVTRANSPOSE_INLINE_LAMBDA { store(row + v * kLanes, add(load(row + v * kLanes), sum[i][v])); });
      row += args->tile_stride;
    });
  } else {
    unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { store(row + v * kLanes, sum[i][v]); });
      row += args->tile_stride;
    });
  }
}

// Which rows of a tile a step is for: row at(i) for i in [0, kCount).
template <int kRows>
struct AllRows {
  static constexpr int kCount = kRows;
  static constexpr int at(int i) { return i; }
};
// The first kFirst rows, and as many from row kSecond on, if that is not 0.
template <int kFirst, int kSecond>
struct SomeRows {
  static constexpr int kCount = kSecond == 0 ? kFirst : 2 * kFirst;
  static constexpr int at(int i) { return i < kFirst ? i : kSecond + i - kFirst; }
};

// One channel of one tap of a wide tile: a weight for each of `Rows` times kVectors vectors of pixels. Whichever of the two
// are fewer wait in registers while the others pass through one: all of them at once would not leave enough for the sums.
template <class Rows, int kRows, int kVectors>
CONVTRANSPOSE_INLINE void rows_step(const float* weights, const float* pixels, Vec (&sum)[kRows][kVectors]) {
  constexpr int kCount = Rows::kCount;
  if constexpr (kCount < kVectors) {
    Factor weight[kCount];
    unroll<kCount>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      weight[i] = load_factor(weights + i);
      keep(weight[i]);
    });
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      Vec pixel = load(pixels + v * kLanes);
      if constexpr (kCount > 1) keep(pixel);
      unroll<kCount>([&](auto i)
                         CONVTRANSPOSE_INLINE_LAMBDA { sum[Rows::at(i)][v] = madd(weight[i], pixel, sum[Rows::at(i)][v]); });
    });
  } else {
    Vec pixel[kVectors];
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      pixel[v] = load(pixels + v * kLanes);
      if constexpr (kCount > 1) keep(pixel[v]);
    });
    const auto weight = load_factors<kCount>(weights);
    unroll<kCount>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      auto row_weight = factor<i>(weight);
      if constexpr (kVectors > 1) keep(row_weight);
      unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
        sum[Rows::at(i)][v] = madd(row_weight, pixel[v], sum[Rows::at(i)][v]);
      });
    });
  }
}

template <int kRows, int kVectors>
CONVTRANSPOSE_INLINE void wide_step(const float* weights, const float* pixels, Vec (&sum)[kRows][kVectors]) {
  rows_step<AllRows<kRows>>(weights, pixels, sum);
}

constexpr int kFloatsPerLine = 16;

template <int kRows, int kVectors>
void tile_wide(const TileArgs* args) {
  Vec sum[kRows][kVectors];
  clear(sum);
  const float* weights = args->weights;
  const float* src = args->src;
  const float* ahead = args->prefetch == nullptr ? src : args->prefetch;
  const ptrdiff_t ahead_stride = args->prefetch_stride;
  if (args->taps == 1) {
    src += args->tap_offset[0];
    int64_t c = args->channels;
    do {
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_stride;
      wide_step(weights, src, sum);
      src += args->src_channel_stride;
      weights += kRows;
    } while (--c > 0);
  } else {
    const ptrdiff_t ahead_step = args->prefetch_step;
    const ptrdiff_t ahead_floats = args->prefetch_lines * ahead_step;
    int64_t c = args->channels;
    do {
      for (ptrdiff_t i = 0; i < ahead_floats; i += ahead_step) __builtin_prefetch(ahead + i, 0, 2);
      int64_t t = 0;
      do {
        wide_step(weights, src + args->tap_offset[t], sum);
        weights += kRows;
      } while (++t < args->taps);
      src += args->src_channel_stride;
      ahead += ahead_stride;
    } while (--c > 0);
  }
  finish_tile(args, sum);
}

template <int kRows, int kVectors>
void tile_mixed(const TileArgs* args) {
  constexpr int kBlock = kRows / 4;
  Vec sum[kRows][kVectors];
  clear(sum);
  const ptrdiff_t* const first_end = args->tap_offset + args->taps;
  const ptrdiff_t* const second_end = first_end + args->subset_taps[0];
  const ptrdiff_t* const third_end = second_end + args->subset_taps[1];
  const ptrdiff_t* const taps_end = third_end + args->subset_taps[2];
  const float* weights = args->weights;
  const float* src = args->src;
  const float* ahead = args->prefetch == nullptr ? src : args->prefetch;
  const ptrdiff_t ahead_step = args->prefetch_step;
  const ptrdiff_t ahead_floats = args->prefetch_lines * ahead_step;
  int64_t c = args->channels;
  do {
    for (ptrdiff_t i = 0; i < ahead_floats; i += ahead_step) __builtin_prefetch(ahead + i, 0, 2);
    int64_t t = 0;
    do {
      wide_step(weights, src + args->tap_offset[t], sum);
      weights += kRows;
    } while (++t < args->taps);
    const ptrdiff_t* tap = first_end;
    for (; tap != second_end; ++tap, weights += 2 * kBlock) {
      rows_step<SomeRows<kBlock, 2 * kBlock>>(weights, src + *tap, sum);
    }
    for (; tap != third_end; ++tap, weights += 2 * kBlock) rows_step<SomeRows<2 * kBlock, 0>>(weights, src + *tap, sum);
    for (; tap != taps_end; ++tap, weights += kBlock) rows_step<SomeRows<kBlock, 0>>(weights, src + *tap, sum);
    src += args->src_channel_stride;
    ahead += args->prefetch_stride;
  } while (--c > 0);
  finish_tile(args, sum);
}

// With few pixels the weights come from memory, each used once: this many floats ahead they are asked for into the second
// cache. (A prefetch beyond the end of the weights is harmless.) With more rows, which read them again for other pixels,
// these prefetches only got in the way of the processor's own: 8x3 streamed 13 to 15 GB/s with them and 17 without on Zen 4,
// while 1x3 went from 15 to 18. What such kernels ask for is up to the caller.
constexpr int kWeightsAhead = 4096;
constexpr int kMaxRowsToPrefetch = 4;

// One channel of one tap of a channels tile: kRows pixels, row[i][position], times kVectors vectors of weights. kInOrder: a
// pixel is done before the next is loaded, whatever the compiler would like.
template <bool kInOrder = false, int kRows, int kVectors>
CONVTRANSPOSE_INLINE void channels_step(const float* weights, const float* const (&row)[kRows], ptrdiff_t position,
                                        Vec (&sum)[kRows][kVectors]) {
  if constexpr (kRows <= kMaxRowsToPrefetch) {
    constexpr int kLines = (kVectors * kLanes + kFloatsPerLine - 1) / kFloatsPerLine;
    unroll<kLines>([&](auto line) CONVTRANSPOSE_INLINE_LAMBDA {
      __builtin_prefetch(weights + kWeightsAhead + line * kFloatsPerLine, 0, 2);
    });
  }
  Vec weight[kVectors];
  unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
    weight[v] = load(weights + v * kLanes);
    if constexpr (kRows > 1) keep(weight[v]);
  });
  unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
    Factor pixel = load_factor(row[i] + position);
    if constexpr (kVectors > 1) keep(pixel);
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      sum[i][v] = madd(pixel, weight[v], sum[i][v]);
      if constexpr (kInOrder) keep(sum[i][v]);
    });
  });
}

// Asks for `count` lines, `stride` floats apart, into the second-level cache; count >= 1.
CONVTRANSPOSE_INLINE void ask_ahead(const float* line, int64_t count, ptrdiff_t stride) {
  const float* const end = line + count * stride;
  do {
    __builtin_prefetch(line, 0, 2);
    line += stride;
  } while (line != end);
}

template <int kRows, int kVectors>
void tile_channels(const TileArgs* args) {
  constexpr int kColumns = kVectors * kLanes;
  Vec sum[kRows][kVectors];
  clear(sum);
  const float* row[kRows];
  unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { row[i] = args->src + args->row_offset[i]; });
  const ptrdiff_t* const taps_end = args->tap_offset + args->taps;
  const float* weights = args->weights;
  if (args->taps == 1 && args->prefetch == nullptr) {
    ptrdiff_t position = args->tap_offset[0];
    const ptrdiff_t end = position + args->channels;
    do {
      channels_step(weights, row, position, sum);
      weights += kColumns;
    } while (++position != end);
  } else {
    int64_t c = 0;
    do {
      // (One more pointer in the loop over taps, and clang 21 moves the sums of 8x3 around.)
      if constexpr (kRows > kMaxRowsToPrefetch) {
        if (args->prefetch != nullptr) ask_ahead(args->prefetch + (weights - args->weights), args->taps, kColumns);
      }
      const ptrdiff_t* tap = args->tap_offset;
      do {
        channels_step(weights, row, *tap + c, sum);
        weights += kColumns;
      } while (++tap != taps_end);
    } while (++c < args->channels);
  }
  finish_tile(args, sum);
}

// The same by steps. (Left to itself, clang 21 loads all pixels of a step at once and keeps sums of 8x3 on the stack.)
template <int kRows, int kVectors>
void tile_steps(const TileArgs* args) {
  Vec sum[kRows][kVectors];
  clear(sum);
  const float* row[kRows];
  unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { row[i] = args->src + args->row_offset[i]; });
  const TapStep* const steps_end = args->steps + args->taps;
  const float* weights = args->weights;
  int64_t c = 0;
  do {
    const TapStep* step = args->steps;
    do {
      channels_step<true>(weights + step->weights, row, step->src + c, sum);
    } while (++step != steps_end);
    weights += args->weights_channel_stride;
  } while (++c < args->channels);
  finish_tile(args, sum);
}

// "8x3": rows x vectors, up to 99 rows and 9 vectors.
template <int kRows, int kVectors>
struct TileName {
  static_assert(kRows < 100 && kVectors < 10);
  static constexpr bool kTwoDigits = kRows >= 10;
  static constexpr char text[] = {kTwoDigits ? '0' + kRows / 10 : '0' + kRows, kTwoDigits ? '0' + kRows % 10 : 'x',
                                  kTwoDigits ? 'x' : '0' + kVectors, kTwoDigits ? '0' + kVectors : '\0', '\0'};
};

// "mixed12x2"
template <int kRows, int kVectors>
struct MixedName {
  using Tile = TileName<kRows, kVectors>;
  static constexpr char text[] = {'m', 'i', 'x', 'e', 'd', Tile::text[0], Tile::text[1], Tile::text[2], Tile::text[3], '\0'};
};

// Rows of a kernel table.
template <int kRows, int kVectors>
constexpr TileKernel wide() {
  return {TileName<kRows, kVectors>::text, kRows, kVectors * kLanes, tile_wide<kRows, kVectors>};
}
template <int kRows, int kVectors>
constexpr TileKernel channels() {
  return {TileName<kRows, kVectors>::text, kRows, kVectors * kLanes, tile_channels<kRows, kVectors>,
          tile_steps<kRows, kVectors>};
}
template <int kRows, int kVectors>
constexpr TileKernel mixed() {
  return {MixedName<kRows, kVectors>::text, kRows, kVectors * kLanes, tile_mixed<kRows, kVectors>};
}
