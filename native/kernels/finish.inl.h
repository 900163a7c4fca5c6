// The finish kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace,
// after its vector header.
//
// All exponentials are e^w = 2^n (1 + p) with n = round(w / log 2) and p = e^r - 1 of what is left, |r| <= log(2)/2. They
// are 0 before they would be smaller than every normal number, since processors take a hundred cycles or more for numbers
// that are. scripts/fit-activations.py finds the coefficients.
#pragma once

#include "kernels/store.inl.h"

struct FinishConstants {
  float log2_e = 0x1.715476p+0f;
  float rounder = kRounder;
  float log_2_high = -0x1.62e4p-1f;  // 15 bits: its products with n are exact
  float log_2_low = -0x1.7f7d1cp-20f;
  // e^r - 1 = r + r^2 (1/2 + e3 r + ...), with a relative error of 2^-26.1.
  float e3 = 0x1.5554b6p-3f, e4 = 0x1.5555aep-5f, e5 = 0x1.12241ap-7f, e6 = 0x1.6c633ep-10f;
  float half = 0.5f, minus_half = -0.5f, one = 1.0f, two = 2.0f;
  float expm1_least = -18.0f;  // e^w - 1 rounds to -1 from here on
  float tanh_most = 10.0f;     // tanh rounds to 1 from here on
  // Beyond the last, e^-w counts as 0; and so does e^(-t^2/2), and e^-w with the w of this t. The most is beyond it.
  float logistic_last = 87.0f, logistic_most = 87.25f;
  float gelu_last = 13.0f, gelu_most = 13.125f;
  float gelu_tanh_last = 9.96875f, gelu_tanh_most = 9.984375f;
  // e^(t^2/2) times the normal tail beyond t = s (g1 + g2 s + ... + g9 s^8) with s = 1/(1 + slope t), with a relative error
  // of 2^-24.9.
  float slope = 0.35f;
  float g1 = 0x1.1df1c0p-3f, g2 = 0x1.1e7130p-3f, g3 = 0x1.eac3b6p-4f, g4 = 0x1.b06ef6p-4f, g5 = -0x1.7d252cp-6f;
  float g6 = 0x1.466f54p-3f, g7 = -0x1.060aeep-2f, g8 = 0x1.270924p-3f, g9 = -0x1.ddd206p-6f;
  // 2 sqrt(2/pi) and 0.044715 times that, each as the sum of two.
  float linear_high = 0x1.988454p+0f, linear_low = -0x1.857936p-25f;
  float cubic_high = 0x1.2444f2p-4f, cubic_low = 0x1.49b16ap-29f;
};
constexpr FinishConstants kFinishConstants;

// The constants, in memory: compilers would otherwise put all of them into registers before a loop, and then on the stack.
CONVTRANSPOSE_INLINE const FinishConstants& finish_constants() {
  const FinishConstants* constants = &kFinishConstants;
  __asm__ volatile("" : "+r"(constants));
  return *constants;
}

// e^(w + low) = 2^n (1 + p), for |w| <= 87.3 and a low that is small against it.
struct Exponential {
  Vec n, p;  // n with kRounder added to it
};
CONVTRANSPOSE_INLINE Exponential exponential(const FinishConstants& c, Vec w, Vec low) {
  const Vec t = madd_vectors(w, broadcast(c.log2_e), broadcast(c.rounder));
  const Vec n = subtract(t, broadcast(c.rounder));
  Vec r = madd_vectors(n, broadcast(c.log_2_high), w);
  r = madd_vectors(n, broadcast(c.log_2_low), add(r, low));
  Vec q = madd_vectors(r, broadcast(c.e6), broadcast(c.e5));
  q = madd_vectors(q, r, broadcast(c.e4));
  q = madd_vectors(q, r, broadcast(c.e3));
  q = madd_vectors(q, r, broadcast(c.half));
  return {t, madd_vectors(q, multiply(r, r), r)};
}

// e^w - 1 for w from -18 to 80.
CONVTRANSPOSE_INLINE Vec exponential_less_one(const FinishConstants& c, Vec w) {
  const Exponential e = exponential(c, w, zero());
  const Vec scale = power_of_two(e.n);
  return madd_vectors(scale, e.p, subtract(scale, broadcast(c.one)));
}

