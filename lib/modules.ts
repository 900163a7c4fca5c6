/** The modules: layers that own their weights. Semantics of torch.nn.ConvTranspose1d/2d/3d. */
import { randomInt } from 'node:crypto';

import { makeSlopes, publicActivation, readActivation, type Activation, type ActivationCode } from './activation';
import { checkBatchNorm, foldBatchNorm, readBatchNorm, type BatchNorm, type BatchNormView } from './batch-norm';
import {
  callNative, checkOverlap, checkResidual, encodeLayer, givenResult, makeCall, newResult, readOut, readResidual, sameSizes, settled,
  settledResult, type Call,
} from './call';
import { makeDisposable } from './disposable';
import { argumentError, list, typeError } from './errors';
import { report, type Explanation } from './explanation';
import {
  geometryOptionNames, readGeometryOptions, type ConvTransposeOptions, type GeometryOptionName,
} from './functional';
import type { NativeLayer } from './native';
import {
  algorithms, memoryFormats, parseRunOptions, precisions, readOptions, readPerDimension, readShape, readSignal, runOptionNames,
  toInteger, toThreads, type Algorithm, type MemoryFormat, type Precision, type RawOptions, type RunOptionName, type RunOptions,
} from './options';
import { checkGeometry, elementCount, resolveSizes, weightShape, type CallSizes, type Geometry, type OutputRule } from './shape';
import { ConvTranspose1dStream, type StreamOptions, type StreamSource } from './streaming';
import { allocateLocal, checkFits, checkLength, makeTensor, readTensor, type Tensor, type TensorLike, type TensorView } from './tensor';

/** Options of the constructors of {@link ConvTranspose1d}, {@link ConvTranspose2d} and {@link ConvTranspose3d}. */
export interface ModuleOptions extends ConvTransposeOptions {
  /**
   * A tensor [out], copied; `true` for PyTorch's default initialisation; `false` or `null` for none. Left out: default-initialised if
   * no `weight` is given, none if one is.
   */
  readonly bias?: boolean | null | TensorLike | undefined;
  /** The weights [in, out/groups, ...kernel], copied. Left out: PyTorch's default initialisation. */
  readonly weight?: TensorLike | undefined;
  /**
   * Seed of the default initialisation, an unsigned 32-bit integer: gives bit for bit the tensors of `torch.manual_seed(seed)` followed
   * by `nn.ConvTransposeNd(...)`. Left out: random.
   */
  readonly seed?: number | undefined;
  /**
   * The BatchNorm that follows, in evaluation mode: folded into weight and bias, in float64, so that it costs nothing. The module then
   * has a bias, and `stateDict` gives the folded parameters. Default none.
   */
  readonly batchNorm?: BatchNorm | undefined;
}

/** What a call may ask for besides its input. */
export interface ShapeOptions {
  /**
   * Spatial sizes of the output, a number or one per dimension, from those without output padding to max(stride, dilation) - 1 more.
   * The module's `outputPadding` is then ignored, as in PyTorch's `forward(input, output_size)`.
   */
  readonly outputSize?: number | readonly number[] | undefined;
}

/** Options of `forward`. */
export interface ForwardOptions extends ShapeOptions {
  /**
   * A tensor of exactly the result's shape and layout that is added to it before the activation, as in residual blocks. Default none.
   */
  readonly residual?: TensorLike | null | undefined;
  /** Where the result is written: exactly its shape, and no memory in common with input or residual. Default: new memory. */
  readonly out?: TensorLike | undefined;
  /** Threads of this call, from 1 to 1024, instead of the module's. */
  readonly numThreads?: number | undefined;
}

