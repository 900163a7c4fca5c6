// The lane kernel of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace, after
// its vector header.
#pragma once

#include "kernels/store.inl.h"

// Besides the names of simd/baseline.h the vector header defines `Lanes`, which lane_list(const int32_t*) loads, kLanes of
// them in [-1, kLanes), and pick(v, lanes), with pick(v, lanes)[l] = lanes[l] < 0 ? 0 : v[lanes[l]].

// Vector v of kPeriods periods from q on: sink(p, sums, finished).
template <int kPeriods, class Sink>
CONVTRANSPOSE_INLINE void lane_tile(const LaneArgs* args, int64_t q, int64_t v, const Finish& finish, const Sink& sink) {
  Vec sum[kPeriods];
  unroll<kPeriods>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { sum[p] = zero(); });
  const ptrdiff_t period = args->period;
  const float* const first = args->src + q * period;
  const float* const weights = args->weights;
  const int32_t* const lists = args->lanes;
  const LaneStep* step = args->steps + v * args->step_count;
  for (const LaneStep* const end = step + args->step_count; step != end; ++step) {
    for (int64_t at = 0; at < step->taps * kLanes; at += kLanes) {
      Vec weight = load(weights + step->weights + at);
      keep(weight);
      const Lanes lanes = lane_list(lists + step->lanes + at);
      const float* src = first + step->src;
      unroll<kPeriods>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA {
        sum[p] = madd_vectors(weight, pick(load(src), lanes), sum[p]);
        src += period;
      });
    }
  }
  const Vec bias = load(args->bias + v * kLanes);
  unroll<kPeriods>([&](auto p) CONVTRANSPOSE_INLINE_LAMBDA { sink(p, apply(finish, add(sum[p], bias))); });
}

// Periods from q on: so many at a time, then fewer, then what is left of the row.
template <int kPeriods, class Store>
CONVTRANSPOSE_INLINE void lanes_from(const LaneArgs* args, int64_t q, const Finish& finish, const Store& put) {
  const int64_t floats = args->vectors * kLanes;  // of a period
  for (; args->count - q * floats >= kPeriods * floats; q += kPeriods) {
    for (int64_t v = 0; v < args->vectors; ++v) {
      float* dst = args->dst + q * floats + v * kLanes;
      lane_tile<kPeriods>(args, q, v, finish, [&](int, Vec out) CONVTRANSPOSE_INLINE_LAMBDA {
        put(dst, out);
        dst += floats;
      });
    }
  }
  if constexpr (kPeriods > 1) {
    lanes_from<kPeriods / 2>(args, q, finish, put);
  } else {
    float* dst = args->dst + q * floats;
    int64_t left = args->count - q * floats;
    for (int64_t v = 0; left > 0; ++v, left -= kLanes, dst += kLanes) {
      lane_tile<1>(args, q, v, finish, [&](int, Vec out) CONVTRANSPOSE_INLINE_LAMBDA {
        if (left >= kLanes) {
          put(dst, out);
        } else {
          store_partial(dst, out, left);
        }
      });
    }
  }
}

template <int kPeriods>
void lanes(const LaneArgs* args) {
  const Finish finish = make_finish(*args->epilogue);
  if (args->stream) {
    lanes_from<kPeriods>(args, 0, finish, StreamStore{});
  } else {
    lanes_from<kPeriods>(args, 0, finish, PlainStore{});
  }
}

template <int kPeriods>
struct LanesName {
  static_assert(kPeriods < 10);
  static constexpr char text[] = {'l', 'a', 'n', 'e', 's', '0' + kPeriods, '\0'};
};

template <int kPeriods>
constexpr LaneKernel lane_kernel() {
  return {LanesName<kPeriods>::text, lanes<kPeriods>};
}