// e^(w + low) for w from -87.3 to 0; 0 where x is beyond `last`.
CONVTRANSPOSE_INLINE Vec exponential_until(const FinishConstants& c, Vec x, Vec last, Vec w, Vec low) {
  const Exponential e = exponential(c, w, low);
  const Vec scale = power_of_two(e.n);
  return choose_less(last, x, zero(), madd_vectors(scale, e.p, scale));
}

// factor / (1 + e^-w), from e = e^-|w| and a `sign` that has the sign of w.
CONVTRANSPOSE_INLINE Vec logistic(const FinishConstants& c, Vec factor, Vec sign, Vec e) {
  const Vec one = broadcast(c.one);
  return quotient(multiply(factor, choose_less(sign, zero(), e, one)), add(one, e));
}
// e^-|x|
CONVTRANSPOSE_INLINE Vec exponential_of_magnitude(const FinishConstants& c, Vec x) {
  const Vec w = at_most(absolute(x), broadcast(c.logistic_most));
  return exponential_until(c, w, broadcast(c.logistic_last), subtract(zero(), w), zero());
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
    const Vec u = exponential_less_one(c, add(w, w));
    return copy_sign(quotient(u, add(u, broadcast(c.two))), x);
  }
};

struct FinishSigmoid {
  explicit CONVTRANSPOSE_INLINE FinishSigmoid(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    return logistic(c, broadcast(c.one), x, exponential_of_magnitude(c, x));
  }
};

struct FinishSilu {
  explicit CONVTRANSPOSE_INLINE FinishSilu(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    return logistic(c, x, x, exponential_of_magnitude(c, x));
  }
};

struct FinishElu {
  Vec alpha;
  explicit CONVTRANSPOSE_INLINE FinishElu(const FinishArgs* args) : alpha(broadcast(args->alpha)) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec below = at_most(at_least(x, broadcast(c.expm1_least)), zero());
    return choose_less(x, zero(), multiply(alpha, exponential_less_one(c, below)), x);
  }
};

// x times the probability that a normal variable is below x: with that, q, of one beyond |x|, x q for x < 0 and x - x q
// else.
struct FinishGelu {
  explicit CONVTRANSPOSE_INLINE FinishGelu(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec t = at_most(absolute(x), broadcast(c.gelu_most));
    const Vec square = multiply(t, t);
    const Vec minus_half = broadcast(c.minus_half);
    const Vec e = exponential_until(c, t, broadcast(c.gelu_last), multiply(minus_half, square),
                                    multiply(minus_half, product_error(t, t, square)));
    const Vec one = broadcast(c.one);
    const Vec s = quotient(one, madd_vectors(t, broadcast(c.slope), one));
    Vec g = madd_vectors(s, broadcast(c.g9), broadcast(c.g8));
    g = madd_vectors(g, s, broadcast(c.g7));
    g = madd_vectors(g, s, broadcast(c.g6));
    g = madd_vectors(g, s, broadcast(c.g5));
    g = madd_vectors(g, s, broadcast(c.g4));
    g = madd_vectors(g, s, broadcast(c.g3));
    g = madd_vectors(g, s, broadcast(c.g2));
    g = madd_vectors(g, s, broadcast(c.g1));
    const Vec q = multiply(multiply(s, g), e);
    return choose_less(x, zero(), multiply(x, q), subtract(x, multiply(t, q)));
  }
};

// x / (1 + e^-w), w = 2 sqrt(2/pi) (x + 0.044715 x^3), which is computed to twice the precision: its error is multiplied by
// its size.
struct FinishGeluTanh {
  explicit CONVTRANSPOSE_INLINE FinishGeluTanh(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec t = at_most(absolute(x), broadcast(c.gelu_tanh_most));
    const Vec square = multiply(t, t);
    const Vec a = multiply(broadcast(c.cubic_high), square);
    Vec low = add(product_error(broadcast(c.cubic_high), square, a), broadcast(c.linear_low));
    low = madd_vectors(broadcast(c.cubic_high), product_error(t, t, square), low);
    low = madd_vectors(broadcast(c.cubic_low), square, low);
    const Vec b = add(broadcast(c.linear_high), a);
    const Vec from_a = subtract(b, broadcast(c.linear_high));
    low = add(low, add(subtract(broadcast(c.linear_high), subtract(b, from_a)), subtract(a, from_a)));
    const Vec w = multiply(t, b);
    low = madd_vectors(t, low, product_error(t, b, w));
    return logistic(c, x, x,
                    exponential_until(c, t, broadcast(c.gelu_tanh_last), subtract(zero(), w), subtract(zero(), low)));
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
