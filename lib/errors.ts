/** Errors: one builder, so that every message has the same form and every error a stable code. */
import type { NativeFailure } from './native';
import { typedArrayKind } from './typed-array';

/**
 * What went wrong, stable across releases.
 *
 * | code | class | meaning |
 * |---|---|---|
 * | `ERR_CONVTRANSPOSE_INVALID_TYPE` | TypeError | a value of the wrong type |
 * | `ERR_CONVTRANSPOSE_INVALID_VALUE` | RangeError | the right type, but outside the allowed values |
 * | `ERR_CONVTRANSPOSE_UNKNOWN_OPTION` | TypeError | an option or key that does not exist, usually misspelt |
 * | `ERR_CONVTRANSPOSE_CONFLICT` | TypeError | two options that exclude each other |
 * | `ERR_CONVTRANSPOSE_SHAPE` | RangeError | shapes, lengths or channel counts that do not fit together |
 * | `ERR_CONVTRANSPOSE_OUTPUT_SIZE` | RangeError | an output size that is negative or cannot be reached |
 * | `ERR_CONVTRANSPOSE_TOO_LARGE` | RangeError | sizes whose products exceed 2^53 bytes |
 * | `ERR_CONVTRANSPOSE_OVERLAP` | RangeError | `out` shares memory with a tensor that is read |
 * | `ERR_CONVTRANSPOSE_DETACHED` | TypeError | memory that was detached or shrunk |
 * | `ERR_CONVTRANSPOSE_DISPOSED` | TypeError | a module or a stream used after `dispose()` |
 * | `ERR_CONVTRANSPOSE_STREAM` | TypeError | a stream used after `flush()`, or synchronously while asynchronous calls wait |
 * | `ERR_CONVTRANSPOSE_UNSUPPORTED` | RangeError, or TypeError for data types | legal, but nothing here can run it |
 * | `ERR_CONVTRANSPOSE_OUT_OF_MEMORY` | RangeError | not enough memory |
 * | `ERR_CONVTRANSPOSE_FORMAT` | RangeError | a malformed file |
 * | `ERR_CONVTRANSPOSE_QUEUE_FULL` | RangeError | more asynchronous calls in flight than `setQueueLimit` allows |
 * | `ERR_CONVTRANSPOSE_ABORTED` | RangeError | a call that the runtime ended early (an abort by `signal` rejects with its reason instead) |
 * | `ERR_CONVTRANSPOSE_NO_BINARY` | Error | the native addon cannot be loaded |
 */
export type ErrorCode =
  | 'ERR_CONVTRANSPOSE_INVALID_TYPE'
  | 'ERR_CONVTRANSPOSE_INVALID_VALUE'
  | 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION'
  | 'ERR_CONVTRANSPOSE_CONFLICT'
  | 'ERR_CONVTRANSPOSE_SHAPE'
  | 'ERR_CONVTRANSPOSE_OUTPUT_SIZE'
  | 'ERR_CONVTRANSPOSE_TOO_LARGE'
  | 'ERR_CONVTRANSPOSE_OVERLAP'
  | 'ERR_CONVTRANSPOSE_DETACHED'
  | 'ERR_CONVTRANSPOSE_DISPOSED'
  | 'ERR_CONVTRANSPOSE_STREAM'
  | 'ERR_CONVTRANSPOSE_UNSUPPORTED'
  | 'ERR_CONVTRANSPOSE_OUT_OF_MEMORY'
  | 'ERR_CONVTRANSPOSE_FORMAT'
  | 'ERR_CONVTRANSPOSE_QUEUE_FULL'
  | 'ERR_CONVTRANSPOSE_ABORTED'
  | 'ERR_CONVTRANSPOSE_NO_BINARY';

/** The fields that every error of this package has besides those of `Error`. */
export interface ConvTransposeError extends Error {
  /** Stable; compare this rather than the message. Native code may add codes of its own. */
  readonly code: ErrorCode | (string & {});
  /** Public name of the argument or option that is wrong, for instance `'stride'`; empty if there is none. */
  readonly argument: string;
}

/** Longest piece of a user's text that is quoted in a message. */
const maxQuoted = 60;

/** A value as it appears in a message. Runs no code of the user: no toString, no getter, no proxy trap. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > maxQuoted ? `${value.slice(0, maxQuoted)}...` : value);
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value);
    case 'bigint':
      return `the bigint ${String(value).slice(0, maxQuoted)}n`;
    case 'boolean':
    case 'undefined':
      return String(value);
    case 'function':
      return 'a function';
    case 'symbol':
      return 'a symbol';
    case 'object':
      if (value === null) return 'null';
      if (isArray(value)) return 'an array';
      return typedArrayKind(value) ?? 'an object';
  }
}

/** Array.isArray, but false for a revoked proxy instead of an exception. */
function isArray(value: object): boolean {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** A list of sizes as it appears in a message. */
export function list(sizes: readonly number[]): string {
  return `[${sizes.join(', ')}]`;
}

const typeErrors: ReadonlySet<string> = new Set<ErrorCode>([
  'ERR_CONVTRANSPOSE_INVALID_TYPE', 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'ERR_CONVTRANSPOSE_CONFLICT',
  'ERR_CONVTRANSPOSE_DETACHED', 'ERR_CONVTRANSPOSE_DISPOSED', 'ERR_CONVTRANSPOSE_STREAM',
]);

function build(code: string, argument: string, message: string): ConvTransposeError {
  const error = typeErrors.has(code) ? new TypeError(message) : new RangeError(message);
  return Object.assign(error, { code, argument });
}

/** The error `argument: expected <expected>, got <got>`; its class follows from the code. */
export function argumentError(code: ErrorCode, argument: string, expected: string, got: string): ConvTransposeError {
  return build(code, argument, `${argument}: expected ${expected}, got ${got}`);
}

/** A value of the wrong type. */
export function typeError(argument: string, expected: string, got: unknown): ConvTransposeError {
  return argumentError('ERR_CONVTRANSPOSE_INVALID_TYPE', argument, expected, describe(got));
}

/** A value of the right type that is not allowed. */
export function valueError(argument: string, expected: string, got: unknown): ConvTransposeError {
  return argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, expected, describe(got));
}

/** Legal, but of a data type for which there are no kernels. */
export function dataTypeError(argument: string, got: string): ConvTransposeError {
  const message = `${argument}: expected float32 data (a Float32Array; other types are not supported yet), got ${got}`;
  return Object.assign(new TypeError(message), { code: 'ERR_CONVTRANSPOSE_UNSUPPORTED', argument });
}

function isFailure(value: unknown): value is NativeFailure {
  if (typeof value !== 'object' || value === null) return false;
  const failure = value as Partial<NativeFailure>;
  return typeof failure.code === 'string' && typeof failure.message === 'string' &&
    failure.code.startsWith('ERR_CONVTRANSPOSE_');
}

/**
 * What the addon threw or reported, as an error of this realm with a JavaScript stack. Native messages that already name
 * the argument are kept as they are; anything that is no report of the addon is returned unchanged.
 */
export function fromNative(failure: unknown): Error {
  if (!isFailure(failure)) return failure as Error;
  const argument = typeof failure.argument === 'string' ? failure.argument : '';
  const named = argument === '' || failure.message.startsWith(`${argument}:`);
  return build(failure.code, argument, named ? failure.message : `${argument}: ${failure.message}`);
}
