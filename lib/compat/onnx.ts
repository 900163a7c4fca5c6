/** ONNX's operator ConvTranspose, versions 1, 11 and 22. */
import { argumentError, list } from '../errors';
import { runAsync, runSync } from '../functional';
import { toInteger, toWord, type RawOptions } from '../options';
import type { OutputRule } from '../shape';
import { readTensor, type Tensor, type TensorLike, type TensorView } from '../tensor';
import {
  callAsyncOptionNames, callOptionNames, checkRank, layerOptionNames, readIntegerList, readNamed, readOptional, readRanked,
  type CallAsyncOptions, type CallOptions, type LayerOptions, type OptionalTensor,
} from './arguments';
import { PreparedLayer, type LayerDescription } from './layer';
import { withNames, withNamesAsync, type Names } from './names';

/**
 * The operator's attributes, by their own names; those left out have the operator's defaults.
 *
 * @see https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
 */
export interface ConvTransposeAttributes {
  /** Default NOTSET: `pads` are given. SAME_*: the output size is input size * stride. VALID: no padding. */
  readonly auto_pad?: 'NOTSET' | 'SAME_UPPER' | 'SAME_LOWER' | 'VALID' | undefined;
  /** One integer of at least 1 per spatial dimension. Default 1. */
  readonly dilations?: readonly number[] | undefined;
  /** Default 1. */
  readonly group?: number | undefined;
  /** The kernel's sizes, which must be those of W. Default: taken from W. */
  readonly kernel_shape?: readonly number[] | undefined;
  /** One integer per spatial dimension, less than stride or dilation. Default 0. */
  readonly output_padding?: readonly number[] | undefined;
  /** Spatial sizes of the output; `pads` are then ignored. */
  readonly output_shape?: readonly number[] | undefined;
  /** Begins of all spatial dimensions, then ends; integers of at least 0. Default 0. Not together with `auto_pad`. */
  readonly pads?: readonly number[] | undefined;
  /** One integer of at least 1 per spatial dimension. Default 1. */
  readonly strides?: readonly number[] | undefined;
}

/**
 * Whose reading of the operator counts where readings differ: with an `auto_pad` of SAME_* on a kernel smaller than the stride or with
 * `output_padding`, and with an `output_shape` larger than all that the input reaches.
 *
 * - `'spec'`: the operator's text and its reference implementation. SAME_* gives input size * stride; padding that comes out negative
 *   adds rows, split between both sides as positive padding is.
 * - `'onnxruntime'`: negative padding counts as none. SAME_* gives at most what the input reaches, rows that `output_shape` asks for
 *   beyond that stand at the end. TensorRT's SAME_* is the same.
 * - `'shapeInference'`: onnx.shape_inference. SAME_* pads by kernel - stride, and `output_padding` makes the output larger.
 */
export type Convention = 'spec' | 'onnxruntime' | 'shapeInference';
const conventions: readonly Convention[] = ['spec', 'onnxruntime', 'shapeInference'];

interface Dialect {
  /** Default `'spec'`. */
  readonly convention?: Convention | undefined;
  /**
   * Version of the operator set of the model, at least 1. Before 11 the operator's text puts the larger half of an odd padding that
   * `output_shape` implies at the end, unless `auto_pad` is SAME_UPPER; from 11 on at the beginning, unless it is SAME_UPPER.
   * Convention `'onnxruntime'` does not tell them apart, as onnxruntime does not. Default 22.
   */
  readonly opset?: number | undefined;
}

/** Options of {@link ConvTranspose}. */
export type ConvTransposeLayerOptions = LayerOptions & Dialect;
/** Options of {@link convTranspose}. */
export type ConvTransposeCallOptions = CallOptions & Dialect;
/** Options of {@link convTransposeAsync}. */
export type ConvTransposeCallAsyncOptions = CallAsyncOptions & Dialect;

const attributeNames = [
  'auto_pad', 'dilations', 'group', 'kernel_shape', 'output_padding', 'output_shape', 'pads', 'strides',
] as const;
const autoPads = ['NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'] as const;
const dialectNames = ['convention', 'opset'] as const;

const names: Names = {
  input: 'X', weight: 'W', bias: 'B', stride: 'strides', padding: 'pads', dilation: 'dilations', groups: 'group',
};

/** The first version of the operator whose text has today's equations. */
const presentEquations = 11;

/** All attributes, read and checked against W. */
interface Attributes {
  readonly autoPad: (typeof autoPads)[number];
  readonly dims: number;
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly group: number;
  readonly outputPadding: readonly number[];
  readonly outputShape: readonly number[] | undefined;
  readonly pads: readonly number[];
}

