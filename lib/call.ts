/** One call of the addon: its descriptors, the memory of its result, and the waiting for asynchronous ones. */
import { argumentError, fromNative, list } from './errors';
import { loadNative, type NativeAddon, type NativeCallback } from './native';
import type { RunOptions } from './options';
import { resolveSizes, type CallSizes, type Geometry } from './shape';
import { allocate, checkLength, makeTensor, readTensor, tensorFor, type Tensor, type TensorView } from './tensor';
import { overlaps } from './typed-array';

/** Values of descriptor slots by name; three-dimensional ones as arrays. */
type Fields = Readonly<Record<string, number | readonly number[]>>;

/** Spatial values as the addon stores them: the last of three dimensions, the others at their unit value. */
function threeDimensional(values: readonly number[], unit: number): number[] {
  return [...new Array<number>(3 - values.length).fill(unit), ...values];
}

/** Fills the slots that the addon names; every slot must be known here. */
function encode(slots: readonly string[], fields: Fields): Float64Array {
  return Float64Array.from(slots, (slot) => {
    const scalar = fields[slot];
    const value = scalar ?? (fields[slot.slice(0, -1)] as readonly number[] | undefined)?.[Number(slot.slice(-1))];
    if (typeof value !== 'number') throw new Error(`the addon asks for a field '${slot}' that this version does not know`);
    return value;
  });
}

/** The descriptor of a layer. */
export function encodeLayer(geometry: Geometry, hasBias: boolean): Float64Array {
  return encode(loadNative().layerFields, {
    rank: geometry.kernel.length,
    groups: geometry.groups,
    inChannels: geometry.inChannels,
    outChannels: geometry.outChannels,
    kernel: threeDimensional(geometry.kernel, 1),
    stride: threeDimensional(geometry.stride, 1),
    dilation: threeDimensional(geometry.dilation, 1),
    hasBias: Number(hasBias),
  });
}

/** A call that is ready to be made, for one shape of the input. */
export interface Call {
  readonly descriptor: Float64Array;
  readonly sizes: CallSizes;
}

/**
 * Resolves and encodes the call for one shape of the input.
 *
 * @param weightsReused false if this call alone pays for the packing of the weights
 * @param argument public name of what `inputShape` comes from, for messages
 */
export function makeCall(
  geometry: Geometry, run: RunOptions, weightsReused: boolean, inputShape: readonly number[],
  outputSize: readonly number[] | undefined, argument: string,
): Call {
  const sizes = resolveSizes(geometry, run.format, inputShape, outputSize, argument);
  const descriptor = encode(loadNative().callFields, {
    batch: sizes.batch,
    in: threeDimensional(sizes.input, 1),
    padBegin: threeDimensional(geometry.padding.begin, 0),
    out: threeDimensional(sizes.output, 1),
    format: run.format,
    lower: run.bounds.lower,
    upper: run.bounds.upper,
    precision: run.precision,
    algorithm: run.algorithm,
    invariant: Number(run.invariant),
    weightsReused: Number(weightsReused),
    workspaceLimit: run.workspaceLimit,
  });
  return { descriptor, sizes };
}

/** True for equal lists. */
export function sameSizes(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Reads `out`; undefined means that the result is to be allocated. */
export function readOut(value: unknown): TensorView | undefined {
  return value === undefined ? undefined : readTensor(value, 'out');
}

/**
 * Where the result goes: `out` after checking its shape and length, or new memory.
 *
 * @param value what the user gave as `out`
 * @param view the same, as read
 */
export function resultFor(sizes: CallSizes, value: unknown, view: TensorView | undefined): Tensor {
  if (view === undefined) return makeTensor(allocate(sizes.outputCount, 'input'), sizes.outputShape);
  if (!sameSizes(view.shape, sizes.outputShape)) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'out', `shape ${list(sizes.outputShape)}`, list(view.shape));
  }
  checkLength(view, sizes.outputCount, 'out');
  return tensorFor(value, view, sizes.outputShape);
}

/** Refuses an `out` that shares bytes with something that is read. */
export function checkOverlap(out: TensorView | undefined, read: Float32Array, name: string): void {
  if (out !== undefined && overlaps(out.data, read)) {
    throw argumentError('ERR_CONVTRANSPOSE_OVERLAP', 'out', 'memory of its own', `memory that overlaps ${name}`);
  }
}

/** Runs native code; what it throws becomes an error of this realm. */
export function callNative<T>(work: (native: NativeAddon) => T): T {
  const native = loadNative();
  try {
    return work(native);
  } catch (error) {
    throw fromNative(error);
  }
}

/**
 * Waits for an asynchronous call. After an abort the promise rejects with the signal's reason as soon as native code has let go of
 * all memory of the call. The listener is removed in every case.
 *
 * @param start starts the call and returns its ticket
 */
export function settled(signal: AbortSignal | undefined, start: (native: NativeAddon, done: NativeCallback) => number): Promise<void> {
  return new Promise((resolve, reject) => {
    const native = loadNative();
    let ticket: number | undefined;
    let aborted = false;
    const onAbort = () => {
      aborted = true;
      if (ticket !== undefined) native.abort(ticket);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      ticket = start(native, (failure) => {
        signal?.removeEventListener('abort', onAbort);
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort may be anything
        if (aborted) reject(signal?.reason);
        else if (failure === null) resolve();
        else reject(fromNative(failure));
      });
    } catch (error) {
      signal?.removeEventListener('abort', onAbort);
      reject(fromNative(error));
    }
  });
}
