/** Tensors: a Float32Array with a shape, and how tensor-like values of the user are read. */
import os from 'node:os';

import { argumentError, dataTypeError, fromNative, list, typeError } from './errors';
import { loadNative } from './native';
import { readList, readShape } from './options';
import { elementCount } from './shape';
import { isDetached, typedArrayBuffer, typedArrayKind, typedArrayLength } from './typed-array';

/**
 * What is accepted wherever a tensor is read: a {@link Tensor}, `{ data, shape }`, or `{ data, dims }` (onnxruntime's tensors).
 * `data` is a Float32Array in row-major order whose length is the product of the sizes; it may be a view with an offset, lie in a
 * SharedArrayBuffer or a resizable buffer, and come from another realm. Objects that carry `stride`/`strides` or `offset` (ndarray)
 * are accepted when they describe exactly that order.
 */
export type TensorLike =
  | Tensor
  | { readonly data: Float32Array; readonly shape: readonly number[] }
  | { readonly data: Float32Array; readonly dims: readonly number[] };

/** The plain values of a tensor, read once. */
export interface TensorView {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** Bytes that one array can ask for without certain failure. */
const physicalMemory = os.totalmem();

/**
 * Uninitialised package memory for `count` float32 values. Throws ERR_CONVTRANSPOSE_OUT_OF_MEMORY; more than the machine has is
 * refused at once, because the system may promise it and kill the process at the first touch.
 */
export function allocate(count: number, argument: string): Float32Array {
  if (count === 0) return new Float32Array(0);
  checkFits(count, argument);
  const native = loadNative();
  try {
    return new Float32Array(native.allocate(count * 4), 0, count);
  } catch (error) {
    throw fromNative(error);
  }
}

/** Zeros in memory of JavaScript. Throws as `allocate` does. */
export function allocateLocal(count: number, argument: string): Float32Array {
  checkFits(count, argument);
  try {
    return new Float32Array(count);
  } catch {
    throw outOfMemory(argument, count * 4);
  }
}

/** Refuses more float32 values than the machine has memory for. */
export function checkFits(count: number, argument: string): void {
  if (count * 4 > physicalMemory) throw outOfMemory(argument, count * 4);
}

function outOfMemory(argument: string, bytes: number): Error {
  const expected = `sizes that fit in memory (${physicalMemory} bytes in this machine)`;
  return argumentError('ERR_CONVTRANSPOSE_OUT_OF_MEMORY', argument, expected, `${bytes} bytes`);
}

/** Refuses everything but a Float32Array, of any realm. */
function checkData(data: unknown, argument: string): asserts data is Float32Array {
  const kind = typedArrayKind(data);
  if (kind === 'Float32Array') return;
  if (kind !== undefined) throw dataTypeError(argument, kind);
  throw typeError(argument, 'a Float32Array as data', data);
}

/** Refuses a view whose length is not the product of its shape. To be called when no more code of the user can run. */
export function checkLength(view: TensorView, count: number, argument: string): void {
  const length = typedArrayLength(view.data);
  if (length === count) return;
  const expected = `${count} elements for shape ${list(view.shape)}`;
  const gone = isDetached(view.data) || (length === 0 && isResizable(typedArrayBuffer(view.data)));
  throw gone
    ? argumentError('ERR_CONVTRANSPOSE_DETACHED', argument, expected, 'an array whose memory is detached or out of bounds')
    : argumentError('ERR_CONVTRANSPOSE_SHAPE', argument, expected, `an array of ${length}`);
}

function isResizable(buffer: ArrayBufferLike): boolean {
  return (buffer as { resizable?: boolean }).resizable === true || (buffer as { growable?: boolean }).growable === true;
}

/** Makes a tensor of checked values: `shape` is frozen, and its product is the length of `data`. */
export let makeTensor: (data: Float32Array, shape: readonly number[]) => Tensor;

/** The values of a Tensor, or undefined for everything else. No property of the value is read. */
let ownView: (value: object) => TensorView | undefined;

const trusted = Symbol('trusted');

/**
 * A float32 tensor: a Float32Array, not copied, and a shape.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * const x = new Tensor(new Float32Array(1 * 3 * 4 * 4), [1, 3, 4, 4]);
 * console.log(x.shape, x.dtype, x.data.length); // [ 1, 3, 4, 4 ] float32 48
 * ```
 */
export class Tensor {
  // What this package reads. The public properties say the same, as own ones, so that deep equality and structured clones see them.
  readonly #view: TensorView;

  /** The elements in row-major order: the array given to the constructor. */
  readonly data: Float32Array;

  /** The sizes; a frozen array. */
  readonly shape: readonly number[];

