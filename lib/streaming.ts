/** Streaming in one dimension: chunks of any length in, the samples that are final out. */
import type { Transform } from 'node:stream';
import { setImmediate } from 'node:timers/promises';

import type { ActivationCode } from './activation';
import { callNative, checkOverlap, encodeCall, givenResult, newResult, readOut, settled, settledResult, type Call } from './call';
import { makeDisposable } from './disposable';
import { argumentError, fromNative, list } from './errors';
import { loadNative, type NativeLayer } from './native';
import { readOptions, readSignal, sizeLimit, toInteger, toThreads, type RunOptions } from './options';
import { elementCount, resolveSizes, type CallSizes, type Geometry } from './shape';
import { nodeStream, webStream, type TensorTransformStream } from './stream-adapters';
import { steadyPosition, streamWindow, wholeSize, type StreamGeometry, type StreamPosition, type StreamWindow } from './stream-window';
import { allocate, checkLength, readTensor, type Tensor, type TensorLike, type TensorView } from './tensor';

/** Options of {@link ConvTranspose1d.stream}. */
export interface StreamOptions {
  /** Chunks have a batch dimension of this size. Default: the first chunk decides, and the others must be like it. */
  readonly batch?: number | undefined;
  /** Threads of each call, from 1 to 1024. Default: the module's. */
  readonly numThreads?: number | undefined;
}

/** Options of `push`. */
export interface PushOptions {
  /** Where the samples are written: exactly of their shape (see `outputShape`), and no memory in common with the chunk. */
  readonly out?: TensorLike | undefined;
}

/** Options of `pushAsync`. */
export interface PushAsyncOptions extends PushOptions {
  /** Aborts the call: the promise rejects with `signal.reason`, when its turn has come at the latest. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `flushAsync` and `prepareAsync`. */
export interface StreamAsyncOptions {
  /** Aborts the call: the promise rejects with `signal.reason`, when its turn has come at the latest. */
  readonly signal?: AbortSignal | undefined;
}

/** A module as its streams see it. */
export interface StreamSource {
  readonly geometry: Geometry;
  readonly run: RunOptions;
  readonly activation: ActivationCode;
  /** One for each output channel, for `'prelu'`. */
  readonly slopes: Float32Array | null;
  /** The layer as it is now; throws ERR_CONVTRANSPOSE_DISPOSED. */
  layer(): NativeLayer;
}

const streamNames = ['batch', 'numThreads'] as const;
const pushNames = ['out'] as const;
const pushAsyncNames = ['out', 'signal'] as const;
const signalNames = ['signal'] as const;

/** Steps that a stream keeps encoded. */
const maxCachedSteps = 64;
/** Floats that an asynchronous call copies before it lets the event loop turn: about a millisecond. */
const sliceFloats = 2 ** 20;

const nothing = new Float32Array(0);

/** One step that is ready to be made. */
interface Step extends StreamWindow {
  /** Frames of the chunk. */
  readonly added: number;
  /** null: without a batch dimension */
  readonly batch: number | null;
  readonly call: Call;
}

/** A chunk after reading. */
interface Chunk {
  readonly data: Float32Array;
  readonly frames: number;
}

const emptyChunk: Chunk = { data: nothing, frames: 0 };

function isStep(step: Step, window: StreamWindow, added: number, batch: number | null): boolean {
  return step.added === added && step.batch === batch && step.kept === window.kept && step.padBegin === window.padBegin && step.samples === window.samples;
}

function streamError(expected: string, got: string): Error {
  return argumentError('ERR_CONVTRANSPOSE_STREAM', 'this', expected, got);
}

/**
 * Feeds a {@link ConvTranspose1d} piece by piece: chunks of any length go in, and the samples that no later frame reaches come out.
 * Made by {@link ConvTranspose1d.stream}.
 *
 * All outputs together are bit for bit those of one call of a module with `invariant: true` on all frames at once, however the frames
 * are divided into chunks: a stream always runs the kernels of `invariant: true`, whatever the module's own option is. Each output is
 * computed once. What is kept between calls is the input that later outputs need, ceil(dilation*(kernel - 1)/stride) frames (more only
 * where padding crops more of the end than the kernel reaches), in memory that is reused and as large as the longest chunk wants.
 *
 * A call that throws or rejects leaves the stream as it was before: the chunk counts as not pushed.
 *
 * ```js
 * import { ConvTranspose1d, Tensor } from 'convtranspose';
 * const layer = new ConvTranspose1d(4, 2, 16, { stride: 8, padding: 4, seed: 1 });
 * const stream = layer.stream();
 * console.log(stream.push(Tensor.zeros([4, 5])).shape); // [ 2, 36 ]
 * console.log(stream.push(Tensor.zeros([4, 1])).shape); // [ 2, 8 ]
 * console.log(stream.flush().shape); // [ 2, 4 ]
 * ```
 */
export class ConvTranspose1dStream {
  /** `dispose`, for `using`. Absent where the runtime has no Symbol.dispose. */
  declare readonly [Symbol.dispose]: () => void;

