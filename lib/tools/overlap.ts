/**
 * How many products reach an output: the overlap of the kernel with itself, shifted by multiples of the stride. In several
 * dimensions the counts of the dimensions multiply, so all of this is about one.
 */

/** One dimension of a transposed convolution on an input of known size. */
export interface Axis {
  readonly input: number;
  readonly output: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  /** Rows cropped at the beginning. */
  readonly begin: number;
}

/**
 * Taps of each phase: entry r counts the k from 0 to kernel - 1 with k * dilation = r modulo stride. Far from the borders that many
 * products reach each output o with (o + begin) = r modulo stride.
 */
export function tapsOfPhases(kernel: number, stride: number, dilation: number): number[] {
  const taps = new Array<number>(stride).fill(0);
  // The residues repeat after `cycle` taps.
  const cycle = stride / greatestCommonDivisor(stride, dilation);
  for (let k = 0; k < Math.min(kernel, cycle); k++) taps[(k * dilation) % stride] = Math.ceil((kernel - k) / cycle);
  return taps;
}

/** True if every phase has the same number of taps: without borders, ones convolved with ones are flat. */
export function isEven(kernel: number, stride: number, dilation: number): boolean {
  return greatestCommonDivisor(stride, dilation) === 1 && kernel % stride === 0;
}

/** Products that reach each of the outputs, borders included. */
export function overlapAlong({ input, output, kernel, stride, dilation, begin }: Axis): Float64Array {
  const counts = new Float64Array(output);
  for (let k = 0; k < kernel; k++) {
    const shift = k * dilation - begin;
    const first = Math.max(0, Math.ceil(-shift / stride));
    for (let i = first, o = first * stride + shift; i < input && o < output; i++, o += stride) counts[o] = (counts[o] as number) + 1;
  }
  return counts;
}

export function greatestCommonDivisor(a: number, b: number): number {
  let [large, small] = [a, b];
  while (small !== 0) [large, small] = [small, large % small];
  return large;
}
