/** The functional forms: one call, weights read in place. Semantics of torch.nn.functional.conv_transpose1d/2d/3d. */
import { makeSlopes, readActivation, type Activation, type ActivationCode } from './activation';
import {
  callNative, checkOverlap, checkResidual, encodeLayer, givenResult, makeCall, newResult, readOut, readResidual, settledResult, type Call,
} from './call';
import { argumentError, list } from './errors';
import {
  parseRunOptions, readOptions, readPadding, readPerDimension, readSignal, runOptionNames, toInteger,
  type Algorithm, type MemoryFormat, type Precision, type RawOptions, type RunOptionName, type RunOptions,
} from './options';
import { checkGeometry, elementCount, type Geometry, type OutputRule } from './shape';
import { checkLength, readTensor, type Tensor, type TensorLike, type TensorView } from './tensor';

/** Options that the functions and the modules share. */
export interface ConvTransposeOptions {
  /** Step between the outputs of neighbouring inputs: an integer of at least 1, or one per dimension. Default 1. */
  readonly stride?: number | readonly number[] | undefined;
  /**
   * Rows cropped from the output: an integer of at least 0, one per dimension, or one `[begin, end]` per dimension. An `end` may be
   * negative: it adds rows, which are computed like all others. Default 0.
   */
  readonly padding?: number | readonly number[] | readonly (readonly [number, number])[] | undefined;
  /** Rows added at the end, computed like all others: less than stride or dilation, one number or one per dimension. Default 0. */
  readonly outputPadding?: number | readonly number[] | undefined;
  /** Step between the weights: an integer of at least 1, or one per dimension. Default 1. */
  readonly dilation?: number | readonly number[] | undefined;
  /** Number of groups of channels that do not see each other; divides both channel counts. Default 1. */
  readonly groups?: number | undefined;
  /**
   * Order of inputs and outputs: `'contiguous'` is [N, C, ...spatial], `'channelsLast'` is [N, ...spatial, C], and shapes are written
   * as stored. Weights are always [in, out/groups, ...kernel]. Default `'contiguous'`.
   */
  readonly memoryFormat?: MemoryFormat | undefined;
  /**
   * PyTorch's float32_matmul_precision: RMS error as good as direct float32 | at most 1e-5 of RMS(y) | at most 5e-3. A mode without
   * a kernel on this machine runs as the next better one, and `explain()` says so. Where the processor has AMX, all three may multiply
   * terms of bfloat16, with `'highest'` so many of them that nothing of a float is lost. Default `'highest'`.
   */
  readonly precision?: Precision | undefined;
  /**
   * Applied to every output before it is stored, at no extra pass over memory: `'relu'`, `{ type: 'leakyRelu', negativeSlope: 0.2 }`
   * and others, see {@link Activation}. Default none.
   */
  readonly activation?: Activation | undefined;
  /**
   * Forces a family of kernels; where it cannot run, the call throws `ERR_CONVTRANSPOSE_UNSUPPORTED` and says why. Default: the
   * environment variable CONVTRANSPOSE_ALGORITHM, else `'auto'`. `'direct'` multiplies floats alone, and keeps the bound of every
   * single output.
   */
  readonly algorithm?: Algorithm | undefined;
  /** Threads of one call, from 1 to 1024; results do not depend on it. Default: `getNumThreads()`. */
  readonly numThreads?: number | undefined;
  /** Makes the bits of an output depend on the values that reach it alone, whatever the batch and the sizes. Default false. */
  readonly invariant?: boolean | undefined;
  /** Most bytes of scratch memory per thread, at least 1. Default: a few MiB, chosen by the planner. */
  readonly workspaceLimit?: number | undefined;
}

/** Options of {@link convTranspose1d}, {@link convTranspose2d} and {@link convTranspose3d}. */
export interface FunctionalOptions extends ConvTransposeOptions {
  /** Spatial sizes of the output, instead of `outputPadding`: a number, or one per dimension. */
  readonly outputSize?: number | readonly number[] | undefined;
  /**
   * A tensor of exactly the result's shape and layout that is added to it before the activation, as in residual blocks. Default none.
   */
  readonly residual?: TensorLike | null | undefined;
  /** Where the result is written: exactly its shape, and no memory in common with anything that is read. Default: new memory. */
  readonly out?: TensorLike | undefined;
}

