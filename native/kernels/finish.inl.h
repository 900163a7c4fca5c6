// The finish kernels of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace,
// after its vector header.
//
// All exponentials are e^w = 2^n (1 + p) with n = round(w / log 2) and p = e^r - 1 of what is left, |r| <= log(2)/2. Where
// results may be smaller than every normal number, 2^n is 2^(n + 64) until the last multiplication, by 2^-64, so that they
// are rounded once. scripts/fit-activations.py finds the coefficients.
#pragma once

#include "kernels/store.inl.h"

struct FinishConstants {
  float log2_e = 0x1.715476p+0f;
  float rounder = kRounder;
  float log_2_high = -0x1.62e4p-1f;  // 15 bits: its products with n are exact
  float log_2_low = -0x1.7f7d1cp-20f;
  // e^r - 1 = r + r^2 (1/2 + e3 r + ...), with a relative error of 2^-26.1.
  float e3 = 0x1.5554b6p-3f, e4 = 0x1.5555aep-5f, e5 = 0x1.12241ap-7f, e6 = 0x1.6c633ep-10f;
  float half = 0.5f, minus_half = -0.5f, one = 1.0f, two = 2.0f, offset = 64.0f;
  float up = 0x1p+64f, down = 0x1p-64f;
  float expm1_least = -18.0f;      // e^w - 1 rounds to -1 from here on
  float tanh_most = 10.0f;         // tanh rounds to 1 from here on
  float logistic_least = -112.0f;  // x e^x rounds to 0 from here on
  float gelu_most = 15.0f;         // x times the normal tail rounds to 0 from here on
  float gelu_tanh_most = 11.0f;    // the same of its approximation
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

// e^(w + low) = 2^n (1 + p), for |w| <= 170 and a low that is small against it.
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

// 2^64 e^(w + low) for w from -125 to 0.
CONVTRANSPOSE_INLINE Vec exponential_scaled(const FinishConstants& c, Vec w, Vec low) {
  const Exponential e = exponential(c, w, low);
  return multiply(power_of_two(add(e.n, broadcast(c.offset))), add(broadcast(c.one), e.p));
}

// factor / (1 + e^-w) where w is w's magnitude, at most 112, with the sign of `sign`, plus low times that sign.
CONVTRANSPOSE_INLINE Vec logistic(const FinishConstants& c, Vec factor, Vec sign, Vec w, Vec low) {
  const Vec scaled = exponential_scaled(c, subtract(zero(), w), subtract(zero(), low));
  const Vec one = broadcast(c.one);
  const Vec below = add(one, multiply(scaled, broadcast(c.down)));
  const Vec above = multiply(factor, choose_less(sign, zero(), scaled, one));
  return multiply(divide(above, below), choose_less(sign, zero(), broadcast(c.down), one));
}

// v, or a NaN for x = -infinity: where PyTorch multiplies x by a 0.
CONVTRANSPOSE_INLINE Vec times_zero_below(Vec x, Vec v) { return madd_vectors(at_most(x, zero()), zero(), v); }

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
    return copy_sign(divide(u, add(u, broadcast(c.two))), x);
  }
};

struct FinishSigmoid {
  explicit CONVTRANSPOSE_INLINE FinishSigmoid(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec w = at_most(absolute(x), subtract(zero(), broadcast(c.logistic_least)));
    return logistic(c, broadcast(c.one), x, w, zero());
  }
};

struct FinishSilu {
  explicit CONVTRANSPOSE_INLINE FinishSilu(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec least = broadcast(c.logistic_least);
    const Vec w = at_most(absolute(x), subtract(zero(), least));
    return times_zero_below(x, logistic(c, at_least(x, least), x, w, zero()));
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

// x times the probability that a normal variable is below x: with the tail q beyond |x|, x q for x < 0 and x - x q else.
struct FinishGelu {
  explicit CONVTRANSPOSE_INLINE FinishGelu(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec t = at_most(absolute(x), broadcast(c.gelu_most));
    const Vec square = multiply(t, t);
    const Vec minus_half = broadcast(c.minus_half);
    const Vec scaled =
        exponential_scaled(c, multiply(minus_half, square), multiply(minus_half, product_error(t, t, square)));
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
    const Vec q = multiply(multiply(multiply(t, multiply(s, g)), scaled), broadcast(c.down));
    return times_zero_below(x, choose_less(x, zero(), subtract(zero(), q), subtract(x, q)));
  }
};

// x / (1 + e^-w), w = 2 sqrt(2/pi) (x + 0.044715 x^3), which is computed to twice the precision: its error is multiplied by
// its size.
struct FinishGeluTanh {
  explicit CONVTRANSPOSE_INLINE FinishGeluTanh(const FinishArgs*) {}
  template <class Load>
  CONVTRANSPOSE_INLINE Vec operator()(Vec x, int64_t, const Load&) const {
    const FinishConstants& c = finish_constants();
    const Vec most = broadcast(c.gelu_tanh_most);
    const Vec t = at_most(absolute(x), most);
    const Vec square = multiply(t, t);
    const Vec cubic = broadcast(c.cubic_high), linear = broadcast(c.linear_high);
    const Vec a = multiply(cubic, square);
    Vec low = add(product_error(cubic, square, a), broadcast(c.linear_low));
    low = madd_vectors(cubic, product_error(t, t, square), low);
    low = madd_vectors(broadcast(c.cubic_low), square, low);
    const Vec b = add(linear, a);
    const Vec from_a = subtract(b, linear);
    low = add(low, add(subtract(linear, subtract(b, from_a)), subtract(a, from_a)));
    const Vec w = multiply(t, b);
    low = madd_vectors(t, low, product_error(t, b, w));
    const Vec factor = at_least(x, subtract(zero(), most));
    return times_zero_below(x, logistic(c, factor, x, w, low));
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
