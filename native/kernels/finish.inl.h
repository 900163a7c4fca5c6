// The finish kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace,
// after its vector header.
//
// All exponentials are e^-w = 2^n (1 - p) with -n = round(w / log 2) and p = 1 - e^-r, r = w + n log 2 being what is left,
// |r| <= log(2)/2. Results are 0 before they would be smaller than every normal number, since processors take a hundred
// cycles or more for numbers that are. scripts/fit-activations.py finds the coefficients.
#pragma once

#include "kernels/store.inl.h"

struct FinishConstants {
  float minus_log2_e = -0x1.715476p+0f, minus_half_log2_e = -0x1.715476p-1f;
  float rounder = kRounder;
  float log_2_high = 0x1.62e4p-1f;  // 15 bits: its products with n are exact
  float log_2_low = 0x1.7f7d1cp-20f;
  // e^r - 1 = r + r^2 (1/2 + e3 r + ...), with a relative error of 2^-26.1.
  float minus_e3 = -0x1.5554b6p-3f, e4 = 0x1.5555aep-5f, minus_e5 = -0x1.12241ap-7f, e6 = 0x1.6c633ep-10f;
  float half = 0.5f, one = 1.0f, two = 2.0f;
  float expm1_most = 18.0f;  // e^-w - 1 rounds to -1 from here on
  float tanh_most = 10.0f;   // tanh rounds to 1 from here on
  // Below the least x, 1/(1 + e^-x) counts as 0; from the most x on, it is 1. The same with the w of this x for e^-w.
  float logistic_least = -87.0f, logistic_most = 87.0f;
  float gelu_tanh_least = -9.96875f, gelu_tanh_most = 9.96875f;
  float gelu_most = 13.0f;  // beyond this |x|, e^(-x^2/2) counts as 0
  // e^(t^2/2) times the normal tail beyond t = s (g1 + g2 s + ... + g9 s^8) with s = 1/(1 + slope t), with a relative error
  // of 2^-24.9.
  float slope = 0.35f;
  float g1 = 0x1.1df1c0p-3f, g2 = 0x1.1e7130p-3f, g3 = 0x1.eac3b6p-4f, g4 = 0x1.b06ef6p-4f, g5 = -0x1.7d252cp-6f;
  float g6 = 0x1.466f54p-3f, g7 = -0x1.060aeep-2f, g8 = 0x1.270924p-3f, g9 = -0x1.ddd206p-6f;
  // 2 sqrt(2/pi) and 0.044715 times that, each as the sum of two; the first has 12 bits.
  float linear_high = 0x1.988p+0f, linear_low = 0x1.14cf5p-14f;
  float cubic_high = 0x1.2444f2p-4f, cubic_low = 0x1.49b16ap-29f;
};
constexpr FinishConstants kFinishConstants;

// The constants, in memory: compilers would otherwise put all of them into registers before a loop, and then on the stack.
CONVTRANSPOSE_INLINE const FinishConstants& finish_constants() {
  const FinishConstants* constants = &kFinishConstants;
  __asm__ volatile("" : "+r"(constants));
  return *constants;
}

// e^-w = scale - scale*p
struct Exponential {
  Vec scale, p;
};
// From n, with kRounder added to it, and r.
CONVTRANSPOSE_INLINE Exponential exponential_of_rest(const FinishConstants& c, Vec n, Vec r) {
  Vec q = madd_vectors(r, broadcast(c.e6), broadcast(c.minus_e5));
  q = madd_vectors(q, r, broadcast(c.e4));
  q = madd_vectors(q, r, broadcast(c.minus_e3));
  q = madd_vectors(q, r, broadcast(c.half));
  return {power_of_two(n), subtract_product(q, multiply(r, r), r)};
}
// For |w| <= 87; anything for others.
CONVTRANSPOSE_INLINE Exponential exponential_of_minus(const FinishConstants& c, Vec w) {
  const Vec t = madd_vectors(w, broadcast(c.minus_log2_e), broadcast(c.rounder));
  const Vec n = subtract(t, broadcast(c.rounder));
  const Vec r = madd_vectors(n, broadcast(c.log_2_high), w);
  return exponential_of_rest(c, t, madd_vectors(n, broadcast(c.log_2_low), r));
}

