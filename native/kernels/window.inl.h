// The window kernels of kernel.h and what spreads their inputs, written once: each instruction set includes this file inside
// its own unnamed namespace, after its vector header.
#pragma once

#include "kernels/store.inl.h"

constexpr int kWindowChannels = 16;

// A Finish that most calls have no use for.
struct WindowFinish {
  Finish bounds;
  bool bounded;
};
CONVTRANSPOSE_INLINE WindowFinish make_window_finish(const Epilogue& epilogue) {
  constexpr float kInfinity = __builtin_inff();
  return {make_finish(epilogue), !(epilogue.lower == -kInfinity && epilogue.upper == kInfinity)};
}

// What a vector of the window does: kTaps0 taps of phase 0 and kTaps1 of phase 1, whose windows begin kShift pixels later.
// From the last pixel to the first, so that every output takes its taps in order.
template <int kTaps0, int kTaps1, int kShift, int kPhases, int kPixels>
CONVTRANSPOSE_INLINE void window_step(const WindowArgs* args, const WindowStep* step, ptrdiff_t src, const float* weights,
                                      Vec (&sum)[kPhases][kPixels]) {
  constexpr int kTaps[2] = {kTaps0, kTaps1};
  constexpr int kMost = kTaps0 > kTaps1 ? kTaps0 : kTaps1;
  constexpr int kLast = kTaps1 > 0 ? kPixels - 1 + kShift : kPixels - 1;
  constexpr int kBelow0 = kTaps0 - 1, kBelow1 = kTaps1 - 1 - kShift;
  constexpr int kFirst = kBelow0 > kBelow1 ? -kBelow0 : -kBelow1;
  Vec weight[kPhases][kMost];
  unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
    const float* from = weights + step->weights[f];
    unroll<kTaps[f]>([&](auto t) CONVTRANSPOSE_INLINE_LAMBDA {
      weight[f][t] = load(from);
      keep(weight[f][t]);
      from += args->tap_stride;
    });
  });
  const float* x = args->rows[step->row] + step->src + src + kLast * args->src_stride;
  unroll<kLast - kFirst + 1>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
    constexpr int at = kLast - i;
    Vec pixel = load(x);
    keep(pixel);
    x -= args->src_stride;
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
      unroll<kTaps[f]>([&](auto t) CONVTRANSPOSE_INLINE_LAMBDA {
        constexpr int j = at - f * kShift + t;
        if constexpr (j >= 0 && j < kPixels) sum[f][j] = madd_vectors(weight[f][t], pixel, sum[f][j]);
      });
    });
  });
}

// kPixels pixels from j on, of the vector of channels that begins at c.
template <int kTaps0, int kTaps1, int kShift, int kPixels>
CONVTRANSPOSE_INLINE void window_tile(const WindowArgs* args, int64_t j, int64_t c, const WindowFinish& finish) {
  constexpr int kPhases = kTaps1 > 0 ? 2 : 1;
  Vec sum[kPhases][kPixels];
  clear(sum);
  const ptrdiff_t src = args->src + j * args->src_stride + c;
  const float* const weights = args->weights + c;
  for (const WindowStep *step = args->steps, *end = step + args->step_count; step != end; ++step) {
    window_step<kTaps0, kTaps1, kShift>(args, step, src, weights, sum);
  }
  float* const dst = args->dst + j * args->dst_stride + c;
  const int64_t count = args->channels - c;
  const Vec bias = count >= kLanes ? load(args->bias + c) : load_partial(args->bias + c, count);
  const auto each = [&](const auto& with) CONVTRANSPOSE_INLINE_LAMBDA {
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
      unroll<kPixels>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { with(sum[f][p]); });
    });
  };
  each([&](Vec& v) CONVTRANSPOSE_INLINE_LAMBDA { v = add(v, bias); });
  if (finish.bounded) each([&](Vec& v) CONVTRANSPOSE_INLINE_LAMBDA { v = apply(finish.bounds, v); });
  const auto put = [&](const auto& store_lanes) CONVTRANSPOSE_INLINE_LAMBDA {
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
      float* to = dst + f * args->dst_phase;
      unroll<kPixels>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA {
        store_lanes(to, sum[f][p]);
        to += args->dst_stride;
      });
    });
  };
  if (args->stream) {
    put(StreamStore{});
  } else if (count >= kLanes) {
    put(PlainStore{});
  } else {
    put([count](float* p, Vec v) CONVTRANSPOSE_INLINE_LAMBDA { store_partial(p, v, count); });
  }
}

