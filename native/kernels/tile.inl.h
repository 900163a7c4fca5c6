// The tile kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace,
// after its vector header. kRows x kVectors accumulators stay in registers over the whole loop.
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

// One channel of one tap of a wide tile: kRows weights times kVectors vectors of pixels. Whichever of the two are fewer wait
// in registers while the others pass through one: all of them at once would not leave enough for the sums.
template <int kRows, int kVectors>
CONVTRANSPOSE_INLINE void wide_step(const float* weights, const float* pixels, Vec (&sum)[kRows][kVectors]) {
  if constexpr (kRows < kVectors) {
    Factor weight[kRows];
    unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      weight[i] = load_factor(weights + i);
      keep(weight[i]);
    });
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      Vec pixel = load(pixels + v * kLanes);
      if constexpr (kRows > 1) keep(pixel);
      unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { sum[i][v] = madd(weight[i], pixel, sum[i][v]); });
    });
  } else {
    Vec pixel[kVectors];
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      pixel[v] = load(pixels + v * kLanes);
      if constexpr (kRows > 1) keep(pixel[v]);
    });
    const auto weight = load_factors<kRows>(weights);
    unroll<kRows>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      auto row_weight = factor<i>(weight);
      if constexpr (kVectors > 1) keep(row_weight);
      unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { sum[i][v] = madd(row_weight, pixel[v], sum[i][v]); });
    });
  }
}

template <int kRows, int kVectors>
void tile_wide(const TileArgs* args) {
  Vec sum[kRows][kVectors];
  clear(sum);
  const ptrdiff_t* const taps_end = args->tap_offset + args->taps;
  const float* weights = args->weights;
  const float* src = args->src;
  const float* ahead = args->prefetch == nullptr ? src : args->prefetch;
  const ptrdiff_t ahead_stride = args->prefetch_stride;
  if (args->taps == 1) {
    src += args->tap_offset[0];
    for (int64_t c = args->channels; c > 0; --c, src += args->src_channel_stride, weights += kRows) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_stride;
      wide_step(weights, src, sum);
    }
  } else {
    for (int64_t c = args->channels; c > 0; --c, src += args->src_channel_stride) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_stride;
      for (const ptrdiff_t* tap = args->tap_offset; tap != taps_end; ++tap, weights += kRows) {
        wide_step(weights, src + *tap, sum);
      }
    }
  }
  finish_tile(args, sum);
}

// With few pixels the weights come from memory, each used once: this many floats ahead they are asked for into the second
// cache. (A prefetch beyond the end of the weights is harmless.) With more rows there is time for what the processor fetches
// ahead by itself, and the prefetches only got in its way: 8x3 streamed 13 to 15 GB/s with them and 17 without on Zen 4,
// while 1x3 went from 15 to 18.
constexpr int kWeightsAhead = 4096;
constexpr int kMaxRowsToPrefetch = 4;

// One channel of one tap of a channels tile: kRows pixels, row[i][position], times kVectors vectors of weights.
template <int kRows, int kVectors>
CONVTRANSPOSE_INLINE void channels_step(const float* weights, const float* const (&row)[kRows], ptrdiff_t position,
                                        Vec (&sum)[kRows][kVectors]) {
  if constexpr (kRows <= kMaxRowsToPrefetch) {
    constexpr int kFloatsPerLine = 16;
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
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { sum[i][v] = madd(pixel, weight[v], sum[i][v]); });
  });
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
  if (args->taps == 1) {
    const ptrdiff_t end = args->tap_offset[0] + args->channels;
    for (ptrdiff_t position = args->tap_offset[0]; position != end; ++position, weights += kColumns) {
      channels_step(weights, row, position, sum);
    }
  } else {
    for (int64_t c = 0; c < args->channels; ++c) {
      for (const ptrdiff_t* tap = args->tap_offset; tap != taps_end; ++tap, weights += kColumns) {
        channels_step(weights, row, *tap + c, sum);
      }
    }
  }
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

// Rows of a kernel table.
template <int kRows, int kVectors>
constexpr TileKernel wide() {
  return {TileName<kRows, kVectors>::text, kRows, kVectors * kLanes, tile_wide<kRows, kVectors>};
}
template <int kRows, int kVectors>
constexpr TileKernel channels() {
  return {TileName<kRows, kVectors>::text, kRows, kVectors * kLanes, tile_channels<kRows, kVectors>};
}
