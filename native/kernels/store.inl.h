// The epilogues of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace, after
// its vector header.
#pragma once

#include "kernels/transpose.inl.h"

// Where the elements of phase kPhase go when an odd number of phases is interleaved: element j to position j*kPhases +
// kPhase, of which the lane is the remainder by kLanes. The number of lanes is a power of two, so all lanes are distinct.
template <int kPhases, int kPhase>
struct PhaseSpread {
  static constexpr int source(int lane) {
    for (int j = 0; j < kLanes; ++j) {
      if ((j * kPhases + kPhase) % kLanes == lane) return j;
    }
    return 0;
  }
};

// The lanes of interleaved vector `vector` that come from `phase`.
constexpr unsigned phase_lanes(int phases, int phase, int vector) {
  unsigned mask = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((vector * kLanes + lane) % phases == phase) mask |= 1u << lane;
  }
  return mask;
}

// out, read as one sequence, is in[0][0], in[1][0], ..., in[kPhases - 1][0], in[0][1], ...
template <int kPhases>
CONVTRANSPOSE_INLINE void interleave(const Vec (&in)[kPhases], Vec (&out)[kPhases]) {
  if constexpr (kPhases == 1) {
    out[0] = in[0];
  } else if constexpr (kPhases % 2 == 0) {
    // Phases that are kHalf apart alternate first; that leaves kHalf sequences to interleave, each two vectors long.
    constexpr int kHalf = kPhases / 2;
    Vec low[kHalf], high[kHalf], first[kHalf], second[kHalf];
    unroll<kHalf>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA { interleave2(in[f], in[f + kHalf], &low[f], &high[f]); });
    interleave(low, first);
    interleave(high, second);
    unroll<kHalf>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      out[v] = first[v];
      out[v + kHalf] = second[v];
    });
  } else {
    Vec spread[kPhases];
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA { spread[f] = permute<PhaseSpread<kPhases, f>>(in[f]); });
    unroll<kPhases>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      out[v] = spread[0];
      unroll<kPhases>([&](auto f)
                          CONVTRANSPOSE_INLINE_LAMBDA { out[v] = select<phase_lanes(kPhases, f, v)>(out[v], spread[f]); });
    });
  }
}

// An Epilogue with its parameters in registers.
struct Finish {
  Vec lower, upper;
};
CONVTRANSPOSE_INLINE Finish make_finish(const Epilogue& epilogue) {
  return {broadcast(epilogue.lower), broadcast(epilogue.upper)};
}
CONVTRANSPOSE_INLINE Vec apply(const Finish& finish, Vec v) { return at_most(at_least(v, finish.lower), finish.upper); }

// What row_store adds to phase f of row i, at biases[i * row + f * phase].
struct RowBiases {
  const float* biases;
  ptrdiff_t row;
  ptrdiff_t phase;
};
CONVTRANSPOSE_INLINE RowBiases row_biases(const RowStoreArgs* args) {
  if (args->biases == nullptr) return {&args->bias, 0, 0};
  return {args->biases, args->bias_row, args->bias_phase};
}

template <int kPhases, class Store>
CONVTRANSPOSE_INLINE void row_store_phases(const RowStoreArgs* args, const Finish& finish) {
  const RowBiases add_to = row_biases(args);
  for (int64_t i = 0; i < args->rows; ++i) {
    const float* tile = args->tile + i * args->tile_stride;
    float* dst = args->dst + i * args->dst_stride;
    const float* const biases = add_to.biases + i * add_to.row;
    for (int64_t left = args->count; left > 0; left -= kPhases * kLanes, tile += kLanes, dst += kPhases * kLanes) {
      Vec in[kPhases], out[kPhases];
      unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
        in[f] = apply(finish, add(load(tile + f * args->phase_stride), broadcast(biases[f * add_to.phase])));
      });
      interleave(in, out);
      if (left >= kPhases * kLanes) {
        unroll<kPhases>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { Store()(dst + v * kLanes, out[v]); });
      } else {
        unroll<kPhases>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
          const int64_t count = left - v * kLanes;
          if (count >= kLanes) {
            Store()(dst + v * kLanes, out[v]);
          } else if (count > 0) {
            store_partial(dst + v * kLanes, out[v], count);
          }
        });
      }
    }
  }
}

// Any number of phases: the tile, a row per phase, transposed.
CONVTRANSPOSE_INLINE void row_store_transposed(const RowStoreArgs* args, const Finish& finish) {
  const RowBiases add_to = row_biases(args);
  const int64_t whole = args->count / args->phases;
  for (int64_t i = 0; i < args->rows; ++i) {
    const float* const tile = args->tile + i * args->tile_stride;
    float* const dst = args->dst + i * args->dst_stride;
    const float* const bias = add_to.biases + i * add_to.row;
    const auto last = [&](Vec v) CONVTRANSPOSE_INLINE_LAMBDA { return apply(finish, add(v, broadcast(*bias))); };
    transpose_with<PlainStore>(
        TransposeArgs{tile, args->phase_stride, dst, static_cast<ptrdiff_t>(args->phases), args->phases, whole},
        [&](Vec v, int64_t, int64_t) CONVTRANSPOSE_INLINE_LAMBDA { return last(v); });
    for (int64_t f = 0; f < args->count - whole * args->phases; ++f) {
      store_partial(dst + whole * args->phases + f, last(load_partial(tile + f * args->phase_stride + whole, 1)), 1);
    }
  }
}

