/** Keras' Conv1DTranspose, Conv2DTranspose and Conv3DTranspose. */
import { argumentError, list } from '../errors';
import { runAsync, runSync } from '../functional';
import type { ModuleOptions } from '../modules';
import { readPerDimension, toInteger, toWord } from '../options';
import type { OutputRule } from '../shape';
import type { Tensor, TensorLike } from '../tensor';
import {
  callAsyncOptionNames, callOptionNames, inputPattern, layerOptionNames, readNamed, readOptional, readRanked,
  type CallAsyncOptions, type CallOptions, type LayerOptions, type OptionalTensor,
} from './arguments';
import { dimensionsOf, pytorchWeight, readKernel, windowOf, type Kernel } from './channels';
import { PreparedLayer, type LayerDescription } from './layer';
import { withNames, withNamesAsync, type Names } from './names';
import { kerasSpan, spansFor } from './tensorflow-sizes';

/**
 * A layer's configuration by Keras' names; those left out have Keras' defaults.
 *
 * @see https://keras.io/api/layers/convolution_layers/convolution2d_transpose/
 */
export interface ConvTransposeConfig {
  /** Integers of at least 1, one for all dimensions or one each. Default 1. */
  readonly strides?: number | readonly number[] | undefined;
  /** Default `'valid'`. */
  readonly padding?: 'valid' | 'same' | undefined;
  /** Less than `strides`; one for all dimensions or one each. Left out or null: what Keras infers, which is not 0. */
  readonly output_padding?: number | readonly number[] | null | undefined;
  /** Default `'channels_last'`. */
  readonly data_format?: 'channels_last' | 'channels_first' | undefined;
  /**
   * Integers of at least 1. Default 1. Keras' layers refuse it beside `strides` larger than 1; here its published formula, with the
   * extent of the dilated kernel, holds for all.
   */
  readonly dilation_rate?: number | readonly number[] | undefined;
  /** Must be the kernel's sizes, if given. */
  readonly kernel_size?: number | readonly number[] | undefined;
  /** Must be the kernel's output channels, if given. */
  readonly filters?: number | undefined;
}

const configNames = ['strides', 'padding', 'output_padding', 'data_format', 'dilation_rate', 'kernel_size', 'filters'] as const;
const paddings = ['valid', 'same'] as const;
const dataFormats = ['channels_last', 'channels_first'] as const;

const names: Names = { input: 'inputs', weight: 'kernel', stride: 'strides', dilation: 'dilation_rate' };

/** What a configuration and a kernel come to. */
interface Description {
  readonly options: ModuleOptions;
  readonly outputRule: OutputRule;
  readonly inputPattern: string;
}

function describe(dims: number, value: unknown, kernel: Kernel): Description {
  const raw = readNamed(value, 'config', configNames);
  const read = (name: (typeof configNames)[number], min: number): number[] | undefined =>
    raw[name] === undefined ? undefined : readPerDimension(raw[name], name, dims, min);
  const ones = new Array<number>(dims).fill(1);
  const stride = read('strides', 1) ?? ones;
  const dilation = read('dilation_rate', 1) ?? ones;
  // Keras does not mind capitals.
  const padding = raw.padding === undefined
    ? 'valid'
    : toWord(typeof raw.padding === 'string' ? raw.padding.toLowerCase() : raw.padding, 'padding', paddings);
  const channelsLast = raw.data_format === undefined || toWord(raw.data_format, 'data_format', dataFormats) === 'channels_last';
  const outputPadding = raw.output_padding === null ? undefined : read('output_padding', 0);
  outputPadding?.forEach((rows, i) => {
    if (rows >= (stride[i] as number)) {
      throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_padding',
        `less than strides (0 to ${(stride[i] as number) - 1} in dimension ${i})`, String(rows));
    }
  });
  const kernelSize = read('kernel_size', 1) ?? kernel.sizes;
  if (kernelSize.some((size, i) => size !== kernel.sizes[i])) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'kernel_size', `the kernel's sizes, ${list(kernel.sizes)}`, list(kernelSize));
  }
  const filters = raw.filters === undefined ? kernel.outChannels : toInteger(raw.filters, 'filters', 1);
  if (filters !== kernel.outChannels) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'filters', `the kernel's output channels, ${kernel.outChannels}`, String(filters));
  }

  const outputRule: OutputRule = (input, _natural, outputSize) => {
    const dimensions = dimensionsOf(input, stride, dilation, kernel.sizes);
    if (outputSize !== undefined) {
      if (outputPadding !== undefined) {
        throw argumentError('ERR_CONVTRANSPOSE_CONFLICT', 'outputSize', 'either outputSize or output_padding', 'both');
      }
      return windowOf(spansFor(dimensions, outputSize, new Array<typeof padding>(dims).fill(padding), 'outputSize'));
    }
    const spans = dimensions.map((dimension, i) => kerasSpan(dimension, padding, outputPadding?.[i]));
    spans.forEach(({ size }, i) => {
      if (size < 0) {
        throw argumentError('ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'inputs', `sizes that give an output of at least 0 in dimension ${i}`, list(input));
      }
    });
    return windowOf(spans);
  };
  return {
    options: { stride, dilation, memoryFormat: channelsLast ? 'channelsLast' : 'contiguous' },
    outputRule,
    inputPattern: inputPattern(dims, channelsLast),
  };
}