// Whole tiles, then smaller ones.
template <int kTaps0, int kTaps1, int kShift, int kPixels>
CONVTRANSPOSE_INLINE void windows_from(const WindowArgs* args, int64_t j, const WindowFinish& finish) {
  for (; args->pixels - j >= kPixels; j += kPixels) {
    for (int64_t c = 0; c < args->channels; c += kLanes) window_tile<kTaps0, kTaps1, kShift, kPixels>(args, j, c, finish);
  }
  if constexpr (kPixels > 1) windows_from<kTaps0, kTaps1, kShift, kPixels / 2>(args, j, finish);
}

template <int kTaps0, int kTaps1, int kShift, int kPixels>
void windows(const WindowArgs* args) {
  windows_from<kTaps0, kTaps1, kShift, kPixels>(args, 0, make_window_finish(*args->epilogue));
}

// The lanes of a vector that belong to group kGroup of it and to those behind it.
template <int kOutputs, int kGroup>
constexpr unsigned lanes_from() {
  return ((1u << kLanes) - 1u) & ~((1u << kGroup * kOutputs) - 1u);
}

// kCount channels of the groups of a line, which begin at src + group[].
template <int kOutputs, int kCount>
CONVTRANSPOSE_INLINE void spread_channels(const float* src, const ptrdiff_t (&group)[kWindowChannels / kOutputs],
                                          float* dst) {
  constexpr int kParts = kOutputs < kLanes ? kLanes / kOutputs : 1;  // of a vector
  unroll<kCount>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
    unroll<kWindowChannels / kLanes>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      constexpr int first = v * kLanes / kOutputs;
      Vec lanes = broadcast(src[group[first] + i]);
      unroll<kParts - 1>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA {
        lanes = select<lanes_from<kOutputs, p + 1>()>(lanes, broadcast(src[group[first + p + 1] + i]));
      });
      store(dst + i * kWindowChannels + v * kLanes, lanes);
    });
  });
}

// kOutputs is 16 for all multiples of it.
template <int kOutputs>
CONVTRANSPOSE_INLINE void spread_groups(const SpreadArgs* args) {
  constexpr int kGroups = kWindowChannels / kOutputs;
  const int64_t inputs = args->inputs;
  const int64_t floats = args->groups * inputs;
  ptrdiff_t group[kGroups];
  unroll<kGroups>([&](auto g)
                      CONVTRANSPOSE_INLINE_LAMBDA { group[g] = (g < args->groups ? g : args->groups - 1) * inputs; });
  const float* src = args->src;
  float* dst = args->dst;
  for (int64_t j = 0; j < args->pixels; ++j, src += args->src_stride) {
    for (int64_t i = 0; i < floats; i += kFloatsPerLine) __builtin_prefetch(src + args->ahead + i, 0, 2);
    int64_t i = 0;
    for (; i + 4 <= inputs; i += 4, dst += 4 * kWindowChannels) spread_channels<kOutputs, 4>(src + i, group, dst);
    for (; i < inputs; ++i, dst += kWindowChannels) spread_channels<kOutputs, 1>(src + i, group, dst);
  }
}

void spread(const SpreadArgs* args) {
  switch (args->outputs) {
    case 1:
      return spread_groups<1>(args);
    case 2:
      return spread_groups<2>(args);
    case 4:
      return spread_groups<4>(args);
    case 8:
      return spread_groups<8>(args);
    default:
      return spread_groups<16>(args);
  }
}

// "windows2x8": phases x pixels
template <int kPhases, int kPixels>
struct WindowName {
  static_assert(kPhases < 10 && kPixels < 100);
  static constexpr bool kTwoDigits = kPixels >= 10;
  static constexpr char text[] = {'w',
                                  'i',
                                  'n',
                                  'd',
                                  'o',
                                  'w',
                                  's',
                                  '0' + kPhases,
                                  'x',
                                  kTwoDigits ? '0' + kPixels / 10 : '0' + kPixels,
                                  kTwoDigits ? '0' + kPixels % 10 : '\0',
                                  '\0'};
};

// Rows of a kernel table: for one phase, for two.
template <int kPixels>
constexpr WindowKernel window_kernel() {
  return {WindowName<1, kPixels>::text,
          {{windows<1, 0, 0, kPixels>, windows<2, 0, 0, kPixels>, windows<3, 0, 0, kPixels>}, {}}};
}
template <int kPixels>
constexpr WindowKernel windows_kernel() {
  return {WindowName<2, kPixels>::text,
          {{windows<1, 1, 0, kPixels>, windows<2, 1, 0, kPixels>, windows<2, 2, 0, kPixels>},
           {windows<1, 1, 1, kPixels>, windows<1, 2, 1, kPixels>, windows<2, 2, 1, kPixels>}}};
}
