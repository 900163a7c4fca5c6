/** TensorFlow's tf.nn.conv1d_transpose, conv2d_transpose and conv3d_transpose. */
import { argumentError, list, typeError } from '../errors';
import { runAsync, runSync } from '../functional';
import { readList, toInteger, toWord } from '../options';
import type { OutputRule } from '../shape';
import type { Tensor, TensorLike } from '../tensor';
import {
  callAsyncOptionNames, callOptionNames, inputPattern, readIntegerList, readNamed, readRanked, readTensorFlowList,
  type CallAsyncOptions, type CallOptions,
} from './arguments';
import { dimensionsOf, pytorchWeight, readKernel, windowOf } from './channels';
import { withNames, withNamesAsync, type Names } from './names';
import { spansFor, type Padding } from './tensorflow-sizes';

/**
 * Arguments by TensorFlow's names; those left out have its defaults.
 *
 * @see https://www.tensorflow.org/api_docs/python/tf/nn/conv2d_transpose
 */
export interface ConvTransposeArguments {
  /** The whole shape of the output, with batch and channels, in the layout of `data_format`. */
  readonly output_shape: readonly number[];
  /** One integer of at least 1, one per spatial dimension, or one per dimension of the tensor. */
  readonly strides: number | readonly number[];
  /** Default `'SAME'`. In two dimensions also rows on both sides of every dimension of the tensor: `[[0, 0], [top, bottom], [left, right], [0, 0]]`. */
  readonly padding?: 'SAME' | 'VALID' | readonly (readonly [number, number])[] | undefined;
  /** NWC, NHWC or NDHWC (the default), or NCW, NCHW or NCDHW. */
  readonly data_format?: string | undefined;
  /** As `strides`. Default 1. */
  readonly dilations?: number | readonly number[] | undefined;
}

const argumentNames = ['output_shape', 'strides', 'padding', 'data_format', 'dilations'] as const;
const dataFormats = [['NWC', 'NCW'], ['NHWC', 'NCHW'], ['NDHWC', 'NCDHW']] as const;
const words = ['SAME', 'VALID'] as const;

const names: Names = { weight: 'filters', stride: 'strides', dilation: 'dilations' };

/** Reads `padding`: the same word for all dimensions, or rows. */
function readPadding(value: unknown, dims: number, channelsLast: boolean): Padding[] {
  const all = (padding: Padding) => new Array<Padding>(dims).fill(padding);
  if (value === undefined) return all('same');
  if (typeof value === 'string' || dims !== 2) return all(toWord(value, 'padding', words) === 'SAME' ? 'same' : 'valid');
  const expected = `'SAME', 'VALID' or ${dims + 2} pairs [begin, end]`;
  if (!Array.isArray(value)) throw typeError('padding', expected, value);
  const pairs = readList(value, 'padding', expected).map((pair) => {
    const rows = readList(pair, 'padding', 'a pair [begin, end]').map((row, i) => toInteger(row, 'padding', 0, undefined, i));
    if (rows.length !== 2) throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding', 'pairs [begin, end]', list(rows));
    return rows as [number, number];
  });
  const begin = channelsLast ? 1 : 2;
  const spatial = pairs.slice(begin, begin + dims);
  const others = pairs.filter((_, i) => i < begin || i >= begin + dims);
  if (pairs.length !== dims + 2) throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding', expected, `${pairs.length} entries`);
  if (others.some(([first, last]) => first !== 0 || last !== 0)) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding', '[0, 0] for the batch and the channels', 'other numbers');
  }
  return spatial;
}

