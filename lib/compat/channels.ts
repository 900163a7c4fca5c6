/** What the references of TensorFlow's family share: kernels [...k, out, in], and channels that stand last or first. */
import { argumentError, list } from '../errors';
import { readTensor, type TensorView } from '../tensor';
import type { OutputWindow } from '../shape';
import { checkRank } from './arguments';
import { convertWeights } from './layouts';
import type { Dimension, Span } from './tensorflow-sizes';

/** A kernel [...k, out, in], read once. */
export interface Kernel {
  /** Spatial sizes. */
  readonly sizes: readonly number[];
  readonly outChannels: number;
  readonly inChannels: number;
  readonly view: TensorView;
}

/** Reads a kernel; `argument` is the reference's name of it. */
export function readKernel(value: unknown, argument: string, dims: number): Kernel {
  const view = readTensor(value, argument);
  checkRank(view.shape, argument, [dims + 2], `[${'k, '.repeat(dims)}out, in]`);
  const sizes = view.shape.slice(0, dims);
  if (sizes.includes(0)) throw argumentError('ERR_CONVTRANSPOSE_SHAPE', argument, 'a kernel of at least 1', list(view.shape));
  const [outChannels, inChannels] = view.shape.slice(dims) as [number, number];
  return { sizes, inChannels, outChannels, view };
}

/** The kernel as PyTorch has it, [in, out, ...k]: a copy, to be made when nothing is left to check. */
export function pytorchWeight({ view }: Kernel): TensorView {
  return convertWeights(view, 'keras', 'pytorch');
}

/** The dimensions of a layer for inputs of some sizes. */
export function dimensionsOf(
  input: readonly number[], stride: readonly number[], dilation: readonly number[], kernel: readonly number[],
): Dimension[] {
  return input.map((size, i) => ({
    input: size, stride: stride[i] as number, extent: ((kernel[i] as number) - 1) * (dilation[i] as number) + 1,
  }));
}

/** The window that spans describe, one per dimension. */
export function windowOf(spans: readonly Span[]): OutputWindow {
  return { begin: spans.map(({ begin }) => begin), output: spans.map(({ size }) => size) };
}