/** Options of the asynchronous functions. */
export interface FunctionalAsyncOptions extends FunctionalOptions {
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Names of the options that shape the convolution. */
export type GeometryOptionName = 'stride' | 'padding' | 'outputPadding' | 'dilation' | 'groups';
export const geometryOptionNames: readonly GeometryOptionName[] = ['stride', 'padding', 'outputPadding', 'dilation', 'groups'];

type FunctionalOptionName = GeometryOptionName | RunOptionName | 'outputSize' | 'residual' | 'out' | 'signal';
const syncNames: readonly FunctionalOptionName[] =
  [...geometryOptionNames, 'outputSize', ...runOptionNames, 'residual', 'out'];
const asyncNames: readonly FunctionalOptionName[] = [...syncNames, 'signal'];

/** The value of an option that may be left out; null is a value, and a wrong one. */
function orDefault(value: unknown, missing: number): unknown {
  return value === undefined ? missing : value;
}

/** Reads the options that shape the convolution. */
export function readGeometryOptions(
  raw: RawOptions<GeometryOptionName>, dims: number,
): Pick<Geometry, GeometryOptionName> {
  return {
    stride: readPerDimension(orDefault(raw.stride, 1), 'stride', dims, 1),
    padding: readPadding(orDefault(raw.padding, 0), dims),
    outputPadding: readPerDimension(orDefault(raw.outputPadding, 0), 'outputPadding', dims, 0),
    dilation: readPerDimension(orDefault(raw.dilation, 1), 'dilation', dims, 1),
    groups: toInteger(orDefault(raw.groups, 1), 'groups', 1),
  };
}

/** All that the user gave to one functional call. */
interface FunctionalArguments {
  readonly input: TensorView;
  readonly weight: TensorView;
  readonly bias: TensorView | undefined;
  readonly options: Pick<Geometry, GeometryOptionName>;
  readonly run: RunOptions;
  readonly activation: ActivationCode;
  readonly residual: TensorView | undefined;
  readonly outputSize: readonly number[] | undefined;
  /** `out` as given and as read. */
  readonly outValue: unknown;
  readonly out: TensorView | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Reads every value of the user, once, in the order of the arguments; nothing is looked at that code of the user could still change. */
function readArguments(
  dims: number, input: unknown, weight: unknown, bias: unknown, options: unknown, names: readonly FunctionalOptionName[],
): FunctionalArguments {
  const inputView = readTensor(input, 'input');
  const weightView = readTensor(weight, 'weight');
  const biasView = bias === undefined || bias === null ? undefined : readTensor(bias, 'bias');
  const raw = readOptions(options, 'options', names);
  if (raw.outputSize !== undefined && raw.outputPadding !== undefined) {
    throw argumentError('ERR_CONVTRANSPOSE_CONFLICT', 'outputSize', 'either outputSize or outputPadding', 'both');
  }
  return {
    input: inputView,
    weight: weightView,
    bias: biasView,
    options: readGeometryOptions(raw, dims),
    run: parseRunOptions(raw),
    activation: readActivation(raw.activation),
    residual: readResidual(raw.residual),
    outputSize: raw.outputSize === undefined ? undefined : readPerDimension(raw.outputSize, 'outputSize', dims, 0),
    outValue: raw.out,
    out: readOut(raw.out),
    signal: readSignal(raw.signal),
  };
}

/** A call with everything checked: what is left is to run it. */
interface PreparedCall {
  readonly layer: Float64Array;
  readonly call: Call;
  readonly input: Float32Array;
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
  readonly residual: Float32Array | null;
  readonly slopes: Float32Array | null;
  /** Where the result goes, if `out` was given. */
  readonly given: Tensor | undefined;
  readonly threads: number;
}

/** The convolution that the weights and the options describe. */
function geometryOf(dims: number, given: FunctionalArguments, outputRule: OutputRule | undefined): Geometry {
  const { shape } = given.weight;
  const [inChannels, outChannelsPerGroup, ...kernel] = shape;
  if (shape.length !== dims + 2 || inChannels === undefined || outChannelsPerGroup === undefined || kernel.includes(0)) {
    const expected = `shape [in, out/groups, ${new Array<string>(dims).fill('kernel').join(', ')}] with a kernel of at least 1`;
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'weight', expected, list(shape));
  }
  const geometry = { inChannels, outChannels: outChannelsPerGroup * given.options.groups, kernel, ...given.options, outputRule };
  checkGeometry(geometry);
  return geometry;
}

/** Checks all values against each other. */
function prepareCall(dims: number, given: FunctionalArguments, outputRule: OutputRule | undefined): PreparedCall {
  const { input, weight, bias, out, run, residual } = given;
  const geometry = geometryOf(dims, given, outputRule);
  if (bias !== undefined && (bias.shape.length !== 1 || bias.shape[0] !== geometry.outChannels)) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'bias', `shape [${geometry.outChannels}]`, list(bias.shape));
  }
  const call = makeCall(geometry, run, given.activation, false, input.shape, given.outputSize, 'input');
  checkLength(input, call.sizes.inputCount, 'input');
  checkLength(weight, elementCount(weight.shape, 'weight'), 'weight');
  if (bias !== undefined) checkLength(bias, geometry.outChannels, 'bias');
  checkResidual(call.sizes, residual);
  checkOverlap(out, input.data, 'input');
  checkOverlap(out, weight.data, 'weight');
  if (bias !== undefined) checkOverlap(out, bias.data, 'bias');
  if (residual !== undefined) checkOverlap(out, residual.data, 'residual');
  const result = givenResult(call.sizes, given.outValue, out);
  return {
    layer: encodeLayer(geometry, bias !== undefined),
    call,
    input: input.data,
    weight: weight.data,
    bias: bias === undefined ? null : bias.data,
    residual: residual === undefined ? null : residual.data,
    slopes: makeSlopes(given.activation, geometry.outChannels),
    given: result,
    threads: run.threads,
  };
}

