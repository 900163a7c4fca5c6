/** One call of the addon: its descriptors, the memory of its result, and the waiting for asynchronous ones. */
import type { ActivationCode } from './activation';
import { argumentError, fromNative, list } from './errors';
import { loadNative, type NativeAddon, type NativeCallback } from './native';
import type { RunOptions } from './options';
import { resolveSizes, type CallSizes, type Geometry } from './shape';
import { allocate, checkFits, checkLength, makeTensor, readTensor, tensorFor, type Tensor, type TensorView } from './tensor';
import { overlaps } from './typed-array';

/** One number of a descriptor: a field, or one of the three dimensions of a spatial field. */
interface Slot {
  readonly field: string;
  readonly dimension: number | undefined;
}

/** Spatial dimensions of a descriptor. Lower ranks fill the last ones, the others hold 1, or 0 for padding. */
const spatialDims = 3;

function parseSlots(names: readonly string[]): readonly Slot[] {
  return names.map((name) => {
    const [, field, digit] = /^([A-Za-z]+)([012])?$/.exec(name) ?? [];
    if (field === undefined) throw new Error(`the addon has a field of the unknown form '${name}'`);
    return { field, dimension: digit === undefined ? undefined : Number(digit) };
  });
}

let slotsOfLayer: readonly Slot[] | undefined;
let slotsOfCall: readonly Slot[] | undefined;

/** Values of a descriptor by field; spatial ones as arrays with one number for each dimension of the problem. */
type Fields = Readonly<Record<string, number | readonly number[]>>;

/** Fills the slots; each field must be known here. */
function encode(slots: readonly Slot[], fields: Fields): Float64Array {
  const encoded = new Float64Array(slots.length);
  for (let i = 0; i < slots.length; i++) {
    const { field, dimension } = slots[i] as Slot;
    const value = fields[field];
    if (typeof value === 'number') encoded[i] = value;
    else if (value !== undefined && dimension !== undefined) {
      encoded[i] = value[dimension - spatialDims + value.length] ?? (field === 'padBegin' ? 0 : 1);
    } else {
      throw new Error(`the addon asks for a field '${field}' that this version does not know`);
    }
  }
  return encoded;
}

/** The descriptor of a layer. */
export function encodeLayer(geometry: Geometry, hasBias: boolean): Float64Array {
  slotsOfLayer ??= parseSlots(loadNative().layerFields);
  return encode(slotsOfLayer, {
    rank: geometry.kernel.length,
    groups: geometry.groups,
    inChannels: geometry.inChannels,
    outChannels: geometry.outChannels,
    kernel: geometry.kernel,
    stride: geometry.stride,
    dilation: geometry.dilation,
    hasBias: Number(hasBias),
  });
}

/** A call that is ready to be made, for one shape of the input. */
export interface Call {
  readonly descriptor: Float64Array;
  readonly sizes: CallSizes;
}

/** The descriptor of a call; `activation` and `weightsReused` as for {@link makeCall}. */
export function encodeCall(sizes: CallSizes, run: RunOptions, activation: ActivationCode, weightsReused: boolean): Float64Array {
  slotsOfCall ??= parseSlots(loadNative().callFields);
  return encode(slotsOfCall, {
    batch: sizes.batch,
    in: sizes.input,
    padBegin: sizes.padBegin,
    out: sizes.output,
    format: run.format,
    activation: activation.kind,
    lower: activation.lower,
    upper: activation.upper,
    alpha: activation.alpha,
    precision: run.precision,
    algorithm: run.algorithm,
    invariant: Number(run.invariant),
    weightsReused: Number(weightsReused),
    workspaceLimit: run.workspaceLimit,
  });
}

/**
 * Resolves and encodes the call for one shape of the input.
 *
 * @param activation applied to the outputs
 * @param weightsReused false if this call alone pays for the packing of the weights
 * @param argument public name of what `inputShape` comes from, for messages
 */
export function makeCall(
  geometry: Geometry, run: RunOptions, activation: ActivationCode, weightsReused: boolean, inputShape: readonly number[],
  outputSize: readonly number[] | undefined, argument: string,
): Call {
  const sizes = resolveSizes(geometry, run.format, inputShape, outputSize, argument);
  return { descriptor: encodeCall(sizes, run, activation, weightsReused), sizes };
}