/** Options of `forwardAsync`. */
export interface ForwardAsyncOptions extends ForwardOptions {
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `prepareAsync`. */
export interface PrepareAsyncOptions extends ShapeOptions {
  /** Aborts the preparation: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** The weights of a module by PyTorch's names; `bias` is absent if there is none. */
export interface StateDict {
  /** [in, out/groups, ...kernel] */
  readonly weight: Tensor;
  /** [out] */
  readonly bias?: Tensor;
}

/** What {@link StateDict} may be when it is loaded. */
export interface StateDictLike {
  readonly weight: TensorLike;
  readonly bias?: TensorLike | null | undefined;
}

type ModuleOptionName = GeometryOptionName | RunOptionName | 'bias' | 'weight' | 'seed' | 'batchNorm';
const constructorNames: readonly ModuleOptionName[] =
  [...geometryOptionNames, 'bias', 'weight', 'seed', 'batchNorm', ...runOptionNames];
const shapeNames = ['outputSize'] as const;
const prepareAsyncNames = ['outputSize', 'signal'] as const;
const forwardNames = ['outputSize', 'residual', 'out', 'numThreads'] as const;
const forwardAsyncNames = ['outputSize', 'residual', 'out', 'numThreads', 'signal'] as const;
const stateNames = ['weight', 'bias'] as const;

/** Shapes of inputs whose calls a module keeps encoded. */
const maxCachedCalls = 64;

/** A call with what it was made for. */
interface CachedCall extends Call {
  readonly inputShape: readonly number[];
  readonly outputSize: readonly number[] | undefined;
}

/** The calls made last by their shapes, the oldest dropped first; the latest is found without a look-up. */
class CallCache {
  readonly #calls = new Map<string, CachedCall>();
  #latest: CachedCall | undefined;

  find(inputShape: readonly number[], outputSize: readonly number[] | undefined): CachedCall | undefined {
    const latest = this.#latest;
    if (latest !== undefined && sameSizes(latest.inputShape, inputShape) && sameOutputSize(latest.outputSize, outputSize)) {
      return latest;
    }
    const key = cacheKey(inputShape, outputSize);
    const found = this.#calls.get(key);
    if (found !== undefined) {
      this.#calls.delete(key);
      this.#calls.set(key, found);
      this.#latest = found;
    }
    return found;
  }

