/** Malformed files. */
import { argumentError, describe, list } from '../errors';
import { elementCount } from '../shape';

/** Where bytes come from, for messages: the public name of the argument, and the file's name if there is one. */
export interface Origin {
  readonly argument: string;
  readonly file: string | null;
}

/** The RangeError for bytes that are not what the format asks for at `place` ("byte 6", "tensor \"w\""). */
export function formatError(origin: Origin, place: string, expected: string, got: string): Error {
  const where = origin.file === null ? place : `${place} of ${origin.file}`;
  return argumentError('ERR_CONVTRANSPOSE_FORMAT', origin.argument, `${expected} at ${where}`, got);
}

/** A piece of a malformed file, made fit for one line of a message: escaped, quoted, shortened. */
export function quote(text: string): string {
  return describe(text);
}

/** The number of elements of a shape that a file announces; a format error if their bytes would not stay below 2^53. */
export function countElements(origin: Origin, place: string, shape: readonly number[]): number {
  try {
    return elementCount(shape, origin.argument);
  } catch {
    throw formatError(origin, place, 'a shape of fewer than 2^53 bytes', list(shape));
  }
}