/** True for equal lists. */
export function sameSizes(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Reads `residual`, which may be left out or null. */
export function readResidual(value: unknown): TensorView | undefined {
  return value === undefined || value === null ? undefined : readTensor(value, 'residual');
}

/** Reads `out`; undefined means that the result is to be allocated. */
export function readOut(value: unknown): TensorView | undefined {
  return value === undefined ? undefined : readTensor(value, 'out');
}

/**
 * Where the result goes if the user said so: `out` after checking its shape and length.
 *
 * @param value what the user gave as `out`
 * @param view the same, as read
 */
export function givenResult(sizes: CallSizes, value: unknown, view: TensorView | undefined): Tensor | undefined {
  if (view === undefined) return undefined;
  if (!sameSizes(view.shape, sizes.outputShape)) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'out', `shape ${list(sizes.outputShape)}`, list(view.shape));
  }
  checkLength(view, sizes.outputCount, 'out');
  return tensorFor(value, view, sizes.outputShape);
}

/** Refuses a residual that has not the shape of the result. To be called when no more code of the user can run. */
export function checkResidual(sizes: CallSizes, residual: TensorView | undefined): void {
  if (residual === undefined) return;
  if (!sameSizes(residual.shape, sizes.outputShape)) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'residual', `shape ${list(sizes.outputShape)}`, list(residual.shape));
  }
  checkLength(residual, sizes.outputCount, 'residual');
}

/** New memory for a result. */
export function newResult(sizes: CallSizes): Tensor {
  return makeTensor(allocate(sizes.outputCount, 'input'), sizes.outputShape);
}

/** Refuses an `out` that shares bytes with something that is read. */
export function checkOverlap(out: TensorView | undefined, read: Float32Array, name: string): void {
  if (out !== undefined && overlaps(out.data, read)) {
    throw argumentError('ERR_CONVTRANSPOSE_OVERLAP', 'out', 'memory of its own', `memory that overlaps ${name}`);
  }
}

/**
 * Waits for the result of an asynchronous call, which native code allocates when the call's turn comes unless `out` is given.
 *
 * @param start as of {@link settled}, with the array for the result or null
 */
export async function settledResult(
  signal: AbortSignal | undefined, sizes: CallSizes, out: Tensor | undefined,
  start: (native: NativeAddon, out: Float32Array | null, done: NativeCallback) => number,
): Promise<Tensor> {
  if (sizes.outputCount === 0) return out ?? newResult(sizes);
  if (out === undefined) checkFits(sizes.outputCount, 'input');
  const data = await settled(signal, (native, done) => start(native, out === undefined ? null : out.data, done));
  return out ?? makeTensor(data as Float32Array, sizes.outputShape);
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

/** What is to be done when a signal aborts, with the one listener that does it: many calls may share a signal. */
const watched = new WeakMap<AbortSignal, { readonly actions: Set<() => void>; readonly listener: () => void }>();

/** Has `action` done when the signal aborts; the function that it returns takes that back. */
export function onAbort(signal: AbortSignal, action: () => void): () => void {
  let entry = watched.get(signal);
  if (entry === undefined) {
    const actions = new Set<() => void>();
    const listener = () => {
      for (const each of actions) each();
    };
    entry = { actions, listener };
    watched.set(signal, entry);
    signal.addEventListener('abort', listener, { once: true });
  }
  const { actions, listener } = entry;
  actions.add(action);
  return () => {
    actions.delete(action);
    if (actions.size > 0) return;
    watched.delete(signal);
    signal.removeEventListener('abort', listener);
  };
}

/**
 * Waits for an asynchronous call. After an abort the promise rejects with the signal's reason as soon as native code has let go of
 * all memory of the call. No listener is left behind in any case.
 *
 * @param start starts the call and returns its ticket
 * @returns what the addon made
 */
export function settled(
  signal: AbortSignal | undefined, start: (native: NativeAddon, done: NativeCallback) => number,
): Promise<Float32Array | undefined> {
  return new Promise((resolve, reject) => {
    const native = loadNative();
    let ticket: number | undefined;
    let aborted = false;
    const stop = signal === undefined ? undefined : onAbort(signal, () => {
      aborted = true;
      if (ticket !== undefined) native.abort(ticket);
    });
    try {
      ticket = start(native, (failure, result) => {
        stop?.();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort may be anything
        if (aborted) reject(signal?.reason);
        else if (failure === null) resolve(result);
        else reject(fromNative(failure));
      });
    } catch (error) {
      stop?.();
      reject(fromNative(error));
    }
  });
}