// 1 / (1 + e^-w); 0 where x < least, whatever e is.
CONVTRANSPOSE_INLINE Vec logistic(const FinishConstants& c, Vec x, Vec least, const Exponential& e) {
  const Vec one = broadcast(c.one);
  return zero_where_less(x, least, divide(one, subtract_product(e.scale, e.p, add(e.scale, one))));
}
// 1 / (1 + e^-x)
CONVTRANSPOSE_INLINE Vec logistic_of(const FinishConstants& c, Vec x) {
  return logistic(c, x, broadcast(c.logistic_least), exponential_of_minus(c, at_most(x, broadcast(c.logistic_most))));
}

// The activations: load_lanes(p) loads as many values as x holds, for parameters that go with column j.
struct FinishClamp {
  Vec lower, upper;
  explicit CONVTRANSPOSE_INLINE FinishClamp(const FinishArgs* args)
      : lower(broadcast(args->lower)), upper(broadcast(args->upper)) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    return at_most(at_least(x, lower), upper);
  }
};

struct FinishLeakyRelu {
  Vec alpha;
  explicit CONVTRANSPOSE_INLINE FinishLeakyRelu(const FinishArgs* args) : alpha(broadcast(args->alpha)) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    return choose_less(zero(), x, x, multiply(alpha, x));
  }
};

struct FinishPrelu {
  const float* slopes;
  explicit CONVTRANSPOSE_INLINE FinishPrelu(const FinishArgs* args) : slopes(args->slopes) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t j, const Load& load_lanes) const {
    return choose_less(zero(), x, x, multiply(load_lanes(slopes + j), x));
  }
};

struct FinishTanh {
  explicit CONVTRANSPOSE_INLINE FinishTanh(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec w = at_most(absolute(x), broadcast(c.tanh_most));
    const Exponential e = exponential_of_minus(c, add(w, w));
    const Vec u = madd_vectors(e.scale, e.p, subtract(broadcast(c.one), e.scale));
    return copy_sign(divide(u, subtract(broadcast(c.two), u)), x);
  }
};

struct FinishSigmoid {
  explicit CONVTRANSPOSE_INLINE FinishSigmoid(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    return logistic_of(finish_constants(), x);
  }
};

struct FinishSilu {
  explicit CONVTRANSPOSE_INLINE FinishSilu(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    return multiply(x, logistic_of(finish_constants(), x));
  }
};

struct FinishElu {
  Vec alpha;
  explicit CONVTRANSPOSE_INLINE FinishElu(const FinishArgs* args) : alpha(broadcast(args->alpha)) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Exponential e = exponential_of_minus(c, at_most(absolute(x), broadcast(c.expm1_most)));
    const Vec below = subtract_product(e.scale, e.p, subtract(e.scale, broadcast(c.one)));
    return choose_less(x, zero(), multiply(alpha, below), x);
  }
};

// x times the probability that a normal variable is below x: with that, q, of one beyond |x|, max(x, 0) - |x| q. The square
// in the exponent is not rounded: its error would be multiplied by its size.
struct FinishGelu {
  explicit CONVTRANSPOSE_INLINE FinishGelu(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec most = broadcast(c.gelu_most);
    const Vec t = absolute(at_most(x, most));
    const Vec rounded = madd_vectors(multiply(t, broadcast(c.minus_half_log2_e)), t, broadcast(c.rounder));
    const Vec n = subtract(rounded, broadcast(c.rounder));
    const Vec r = fused_madd(multiply(t, broadcast(c.half)), t, multiply(n, broadcast(c.log_2_high)));
    const Exponential e = exponential_of_rest(c, rounded, madd_vectors(n, broadcast(c.log_2_low), r));
    const Vec one = broadcast(c.one);
    const Vec s = divide(one, madd_vectors(t, broadcast(c.slope), one));
    Vec g = madd_vectors(s, broadcast(c.g9), broadcast(c.g8));
    g = madd_vectors(g, s, broadcast(c.g7));
    g = madd_vectors(g, s, broadcast(c.g6));
    g = madd_vectors(g, s, broadcast(c.g5));
    g = madd_vectors(g, s, broadcast(c.g4));
    g = madd_vectors(g, s, broadcast(c.g3));
    g = madd_vectors(g, s, broadcast(c.g2));
    g = madd_vectors(g, s, broadcast(c.g1));
    const Vec q = multiply(multiply(s, g), zero_where_less(most, t, subtract_product(e.scale, e.p, e.scale)));
    return subtract_product(t, q, at_least(x, zero()));
  }
};

