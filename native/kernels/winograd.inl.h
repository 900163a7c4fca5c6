// The Winograd kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace,
// after its vector header.
#pragma once

#include "kernels/store.inl.h"

// in, read as one sequence, is out[0][0], out[1][0], ..., out[kParts - 1][0], out[0][1], ... kParts is a power of two.
template <int kParts>
CONVTRANSPOSE_INLINE void deinterleave(const Vec (&in)[kParts], Vec (&out)[kParts]) {
  if constexpr (kParts == 1) {
    out[0] = in[0];
  } else {
    constexpr int kHalf = kParts / 2;
    Vec even[kHalf], odd[kHalf], from_even[kHalf], from_odd[kHalf];
    unroll<kHalf>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { deinterleave2(in[2 * i], in[2 * i + 1], &even[i], &odd[i]); });
    deinterleave(even, from_even);
    deinterleave(odd, from_odd);
    unroll<kHalf>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      out[2 * i] = from_even[i];
      out[2 * i + 1] = from_odd[i];
    });
  }
}

template <int kParts>
CONVTRANSPOSE_INLINE void row_split_parts(const RowSplitArgs* args) {
  constexpr int kStep = kParts * kLanes;
  const Factor scale = load_factor(&args->scale);
  const float nothing = 0.0f;
  const Factor none = load_factor(&nothing);
  Vec check = load(args->check);
  for (int64_t row = 0; row < args->rows; ++row) {
    const float* src = args->src + row * args->src_row;
    float* dst = args->dst + row * args->dst_row;
    for (int64_t left = args->count; left > 0; left -= kStep, src += kStep, dst += kLanes) {
      Vec in[kParts], out[kParts];
      if (left >= kStep) {
        unroll<kParts>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { in[i] = load(src + i * kLanes); });
      } else {
        unroll<kParts>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
          const int64_t count = left - i * kLanes;
          in[i] = count >= kLanes ? load(src + i * kLanes) : count > 0 ? load_partial(src + i * kLanes, count) : zero();
        });
      }
      unroll<kParts>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { check = madd(none, madd(scale, in[i], zero()), check); });
      deinterleave(in, out);
      unroll<kParts>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { store(dst + i * args->dst_stride, out[i]); });
    }
  }
  store(args->check, check);
}

void row_split(const RowSplitArgs* args) {
  switch (args->parts) {
    case 1:
      return row_split_parts<1>(args);
    case 2:
      return row_split_parts<2>(args);
    default:
      return row_split_parts<4>(args);
  }
}

// Constants that multiply whole vectors.
struct Constants {
  float half = 0.5f, two = 2.0f, three = 3.0f, four = 4.0f, five = 5.0f, eight = 8.0f;
};

// The values of a polynomial with kInputs coefficients at the points 0, 1, -1, 2, -2 (as many as there are) and infinity.
template <int kInputs, int kPoints>
CONVTRANSPOSE_INLINE void evaluate(const Vec (&x)[kInputs], Vec (&value)[kPoints]) {
  value[0] = x[0];
  value[kPoints - 1] = x[kInputs - 1];
  if constexpr (kInputs == 2) {
    if constexpr (kPoints >= 3) value[1] = add(x[0], x[1]);
    if constexpr (kPoints >= 4) value[2] = subtract(x[0], x[1]);
  } else {
    const Constants constants;
    const Factor two = load_factor(&constants.two), four = load_factor(&constants.four);
    const Vec even = add(x[0], x[2]), odd = add(x[1], x[3]);
    value[1] = add(even, odd);
    value[2] = subtract(even, odd);
    if constexpr (kPoints >= 5) {
      const Vec even2 = madd(four, x[2], x[0]);
      const Vec odd2 = madd(four, x[3], x[1]);  // half of it
      value[3] = madd(two, odd2, even2);
      if constexpr (kPoints >= 6) value[4] = subtract(even2, add(odd2, odd2));
    }
  }
}

