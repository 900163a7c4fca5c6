/** Layers one after the other, as torch.nn.Sequential; what flows between them stays in memory that is kept. */
import { checkOverlap, givenResult, onAbort, readOut, sameSizes } from './call';
import { makeDisposable } from './disposable';
import { argumentError, list, typeError, valueError } from './errors';
import type { Explanation } from './explanation';
import { ConvTransposeModule, sizesOf } from './modules';
import { readList, readOptions, readShape, readSignal, toThreads, type MemoryFormat } from './options';
import type { CallSizes } from './shape';
import { allocate, checkLength, makeTensor, readTensor, type Tensor, type TensorLike, type TensorView } from './tensor';

/** Options of {@link Sequential.forward}. */
export interface SequentialOptions {
  /** Where the result is written: exactly its shape, and no memory in common with the input. Default: new memory. */
  readonly out?: TensorLike | undefined;
  /** Threads of this call, from 1 to 1024, instead of those of each module. */
  readonly numThreads?: number | undefined;
}

/** Options of {@link Sequential.forwardAsync}. */
export interface SequentialAsyncOptions extends SequentialOptions {
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** What runs for a shape, layer by layer. */
export interface SequentialExplanation {
  readonly layers: readonly Explanation[];
  /** Effective operations of all layers. */
  readonly flops: number;
  /** What the planner's model expects for one thread, in seconds. */
  readonly estimatedSeconds: number;
  /** Memory for what flows between the layers, in bytes, of one call. */
  readonly scratchBytes: number;
  /** All of this in a few lines of text. */
  readonly summary: string;
}

const forwardNames = ['out', 'numThreads'] as const;
const forwardAsyncNames = ['out', 'numThreads', 'signal'] as const;
const prepareAsyncNames = ['signal'] as const;

/** Asynchronous calls that compute at the same time; one more would only take memory. */
const maxRunning = 2;

/** The sizes of all layers for a shape of the input. */
interface Layout {
  readonly inputShape: readonly number[];
  readonly layers: readonly CallSizes[];
}

/** Elements that the two buffers need, which the layers but the last write to in turn. */
function scratchSizes({ layers }: Layout): [number, number] {
  const sizes: [number, number] = [0, 0];
  layers.slice(0, -1).forEach(({ outputCount }, i) => {
    const side = i % 2 === 0 ? 0 : 1;
    sizes[side] = Math.max(sizes[side], outputCount);
  });
  return sizes;
}

/** The two buffers of one call at a time, as large as the largest call so far needed them, with the tensors of the latest. */
class Scratch {
  readonly #memory: [Float32Array, Float32Array] = [new Float32Array(0), new Float32Array(0)];
  #layout: Layout | undefined;
  #tensors: readonly Tensor[] = [];