/**
 * The synchronous functions.
 *
 * @param outputRule a rule other than PyTorch's for where the outputs lie; padding and outputPadding are left out then
 */
export function runSync(
  dims: number, input: unknown, weight: unknown, bias: unknown, options: unknown, outputRule?: OutputRule,
): Tensor {
  const given = readArguments(dims, input, weight, bias, options, syncNames);
  const { layer, call, threads, ...data } = prepareCall(dims, given, outputRule);
  const result = data.given ?? newResult(call.sizes);
  if (call.sizes.outputCount > 0) {
    callNative((native) => {
      native.run(layer, call.descriptor, data.input, data.weight, data.bias, result.data, threads, data.residual, data.slopes,
        data.given === undefined);
    });
  }
  return result;
}

/** The asynchronous functions; `outputRule` as for `runSync`. */
export async function runAsync(
  dims: number, input: unknown, weight: unknown, bias: unknown, options: unknown, outputRule?: OutputRule,
): Promise<Tensor> {
  const given = readArguments(dims, input, weight, bias, options, asyncNames);
  const { signal } = given;
  if (signal?.aborted === true) throw signal.reason as Error;
  const { layer, call, threads, ...data } = prepareCall(dims, given, outputRule);
  return settledResult(signal, call.sizes, data.given, (native, out, done) =>
    native.runAsync(layer, call.descriptor, data.input, data.weight, data.bias, out, threads, done, data.residual, data.slopes));
}

/**
 * Transposed convolution in one dimension: `torch.nn.functional.conv_transpose1d`.
 *
 *     out = (in - 1)*stride - 2*padding + dilation*(kernel - 1) + outputPadding + 1
 *
 * The weights are packed for this call alone; {@link ConvTranspose1d} keeps them packed.
 *
 * ```js
 * import { convTranspose1d, Tensor } from 'convtranspose';
 * const x = new Tensor(Float32Array.of(1, 2, 3), [1, 1, 3]);
 * const w = new Tensor(Float32Array.of(1, 1), [1, 1, 2]);
 * console.log(convTranspose1d(x, w, null, { stride: 2 }).data); // Float32Array(6) [ 1, 1, 2, 2, 3, 3 ]
 * ```
 *
 * @param input float32 [N, in, L] or [in, L]; channelsLast: [N, L, in] or [L, in]
 * @param weight float32 [in, out/groups, kernel]
 * @param bias float32 [out]; null or undefined for none
 * @returns float32 [N, out, L'] in the layout of the input, with a batch dimension if the input has one; `out` if that is a Tensor
 * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode}) before any memory is allocated
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose1d.html
 */