template <int kInputs, int kPoints>
void winograd_input(const WinogradInputArgs* args) {
  const ptrdiff_t src_stride = args->src_stride, dst_stride = args->dst_stride;
  float* run = args->dst;
  for (int64_t begin = 0; begin < args->count; begin += args->run, run += args->run_stride) {
    const float* src = args->src + begin;
    float* dst = run;
    const int64_t count = args->count - begin < args->run ? args->count - begin : args->run;
    for (int64_t i = 0; i < count; i += kLanes, src += kLanes, dst += kLanes) {
      Vec x[kInputs], value[kPoints];
      unroll<kInputs>([&](auto j) CONVTRANSPOSE_INLINE_LAMBDA { x[j] = load(src + j * src_stride); });
      evaluate(x, value);
      unroll<kPoints>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { store(dst + p * dst_stride, value[p]); });
    }
  }
}

// Coefficient kIndex of the product polynomial from its (scaled) values; see pack/winograd_points.h for the scales.
template <int kIndex, int kPoints>
CONVTRANSPOSE_INLINE Vec coefficient(const Vec (&p)[kPoints]) {
  const Constants constants;
  if constexpr (kIndex == 0 && kPoints < 6) {
    return p[0];
  } else if constexpr (kIndex == kPoints - 1) {
    return p[kPoints - 1];
  } else if constexpr (kPoints == 3) {
    return subtract(p[1], add(p[0], p[2]));
  } else if constexpr (kPoints == 4) {
    return kIndex == 1 ? subtract(subtract(p[1], p[2]), p[3]) : subtract(add(p[1], p[2]), p[0]);
  } else if constexpr (kPoints == 5) {
    const Factor two = load_factor(&constants.two), half = load_factor(&constants.half),
                 three = load_factor(&constants.three);
    if constexpr (kIndex == 1) return madd(two, add(subtract(p[2], p[1]), p[4]), subtract(zero(), madd(half, p[0], p[3])));
    if constexpr (kIndex == 2) return subtract(zero(), madd(three, p[2], add(add(p[0], p[1]), p[4])));
    if constexpr (kIndex == 3) return madd(half, p[0], subtract(add(add(p[1], p[2]), p[3]), add(p[4], p[4])));
  } else {
    const Factor two = load_factor(&constants.two), four = load_factor(&constants.four), five = load_factor(&constants.five);
    const Vec sum1 = add(p[1], p[2]), sum2 = add(p[3], p[4]);
    const Vec difference1 = subtract(p[1], p[2]), difference2 = subtract(p[3], p[4]);
    if constexpr (kIndex == 0) return madd(four, p[0], zero());
    if constexpr (kIndex == 1)
      return subtract(madd(four, subtract(p[5], difference1), zero()), add(difference2, difference2));
    if constexpr (kIndex == 2) return subtract(zero(), madd(five, p[0], madd(four, sum1, sum2)));
    if constexpr (kIndex == 3) return subtract(madd(two, difference2, difference1), madd(five, p[5], zero()));
    if constexpr (kIndex == 4) return add(add(p[0], sum1), sum2);
  }
}

template <int kTile, int kTaps>
void winograd_output(const WinogradOutputArgs* args) {
  constexpr int kPoints = kTile + kTaps - 1;
  constexpr int kOver = kTaps - 1;
  // Of its own: what is stored might be *args, as far as the compiler knows, which would read that again each time.
  const WinogradOutputArgs call = *args;
  const auto load_points = [call](int64_t i, Vec(&p)[kPoints]) CONVTRANSPOSE_INLINE_LAMBDA {
    unroll<kPoints>([&](auto k) CONVTRANSPOSE_INLINE_LAMBDA { p[k] = load(call.src + k * call.src_stride + i); });
  };
  const float* over = call.over;
  ptrdiff_t over_stride = call.over_stride;
  if constexpr (kTaps == 2) {
    over = call.src + (kPoints - 1) * call.src_stride;
  } else if constexpr (kOver > 0) {
    // What runs over into the next tile is stored first, since it is read there from other lanes.
    for (int64_t i = 0; i < call.count; i += kLanes) {
      Vec p[kPoints];
      load_points(i, p);
      unroll<kOver>([&](auto j) CONVTRANSPOSE_INLINE_LAMBDA {
        store(call.over + j * call.over_stride + i, coefficient<kTile + j>(p));
      });
    }
  }
  for (int64_t i = 0; i < call.count; i += kLanes) {
    Vec p[kPoints];
    load_points(i, p);
    unroll<kTile>([&](auto j) CONVTRANSPOSE_INLINE_LAMBDA {
      Vec y = coefficient<j>(p);
      if constexpr (j < kOver) {
        y = add(y, masked(load(over + j * over_stride + i - call.shift), call.mask + i));
      }
      store(call.dst + j * call.dst_stride + i, y);
    });
  }
}