/** All that one call needs, read once. */
function prepareCall(dims: number, inputs: unknown, kernel: unknown, bias: unknown, config: unknown) {
  const read = readKernel(kernel, 'kernel', dims);
  const { options, outputRule, inputPattern: pattern } = describe(dims, config, read);
  const input = readRanked(inputs, 'inputs', [dims + 2], pattern);
  return { input, bias: readOptional(bias, 'bias'), weight: pytorchWeight(read), options, outputRule };
}

function call(dims: number, inputs: unknown, kernel: unknown, bias: unknown, config: unknown, options: unknown): Tensor {
  const raw = readNamed(options, 'options', callOptionNames);
  return withNames(names, () => {
    const given = prepareCall(dims, inputs, kernel, bias, config);
    return runSync(dims, given.input, given.weight, given.bias, { ...raw, ...given.options }, given.outputRule);
  });
}

function callAsync(
  dims: number, inputs: unknown, kernel: unknown, bias: unknown, config: unknown, options: unknown,
): Promise<Tensor> {
  return withNamesAsync(names, async () => {
    const raw = readNamed(options, 'options', callAsyncOptionNames);
    const given = prepareCall(dims, inputs, kernel, bias, config);
    return await runAsync(dims, given.input, given.weight, given.bias, { ...raw, ...given.options }, given.outputRule);
  });
}

/**
 * Keras' Conv1DTranspose, or `keras.ops.conv_transpose` with a bias. The kernel is converted and packed for this call alone;
 * {@link Conv1DTranspose} keeps it.
 *
 * @param inputs float32 [N, W, in], or [N, in, W] with `data_format: 'channels_first'`
 * @param kernel float32 [k, out, in]
 * @param bias float32 [out]; null or undefined for none
 * @returns float32 in the layout of the inputs
 * @throws TypeError or RangeError with `code`, and as `argument` Keras' name
 */
export function conv1dTranspose(
  inputs: TensorLike, kernel: TensorLike, bias?: OptionalTensor, config?: ConvTransposeConfig, options?: CallOptions,
): Tensor {
  return call(1, inputs, kernel, bias, config, options);
}

/**
 * Keras' Conv2DTranspose; otherwise as {@link conv1dTranspose}.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { keras } from 'convtranspose/compat';
 * const inputs = Tensor.zeros([1, 16, 16, 3]);
 * const kernel = Tensor.zeros([3, 3, 8, 3]); // height, width, out, in
 * console.log(keras.conv2dTranspose(inputs, kernel, null, { strides: 2, padding: 'same' }).shape); // [ 1, 32, 32, 8 ]
 * ```
 *
 * @param inputs float32 [N, H, W, in], or [N, in, H, W] with `data_format: 'channels_first'`
 * @param kernel float32 [kH, kW, out, in]
 */
export function conv2dTranspose(
  inputs: TensorLike, kernel: TensorLike, bias?: OptionalTensor, config?: ConvTransposeConfig, options?: CallOptions,
): Tensor {
  return call(2, inputs, kernel, bias, config, options);
}