template <class Store>
void row_store(const RowStoreArgs* args) {
  const Finish finish = make_finish(*args->epilogue);
  switch (args->phases) {
    case 1:
      return row_store_phases<1, Store>(args, finish);
    case 2:
      return row_store_phases<2, Store>(args, finish);
    case 3:
      return row_store_phases<3, Store>(args, finish);
    case 4:
      return row_store_phases<4, Store>(args, finish);
    case 5:
      return row_store_phases<5, Store>(args, finish);
    case 6:
      return row_store_phases<6, Store>(args, finish);
    case 7:
      return row_store_phases<7, Store>(args, finish);
    case 8:
      return row_store_phases<8, Store>(args, finish);
    default:
      return row_store_transposed(args, finish);
  }
}

template <class Store>
void pixel_store(const PixelStoreArgs* args) {
  const Finish finish = make_finish(*args->epilogue);
  const float* tile = args->tile;
  float* dst = args->dst;
  if (args->columns < kLanes) {
    const int64_t count = args->columns;
    const Vec bias = load_partial(args->bias, count);
    for (int64_t i = 0; i < args->rows; ++i, tile += args->tile_stride, dst += args->dst_stride) {
      store_partial(dst, apply(finish, add(load_partial(tile, count), bias)), count);
    }
    return;
  }
  for (int64_t i = 0; i < args->rows; ++i, tile += args->tile_stride, dst += args->dst_stride) {
    int64_t j = 0;
    for (; j + kLanes <= args->columns; j += kLanes) {
      Store()(dst + j, apply(finish, add(load(tile + j), load(args->bias + j))));
    }
    if (j < args->columns) {
      const int64_t count = args->columns - j;
      const Vec v = add(load_partial(tile + j, count), load_partial(args->bias + j, count));
      store_partial(dst + j, apply(finish, v), count);
    }
  }
}

// Hides from the compiler what a loop does, or it takes it for memcpy or memset and calls that for each short row.
CONVTRANSPOSE_INLINE void stay_a_loop() { __asm__ __volatile__("" : : : "memory"); }

CONVTRANSPOSE_INLINE void zero_row(float* dst, int64_t count) {
  for (; count >= kLanes; count -= kLanes, dst += kLanes) {
    store(dst, zero());
    stay_a_loop();
  }
  if (count > 0) store_partial(dst, zero(), count);
}

CONVTRANSPOSE_INLINE void copy_row(const float* src, float* dst, int64_t count) {
  for (; count >= 2 * kLanes; count -= 2 * kLanes, src += 2 * kLanes, dst += 2 * kLanes) {
    const Vec first = load(src);
    const Vec second = load(src + kLanes);
    store(dst, first);
    store(dst + kLanes, second);
    stay_a_loop();
  }
  if (count >= kLanes) {
    store(dst, load(src));
    count -= kLanes;
    src += kLanes;
    dst += kLanes;
  }
  if (count > 0) store_partial(dst, load_partial(src, count), count);
}

// Whole vectors alone, of which those that come later overwrite parts of those before: `count` is at least one vector, and
// `before` and `after` at most that.
CONVTRANSPOSE_INLINE void copy_row_within(const float* src, float* dst, int64_t before, int64_t count, int64_t after) {
  store(dst, zero());
  dst += before;
  store(dst + count + after - kLanes, zero());
  for (int64_t i = kLanes; i <= count; i += kLanes) {
    store(dst + i - kLanes, load(src + i - kLanes));
    stay_a_loop();
  }
  store(dst + count - kLanes, load(src + count - kLanes));
}

void copy_rows(const CopyRowsArgs* args) {
  const float* src = args->src;
  float* dst = args->dst;
  if (args->count >= kLanes && args->before <= kLanes && args->after <= kLanes) {
    for (int64_t i = 0; i < args->rows; ++i, src += args->src_stride, dst += args->dst_stride) {
      copy_row_within(src, dst, args->before, args->count, args->after);
    }
    return;
  }
  for (int64_t i = 0; i < args->rows; ++i, src += args->src_stride, dst += args->dst_stride) {
    copy_row(src, dst + args->before, args->count);
    zero_row(dst, args->before);
    zero_row(dst + args->before + args->count, args->after);
  }
}

void transpose_store(const TransposeStoreArgs* args) {
  const Finish finish = make_finish(*args->epilogue);
  transpose_with<PlainStore>(args->transpose, [&](Vec v, int64_t j, int64_t columns) CONVTRANSPOSE_INLINE_LAMBDA {
    const float* const bias = args->bias + j;
    return apply(finish, add(v, columns == kLanes ? load(bias) : load_partial(bias, columns)));
  });
}
