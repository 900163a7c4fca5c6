/**
 * TensorFlow's sizes. There a transposed convolution is the gradient of a convolution, so an output size is right if that
 * convolution would turn it back into the size of the input. Everything here is about one dimension; `extent` is the size of the
 * kernel with its dilation.
 */
import { argumentError, list } from '../errors';

/** Begin and size of the output. */
export interface Span {
  readonly begin: number;
  readonly size: number;
}

/** Padding of the convolution that is undone: 'same', 'valid', or rows on both sides. */
export type Padding = 'same' | 'valid' | readonly [begin: number, end: number];

/** How a convolution rounds the number of its outputs. */
export type Rounding = 'floor' | 'round' | 'ceil';

export interface Dimension {
  readonly input: number;
  readonly stride: number;
  readonly extent: number;
}

/** The smallest and the largest output size that the convolution turns into `input`. */
function legalSizes({ input, stride, extent }: Dimension, padding: Padding, rounding: Rounding): [least: number, most: number] {
  // ceil(size / stride) is input.
  if (padding === 'same') return [(input - 1) * stride + 1, input * stride];
  // (size + rows - extent) / stride + 1, rounded, is input. Half-way counts are rounded up.
  const rows = padding === 'valid' ? 0 : padding[0] + padding[1];
  const below = { floor: (input - 1) * stride, round: Math.ceil((input - 1.5) * stride), ceil: (input - 2) * stride + 1 }[rounding];
  return [below + extent - rows, below + stride - 1 + extent - rows];
}

/** The output for sizes that the caller names; refuses those that the convolution does not turn into the sizes of the input. */
export function spansFor(
  dimensions: readonly Dimension[], sizes: readonly number[], padding: readonly Padding[], argument: string, rounding: Rounding = 'floor',
): Span[] {
  const ranges = dimensions.map((dimension, i) => legalSizes(dimension, padding[i] as Padding, rounding));
  if (sizes.some((size, i) => size < Math.max(0, (ranges[i] as number[])[0] as number) || size > ((ranges[i] as number[])[1] as number))) {
    const least = ranges.map(([size]) => Math.max(0, size));
    const most = ranges.map(([, size]) => size);
    throw argumentError('ERR_CONVTRANSPOSE_OUTPUT_SIZE', argument,
      `spatial sizes from ${list(least)} to ${list(most)} (for input sizes ${list(dimensions.map(({ input }) => input))})`, list(sizes));
  }
  return sizes.map((size, i) => {
    const { input, stride, extent } = dimensions[i] as Dimension;
    const rule = padding[i] as Padding;
    if (rule === 'valid') return { begin: 0, size };
    if (rule !== 'same') return { begin: rule[0], size };
    return { begin: Math.floor(Math.max(0, (input - 1) * stride + extent - size) / 2), size };
  });
}

/** Keras' output size without and with output_padding, and where it begins. */
export function kerasSpan({ input, stride, extent }: Dimension, padding: 'same' | 'valid', outputPadding: number | undefined): Span {
  const natural = (input - 1) * stride + extent;
  if (padding === 'valid') {
    return { begin: 0, size: natural + (outputPadding ?? Math.max(extent, stride) - extent) };
  }
  // Keras pads the input, stretched by the stride, by so many rows in all; the larger half, but never more than a kernel reaches, in front.
  const rows = outputPadding === undefined ? stride + extent - 2 : extent + (extent % 2) - 2 + outputPadding;
  const front = Math.min(Math.ceil(rows / 2), extent - 1);
  const size = outputPadding === undefined ? input * stride : (input - 1) * stride + (extent % 2) + outputPadding;
  return { begin: extent - 1 - front, size };
}