function readAttributes(value: unknown, weight: TensorView): Attributes {
  const raw = readNamed(value, 'attributes', attributeNames);
  checkRank(weight.shape, 'W', [3, 4, 5], '[C, M/group, k1, ...] with 1 to 3 kernel dimensions');
  const kernel = weight.shape.slice(2);
  const dims = kernel.length;
  if (kernel.includes(0)) throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'W', 'a kernel of at least 1', list(weight.shape));
  const read = (name: (typeof attributeNames)[number], min: number, missing: number): number[] =>
    raw[name] === undefined ? new Array<number>(dims).fill(missing) : readIntegerList(raw[name], name, dims, min);
  const attributes: Attributes = {
    autoPad: raw.auto_pad === undefined ? 'NOTSET' : toWord(raw.auto_pad, 'auto_pad', autoPads),
    dims,
    kernel,
    strides: read('strides', 1, 1),
    dilations: read('dilations', 1, 1),
    group: raw.group === undefined ? 1 : toInteger(raw.group, 'group', 1),
    outputPadding: read('output_padding', 0, 0),
    outputShape: raw.output_shape === undefined ? undefined : readIntegerList(raw.output_shape, 'output_shape', dims, 0),
    pads: raw.pads === undefined ? new Array<number>(2 * dims).fill(0) : readIntegerList(raw.pads, 'pads', 2 * dims, 0),
  };
  if (raw.pads !== undefined && attributes.autoPad !== 'NOTSET') {
    throw argumentError('ERR_CONVTRANSPOSE_CONFLICT', 'pads', `no pads with auto_pad ${attributes.autoPad}`, 'both');
  }
  if (raw.kernel_shape !== undefined) {
    const given = readIntegerList(raw.kernel_shape, 'kernel_shape', dims, 1);
    if (given.some((size, i) => size !== kernel[i])) {
      throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'kernel_shape', `the kernel of W, ${list(kernel)}`, list(given));
    }
  }
  attributes.outputPadding.forEach((padding, i) => {
    const most = Math.max(attributes.strides[i] as number, attributes.dilations[i] as number) - 1;
    if (padding > most) {
      throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_padding',
        `less than stride or dilation (0 to ${most} in dimension ${i})`, String(padding));
    }
  });
  return attributes;
}

/** One dimension of the rule: begin and size of the output. */
interface Span {
  readonly begin: number;
  readonly size: number;
}

/** The rule of the operator for where outputs lie. */
function outputRule(attributes: Attributes, convention: Convention, opset: number): OutputRule {
  const { autoPad, dims, strides, dilations, kernel, outputPadding, outputShape, pads } = attributes;
  const clamp = (total: number) => (convention === 'onnxruntime' ? Math.max(0, total) : total);
  /** Padding at the beginning; the other half is at the end. */
  const beginOf = (total: number, smallerFirst: boolean) => (smallerFirst ? Math.floor(total / 2) : total - Math.floor(total / 2));
  const equationsAreOld = opset < presentEquations && convention !== 'onnxruntime';

  /** `reached`: the size without padding, output padding included. */
  const span = (i: number, input: number, reached: number, wanted: number | undefined): Span => {
    const stride = strides[i] as number;
    if (wanted !== undefined) {
      return { begin: beginOf(clamp(reached - wanted), (autoPad === 'SAME_UPPER') !== equationsAreOld), size: wanted };
    }
    if (autoPad === 'NOTSET') {
      const begin = pads[i] as number;
      return { begin, size: reached - begin - (pads[dims + i] as number) };
    }
    if (autoPad === 'VALID') return { begin: 0, size: reached };
    const extent = ((kernel[i] as number) - 1) * (dilations[i] as number) + 1;
    const total = convention === 'shapeInference' ? Math.max(0, extent - stride) : clamp(reached - input * stride);
    return { begin: beginOf(total, autoPad === 'SAME_UPPER'), size: reached - total };
  };

  return (input, natural, outputSize) => {
    const wanted = outputSize ?? outputShape;
    const spans = natural.map((size, i) => span(i, input[i] as number, size + (outputPadding[i] as number), wanted?.[i]));
    spans.forEach(({ size }, i) => {
      if (size < 0) {
        throw argumentError('ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'pads', `an output size of at least 0 (for input sizes ${list(input)})`,
          `${size} in dimension ${i}`);
      }
    });
    return { begin: spans.map(({ begin }) => begin), output: spans.map(({ size }) => size) };
  };
}

