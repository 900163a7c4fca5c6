/** tfjs' conv2dTranspose and conv3dTranspose, by their signatures. What tfjs would silently ignore is refused. */
import { argumentError, describe, list, typeError } from '../errors';
import { runAsync, runSync } from '../functional';
import { readList, readPerDimension, toInteger, toWord } from '../options';
import type { OutputRule } from '../shape';
import type { Tensor, TensorLike } from '../tensor';
import {
  callAsyncOptionNames, callOptionNames, inputPattern, readIntegerList, readNamed, readRanked, type CallAsyncOptions, type CallOptions,
} from './arguments';
import { dimensionsOf, pytorchWeight, readKernel, windowOf } from './channels';
import { withNames, withNamesAsync, type Names } from './names';
import { spansFor, type Padding, type Rounding } from './tensorflow-sizes';

/** A tensor of tfjs, whose elements `dataSync` gives, or one of this package. */
export type TfjsTensor = TensorLike | { readonly shape: readonly number[]; dataSync(): Float32Array };

/** `'same'`, `'valid'`, rows on all sides, or `[[0, 0], [top, bottom], [left, right], [0, 0]]`. */
export type Pad = 'valid' | 'same' | number | readonly (readonly [number, number])[];

const names: Names = { input: 'x', weight: 'filter', stride: 'strides' };
const pads = ['valid', 'same'] as const;
const roundings = ['floor', 'round', 'ceil'] as const;

/** A tensor of tfjs as this package reads it; everything else as it is. */
function readTfjs(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const source = value as { dataSync?: unknown; shape?: unknown };
  return typeof source.dataSync === 'function' ? { data: (value as { dataSync(): unknown }).dataSync(), shape: source.shape } : value;
}

/** Reads `pad`. */
function readPad(value: unknown, dims: number): Padding[] {
  const all = (padding: Padding) => new Array<Padding>(dims).fill(padding);
  if (typeof value === 'string') return all(toWord(value, 'pad', pads));
  if (typeof value === 'number' && dims === 2) {
    const rows = toInteger(value, 'pad', 0);
    return all([rows, rows]);
  }
  const expected = dims === 2 ? "'valid', 'same', an integer of at least 0, or 4 pairs [begin, end]" : "'valid' or 'same'";
  if (!Array.isArray(value) || dims !== 2) throw typeError('pad', expected, value);
  const pairs = readList(value, 'pad', expected).map((pair) => readIntegerList(pair, 'pad', 2, 0));
  const outer = [...(pairs[0] ?? [1]), ...(pairs[3] ?? [1])];
  if (pairs.length !== 4 || outer.some((rows) => rows !== 0)) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'pad', '[[0, 0], [top, bottom], [left, right], [0, 0]]', list(pairs.flat()));
  }
  return [pairs[1] as [number, number], pairs[2] as [number, number]];
}

/** All that one call needs, read once. */
function prepareCall(dims: number, given: readonly unknown[]) {
  const [x, filter, outputShape, strides, pad, dimRoundingMode] = given;
  const pattern = inputPattern(dims, true);
  const kernel = readKernel(readTfjs(filter), 'filter', dims);
  const input = readRanked(readTfjs(x), 'x', [dims + 1, dims + 2], `${pattern} or [${pattern.slice('[N, '.length)}`);
  const rank = input.shape.length;
  const shape = readIntegerList(outputShape, 'outputShape', rank, 0);
  if (strides === undefined) throw typeError('strides', 'an integer or an array', undefined);
  const stride = readPerDimension(strides, 'strides', dims, 1);
  const padding = readPad(pad, dims);
  let rounding: Rounding = 'floor';
  if (dimRoundingMode !== undefined && dimRoundingMode !== null) {
    rounding = toWord(dimRoundingMode, 'dimRoundingMode', roundings);
    if (typeof pad === 'string') {
      throw argumentError('ERR_CONVTRANSPOSE_CONFLICT', 'dimRoundingMode', 'a rounding mode only beside pad in numbers', `pad ${describe(pad)}`);
    }
  }
  const batch = rank === dims + 2 ? input.shape[0] : undefined;
  if ((batch !== undefined && shape[0] !== batch) || shape[rank - 1] !== kernel.outChannels) {
    const images = batch === undefined ? '' : `a batch of ${batch} and `;
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'outputShape', `${images}${kernel.outChannels} channels`, list(shape));
  }
  const sizes = shape.slice(rank - 1 - dims, rank - 1);
  const ones = new Array<number>(dims).fill(1);
  const outputRule: OutputRule = (inputSizes) =>
    windowOf(spansFor(dimensionsOf(inputSizes, stride, ones, kernel.sizes), sizes, padding, 'outputShape', rounding));
  return { input, weight: pytorchWeight(kernel), options: { stride, memoryFormat: 'channelsLast' }, outputRule };
}