  /**
   * @param data the elements in row-major order; kept, not copied, so writes are seen on both sides
   * @param shape integers of at least 0 whose product is `data.length`; `[]` is a single value
   * @throws TypeError `ERR_CONVTRANSPOSE_INVALID_TYPE` for other types, `ERR_CONVTRANSPOSE_UNSUPPORTED` for other typed arrays
   * @throws RangeError `ERR_CONVTRANSPOSE_INVALID_VALUE` for sizes that are no such integers, `ERR_CONVTRANSPOSE_SHAPE` if the
   * length is not the product of the sizes
   */
  constructor(data: Float32Array, shape: readonly number[]);
  constructor(data: Float32Array, shape: readonly number[], trust?: typeof trusted) {
    if (trust === trusted) {
      this.#view = { data, shape };
    } else {
      const sizes = Object.freeze(readShape(shape, 'shape'));
      checkData(data, 'data');
      this.#view = { data, shape: sizes };
      checkLength(this.#view, elementCount(sizes, 'shape'), 'data');
    }
    this.data = data;
    this.shape = this.#view.shape;
    if (new.target === Tensor) Object.freeze(this);
  }

  static {
    type TrustedConstructor = new (data: Float32Array, shape: readonly number[], trust: typeof trusted) => Tensor;
    makeTensor = (data, shape) => new (Tensor as TrustedConstructor)(data, shape, trusted);
    ownView = (value) => (#view in value ? value.#view : undefined);
  }

  /**
   * A tensor with unspecified contents, in memory of this package: asynchronous calls read and write it in place.
   *
   * @param shape integers of at least 0
   * @throws RangeError `ERR_CONVTRANSPOSE_OUT_OF_MEMORY`, and the errors of the constructor for `shape`
   */
  static empty(shape: readonly number[]): Tensor {
    const sizes = Object.freeze(readShape(shape, 'shape'));
    return makeTensor(allocate(elementCount(sizes, 'shape'), 'shape'), sizes);
  }

  /** {@link Tensor.empty}, filled with zeros. */
  static zeros(shape: readonly number[]): Tensor {
    const tensor = Tensor.empty(shape);
    tensor.data.fill(0);
    return tensor;
  }

  /** The type of the elements. */
  get dtype(): 'float32' {
    return 'float32';
  }

  /** What `console.log` prints. */
  [Symbol.for('nodejs.util.inspect.custom')](_depth: number, options: object, inspect?: (value: unknown, options: object) => string): string {
    const { data, shape } = this;
    return `Tensor(${list(shape)}, float32) ${inspect === undefined ? '' : inspect(data, options)}`;
  }
}

/** Refuses strides and offsets that mean another order of the elements than the row-major one from the start. */
function checkContiguous(source: Record<string, unknown>, shape: readonly number[], argument: string): void {
  const offset = source['offset'];
  if (offset !== undefined && offset !== 0) throw typeError(`${argument}.offset`, '0 or no offset', offset);
  const strides = source['stride'] ?? source['strides'];
  if (strides === undefined || shape.includes(0)) return;
  const given = readList(strides, `${argument}.stride`, 'an array of strides');
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const size = shape[i] ?? 0;
    if (size !== 1 && given[i] !== step) {
      throw argumentError('ERR_CONVTRANSPOSE_UNSUPPORTED', `${argument}.stride`, `row-major data (stride ${step} in dimension ${i})`,
        typeof given[i] === 'number' ? String(given[i]) : 'no number');
    }
    step *= size;
  }
}

/**
 * Reads a tensor-like value: every property once. The length of the data is not looked at yet (see checkLength): code of the user
 * may still run and change it.
 */
export function readTensor(value: unknown, argument: string): TensorView {
  const expected = 'a Tensor, { data, shape } or { data, dims }';
  if (typeof value !== 'object' || value === null || Array.isArray(value) || typedArrayKind(value) !== undefined) {
    throw typeError(argument, expected, value);
  }
  const own = ownView(value);
  if (own !== undefined) return own;
  const source = value as Record<string, unknown>;
  const data = source['data'];
  let sizes = source['shape'];
  if (sizes === undefined) sizes = source['dims'];
  if (data === undefined || sizes === undefined) throw typeError(argument, expected, value);
  checkData(data, argument);
  const shape = readShape(sizes, argument);
  checkContiguous(source, shape, argument);
  return { data, shape };
}

/** The tensor to return for a preallocated result: the very object if it is a Tensor, a new one over its data otherwise. */
export function tensorFor(value: unknown, view: TensorView, shape: readonly number[]): Tensor {
  return value instanceof Tensor && ownView(value) === view ? value : makeTensor(view.data, shape);
}