// x / (1 + e^-w), w = 2 sqrt(2/pi) (x + 0.044715 x^3) = x b, with b as the sum of two: the error of w is multiplied by its
// size.
struct FinishGeluTanh {
  explicit CONVTRANSPOSE_INLINE FinishGeluTanh(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec t = at_most(x, broadcast(c.gelu_tanh_most));
    const Vec square = multiply(t, t);
    const Vec cubic = broadcast(c.cubic_high), linear = broadcast(c.linear_high);
    const Vec b = madd_vectors(cubic, square, linear);
    Vec low = madd_vectors(broadcast(c.cubic_low), square, broadcast(c.linear_low));
    low = madd_vectors(cubic, product_error(t, t, square), low);
    low = add(low, product_error(cubic, square, subtract(b, linear)));  // the difference is exact
    const Vec rounded = madd_vectors(multiply(t, b), broadcast(c.minus_log2_e), broadcast(c.rounder));
    const Vec n = subtract(rounded, broadcast(c.rounder));
    Vec r = fused_madd(t, b, multiply(n, broadcast(c.log_2_high)));
    r = madd_vectors(n, broadcast(c.log_2_low), madd_vectors(t, low, r));
    return multiply(x, logistic(c, x, broadcast(c.gelu_tanh_least), exponential_of_rest(c, rounded, r)));
  }
};

template <class Act, bool kResidual>
CONVTRANSPOSE_INLINE void finish_rows(const FinishArgs* args, const Act& act) {
  float* dst = args->dst;
  const float* residual = args->residual;
  for (int64_t i = 0; i < args->rows; ++i, dst += args->dst_stride) {
    const auto from = [&](Vec v, int64_t j, const auto& load_lanes) CONVTRANSPOSE_INLINE_LAMBDA {
      if constexpr (kResidual) v = add(v, load_lanes(residual + j));
      return act(v, j, load_lanes);
    };
    const auto whole = [](const float* p) CONVTRANSPOSE_INLINE_LAMBDA { return load(p); };
    int64_t j = 0;
    for (; j + kLanes <= args->columns; j += kLanes) store(dst + j, from(load(dst + j), j, whole));
    if (const int64_t count = args->columns - j; count > 0) {
      const auto part = [count](const float* p) CONVTRANSPOSE_INLINE_LAMBDA { return load_partial(p, count); };
      store_partial(dst + j, from(part(dst + j), j, part), count);
    }
    if constexpr (kResidual) residual += args->residual_stride;
  }
}

template <class Act>
void finish(const FinishArgs* args) {
  const Act act(args);
  if (args->residual == nullptr) {
    finish_rows<Act, false>(args, act);
  } else {
    finish_rows<Act, true>(args, act);
  }
}

// Of a kernel table, in the order of FinishOp.
constexpr FinishFn kFinish[] = {
    finish<FinishClamp>, finish<FinishLeakyRelu>, finish<FinishPrelu>, finish<FinishTanh>, finish<FinishSigmoid>,
    finish<FinishGelu>,  finish<FinishGeluTanh>,  finish<FinishSilu>,  finish<FinishElu>,
};
static_assert(sizeof(kFinish) / sizeof(FinishFn) == kFinishOps);