  readonly #source: StreamSource;
  readonly #run: RunOptions;
  readonly #geometry: StreamGeometry;
  /** Floats of a frame in a row of the window. */
  readonly #width: number;
  /** null: chunks without a batch dimension; undefined: not known yet */
  #batch: number | null | undefined;
  readonly #givenBatch: number | undefined;
  #position: StreamPosition = { frames: 0, samples: 0 };
  #finished = false;
  #disposed = false;

  /** The latest frames, `#held` of them in each row. */
  #window: Float32Array = nothing;
  #held = 0;
  /** Where the next window is put together. */
  #spare: Float32Array = nothing;

  readonly #steps = new Map<string, Step>();
  #latest: Step | undefined;

  /** Settles when the last asynchronous call has. */
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** Streams are made by {@link ConvTranspose1d.stream}. */
  constructor(source: StreamSource, options?: StreamOptions) {
    const raw = readOptions(options, 'options', streamNames);
    this.#givenBatch = raw.batch === undefined ? undefined : toInteger(raw.batch, 'batch', 0);
    this.#batch = this.#givenBatch;
    const threads = raw.numThreads === undefined ? source.run.threads : toThreads(raw.numThreads);
    source.layer();
    this.#source = source;
    this.#run = { ...source.run, threads, invariant: true };
    this.#width = source.run.format === 0 ? 1 : source.geometry.inChannels;
    const { stride: [stride = 1], dilation: [dilation = 1], kernel: [kernel = 1], padding, outputPadding: [more = 0] } = source.geometry;
    this.#geometry = { stride, reach: dilation * (kernel - 1), begin: padding.begin[0] ?? 0, end: (padding.end[0] ?? 0) - more };
  }

  /** Whether the stream has been flushed. */
  get finished(): boolean {
    return this.#finished;
  }

  /** Frames pushed so far. */
  get framesIn(): number {
    return this.#position.frames;
  }

  /** Samples returned so far. */
  get samplesOut(): number {
    return this.#position.samples;
  }