/** All that one call needs, read once. */
function prepareCall(dims: number, input: unknown, filters: unknown, value: unknown) {
  const kernel = readKernel(filters, 'filters', dims);
  const raw = readNamed(value, 'arguments', argumentNames);
  const formats = dataFormats[dims - 1] as readonly string[];
  const channelsLast = raw.data_format === undefined || toWord(raw.data_format, 'data_format', formats) === formats[0];
  if (raw.output_shape === undefined) throw typeError('output_shape', `an array of ${dims + 2} integers`, undefined);
  if (raw.strides === undefined) throw typeError('strides', 'an integer or an array', undefined);
  const outputShape = readIntegerList(raw.output_shape, 'output_shape', dims + 2, 0);
  const stride = readTensorFlowList(raw.strides, 'strides', dims, channelsLast);
  const dilation = readTensorFlowList(raw.dilations ?? 1, 'dilations', dims, channelsLast);
  const padding = readPadding(raw.padding, dims, channelsLast);
  const view = readRanked(input, 'input', [dims + 2], inputPattern(dims, channelsLast));
  const channels = outputShape[channelsLast ? dims + 1 : 1];
  if (outputShape[0] !== view.shape[0] || channels !== kernel.outChannels) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'output_shape',
      `a batch of ${String(view.shape[0])} and ${kernel.outChannels} channels`, list(outputShape));
  }
  const sizes = channelsLast ? outputShape.slice(1, dims + 1) : outputShape.slice(2);
  const outputRule: OutputRule = (inputSizes) =>
    windowOf(spansFor(dimensionsOf(inputSizes, stride, dilation, kernel.sizes), sizes, padding, 'output_shape'));
  return {
    input: view,
    weight: pytorchWeight(kernel),
    options: { stride, dilation, memoryFormat: channelsLast ? 'channelsLast' : 'contiguous' },
    outputRule,
  };
}

function call(dims: number, input: unknown, filters: unknown, value: unknown, options: unknown): Tensor {
  const raw = readNamed(options, 'options', callOptionNames);
  return withNames(names, () => {
    const given = prepareCall(dims, input, filters, value);
    return runSync(dims, given.input, given.weight, null, { ...raw, ...given.options }, given.outputRule);
  });
}

function callAsync(dims: number, input: unknown, filters: unknown, value: unknown, options: unknown): Promise<Tensor> {
  return withNamesAsync(names, async () => {
    const raw = readNamed(options, 'options', callAsyncOptionNames);
    const given = prepareCall(dims, input, filters, value);
    return await runAsync(dims, given.input, given.weight, null, { ...raw, ...given.options }, given.outputRule);
  });
}

/**
 * `tf.nn.conv1d_transpose`. `output_shape` must be one that the convolution of the same padding and strides turns back into the
 * shape of the input; the error names the range. For weights that stay the same, `keras.Conv1DTranspose` converts and packs them once,
 * and takes the sizes as `outputSize` of each call.
 *
 * @param input float32 [N, W, in] or, with `data_format: 'NCW'`, [N, in, W]
 * @param filters float32 [k, out, in]
 * @returns float32 of shape `output_shape`
 * @throws TypeError or RangeError with `code`, and as `argument` TensorFlow's name
 */
export function conv1dTranspose(
  input: TensorLike, filters: TensorLike, args: ConvTransposeArguments, options?: CallOptions,
): Tensor {
  return call(1, input, filters, args, options);
}

/**
 * `tf.nn.conv2d_transpose`; otherwise as {@link conv1dTranspose}.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { tf } from 'convtranspose/compat';
 * const input = Tensor.zeros([1, 8, 8, 3]);
 * const filters = Tensor.zeros([5, 5, 2, 3]); // height, width, out, in
 * console.log(tf.conv2dTranspose(input, filters, { output_shape: [1, 15, 16, 2], strides: 2 }).shape); // [ 1, 15, 16, 2 ]
 * ```
 */
export function conv2dTranspose(
  input: TensorLike, filters: TensorLike, args: ConvTransposeArguments, options?: CallOptions,
): Tensor {
  return call(2, input, filters, args, options);
}

/** `tf.nn.conv3d_transpose`; otherwise as {@link conv1dTranspose}. */
export function conv3dTranspose(
  input: TensorLike, filters: TensorLike, args: ConvTransposeArguments, options?: CallOptions,
): Tensor {
  return call(3, input, filters, args, options);
}

/** {@link conv1dTranspose} on the package's own threads; rules as for `convTranspose1dAsync`. */
export function conv1dTransposeAsync(
  input: TensorLike, filters: TensorLike, args: ConvTransposeArguments, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(1, input, filters, args, options);
}

/** {@link conv2dTranspose} on the package's own threads; rules as for `convTranspose2dAsync`. */
export function conv2dTransposeAsync(
  input: TensorLike, filters: TensorLike, args: ConvTransposeArguments, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(2, input, filters, args, options);
}

/** {@link conv3dTranspose} on the package's own threads; rules as for `convTranspose3dAsync`. */
export function conv3dTransposeAsync(
  input: TensorLike, filters: TensorLike, args: ConvTransposeArguments, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(3, input, filters, args, options);
}