function call(dims: number, given: readonly unknown[], options: unknown): Tensor {
  const raw = readNamed(options, 'options', callOptionNames);
  return withNames(names, () => {
    const { input, weight, options: own, outputRule } = prepareCall(dims, given);
    return runSync(dims, input, weight, null, { ...raw, ...own }, outputRule);
  });
}

function callAsync(dims: number, given: readonly unknown[], options: unknown): Promise<Tensor> {
  return withNamesAsync(names, async () => {
    const raw = readNamed(options, 'options', callAsyncOptionNames);
    const { input, weight, options: own, outputRule } = prepareCall(dims, given);
    return await runAsync(dims, input, weight, null, { ...raw, ...own }, outputRule);
  });
}

/**
 * tfjs' `tf.conv2dTranspose`. `outputShape`, which tfjs does not check, must be one that the convolution of the same padding and
 * strides turns back into the shape of `x`; options such as dilations, which tfjs ignores, are refused.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { tfjs } from 'convtranspose/compat';
 * const x = Tensor.zeros([1, 4, 4, 3]);
 * const filter = Tensor.zeros([3, 3, 8, 3]);
 * console.log(tfjs.conv2dTranspose(x, filter, [1, 8, 8, 8], 2, 'same').shape); // [ 1, 8, 8, 8 ]
 * ```
 *
 * @param x float32 [N, H, W, in] or [H, W, in]: a tensor of tfjs, or any that this package takes
 * @param filter float32 [kH, kW, out, in]
 * @param outputShape with batch and channels, of the rank of `x`
 * @param strides one integer of at least 1, or one per dimension
 * @param pad padding of the convolution that is undone
 * @param dimRoundingMode how that convolution rounds its number of outputs; only beside `pad` in numbers. Default: down
 * @returns float32 of shape `outputShape`
 * @throws TypeError or RangeError with `code`, and as `argument` tfjs' name
 * @see https://js.tensorflow.org/api/latest/#conv2dTranspose
 */
export function conv2dTranspose(
  x: TfjsTensor, filter: TfjsTensor, outputShape: readonly number[], strides: number | readonly number[], pad: Pad,
  dimRoundingMode?: Rounding, options?: CallOptions,
): Tensor {
  return call(2, [x, filter, outputShape, strides, pad, dimRoundingMode], options);
}

/** tfjs' `tf.conv3dTranspose`: as {@link conv2dTranspose}, with `pad` `'valid'` or `'same'`. */
export function conv3dTranspose(
  x: TfjsTensor, filter: TfjsTensor, outputShape: readonly number[], strides: number | readonly number[], pad: 'valid' | 'same',
  options?: CallOptions,
): Tensor {
  return call(3, [x, filter, outputShape, strides, pad], options);
}

/** {@link conv2dTranspose} on the package's own threads; rules as for `convTranspose2dAsync`. */
export function conv2dTransposeAsync(
  x: TfjsTensor, filter: TfjsTensor, outputShape: readonly number[], strides: number | readonly number[], pad: Pad,
  dimRoundingMode?: Rounding, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(2, [x, filter, outputShape, strides, pad, dimRoundingMode], options);
}

/** {@link conv3dTranspose} on the package's own threads; rules as for `convTranspose3dAsync`. */
export function conv3dTransposeAsync(
  x: TfjsTensor, filter: TfjsTensor, outputShape: readonly number[], strides: number | readonly number[], pad: 'valid' | 'same',
  options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(3, [x, filter, outputShape, strides, pad], options);
}