/**
 * Keras' Conv3DTranspose; otherwise as {@link conv1dTranspose}.
 *
 * @param inputs float32 [N, D, H, W, in], or [N, in, D, H, W] with `data_format: 'channels_first'`
 * @param kernel float32 [kD, kH, kW, out, in]
 */
export function conv3dTranspose(
  inputs: TensorLike, kernel: TensorLike, bias?: OptionalTensor, config?: ConvTransposeConfig, options?: CallOptions,
): Tensor {
  return call(3, inputs, kernel, bias, config, options);
}

/** {@link conv1dTranspose} on the package's own threads; rules as for `convTranspose1dAsync`. */
export function conv1dTransposeAsync(
  inputs: TensorLike, kernel: TensorLike, bias?: OptionalTensor, config?: ConvTransposeConfig, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(1, inputs, kernel, bias, config, options);
}

/** {@link conv2dTranspose} on the package's own threads; rules as for `convTranspose2dAsync`. */
export function conv2dTransposeAsync(
  inputs: TensorLike, kernel: TensorLike, bias?: OptionalTensor, config?: ConvTransposeConfig, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(2, inputs, kernel, bias, config, options);
}

/** {@link conv3dTranspose} on the package's own threads; rules as for `convTranspose3dAsync`. */
export function conv3dTransposeAsync(
  inputs: TensorLike, kernel: TensorLike, bias?: OptionalTensor, config?: ConvTransposeConfig, options?: CallAsyncOptions,
): Promise<Tensor> {
  return callAsync(3, inputs, kernel, bias, config, options);
}

function describeLayer(dims: number, config: unknown, kernel: unknown, bias: unknown, options: unknown): LayerDescription {
  const raw = readNamed(options, 'options', layerOptionNames);
  return withNames(names, () => {
    const read = readKernel(kernel, 'kernel', dims);
    const description = describe(dims, config, read);
    const biasView = readOptional(bias, 'bias');
    return {
      ...description,
      inChannels: read.inChannels,
      outChannels: read.outChannels,
      kernel: read.sizes,
      options: { ...raw, ...description.options, weight: pytorchWeight(read), bias: biasView ?? null } as ModuleOptions,
      names,
    };
  });
}

/**
 * Keras' Conv1DTranspose with its weights, which are converted and packed once.
 *
 * `outputSize` of a call, as `output_shape` of `tf.nn.conv1d_transpose`, may be any size that the convolution of the same padding and
 * strides turns back into that of the inputs.
 */
export class Conv1DTranspose extends PreparedLayer {
  /** Arguments as for {@link conv1dTranspose}. */
  constructor(config: ConvTransposeConfig, kernel: TensorLike, bias?: OptionalTensor, options?: LayerOptions) {
    super(describeLayer(1, config, kernel, bias, options));
  }
}

/**
 * Keras' Conv2DTranspose with its weights; otherwise as {@link Conv1DTranspose}.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { keras } from 'convtranspose/compat';
 * const up = new keras.Conv2DTranspose({ strides: 2, padding: 'same' }, Tensor.zeros([3, 3, 8, 4]), Tensor.zeros([8]));
 * console.log(up.forward(Tensor.zeros([1, 16, 16, 4])).shape); // [ 1, 32, 32, 8 ]
 * console.log(up.forward(Tensor.zeros([1, 16, 16, 4]), { outputSize: [31, 32] }).shape); // [ 1, 31, 32, 8 ]
 * up.dispose();
 * ```
 */
export class Conv2DTranspose extends PreparedLayer {
  /** Arguments as for {@link conv2dTranspose}. */
  constructor(config: ConvTransposeConfig, kernel: TensorLike, bias?: OptionalTensor, options?: LayerOptions) {
    super(describeLayer(2, config, kernel, bias, options));
  }
}

/** Keras' Conv3DTranspose with its weights; otherwise as {@link Conv1DTranspose}. */
export class Conv3DTranspose extends PreparedLayer {
  /** Arguments as for {@link conv3dTranspose}. */
  constructor(config: ConvTransposeConfig, kernel: TensorLike, bias?: OptionalTensor, options?: LayerOptions) {
    super(describeLayer(3, config, kernel, bias, options));
  }
}
