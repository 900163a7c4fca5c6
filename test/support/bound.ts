/**
 * The promised accuracy of the direct, gemm, depthwise and reference kernels: with n = products reaching an output + 1 and
 * B = |b| + sum |x||w|,
 *
 *   |error| <= n * 2^-24 * B                       on any data (classical),
 *   |error| <= 2^-22 * sqrt(n) * B + n * 2^-126    on data of mixed signs.
 */
import type { Definition } from './definition';

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
 * `winograd`: what outputs are allowed if Winograd made them (winograd-bound.ts); where it is more it counts.
 */
export function compare(
  actual: Float32Array, expected: Definition, mixedSigns: boolean, exact = false, clamp: Clamp | null = null,
  winograd: Float64Array | null = null,
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
    const allowed = winograd === null || exact || n === 1 ? elementWise : max(elementWise, winograd[i] as number);
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