/** What W, B, attributes and options come to. */
function describe(
  attributes: unknown, weight: TensorView, raw: RawOptions<(typeof dialectNames)[number]>,
): LayerDescription & { dims: number } {
  const read = readAttributes(attributes, weight);
  const convention = raw.convention === undefined ? 'spec' : toWord(raw.convention, 'convention', conventions);
  const opset = raw.opset === undefined ? 22 : toInteger(raw.opset, 'opset', 1);
  const [channels, outPerGroup] = weight.shape as [number, number];
  return {
    dims: read.dims,
    inChannels: channels,
    outChannels: outPerGroup * read.group,
    kernel: read.kernel,
    options: { stride: read.strides, dilation: read.dilations, groups: read.group },
    outputRule: outputRule(read, convention, opset),
    names,
    inputPattern: `[N, C, ${['D1', 'D2', 'D3'].slice(0, read.dims).join(', ')}]`,
  };
}

function withoutDialect(raw: RawOptions<(typeof dialectNames)[number]>): object {
  const { convention: _convention, opset: _opset, ...rest } = raw;
  return rest;
}

/** All that one call needs, read once. */
function prepareCall(attributes: unknown, X: unknown, W: unknown, B: unknown, raw: RawOptions<(typeof dialectNames)[number]>) {
  const weight = readTensor(W, 'W');
  const bias = readOptional(B, 'B');
  const { dims, options, outputRule: rule, inputPattern } = describe(attributes, weight, raw);
  const input = readRanked(X, 'X', [dims + 2], inputPattern);
  return { dims, input, weight, bias, options: { ...withoutDialect(raw), ...options }, rule };
}

/**
 * The operator, for 1 to 3 spatial dimensions and float32. W is packed for this call alone; {@link ConvTranspose} keeps it packed.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { onnx } from 'convtranspose/compat';
 * const X = Tensor.zeros([1, 3, 16, 16]);
 * const W = Tensor.zeros([3, 8, 3, 3]);
 * console.log(onnx.convTranspose({ strides: [2, 2], auto_pad: 'SAME_UPPER' }, X, W).shape); // [ 1, 8, 32, 32 ]
 * ```
 *
 * @param attributes of the node; names that the operator does not have are refused
 * @param X float32 [N, C, D1, ...]
 * @param W float32 [C, M/group, k1, ...]
 * @param B float32 [M]; null or undefined for none
 * @returns float32 [N, M, ...]
 * @throws TypeError or RangeError with `code`, and as `argument` the operator's name of the input or attribute
 */
export function convTranspose(
  attributes: ConvTransposeAttributes, X: TensorLike, W: TensorLike, B?: OptionalTensor, options?: ConvTransposeCallOptions,
): Tensor {
  const raw = readNamed(options, 'options', [...callOptionNames, ...dialectNames]);
  return withNames(names, () => {
    const call = prepareCall(attributes, X, W, B, raw);
    return runSync(call.dims, call.input, call.weight, call.bias, call.options, call.rule);
  });
}

/** {@link convTranspose} on the package's own threads; rules as for `convTranspose2dAsync`. */
export function convTransposeAsync(
  attributes: ConvTransposeAttributes, X: TensorLike, W: TensorLike, B?: OptionalTensor, options?: ConvTransposeCallAsyncOptions,
): Promise<Tensor> {
  return withNamesAsync(names, async () => {
    const raw = readNamed(options, 'options', [...callAsyncOptionNames, ...dialectNames]);
    const call = prepareCall(attributes, X, W, B, raw);
    return await runAsync(call.dims, call.input, call.weight, call.bias, call.options, call.rule);
  });
}

function describeLayer(attributes: unknown, W: unknown, B: unknown, options: unknown): LayerDescription {
  const raw = readNamed(options, 'options', [...layerOptionNames, ...dialectNames]);
  return withNames(names, () => {
    const weight = readTensor(W, 'W');
    const bias = readOptional(B, 'B');
    const description = describe(attributes, weight, raw);
    return {
      ...description,
      options: { ...withoutDialect(raw), ...description.options, weight, bias: bias ?? null },
    };
  });
}

/**
 * A node with its weights, which are copied and packed once. `outputSize` of a call takes the place of `output_shape`.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { onnx } from 'convtranspose/compat';
 * const node = new onnx.ConvTranspose({ strides: [2], pads: [1, 1] }, Tensor.zeros([4, 2, 4]), Tensor.zeros([2]));
 * console.log(node.forward(Tensor.zeros([1, 4, 10])).shape); // [ 1, 2, 20 ]
 * console.log(node.forward(Tensor.zeros([1, 4, 10]), { outputSize: [21] }).shape); // [ 1, 2, 21 ]
 * node.dispose();
 * ```
 */
export class ConvTranspose extends PreparedLayer {
  /** Arguments as for {@link convTranspose}. */
  constructor(attributes: ConvTransposeAttributes, W: TensorLike, B?: OptionalTensor, options?: ConvTransposeLayerOptions) {
    super(describeLayer(attributes, W, B, options));
  }
}