  /** What each layer but the last writes to. */
  tensorsFor(layout: Layout): readonly Tensor[] {
    if (this.#layout === layout) return this.#tensors;
    scratchSizes(layout).forEach((count, side) => {
      if ((this.#memory[side] as Float32Array).length < count) this.#memory[side] = allocate(count, 'input');
    });
    this.#tensors = layout.layers.slice(0, -1).map(({ outputCount, outputShape }, i) =>
      makeTensor((this.#memory[i % 2] as Float32Array).subarray(0, outputCount), outputShape));
    this.#layout = layout;
    return this.#tensors;
  }
}

/** A call of the user, checked. */
interface CheckedCall {
  readonly input: TensorView;
  readonly layout: Layout;
  readonly given: Tensor | undefined;
}

/**
 * Transposed convolutions one after the other, each with its fused BatchNorm and activation: a whole generator or decoder head.
 *
 * What flows between the layers stays in two buffers that are kept, as large as the largest call so far needed them: from the second
 * call of a shape on, `forward` with `out` allocates nothing. Asynchronous calls may overlap: two compute at the same time, each with
 * buffers of its own, and others wait for their turn.
 *
 * A Sequential owns its modules: `dispose` disposes of them.
 *
 * ```js
 * import { ConvTranspose2d, Sequential, Tensor } from 'convtranspose';
 * const generator = new Sequential([
 *   new ConvTranspose2d(8, 4, 4, { activation: 'relu' }),
 *   new ConvTranspose2d(4, 3, 4, { stride: 2, padding: 1, activation: 'tanh' }),
 * ]);
 * const y = generator.forward(Tensor.zeros([1, 8, 1, 1]));
 * console.log(y.shape); // [ 1, 3, 8, 8 ]
 * generator.dispose();
 * ```
 *
 * @see https://pytorch.org/docs/stable/generated/torch.nn.Sequential.html
 */
export class Sequential {
  /** The layers, in order. */
  readonly modules: readonly ConvTransposeModule[];
  /** That of all layers. */
  readonly memoryFormat: MemoryFormat;
  /** `dispose`, for `using`. Absent where the runtime has no Symbol.dispose. */
  declare readonly [Symbol.dispose]: () => void;

  #layout: Layout | undefined;
  /** Of synchronous calls. */
  readonly #scratch = new Scratch();
  /** Of asynchronous calls, not in use. */
  readonly #free: Scratch[] = Array.from({ length: maxRunning }, () => new Scratch());
  /** Asynchronous calls that wait for a scratch. */
  readonly #waiting = new Set<(scratch: Scratch) => void>();
  #inFlight = 0;
  #disposed = false;

  /**
   * @param modules 1 to 64 modules of one rank and memory format, each with as many input channels as the one before has outputs
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode})
   */
  constructor(modules: readonly ConvTransposeModule[]) {
    const items = readList(modules, 'modules', 'an array of modules');
    if (items.length === 0) throw valueError('modules', 'at least one module', 'none');
    items.forEach((item, i) => {
      if (!(item instanceof ConvTransposeModule)) throw typeError(`modules[${i}]`, 'a module of this package', item);
    });
    this.modules = Object.freeze(items as ConvTransposeModule[]);
    const [first] = this.modules as [ConvTransposeModule];
    this.memoryFormat = first.memoryFormat;
    let { outChannels } = first;
    this.modules.slice(1).forEach((module, i) => {
      const argument = `modules[${i + 1}]`;
      const refuse = (code: 'ERR_CONVTRANSPOSE_SHAPE' | 'ERR_CONVTRANSPOSE_CONFLICT', expected: string, got: string) => {
        throw argumentError(code, argument, expected, got);
      };
      const [rank, wanted] = [module.kernelSize.length, first.kernelSize.length];
      if (rank !== wanted) refuse('ERR_CONVTRANSPOSE_SHAPE', `a ConvTranspose${wanted}d, as the first module`, `a ConvTranspose${rank}d`);
      if (module.inChannels !== outChannels) {
        refuse('ERR_CONVTRANSPOSE_SHAPE', `${outChannels} input channels, as modules[${i}] has outputs`, String(module.inChannels));
      }
      if (module.memoryFormat !== this.memoryFormat) {
        refuse('ERR_CONVTRANSPOSE_CONFLICT', `memoryFormat '${this.memoryFormat}', as the first module`, `'${module.memoryFormat}'`);
      }
      ({ outChannels } = module);
    });
  }

  #alive(): void {
    if (this.#disposed) throw argumentError('ERR_CONVTRANSPOSE_DISPOSED', 'this', 'a Sequential that is not disposed', 'a disposed one');
  }

  /** The sizes for checked sizes of the input. */
  #layoutFor(inputShape: readonly number[], argument: string): Layout {
    if (this.#layout !== undefined && sameSizes(this.#layout.inputShape, inputShape)) return this.#layout;
    const layers: CallSizes[] = [];
    let shape = inputShape;
    for (const module of this.modules) {
      const sizes = sizesOf(module, shape, argument);
      layers.push(sizes);
      shape = sizes.outputShape;
    }
    this.#layout = { inputShape, layers };
    return this.#layout;
  }

  #check(input: TensorView, outValue: unknown, out: TensorView | undefined): CheckedCall {
    const layout = this.#layoutFor(input.shape, 'input');
    checkLength(input, (layout.layers[0] as CallSizes).inputCount, 'input');
    checkOverlap(out, input.data, 'input');
    return { input, layout, given: givenResult(layout.layers.at(-1) as CallSizes, outValue, out) };
  }

  /**
   * Computes all layers, synchronously.
   *
   * @param input float32, as the first module takes it
   * @returns float32, as the last module gives it; `out` if that is a Tensor
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode}) before anything is computed
   */
  forward(input: TensorLike, options?: SequentialOptions): Tensor {
    this.#alive();
    const view = readTensor(input, 'input');
    const raw = readOptions(options, 'options', forwardNames);
    const numThreads = raw.numThreads === undefined ? undefined : toThreads(raw.numThreads);
    const { layout, given } = this.#check(view, raw.out, readOut(raw.out));
    const between = this.#scratch.tensorsFor(layout);
    let x: TensorLike = view;
    this.modules.forEach((module, i) => {
      x = module.forward(x, { out: between[i] ?? given, numThreads });
    });
    return x as Tensor;
  }

  /**
   * {@link forward} on the package's own threads: the event loop is never blocked, and several calls may be in flight. The rules are
   * those of a module's `forwardAsync`.
   *
   * @returns a promise of the result; every error rejects it, an abort with `signal.reason`. A promise that has settled no longer
   * touches any memory of the caller.
   */
  async forwardAsync(input: TensorLike, options?: SequentialAsyncOptions): Promise<Tensor> {
    const view = readTensor(input, 'input');
    const raw = readOptions(options, 'options', forwardAsyncNames);
    const signal = readSignal(raw.signal);
    const numThreads = raw.numThreads === undefined ? undefined : toThreads(raw.numThreads);
    const out = readOut(raw.out);
    if (signal?.aborted === true) throw signal.reason as Error;
    this.#alive();
    const { layout, given } = this.#check(view, raw.out, out);
    return this.#inTurn(signal, async (scratch) => {
      const between = scratch.tensorsFor(layout);
      let x: TensorLike = view;
      for (const [i, module] of this.modules.entries()) {
        x = await module.forwardAsync(x, { out: between[i] ?? given, numThreads, signal });
      }
      return x as Tensor;
    });
  }

  /** Does asynchronous work with a scratch of its own, when one is free; the modules live until it has ended. */
  async #inTurn<T>(signal: AbortSignal | undefined, work: (scratch: Scratch) => Promise<T>): Promise<T> {
    this.#inFlight++;
    try {
      const scratch = this.#free.pop() ?? (await this.#nextScratch(signal));
      try {
        return await work(scratch);
      } finally {
        const [next] = this.#waiting;
        if (next === undefined) this.#free.push(scratch);
        else next(scratch);
      }
    } finally {
      this.#inFlight--;
      this.#disposeModules();
    }
  }

  /** Waits for a scratch; after an abort it no longer does. */
  #nextScratch(signal: AbortSignal | undefined): Promise<Scratch> {
    return new Promise((resolve, reject) => {
      const take = (scratch: Scratch) => {
        this.#waiting.delete(take);
        stop?.();
        resolve(scratch);
      };
      const stop = signal === undefined ? undefined : onAbort(signal, () => {
        this.#waiting.delete(take);
        stop?.();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort may be anything
        reject(signal.reason);
      });
      this.#waiting.add(take);
    });
  }