export function convTranspose1d(input: TensorLike, weight: TensorLike, bias?: TensorLike | null, options?: FunctionalOptions): Tensor {
  return runSync(1, input, weight, bias, options);
}

/**
 * Transposed convolution in two dimensions: `torch.nn.functional.conv_transpose2d`. The output size is that of
 * {@link convTranspose1d} in each dimension.
 *
 * ```js
 * import { convTranspose2d, Tensor } from 'convtranspose';
 * const x = Tensor.zeros([1, 3, 32, 32]);
 * const weight = Tensor.zeros([3, 3, 3, 3]);
 * const y = convTranspose2d(x, weight, null, { stride: 2, padding: 1, outputPadding: 1 });
 * console.log(y.shape); // [ 1, 3, 64, 64 ]
 * ```
 *
 * @param input float32 [N, in, H, W] or [in, H, W]; channelsLast: [N, H, W, in] or [H, W, in]
 * @param weight float32 [in, out/groups, kernelH, kernelW]
 * @param bias float32 [out]; null or undefined for none
 * @returns float32 [N, out, H', W'] in the layout of the input, with a batch dimension if the input has one; `out` if that is a Tensor
 * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode}) before any memory is allocated
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose2d.html
 */
export function convTranspose2d(input: TensorLike, weight: TensorLike, bias?: TensorLike | null, options?: FunctionalOptions): Tensor {
  return runSync(2, input, weight, bias, options);
}

/**
 * Transposed convolution in three dimensions: `torch.nn.functional.conv_transpose3d`. The output size is that of
 * {@link convTranspose1d} in each dimension.
 *
 * ```js
 * import { convTranspose3d, Tensor } from 'convtranspose';
 * const y = convTranspose3d(Tensor.zeros([2, 4, 4, 4]), Tensor.zeros([2, 1, 2, 2, 2]), null, { stride: 2 });
 * console.log(y.shape); // [ 1, 8, 8, 8 ]
 * ```
 *
 * @param input float32 [N, in, D, H, W] or [in, D, H, W]; channelsLast: [N, D, H, W, in] or [D, H, W, in]
 * @param weight float32 [in, out/groups, kernelD, kernelH, kernelW]
 * @param bias float32 [out]; null or undefined for none
 * @returns float32 [N, out, D', H', W'] in the layout of the input, with a batch dimension if the input has one; `out` if that is a
 * Tensor
 * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode}) before any memory is allocated
 * @see https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose3d.html
 */
export function convTranspose3d(input: TensorLike, weight: TensorLike, bias?: TensorLike | null, options?: FunctionalOptions): Tensor {
  return runSync(3, input, weight, bias, options);
}

/**
 * {@link convTranspose1d} on the package's own threads: the event loop is never blocked.
 *
 * Until the promise settles, weight, bias, input and `out` must not be written, moved or shrunk. SharedArrayBuffers and memory of
 * this package (`Tensor.empty`, every result) are used in place; other memory is copied when the call's turn comes.
 *
 * @returns a promise of the same result; every error rejects it, an abort with `signal.reason`. A promise that has settled no longer
 * touches any memory.
 */
export function convTranspose1dAsync(
  input: TensorLike, weight: TensorLike, bias?: TensorLike | null, options?: FunctionalAsyncOptions,
): Promise<Tensor> {
  return runAsync(1, input, weight, bias, options);
}

/** {@link convTranspose2d} on the package's own threads; rules as for {@link convTranspose1dAsync}. */
export function convTranspose2dAsync(
  input: TensorLike, weight: TensorLike, bias?: TensorLike | null, options?: FunctionalAsyncOptions,
): Promise<Tensor> {
  return runAsync(2, input, weight, bias, options);
}

/** {@link convTranspose3d} on the package's own threads; rules as for {@link convTranspose1dAsync}. */
export function convTranspose3dAsync(
  input: TensorLike, weight: TensorLike, bias?: TensorLike | null, options?: FunctionalAsyncOptions,
): Promise<Tensor> {
  return runAsync(3, input, weight, bias, options);
}
