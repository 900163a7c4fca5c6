/**
 * The promised accuracy of the direct, gemm, depthwise, amx and reference kernels: with n = products reaching an output + 1 and
 * B = |b| + sum |x||w|,
 *
 *   |error| <= n * 2^-24 * B                       on any data (classical),
 *   |error| <= 2^-22 * sqrt(n) * B + n * 2^-126    on data of mixed signs;
 *
 * amx with a lower precision leaves out some of each product, see `termAllowance`.
 */
import type { Definition } from './definition';
import type { RunOptions } from './forms';

// Looking up a global for every output would take most of the time where tests run in a context of their own.
const { abs, max, min, sqrt } = Math;
const { isFinite } = Number;
const { is } = Object;

const underflow = 2 ** -126;

/** The largest error that is allowed to one output. */
export function tolerance(terms: number, magnitude: number, mixedSigns: boolean): number {
  // n roundings compound: (1 + 2^-24)^n - 1 is a little more than n * 2^-24.
  const classical = terms * 2 ** -24 * (1 + terms * 2 ** -24) * magnitude;
  const statistical = 2 ** -22 * sqrt(terms) * magnitude;
  return (mixedSigns ? min(classical, statistical) : classical) + terms * underflow;
}

/**
 * What a product of terms leaves out, relative to |x||w|. A term of bfloat16 has 8 significant bits, so it leaves at most r = 2^-8 of
 * what it is to be. One term each: (1 + r)^2 - 1. Two terms leave r^2 of each factor, and the product of both second terms is not
 * computed, which is r^2 more; higher powers of r are in the last factor.
 */
const leftOut = { highest: 0, high: 3 * 2 ** -16 * (1 + 2 ** -6), medium: 2 ** -7 + 2 ** -16 };

/** What outputs are allowed if amx makes them; null with 'highest', which keeps the bound of the direct kernels. */
export function termAllowance({ magnitude, terms }: Definition, mixedSigns: boolean, precision: RunOptions['precision']): Float64Array | null {
  const lost = leftOut[precision ?? 'highest'];
  if (lost === 0) return null;
  return magnitude.map((b, i) => tolerance(terms[i % terms.length] as number, b, mixedSigns) + lost * b);
}

export interface Clamp {
  lower: number;
  upper: number;
}

export interface Verdict {
  /** The largest error as a fraction of what is allowed. */
  worst: number;
  /** What is wrong with the first wrong output; null if none is. */
  failure: string | null;
}

/**
 * Compares outputs (contiguous) with the definition. An output that no product reaches must be the bias itself; one that is
 * not finite in the definition must be the same infinity, or NaN. `exact`: sums are exact in float32, so no error is allowed.
 * `others`: what outputs are allowed if Winograd made them (winograd-bound.ts), or amx with a lower precision; where it is more it
 * counts.
 */
export function compare(
  actual: Float32Array, expected: Definition, mixedSigns: boolean, exact = false, clamp: Clamp | null = null,
  others: Float64Array | null = null,
): Verdict {
  const { y, magnitude, terms } = expected;
  if (actual.length !== y.length) return { worst: Infinity, failure: `${actual.length} outputs instead of ${y.length}` };
  const points = terms.length;
  let worst = 0;
  for (let i = 0, position = 0; i < y.length; i++) {
    const n = terms[position] as number;
    if (++position === points) position = 0;
    const value = actual[i] as number;
    let wanted = y[i] as number;
    if (clamp !== null) wanted = wanted < clamp.lower ? clamp.lower : wanted > clamp.upper ? clamp.upper : wanted;
    if (!isFinite(wanted)) {
      if (!is(value, wanted)) return { worst: Infinity, failure: `output ${i}: ${value} instead of ${wanted}` };
      continue;
    }
    const elementWise = exact || n === 1 ? 0 : tolerance(n, magnitude[i] as number, mixedSigns);
    const allowed = others === null || exact || n === 1 ? elementWise : max(elementWise, others[i] as number);
    const error = abs(value - wanted);
    if (!(error <= allowed)) {
      return {
        worst: Infinity,
        failure: `output ${i}: ${value} instead of ${wanted}, error ${error.toExponential(3)}, allowed ${allowed.toExponential(3)}, terms ${n}`,
      };
    }
    if (allowed > 0) worst = max(worst, error / allowed);
  }
  return { worst, failure: null };
}
