// The row and pixel kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed
// namespace, after its vector header.
#pragma once

#include "kernels/store.inl.h"
#include "kernels/tile.inl.h"

// A step of one phase alone.
template <int kVectors>
CONVTRANSPOSE_INLINE void single_step(const float* weight, const float* pixels, Vec (&sum)[kVectors]) {
  const Factor factor = load_factor(weight);
  unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA { sum[v] = madd(factor, load(pixels + v * kLanes), sum[v]); });
}

// Columns j .. j + kVectors*kLanes-1 of every phase, finished and interleaved: sink(v, vector) for the kPhases*kVectors
// vectors of outputs, in order.
template <int kPhases, int kVectors, class Sink>
CONVTRANSPOSE_INLINE void row_tile(const RowArgs* args, int64_t j, Vec bias, const Finish& finish, const Sink& sink) {
  Vec sum[kPhases][kVectors];
  clear(sum);
  const float* const src = args->src + j;
  const float* const weights = args->weights;
  const TapStep* step = args->steps;
  for (const TapStep* end = step + args->joint; step != end; ++step) {
    wide_step(weights + step->weights, src + step->src, sum);
  }
  if (args->singles != nullptr) {
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA {
      for (const TapStep* end = step + args->singles[f]; step != end; ++step) {
        single_step(weights + step->weights, src + step->src, sum[f]);
      }
    });
  }
  unroll<kVectors>([&](auto v) CONVTRANSPOSE_INLINE_LAMBDA {
    Vec in[kPhases], out[kPhases];
    unroll<kPhases>([&](auto f) CONVTRANSPOSE_INLINE_LAMBDA { in[f] = apply(finish, add(sum[f][v], bias)); });
    interleave(in, out);
    unroll<kPhases>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { sink(v * kPhases + p, out[p]); });
  });
}

// Outputs done .. count-1 of the run: whole tiles, then smaller ones, then what is left.
template <int kPhases, int kVectors, class Store>
CONVTRANSPOSE_INLINE void row_from(const RowArgs* args, int64_t done, Vec bias, const Finish& finish, const Store& put) {
  constexpr int64_t kTile = kPhases * kVectors * kLanes;
  for (; args->count - done >= kTile; done += kTile) {
    float* const dst = args->dst + done;
    row_tile<kPhases, kVectors>(args, done / kPhases, bias, finish,
                                [&](int v, Vec out) CONVTRANSPOSE_INLINE_LAMBDA { put(dst + v * kLanes, out); });
  }
  if (done == args->count) return;
  if constexpr (kVectors > 1) {
    row_from<kPhases, kVectors / 2>(args, done, bias, finish, put);
  } else {
    const int64_t left = args->count - done;
    float* const dst = args->dst + done;
    row_tile<kPhases, 1>(args, done / kPhases, bias, finish, [&](int v, Vec out) CONVTRANSPOSE_INLINE_LAMBDA {
      if (left >= (v + 1) * kLanes) {
        put(dst + v * kLanes, out);
      } else if (left > v * kLanes) {
        store_partial(dst + v * kLanes, out, left - v * kLanes);
      }
    });
  }
}

template <int kPhases, int kVectors>
void row(const RowArgs* args) {
  const Vec bias = broadcast(args->bias);
  const Finish finish = make_finish(*args->epilogue);
  if (args->stream) {
    row_from<kPhases, kVectors>(args, 0, bias, finish, StreamStore{});
  } else {
    row_from<kPhases, kVectors>(args, 0, bias, finish, PlainStore{});
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

// "rows2x4": phases x vectors, one digit each.
template <int kPhases, int kVectors>
struct RowName {
  static_assert(kPhases < 10 && kVectors < 10);
  static constexpr char text[] = {'r', 'o', 'w', 's', '0' + kPhases, 'x', '0' + kVectors, '\0'};
};
template <int kPixels>
struct PixelsName {
  static_assert(kPixels < 10);
  static constexpr char text[] = {'p', 'i', 'x', 'e', 'l', 's', '0' + kPixels, '\0'};
};

// Rows of a kernel table.
template <int kPhases, int kVectors>
constexpr RowKernel rows() {
  return {RowName<kPhases, kVectors>::text, kPhases, kVectors * kLanes, row<kPhases, kVectors>};
}
template <int kPixels>
constexpr PixelKernel pixel_kernel() {
  return {PixelsName<kPixels>::text, pixels<kPixels>};
}