  add(call: CachedCall): void {
    const oldest = this.#calls.keys().next();
    if (this.#calls.size >= maxCachedCalls && oldest.done !== true) this.#calls.delete(oldest.value);
    this.#calls.set(cacheKey(call.inputShape, call.outputSize), call);
    this.#latest = call;
  }
}

function cacheKey(inputShape: readonly number[], outputSize: readonly number[] | undefined): string {
  return `${inputShape.join()}:${outputSize === undefined ? '' : outputSize.join()}`;
}

function sameOutputSize(a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameSizes(a, b);
}

function frozenCopy<T>(values: readonly T[]): readonly T[] {
  return Object.freeze([...values]);
}

/** Checks a parameter of the user against the shape that it must have. */
function checkParameter(view: TensorView, shape: readonly number[], name: string): void {
  if (!sameSizes(view.shape, shape)) throw argumentError('ERR_CONVTRANSPOSE_SHAPE', name, `shape ${list(shape)}`, list(view.shape));
  checkLength(view, elementCount(shape, name), name);
}

/** What a constructor was given as `bias`. */
type GivenBias = boolean | TensorView;

function readBiasOption(value: unknown, hasWeight: boolean): GivenBias {
  if (value === undefined) return !hasWeight;
  if (value === null) return false;
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'object') throw typeError('bias', 'true, false, null or a tensor', value);
  return readTensor(value, 'bias');
}

/** Checks given parameters, and that there is memory for those that are drawn. */
function checkParameters(geometry: Geometry, weight: TensorView | undefined, bias: GivenBias): void {
  const shape = weightShape(geometry);
  if (weight !== undefined) checkParameter(weight, shape, 'weight');
  if (typeof bias === 'object') checkParameter(bias, [geometry.outChannels], 'bias');
  checkFits(elementCount(shape, 'weight'), 'weight');
  checkFits(geometry.outChannels, 'bias');
}

/** What a layer is made of; null for what is drawn. */
interface Parameters {
  readonly weight: Float32Array | null;
  readonly bias: Float32Array | null;
}

/** Weight and bias with a BatchNorm folded in; what is not given is drawn first. */
function foldedParameters(geometry: Geometry, hasBias: boolean, given: Parameters & { seed: number }, batchNorm: BatchNormView): Parameters {
  const shape = weightShape(geometry);
  const weight = allocateLocal(elementCount(shape, 'weight'), 'weight');
  const bias = hasBias ? allocateLocal(geometry.outChannels, 'bias') : null;
  callNative((native) => {
    const layer = native.createLayer(encodeLayer(geometry, hasBias), given.weight, given.bias, given.seed);
    native.readLayer(layer, weight, bias);
    native.disposeLayer(layer);
  });
  const folded = { data: Float64Array.from(weight), shape };
  const foldedBias = foldBatchNorm(batchNorm, folded, bias ?? undefined, geometry.groups);
  return { weight: Float32Array.from(folded.data), bias: Float32Array.from(foldedBias) };
}

/** The padding as given: numbers where both ends are equal throughout, pairs otherwise. */
function publicPadding({ begin, end }: Geometry['padding']): readonly number[] | readonly (readonly [number, number])[] {
  if (sameSizes(begin, end)) return frozenCopy(begin);
  return Object.freeze(begin.map((first, i) => Object.freeze([first, end[i] ?? first] as const)));
}

/** What a stream reads of a module. */
let streamSource: (module: ConvTransposeModule) => StreamSource;

/** The sizes of a call of a module, for those that build on modules. `argument` is the name of what `inputShape` comes from. */
export let sizesOf: (module: ConvTransposeModule, inputShape: readonly number[], argument: string) => CallSizes;

/**
 * What the three modules have in common. Not to be constructed: use {@link ConvTranspose1d}, {@link ConvTranspose2d} or
 * {@link ConvTranspose3d}.
 */
export abstract class ConvTransposeModule {
  /** Channels of the input. */
  readonly inChannels: number;
  /** Channels of the output. */
  readonly outChannels: number;
  /** One size per spatial dimension. */
  readonly kernelSize: readonly number[];
  /** One per spatial dimension. */
  readonly stride: readonly number[];
  /** One number per spatial dimension, or one `[begin, end]` pair if the two ends differ anywhere. */
  readonly padding: readonly number[] | readonly (readonly [number, number])[];
  /** One per spatial dimension. */
  readonly outputPadding: readonly number[];
  /** One per spatial dimension. */
  readonly dilation: readonly number[];
  readonly groups: number;
  readonly memoryFormat: MemoryFormat;
  readonly precision: Precision;
  readonly algorithm: Algorithm;
  readonly invariant: boolean;
  /** With all its parameters; null if there is none. */
  readonly activation: Activation | null;
  /** `dispose`, for `using`. Absent where the runtime has no Symbol.dispose. */
  declare readonly [Symbol.dispose]: () => void;

  readonly #geometry: Geometry;
  readonly #run: RunOptions;
  readonly #layerDescriptor: Float64Array;
  readonly #calls = new CallCache();
  readonly #hasBias: boolean;
  readonly #hasBatchNorm: boolean;
  readonly #activation: ActivationCode;
  /** Of prelu, in memory of the package. */
  readonly #slopes: Float32Array | null;
  /** undefined once disposed */
  #layer: NativeLayer | undefined;