  /** The shape that `forward` gives for an input of shape `inputShape`; nothing is computed. Works after `dispose`, too. */
  outputShape(inputShape: readonly number[]): number[] {
    return [...(this.#layoutFor(readShape(inputShape, 'inputShape'), 'inputShape').layers.at(-1) as CallSizes).outputShape];
  }

  /** The shape that each layer gets. */
  #inputShapes(layout: Layout): (readonly number[])[] {
    return [layout.inputShape, ...layout.layers.slice(0, -1).map(({ outputShape }) => outputShape)];
  }

  /** What `forward` runs for an input of shape `inputShape`, and why, layer by layer. Nothing is computed. */
  explain(inputShape: readonly number[]): SequentialExplanation {
    this.#alive();
    const layout = this.#layoutFor(readShape(inputShape, 'inputShape'), 'inputShape');
    const shapes = this.#inputShapes(layout);
    const layers = this.modules.map((module, i) => module.explain(shapes[i] as readonly number[]));
    const sum = (of: (layer: Explanation) => number) => layers.reduce((total, layer) => total + of(layer), 0);
    const [a, b] = scratchSizes(layout);
    const scratchBytes = (a + b) * 4;
    const outputShape = (layout.layers.at(-1) as CallSizes).outputShape;
    const summary = [
      `Sequential ${list(layout.inputShape)} -> ${list(outputShape)}: ${layers.length} layers, ${scratchBytes} bytes between them`,
      ...layers.map((layer, i) => `(${i}) ${layer.summary}`),
    ].join('\n');
    return { layers, flops: sum((layer) => layer.flops), estimatedSeconds: sum((layer) => layer.estimatedSeconds), scratchBytes, summary };
  }

  /**
   * Packs the weights of all layers, plans, and makes the buffers for inputs of a shape, so that the first `forward` does not have to.
   *
   * @throws as `forward`, with `argument` `'inputShape'`
   */
  prepare(inputShape: readonly number[]): void {
    this.#alive();
    const layout = this.#layoutFor(readShape(inputShape, 'inputShape'), 'inputShape');
    const shapes = this.#inputShapes(layout);
    this.modules.forEach((module, i) => {
      module.prepare(shapes[i] as readonly number[]);
    });
    this.#scratch.tensorsFor(layout);
  }

  /** {@link prepare} on the package's own threads, for `forwardAsync`. */
  async prepareAsync(inputShape: readonly number[], options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    const signal = readSignal(readOptions(options, 'options', prepareAsyncNames).signal);
    const shape = readShape(inputShape, 'inputShape');
    if (signal?.aborted === true) throw signal.reason as Error;
    this.#alive();
    const layout = this.#layoutFor(shape, 'inputShape');
    const shapes = this.#inputShapes(layout);
    await this.#inTurn(signal, async (scratch) => {
      scratch.tensorsFor(layout);
      await Promise.all(this.modules.map((module, i) => module.prepareAsync(shapes[i] as readonly number[], { signal })));
    });
  }

  #disposeModules(): void {
    if (!this.#disposed || this.#inFlight > 0) return;
    for (const module of this.modules) module.dispose();
  }

  /**
   * Disposes of all modules. Calls in flight finish; later ones throw `ERR_CONVTRANSPOSE_DISPOSED`. May be called again, without effect.
   */
  dispose(): void {
    this.#disposed = true;
    this.#disposeModules();
  }
}

makeDisposable(Sequential);