// Coefficient kCoefficient along the height of a phase's values from `src` on, `shift` after those of the tile above.
template <int kHeightTaps, int kCoefficient>
CONVTRANSPOSE_INLINE Vec height_coefficient(const float* src, ptrdiff_t stride, ptrdiff_t shift, const uint32_t* mask) {
  if constexpr (kHeightTaps == 0) {
    return load(src);
  } else if constexpr (kHeightTaps == 1) {
    return load(src + kCoefficient * stride);
  } else if constexpr (kCoefficient == 0) {
    return add(load(src), masked(load(src + 2 * stride - shift), mask));
  } else {
    return coefficient<1>({load(src), load(src + stride), load(src + 2 * stride)});
  }
}

template <int kHeightTaps, int kCoefficient, int kTaps0, int kTaps1, bool kWantsOver>
CONVTRANSPOSE_INLINE void winograd_rows_of(const WinogradRowsArgs* args) {
  constexpr int kTaps[2] = {kTaps0, kTaps1};
  const WinogradRowsArgs call = *args;
  const Finish finish = make_finish(*call.epilogue);
  const Vec bias = broadcast(call.bias);
  for (int64_t i = 0; i < call.count; i += kLanes) {
    Vec in[4], out[4];
    unroll<2>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
      const auto height = [&](int point, int64_t t) CONVTRANSPOSE_INLINE_LAMBDA {
        return height_coefficient<kHeightTaps, kCoefficient>(call.src[f] + point * call.width_stride[f] + t,
                                                             call.height_stride[f], call.shift, call.mask_height + t);
      };
      Vec first = masked(height(0, i), call.own[f] + i), second;
      if constexpr (kTaps[f] == 1) {
        second = height(1, i);
      } else {
        const Vec last = height(2, i);
        second = coefficient<1>({height(0, i), height(1, i), last});
        first = add(first, masked(height(2, i - 1), call.left[f] + i));
        if constexpr (kWantsOver) store(call.over[f] + i, last);
      }
      in[f] = apply(finish, add(first, bias));
      in[2 + f] = apply(finish, add(second, bias));
    });
    interleave(in, out);
    unroll<4>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { store(call.dst + 4 * i + v * kLanes, out[v]); });
  }
}

template <int kHeightTaps, int kCoefficient, int kTaps0, int kTaps1>
CONVTRANSPOSE_INLINE void winograd_rows_with(const WinogradRowsArgs* args) {
  if (args->over[0] != nullptr) {
    winograd_rows_of<kHeightTaps, kCoefficient, kTaps0, kTaps1, true>(args);
  } else {
    winograd_rows_of<kHeightTaps, kCoefficient, kTaps0, kTaps1, false>(args);
  }
}

template <int kHeightTaps, int kTaps0, int kTaps1>
void winograd_rows(const WinogradRowsArgs* args) {
  if constexpr (kHeightTaps > 0) {
    if (args->coefficient == 1) return winograd_rows_with<kHeightTaps, 1, kTaps0, kTaps1>(args);
  }
  winograd_rows_with<kHeightTaps, 0, kTaps0, kTaps1>(args);
}

CONVTRANSPOSE_INLINE void copy_floats(const float* src, float* dst, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dst + i, load(src + i));
  if (i < count) store_partial(dst + i, load_partial(src + i, count - i), count - i);
}