  /** The shape of what the next `push` of `frames` frames returns. */
  outputShape(frames: number): number[] {
    const added = toInteger(frames, 'frames', 0);
    this.#checkOpen();
    return [...this.#step(added, this.#batch ?? null, false).call.sizes.outputShape];
  }

  /**
   * Takes in the next frames and returns the samples that are final with them: none at all where the padding crops them, or while
   * they wait for more frames.
   *
   * @param chunk float32 [in, L] or [N, in, L], channelsLast [L, in] or [N, L, in], with L of 0 or more; all chunks of a stream are of
   * one kind, with equal N. Its memory is not used after the call.
   * @returns float32 [out, T] or [N, out, T], channelsLast [T, out] or [N, T, out]; `out` if that is a Tensor
   * @throws TypeError or RangeError with `code` and `argument` (see {@link ErrorCode}); `ERR_CONVTRANSPOSE_STREAM` after `flush`, and
   * while asynchronous calls of this stream wait
   */
  push(chunk: TensorLike, options?: PushOptions): Tensor {
    const view = readTensor(chunk, 'chunk');
    const raw = readOptions(options, 'options', pushNames);
    const out = readOut(raw.out);
    const batch = this.#checkChunk(view);
    return this.#makeStep(this.#readChunk(view, batch), batch, false, raw.out, out);
  }

  /**
   * Returns the samples that are left: what the last frames reach beyond the others, and the rows of output padding. After that the
   * stream is finished; {@link reset} starts it anew. Without any frame the result is that of `forward` for an input of length 0.
   *
   * @throws as {@link push}; `ERR_CONVTRANSPOSE_OUTPUT_SIZE` where the padding crops more than all frames give
   */
  flush(): Tensor {
    const tensor = this.#makeStep(emptyChunk, this.#batch ?? null, true, undefined, undefined);
    this.#finished = true;
    return tensor;
  }

  /**
   * {@link push} on the package's own threads. Calls may overlap: they take their turns in the order in which they were made. The chunk
   * and `out` must not be written, moved or shrunk until the promise settles.
   */
  async pushAsync(chunk: TensorLike, options?: PushAsyncOptions): Promise<Tensor> {
    const view = readTensor(chunk, 'chunk');
    const raw = readOptions(options, 'options', pushAsyncNames);
    const signal = readSignal(raw.signal);
    const out = readOut(raw.out);
    return this.#inTurn(signal, () => this.#makeStepAsync(view, this.#checkChunk(view), signal, raw.out, out));
  }

  /** {@link flush} on the package's own threads, after all calls before it. */
  async flushAsync(options?: StreamAsyncOptions): Promise<Tensor> {
    const signal = readSignal(readOptions(options, 'options', signalNames).signal);
    return this.#inTurn(signal, async () => {
      const tensor = await this.#makeStepAsync(undefined, this.#batch ?? null, signal, undefined, undefined);
      this.#finished = true;
      return tensor;
    });
  }

  /** Packs the weights and plans for chunks of `frames` frames, as they come after the first ones, so that `push` does not have to. */
  prepare(frames: number): void {
    const { call } = this.#steadyStep(frames);
    const layer = this.#source.layer();
    callNative((native) => {
      native.prepare(layer, call.descriptor);
    });
  }

  /** {@link prepare} on the package's own threads. */
  async prepareAsync(frames: number, options?: StreamAsyncOptions): Promise<void> {
    const { call } = this.#steadyStep(frames);
    const signal = readSignal(readOptions(options, 'options', signalNames).signal);
    if (signal?.aborted === true) throw signal.reason as Error;
    const layer = this.#source.layer();
    await settled(signal, (native, done) => native.prepareAsync(layer, call.descriptor, done));
  }

  /** Forgets all frames: the stream begins anew, flushed or not. */
  reset(): void {
    this.#checkAlive();
    this.#checkIdle();
    this.#position = { frames: 0, samples: 0 };
    this.#held = 0;
    this.#batch = this.#givenBatch;
    this.#finished = false;
  }

  /** Frees the memory of the stream, not the module. Calls in flight finish; later ones throw `ERR_CONVTRANSPOSE_DISPOSED`. */
  dispose(): void {
    this.#disposed = true;
    this.#window = nothing;
    this.#spare = nothing;
    this.#held = 0;
    this.#steps.clear();
    this.#latest = undefined;
  }

  /**
   * The stream as a TransformStream of the web, from tensors to tensors without empty ones, for `pipeThrough`. Only what a reader asks
   * for is computed; errors reach both sides; when it is cancelled, the chunk in hand is aborted (Node 22 and later). Closing the writable
   * side flushes the stream, which is not to be used otherwise meanwhile.
   */
  toWeb(): TensorTransformStream {
    return webStream(this);
  }

  /**
   * The stream as a Transform of Node.js in object mode, from tensors to tensors without empty ones, for `pipeline`. One chunk waits on
   * either side; errors destroy it, and destroying it aborts the chunk in hand. Its end flushes the stream, which is not to be used
   * otherwise meanwhile.
   */
  toNode(): Transform {
    return nodeStream(this);
  }

  #checkAlive(): void {
    if (this.#disposed) throw argumentError('ERR_CONVTRANSPOSE_DISPOSED', 'this', 'a stream that is not disposed', 'a disposed one');
  }

  #checkOpen(): void {
    this.#checkAlive();
    if (this.#finished) throw streamError('a stream that is not finished', 'one after flush; reset() starts it anew');
  }