  static {
    sizesOf = (module, inputShape, argument) => resolveSizes(module.#geometry, module.#run.format, inputShape, undefined, argument);
  }

  /** @param outputRule a rule other than PyTorch's for where the outputs lie; padding and outputPadding are left out then */
  protected constructor(
    dims: number, inChannels: unknown, outChannels: unknown, kernelSize: unknown, options: unknown, outputRule?: OutputRule,
  ) {
    const raw: RawOptions<ModuleOptionName> = readOptions(options, 'options', constructorNames);
    const geometry: Geometry = {
      inChannels: toInteger(inChannels, 'inChannels', 0),
      outChannels: toInteger(outChannels, 'outChannels', 0),
      kernel: readPerDimension(kernelSize, 'kernelSize', dims, 1),
      ...readGeometryOptions(raw, dims),
      outputRule,
    };
    const run = parseRunOptions(raw);
    const weight = raw.weight === undefined ? undefined : readTensor(raw.weight, 'weight');
    const bias = readBiasOption(raw.bias, weight !== undefined);
    const activation = readActivation(raw.activation);
    const batchNorm = raw.batchNorm === undefined ? undefined : readBatchNorm(raw.batchNorm);
    const seed = raw.seed === undefined ? undefined : toInteger(raw.seed, 'seed', 0, 2 ** 32 - 1);
    checkGeometry(geometry);
    this.#geometry = geometry;
    this.#run = run;
    checkParameters(geometry, weight, bias);
    if (batchNorm !== undefined) checkBatchNorm(batchNorm, geometry.outChannels);
    this.#activation = activation;
    this.#slopes = makeSlopes(activation, geometry.outChannels);
    this.#hasBias = bias !== false || batchNorm !== undefined;
    this.#hasBatchNorm = batchNorm !== undefined;
    this.#layerDescriptor = encodeLayer(geometry, this.#hasBias);
    const given = { weight: weight?.data ?? null, bias: typeof bias === 'object' ? bias.data : null, seed: seed ?? randomInt(2 ** 32) };
    const parameters = batchNorm === undefined ? given : foldedParameters(geometry, bias !== false, given, batchNorm);
    this.#layer = callNative((native) => native.createLayer(this.#layerDescriptor, parameters.weight, parameters.bias, given.seed));
    this.inChannels = geometry.inChannels;
    this.outChannels = geometry.outChannels;
    this.kernelSize = frozenCopy(geometry.kernel);
    this.stride = frozenCopy(geometry.stride);
    this.padding = publicPadding(geometry.padding);
    this.outputPadding = frozenCopy(geometry.outputPadding);
    this.dilation = frozenCopy(geometry.dilation);
    this.groups = geometry.groups;
    this.memoryFormat = memoryFormats[run.format] ?? 'contiguous';
    this.precision = precisions[run.precision] ?? 'highest';
    this.algorithm = algorithms[run.algorithm] ?? 'auto';
    this.invariant = run.invariant;
    this.activation = publicActivation(activation, this.#slopes);
  }

  static {
    streamSource = (module) => ({
      geometry: module.#geometry, run: module.#run, activation: module.#activation, slopes: module.#slopes,
      layer: () => module.#alive(),
    });
  }

  /** The layer, or ERR_CONVTRANSPOSE_DISPOSED. */
  #alive(): NativeLayer {
    if (this.#layer === undefined) {
      throw argumentError('ERR_CONVTRANSPOSE_DISPOSED', 'this', 'a module that is not disposed', 'a disposed one');
    }
    return this.#layer;
  }

  /** The call for checked sizes. */
  #callFor(inputShape: readonly number[], outputSize: readonly number[] | undefined, argument: string): Call {
    const cached = this.#calls.find(inputShape, outputSize);
    if (cached !== undefined) return cached;
    const call = { ...makeCall(this.#geometry, this.#run, this.#activation, true, inputShape, outputSize, argument), inputShape, outputSize };
    this.#calls.add(call);
    return call;
  }

  #readOutputSize(value: unknown): readonly number[] | undefined {
    return value === undefined ? undefined : readPerDimension(value, 'outputSize', this.#geometry.kernel.length, 0);
  }

  /** Checks one forward call. `given` is where its result goes, if `out` was given. */
  #prepareForward(
    input: TensorView, outputSize: readonly number[] | undefined, residual: TensorView | undefined, outValue: unknown,
    out: TensorView | undefined,
  ): { call: Call; given: Tensor | undefined } {
    const call = this.#callFor(input.shape, outputSize, 'input');
    checkLength(input, call.sizes.inputCount, 'input');
    checkResidual(call.sizes, residual);
    checkOverlap(out, input.data, 'input');
    if (residual !== undefined) checkOverlap(out, residual.data, 'residual');
    return { call, given: givenResult(call.sizes, outValue, out) };
  }

  /**
   * Computes the transposed convolution of `input`, synchronously.
   *
   * The first call for a shape plans it, and packs the weights if they are not packed that way yet; later ones only compute, and with
   * `out` they allocate nothing.
   *
   * @param input float32 [N, in, ...spatial] or [in, ...spatial]; channelsLast: [N, ...spatial, in] or [...spatial, in]
   * @returns float32 in the layout of the input, with a batch dimension if the input has one; `out` if that is a Tensor
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode}) before any memory is allocated
   */
  forward(input: TensorLike, options?: ForwardOptions): Tensor {
    const layer = this.#alive();
    const view = readTensor(input, 'input');
    const raw = readOptions(options, 'options', forwardNames);
    const threads = raw.numThreads === undefined ? this.#run.threads : toThreads(raw.numThreads);
    const outputSize = this.#readOutputSize(raw.outputSize);
    const residual = readResidual(raw.residual);
    const { call, given } = this.#prepareForward(view, outputSize, residual, raw.out, readOut(raw.out));
    const result = given ?? newResult(call.sizes);
    if (call.sizes.outputCount > 0) {
      callNative((native) => {
        native.forward(layer, call.descriptor, view.data, result.data, threads, residual?.data ?? null, this.#slopes, given === undefined);
      });
    }
    return result;
  }

  /**
   * {@link forward} on the package's own threads: the event loop is never blocked, and several calls may be in flight.
   *
   * Until the promise settles, input, residual and `out` must not be written, moved or shrunk. SharedArrayBuffers and memory of this package
   * (`Tensor.empty`, every result) are used in place; other memory is copied when the call's turn comes.
   *
   * @returns a promise of the result; every error rejects it, an abort with `signal.reason`. A promise that has settled no longer
   * touches any memory.
   */
  async forwardAsync(input: TensorLike, options?: ForwardAsyncOptions): Promise<Tensor> {
    const view = readTensor(input, 'input');
    const raw = readOptions(options, 'options', forwardAsyncNames);
    const signal = readSignal(raw.signal);
    const threads = raw.numThreads === undefined ? this.#run.threads : toThreads(raw.numThreads);
    const outputSize = this.#readOutputSize(raw.outputSize);
    const residual = readResidual(raw.residual);
    const out = readOut(raw.out);
    if (signal?.aborted === true) throw signal.reason as Error;
    const layer = this.#alive();
    const { call, given } = this.#prepareForward(view, outputSize, residual, raw.out, out);
    return settledResult(signal, call.sizes, given, (native, data, done) =>
      native.forwardAsync(layer, call.descriptor, view.data, data, threads, done, residual?.data ?? null, this.#slopes));
  }

  /**
   * Packs the weights and plans for inputs of a shape, so that the first `forward` does not have to.
   *
   * @param inputShape as that of the input of `forward`
   * @throws as `forward`, with `argument` `'inputShape'`
   */
  prepare(inputShape: readonly number[], options?: ShapeOptions): void {
    const layer = this.#alive();
    const { outputSize } = readOptions(options, 'options', shapeNames);
    const call = this.#callFor(readShape(inputShape, 'inputShape'), this.#readOutputSize(outputSize), 'inputShape');
    callNative((native) => {
      native.prepare(layer, call.descriptor);
    });
  }

  /** {@link prepare} on the package's own threads. */
  async prepareAsync(inputShape: readonly number[], options?: PrepareAsyncOptions): Promise<void> {
    const raw = readOptions(options, 'options', prepareAsyncNames);
    const signal = readSignal(raw.signal);
    const shape = readShape(inputShape, 'inputShape');
    const outputSize = this.#readOutputSize(raw.outputSize);
    if (signal?.aborted === true) throw signal.reason as Error;
    const layer = this.#alive();
    const call = this.#callFor(shape, outputSize, 'inputShape');
    await settled(signal, (native, done) => native.prepareAsync(layer, call.descriptor, done));
  }

  /**
   * The shape that `forward` gives for an input of shape `inputShape`; nothing is computed. Works after `dispose`, too.
   *
   * ```js
   * import { ConvTranspose2d } from 'convtranspose';
   * const up = new ConvTranspose2d(3, 8, 4, { stride: 2, padding: 1 });
   * console.log(up.outputShape([1, 3, 16, 16])); // [ 1, 8, 32, 32 ]
   * ```
   */
  outputShape(inputShape: readonly number[], options?: ShapeOptions): number[] {
    const { outputSize } = readOptions(options, 'options', shapeNames);
    const shape = readShape(inputShape, 'inputShape');
    return [...resolveSizes(this.#geometry, this.#run.format, shape, this.#readOutputSize(outputSize), 'inputShape').outputShape];
  }

  /** What `forward` runs for an input of shape `inputShape`, and why; `summary` is readable text. Nothing is computed. */
  explain(inputShape: readonly number[], options?: ShapeOptions): Explanation {
    const layer = this.#alive();
    const { outputSize } = readOptions(options, 'options', shapeNames);
    const shape = readShape(inputShape, 'inputShape');
    const call = this.#callFor(shape, this.#readOutputSize(outputSize), 'inputShape');
    const plan = callNative((addon) => addon.explain(layer, call.descriptor));
    const native = this.#hasBatchNorm ? { ...plan, fused: ['batchNorm', ...plan.fused] } : plan;
    return { ...native, summary: report(this.#geometry, shape, call.sizes, native) };
  }

  /** Copies of the weights, with the BatchNorm folded in if there is one: `weight` [in, out/groups, ...kernel], and `bias` [out] if there is one. */
  stateDict(): StateDict {
    const layer = this.#alive();
    const zeros = (shape: readonly number[], name: string) =>
      makeTensor(allocateLocal(elementCount(shape, name), name), Object.freeze(shape));
    const weight = zeros(weightShape(this.#geometry), 'weight');
    const bias = this.#hasBias ? zeros([this.outChannels], 'bias') : undefined;
    callNative((native) => {
      native.readLayer(layer, weight.data, bias?.data ?? null);
    });
    return bias === undefined ? { weight } : { weight, bias };
  }

  /**
   * Replaces the weights by copies of others of exactly the same shapes. Strict as in PyTorch: `bias` must be there if the module has
   * one, and must not be there (or be null) otherwise. No BatchNorm is folded into them. Calls in flight finish with the old weights; if this throws, nothing has changed.
   */
  loadStateDict(state: StateDictLike): void {
    const old = this.#alive();
    if (state === undefined) throw typeError('state', '{ weight, bias }', state);
    const raw = readOptions(state, 'state', stateNames);
    if (raw.weight === undefined) throw typeError('weight', 'a tensor', undefined);
    const weight = readTensor(raw.weight, 'weight');
    const bias = raw.bias === undefined || raw.bias === null ? null : readTensor(raw.bias, 'bias');
    checkParameter(weight, weightShape(this.#geometry), 'weight');
    if (this.#hasBias !== (bias !== null)) {
      throw typeError('bias', this.#hasBias ? `a tensor of shape [${this.outChannels}]` : 'none, as the module has none', raw.bias);
    }
    if (bias !== null) checkParameter(bias, [this.outChannels], 'bias');
    this.#layer = callNative((native) => native.createLayer(this.#layerDescriptor, weight.data, bias?.data ?? null));
    callNative((native) => {
      native.disposeLayer(old);
    });
  }

  /**
   * Frees the weights now instead of at garbage collection. Calls in flight finish; later ones throw `ERR_CONVTRANSPOSE_DISPOSED`.
   * May be called again, without effect.
   */
  dispose(): void {
    const layer = this.#layer;
    if (layer === undefined) return;
    this.#layer = undefined;
    callNative((native) => {
      native.disposeLayer(layer);
    });
  }
}

makeDisposable(ConvTransposeModule);

/**
 * `torch.nn.ConvTranspose1d`: inputs [N, in, L] or [in, L].
 *
 * ```js
 * import { ConvTranspose1d, Tensor } from 'convtranspose';
 * const up = new ConvTranspose1d(2, 4, 8, { stride: 4, padding: 2, seed: 0 });
 * console.log(up.forward(Tensor.zeros([1, 2, 10])).shape); // [ 1, 4, 40 ]
 * up.dispose();
 * ```
 *
 * @see https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose1d.html
 */
export class ConvTranspose1d extends ConvTransposeModule {
  /**
   * @param inChannels channels of the input: a multiple of `groups`
   * @param outChannels channels of the output: a multiple of `groups`
   * @param kernelSize an integer of at least 1, or an array of one
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode})
   */
  constructor(inChannels: number, outChannels: number, kernelSize: number | readonly number[], options?: ModuleOptions) {
    super(1, inChannels, outChannels, kernelSize, options);
  }

  /**
   * A stream through this module: chunks of any length in, the samples that are final out, bit for bit those of one call with
   * `invariant: true` on all of them. A module can have any number of streams at a time; each keeps its own frames, all use the weights
   * as they are at each call.
   *
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode})
   */
  stream(options?: StreamOptions): ConvTranspose1dStream {
    return new ConvTranspose1dStream(streamSource(this), options);
  }
}

/**
 * `torch.nn.ConvTranspose2d`: inputs [N, in, H, W] or [in, H, W].
 *
 * ```js
 * import { ConvTranspose2d, Tensor } from 'convtranspose';
 * const up = new ConvTranspose2d(3, 3, 3, { stride: 2, padding: 1, outputPadding: 1, seed: 0 });
 * const y = up.forward(Tensor.zeros([1, 3, 32, 32]));
 * console.log(y.shape); // [ 1, 3, 64, 64 ]
 * up.forward(Tensor.zeros([1, 3, 32, 32]), { outputSize: [63, 64] }); // [ 1, 3, 63, 64 ]
 * up.dispose();
 * ```
 *
 * @see https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html
 */
export class ConvTranspose2d extends ConvTransposeModule {
  /**
   * @param inChannels channels of the input: a multiple of `groups`
   * @param outChannels channels of the output: a multiple of `groups`
   * @param kernelSize an integer of at least 1, or one per dimension (height, width)
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode})
   */
  constructor(inChannels: number, outChannels: number, kernelSize: number | readonly number[], options?: ModuleOptions) {
    super(2, inChannels, outChannels, kernelSize, options);
  }
}

/**
 * `torch.nn.ConvTranspose3d`: inputs [N, in, D, H, W] or [in, D, H, W].
 *
 * ```js
 * import { ConvTranspose3d, Tensor } from 'convtranspose';
 * const up = new ConvTranspose3d(4, 2, 2, { stride: 2, seed: 0 });
 * console.log(up.forward(Tensor.zeros([1, 4, 3, 3, 3])).shape); // [ 1, 2, 6, 6, 6 ]
 * up.dispose();
 * ```
 *
 * @see https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose3d.html
 */
export class ConvTranspose3d extends ConvTransposeModule {
  /**
   * @param inChannels channels of the input: a multiple of `groups`
   * @param outChannels channels of the output: a multiple of `groups`
   * @param kernelSize an integer of at least 1, or one per dimension (depth, height, width)
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode})
   */
  constructor(inChannels: number, outChannels: number, kernelSize: number | readonly number[], options?: ModuleOptions) {
    super(3, inChannels, outChannels, kernelSize, options);
  }
}