CONVTRANSPOSE_INLINE void stream_floats(const float* src, float* dst, int64_t count) {
  constexpr int64_t kFloatsPerLine = 16;
  const int64_t to_line = static_cast<int64_t>(-(reinterpret_cast<uintptr_t>(dst) / sizeof(float)) % kFloatsPerLine);
  const int64_t head = to_line < count ? to_line : count;
  const int64_t lines = (count - head) / kFloatsPerLine * kFloatsPerLine;
  copy_floats(src, dst, head);
  for (int64_t i = head; i < head + lines; i += kLanes) store_past(dst + i, load(src + i));
  copy_floats(src + head + lines, dst + head + lines, count - head - lines);
}

void rows_copy(const RowsCopyArgs* args) {
  const float* tail = args->tail;
  for (int64_t b = 0; b < args->blocks; ++b) {
    const float* src = args->src + b * args->src_block;
    float* dst = args->dst + b * args->dst_block;
    for (int64_t r = 0; r < args->rows; ++r, src += args->src_stride, tail += args->tail_count, dst += args->dst_stride) {
      if (args->stream) {
        stream_floats(src, dst, args->count);
      } else {
        copy_floats(src, dst, args->count);
      }
      copy_floats(tail, dst + args->count, args->tail_count);
    }
  }
}

template <int kVectors>
CONVTRANSPOSE_INLINE void combine_vectors(const CombineArgs* args, int64_t i) {
  Vec sum[kVectors];
  unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { sum[v] = zero(); });
  for (int64_t k = 0; k < args->terms; ++k) {
    const Factor factor = load_factor(args->factor + k);
    const float* const src = args->src + args->offset[k] + i;
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { sum[v] = madd(factor, load(src + v * kLanes), sum[v]); });
  }
  unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { store(args->dst + i + v * kLanes, sum[v]); });
}

void combine(const CombineArgs* args) {
  constexpr int kVectors = kLanes >= 16 ? 4 : 8;
  int64_t i = 0;
  for (; i + kVectors * kLanes <= args->count; i += kVectors * kLanes) combine_vectors<kVectors>(args, i);
  for (; i + kLanes <= args->count; i += kLanes) combine_vectors<1>(args, i);
  if (i == args->count) return;
  Vec sum = zero();
  for (int64_t k = 0; k < args->terms; ++k) {
    const Vec rest = load_partial(args->src + args->offset[k] + i, args->count - i);
    sum = madd(load_factor(args->factor + k), rest, sum);
  }
  store_partial(args->dst + i, sum, args->count - i);
}

// clang-format off
constexpr WinogradInputKernel kWinogradInput[] = {
    {"input-2x2", 2, 2, winograd_input<2, 2>}, {"input-2x3", 2, 3, winograd_input<2, 3>},
    {"input-2x4", 2, 4, winograd_input<2, 4>}, {"input-4x4", 4, 4, winograd_input<4, 4>},
    {"input-4x5", 4, 5, winograd_input<4, 5>}, {"input-4x6", 4, 6, winograd_input<4, 6>},
};
constexpr WinogradOutputKernel kWinogradOutput[] = {
    {"output-2x1", 2, 1, winograd_output<2, 1>}, {"output-2x2", 2, 2, winograd_output<2, 2>},
    {"output-2x3", 2, 3, winograd_output<2, 3>}, {"output-4x1", 4, 1, winograd_output<4, 1>},
    {"output-4x2", 4, 2, winograd_output<4, 2>}, {"output-4x3", 4, 3, winograd_output<4, 3>},
};
constexpr WinogradRowsKernel kWinogradRows[] = {
    {"rows-2x22", 2, {2, 2}, winograd_rows<2, 2, 2>}, {"rows-2x21", 2, {2, 1}, winograd_rows<2, 2, 1>},
    {"rows-1x22", 1, {2, 2}, winograd_rows<1, 2, 2>}, {"rows-1x21", 1, {2, 1}, winograd_rows<1, 2, 1>},
    {"rows-22", 0, {2, 2}, winograd_rows<0, 2, 2>},   {"rows-21", 0, {2, 1}, winograd_rows<0, 2, 1>},
};
// clang-format on
