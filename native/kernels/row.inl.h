// The row and pixel kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed
// namespace, after its vector header.
#pragma once

#include "kernels/store.inl.h"
#include "kernels/tile.inl.h"

// Rows kFirst to kFirst + kSize - 1 of a tile.
template <int kFirst, int kSize>
struct RowRange {
  static constexpr int kCount = kSize;
  static constexpr int at(int i) { return kFirst + i; }
};

// A row of a RowArgs.
struct RowRun {
  const float* src;
  float* dst;
  RowSteps steps;
};

// Columns j .. j + kVectors*kLanes-1 of every phase, finished and interleaved: sink(o, v, vector) for the kPhases*kVectors
// vectors of outputs of each channel o, in order.
template <int kPhases, int kVectors, int kOutputs, class Sink>
CONVTRANSPOSE_INLINE void row_tile(const RowArgs* args, const RowRun& run, int64_t j, const Finish& finish,
                                   const Sink& sink) {
  Vec sum[kPhases * kOutputs][kVectors];
  clear(sum);
  const float* const src = run.src + j;
  const float* const weights = args->weights;
  const TapStep* step = run.steps.steps;
  for (const TapStep* end = step + run.steps.joint; step != end; ++step) {
    wide_step(weights + step->weights, src + step->src, sum);
  }
  if (run.steps.singles != nullptr) {
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
      for (const TapStep* end = step + run.steps.singles[f]; step != end; ++step) {
        rows_step<RowRange<f * kOutputs, kOutputs>>(weights + step->weights, src + step->src, sum);
      }
    });
  }
  unroll<kOutputs>([&](auto o) CONVTRANSPOSE_INLINE_LAMBDA {
    const Vec bias = broadcast(args->bias[o]);
    unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
      Vec in[kPhases], out[kPhases];
      unroll<kPhases>([&](auto f)
                          CONVTRANSPOSE_INLINE_LAMBDA { in[f] = apply(finish, add(sum[f * kOutputs + o][v], bias)); });
      interleave(in, out);
      unroll<kPhases>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { sink(o, v * kPhases + p, out[p]); });
    });
  });
}

// Outputs done .. count-1 of the row: whole tiles, then smaller ones, then what is left.
template <int kPhases, int kVectors, int kOutputs, class Store>
CONVTRANSPOSE_INLINE void row_from(const RowArgs* args, const RowRun& run, int64_t done, const Finish& finish,
                                   const Store& put) {
  constexpr int64_t kTile = kPhases * kVectors * kLanes;
  const ptrdiff_t dst_stride = args->dst_stride;
  for (; args->count - done >= kTile; done += kTile) {
    float* const dst = run.dst + done;
    row_tile<kPhases, kVectors, kOutputs>(args, run, done / kPhases, finish,
                                          [&](int o, int v, Vec out)
                                              CONVTRANSPOSE_INLINE_LAMBDA { put(dst + o * dst_stride + v * kLanes, out); });
  }
  if (done == args->count) return;
  if constexpr (kVectors > 1) {
    row_from<kPhases, kVectors / 2, kOutputs>(args, run, done, finish, put);
  } else {
    const int64_t left = args->count - done;
    float* const dst = run.dst + done;
    row_tile<kPhases, 1, kOutputs>(args, run, done / kPhases, finish,
                                   [&](int o, int v, Vec out) CONVTRANSPOSE_INLINE_LAMBDA {
                                     float* const to = dst + o * dst_stride + v * kLanes;
                                     if (left >= (v + 1) * kLanes) {
                                       put(to, out);
                                     } else if (left > v * kLanes) {
                                       store_partial(to, out, left - v * kLanes);
                                     }
                                   });
  }
}

template <int kPhases, int kVectors, int kOutputs, class Store>
CONVTRANSPOSE_INLINE void rows_of(const RowArgs* args, const Store& put) {
  const Finish finish = make_finish(*args->epilogue);
  RowRun run{args->src, args->dst, {}};
  int64_t kind = 0;
  for (int64_t r = 0; r < args->rows; ++r) {
    run.steps = args->kind[kind];
    row_from<kPhases, kVectors, kOutputs>(args, run, 0, finish, put);
    run.dst += args->dst_row;
    if (++kind == args->kinds) {
      kind = 0;
      run.src += args->src_row;
    }
  }
}