  #checkIdle(): void {
    if (this.#waiting > 0) {
      throw streamError('no asynchronous call in flight', `${this.#waiting}; use the asynchronous forms, or wait for them`);
    }
  }

  /** The shape of tensors of this stream. */
  #shape(batch: number | null, channels: number, length: number): number[] {
    const stored = this.#run.format === 0 ? [channels, length] : [length, channels];
    return batch === null ? stored : [batch, ...stored];
  }

  /** Refuses a chunk of another shape than the stream's; its batch size, null without one. */
  #checkChunk({ shape }: TensorView): number | null {
    const channels = this.#source.geometry.inChannels;
    const batch = shape.length === 3 ? (shape[0] ?? 0) : null;
    const fits = shape[shape.length - (this.#run.format === 0 ? 2 : 1)] === channels && (shape.length === 2 || shape.length === 3) &&
      (this.#batch === undefined || this.#batch === batch);
    if (fits) return batch;
    const pattern = (size: string) => (this.#run.format === 0 ? `${size}${channels}, L` : `${size}L, ${channels}`);
    const batched = `[${pattern(`${this.#batch ?? 'N'}, `)}]`;
    const unbatched = `[${pattern('')}]`;
    const expected = this.#batch === undefined ? `${batched} or ${unbatched}` : this.#batch === null ? unbatched : batched;
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'chunk', `shape ${expected}`, list(shape));
  }

  /** A chunk of checked shape. To be called when no more code of the user can run. */
  #readChunk(view: TensorView, batch: number | null): Chunk {
    const { shape } = view;
    const frames = shape[shape.length - (this.#run.format === 0 ? 1 : 2)] ?? 0;
    checkLength(view, (batch ?? 1) * this.#source.geometry.inChannels * frames, 'chunk');
    return { data: view.data, frames };
  }

  /** The next step for a chunk of `added` frames. */
  #step(added: number, batch: number | null, last: boolean): Step {
    const { stride, reach, begin, end } = this.#geometry;
    const frames = this.#position.frames + added;
    if (frames * stride + reach + begin + Math.abs(end) >= sizeLimit) {
      throw argumentError('ERR_CONVTRANSPOSE_TOO_LARGE', 'chunk', 'every position below 2^53', `${frames} frames with a stride of ${stride}`);
    }
    if (last && wholeSize(this.#geometry, frames) < 0) {
      resolveSizes(this.#source.geometry, this.#run.format, this.#shape(batch, this.#source.geometry.inChannels, frames), undefined, 'this');
    }
    return this.#stepFor(streamWindow(this.#geometry, this.#position, added, last), added, batch);
  }

  #steadyStep(frames: number): Step {
    const added = toInteger(frames, 'frames', 1);
    this.#checkAlive();
    return this.#stepFor(streamWindow(this.#geometry, steadyPosition(this.#geometry), added, false), added, this.#batch ?? null);
  }

  /** The step of a window, from those that are kept. */
  #stepFor(window: StreamWindow, added: number, batch: number | null): Step {
    const latest = this.#latest;
    if (latest !== undefined && isStep(latest, window, added, batch)) return latest;
    const key = `${added}:${window.kept}:${window.padBegin}:${window.samples}:${batch ?? ''}`;
    let step = this.#steps.get(key);
    if (step === undefined) {
      step = { ...window, added, batch, call: this.#encode(window, batch) };
      const oldest = this.#steps.keys().next();
      if (this.#steps.size >= maxCachedSteps && oldest.done !== true) this.#steps.delete(oldest.value);
    } else {
      this.#steps.delete(key);
    }
    this.#steps.set(key, step);
    this.#latest = step;
    return step;
  }

  #encode({ frames, samples, padBegin }: StreamWindow, batch: number | null): Call {
    const { inChannels, outChannels } = this.#source.geometry;
    const outputShape = Object.freeze(this.#shape(batch, outChannels, samples));
    const sizes: CallSizes = {
      batch: batch ?? 1,
      input: [frames],
      output: [samples],
      padBegin: [padBegin],
      outputShape,
      inputCount: elementCount(this.#shape(batch, inChannels, frames), 'chunk'),
      outputCount: elementCount(outputShape, 'chunk'),
    };
    return { descriptor: encodeCall(sizes, this.#run, this.#source.activation, true), sizes };
  }

  /** Rows of the window. */
  #rows(batch: number): number {
    return this.#run.format === 0 ? batch * this.#source.geometry.inChannels : batch;
  }

  /** Sees to it that the next window has room. */
  #reserve(floats: number): void {
    if (this.#spare.length < floats) this.#spare = allocate(Math.max(floats, Math.min(2 * floats, this.#window.length)), 'chunk');
  }

  /** Puts `count` rows of the next window together. */
  #join(step: Step, chunk: Float32Array, first: number, count: number): void {
    const width = this.#width;
    const rows = this.#rows(step.call.sizes.batch);
    callNative((native) => {
      native.joinRows(this.#held * width, step.kept * width, step.added * width, this.#window, chunk, this.#spare, rows, first, count);
    });
  }

  /** Makes a step final. */
  #commit(step: Step): void {
    const old = this.#window;
    this.#window = this.#spare;
    this.#spare = old;
    this.#held = step.frames;
    this.#position = { frames: this.#position.frames + step.added, samples: this.#position.samples + step.samples };
    this.#batch = step.batch;
  }

  /** One step, now. */
  #makeStep(chunk: Chunk, batch: number | null, last: boolean, outValue: unknown, out: TensorView | undefined): Tensor {
    this.#checkOpen();
    this.#checkIdle();
    const layer = this.#source.layer();
    const step = this.#step(chunk.frames, batch, last);
    const { sizes, descriptor } = step.call;
    const given = givenResult(sizes, outValue, out);
    const result = given ?? newResult(sizes);
    this.#reserve(sizes.inputCount);
    if (sizes.outputCount > 0) {
      const width = this.#width;
      const native = loadNative();
      try { // not callNative and checkOverlap (the addon looks, too): at a microsecond for a chunk they would be felt
        native.forwardJoined(layer, descriptor, this.#held * width, step.kept * width, step.added * width, this.#window, chunk.data,
          this.#spare, result.data, this.#run.threads, this.#source.slopes, given === undefined);
      } catch (error) {
        throw fromNative(error);
      }
    } else {
      this.#join(step, chunk.data, 0, this.#rows(sizes.batch));
    }
    this.#commit(step);
    return result;
  }

  /** One step on the package's threads, in its turn; without `view` the last one. */
  async #makeStepAsync(
    view: TensorView | undefined, batch: number | null, signal: AbortSignal | undefined, outValue: unknown, out: TensorView | undefined,
  ): Promise<Tensor> {
    this.#checkOpen();
    const layer = this.#source.layer();
    const chunk = view === undefined ? emptyChunk : this.#readChunk(view, batch);
    const step = this.#step(chunk.frames, batch, view === undefined);
    const { sizes, descriptor } = step.call;
    checkOverlap(out, chunk.data, 'chunk');
    const given = givenResult(sizes, outValue, out);
    this.#reserve(sizes.inputCount);
    const rows = this.#rows(sizes.batch);
    const count = Math.max(1, Math.floor(sliceFloats / Math.max(1, step.frames * this.#width)));
    for (let first = 0; first < rows; first += count) {
      if (first > 0) {
        await setImmediate();
        if (signal?.aborted === true) throw signal.reason as Error;
        this.#checkAlive();
        if (view !== undefined) this.#readChunk(view, batch);
      }
      this.#join(step, chunk.data, first, Math.min(count, rows - first));
    }
    const window = this.#spare;
    const result = await settledResult(signal, sizes, given, (native, data, done) =>
      native.forwardAsync(layer, descriptor, window, data, this.#run.threads, done, null, this.#source.slopes));
    if (!this.#disposed) this.#commit(step);
    return result;
  }

  /** Runs `work` when all asynchronous calls before it have settled. */
  async #inTurn<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (signal?.aborted === true) throw signal.reason as Error;
    const turn = this.#tail.then(() => {
      if (signal?.aborted === true) throw signal.reason as Error;
      return work();
    });
    this.#waiting += 1;
    const done = () => {
      this.#waiting -= 1;
    };
    this.#tail = turn.then(done, done);
    return turn;
  }
}

makeDisposable(ConvTranspose1dStream);