template <int kPhases, int kVectors, int kOutputs>
void row(const RowArgs* args) {
  if (args->stream) {
    rows_of<kPhases, kVectors, kOutputs>(args, StreamStore{});
  } else {
    rows_of<kPhases, kVectors, kOutputs>(args, PlainStore{});
  }
}

// kPixels pixels of the channels [c, c + count), count <= kLanes.
template <int kPixels, class Load, class Store>
CONVTRANSPOSE_INLINE void pixel_tile(const PixelArgs* args, int64_t j, int64_t c, const Finish& finish,
                                     const Load& load_lanes, const Store& store_lanes) {
  Vec sum[kPixels];
  unroll<kPixels>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { sum[p] = zero(); });
  const float* const first_src = args->src + j * args->src_stride + c;
  const float* const first_weights = args->weights + c;
  for (const TapStep *step = args->steps, *end = step + args->step_count; step != end; ++step) {
    Vec weight = load_lanes(first_weights + step->weights);
    keep(weight);
    const float* src = first_src + step->src;
    unroll<kPixels>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA {
      sum[p] = madd_vectors(weight, load_lanes(src), sum[p]);
      src += args->src_stride;
    });
  }
  const Vec bias = load_lanes(args->bias + c);
  float* dst = args->dst + j * args->dst_stride + c;
  unroll<kPixels>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA {
    store_lanes(dst, apply(finish, add(sum[p], bias)));
    dst += args->dst_stride;
  });
}

template <int kPixels>
CONVTRANSPOSE_INLINE void pixels_from(const PixelArgs* args, int64_t j, const Finish& finish) {
  const auto whole = [](const float* p) CONVTRANSPOSE_INLINE_LAMBDA { return load(p); };
  for (; args->pixels - j >= kPixels; j += kPixels) {
    int64_t c = 0;
    if (args->stream) {
      for (; c + kLanes <= args->channels; c += kLanes) {
        pixel_tile<kPixels>(args, j, c, finish, whole, StreamStore{});
      }
    } else {
      for (; c + kLanes <= args->channels; c += kLanes) {
        pixel_tile<kPixels>(args, j, c, finish, whole, PlainStore{});
      }
    }
    if (const int64_t count = args->channels - c; count > 0) {
      pixel_tile<kPixels>(
          args, j, c, finish, [count](const float* p) CONVTRANSPOSE_INLINE_LAMBDA { return load_partial(p, count); },
          [count](float* p, Vec v) CONVTRANSPOSE_INLINE_LAMBDA { store_partial(p, v, count); });
    }
  }
  if constexpr (kPixels > 1) pixels_from<kPixels / 2>(args, j, finish);
}

template <int kPixels>
void pixels(const PixelArgs* args) {
  pixels_from<kPixels>(args, 0, make_finish(*args->epilogue));
}

void stream(const float* src, float* dst, int64_t count) {
  for (; count > 0; count -= kLanes, src += kLanes, dst += kLanes) store_past(dst, load(src));
}

// "rows2x4": phases x vectors, one digit each; "rows2x2x4" with several outputs.
template <int kPhases, int kVectors, int kOutputs>
struct RowName {
  static_assert(kPhases < 10 && kVectors < 10 && kOutputs < 10);
  static constexpr bool kSeveral = kOutputs > 1;
  static constexpr char text[] = {
      'r', 'o', 'w', 's', '0' + kPhases, 'x', '0' + kVectors, kSeveral ? 'x' : '\0', kSeveral ? '0' + kOutputs : '\0', '\0'};
};
template <int kPixels>
struct PixelsName {
  static_assert(kPixels < 10);
  static constexpr char text[] = {'p', 'i', 'x', 'e', 'l', 's', '0' + kPixels, '\0'};
};

// Rows of a kernel table.
template <int kPhases, int kVectors, int kOutputs = 1>
constexpr RowKernel rows() {
  return {RowName<kPhases, kVectors, kOutputs>::text, kPhases, kVectors * kLanes, kOutputs,
          row<kPhases, kVectors, kOutputs>};
}
template <int kPixels>
constexpr PixelKernel pixel_kernel() {
  return {PixelsName<kPixels>::text, pixels<kPixels>};
}
