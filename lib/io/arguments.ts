/** Reading of the arguments of this folder's functions. */
import { fileURLToPath } from 'node:url';

import { argumentError, describe, typeError } from '../errors';
import { readOptions, toWord, type RawOptions } from '../options';
import { elementCount } from '../shape';
import { checkLength, readTensor, type TensorView } from '../tensor';
import { typedArrayKind } from '../typed-array';
import type { ElementType } from './elements';
import type { Origin } from './format-error';

/** How elements that are not float32 are to be read. */
export interface ReadOptions {
  /** Convert other number types to float32, rounding to nearest. Without it only float32 elements are read. */
  readonly convert?: 'float32' | undefined;
}

/** The conversion that was asked for; undefined if none. */
export type Conversion = 'float32' | undefined;

/** Reads an options object of which `convert` is one. */
export function readReadOptions<Name extends string>(
  value: unknown, others: readonly Name[],
): { raw: RawOptions<Name | 'convert'>; convert: Conversion } {
  const raw = readOptions<Name | 'convert'>(value, 'options', ['convert', ...others]);
  return { raw, convert: raw.convert === undefined ? undefined : toWord<'float32'>(raw.convert, 'convert', ['float32']) };
}

/**
 * The type of elements that can be read as asked; throws otherwise. `place` says whose elements they are, `name` is the format's
 * name of their type, `type` is null where there is no conversion.
 */
export function checkConversion(origin: Origin, place: string, name: string, type: ElementType | null, convert: Conversion): ElementType {
  if (type === 'float32' || (type !== null && convert !== undefined)) return type;
  const hint = type === null ? 'nothing converts this type' : "other types are read with convert: 'float32'";
  const where = origin.file === null ? place : `${place} of ${origin.file}`;
  const message = `${origin.argument}: expected float32 elements in ${where} (${hint}), got ${name}`;
  throw Object.assign(new TypeError(message), { code: 'ERR_CONVTRANSPOSE_UNSUPPORTED', argument: origin.argument });
}

/** A tensor whose data has the length of its shape. */
export function readWholeTensor(value: unknown, argument: string): TensorView {
  const view = readTensor(value, argument);
  checkLength(view, elementCount(view.shape, argument), argument);
  return view;
}

/** The contents of a file in memory. */
export function readBytes(value: unknown, argument: string): Uint8Array {
  if (typedArrayKind(value) !== 'Uint8Array') throw typeError(argument, 'a Uint8Array or Buffer', value);
  return value as Uint8Array;
}

/** The name of a file: a path, or a file: URL. */
export function readFileName(value: unknown, argument: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && value !== null && 'href' in value) return fileURLToPath(value as URL);
  throw typeError(argument, 'a path or a file: URL', value);
}

/** Names of tensors. */
export function readNames(value: unknown, argument: string): string[] {
  if (!Array.isArray(value)) throw typeError(argument, 'an array of names', value);
  return Array.from(value as readonly unknown[], (name) => readName(name, argument));
}

/** A name that UTF-8 can hold. */
export function readName(value: unknown, argument: string): string {
  if (typeof value !== 'string') throw typeError(argument, 'names that are strings', value);
  if (/\p{Surrogate}/u.test(value)) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, 'text without lone surrogates', describe(value));
  }
  return value;
}

/** The enumerable own members of a plain object, each read once, in the order of the UTF-8 bytes of their names. */
export function readMembers(value: unknown, argument: string): [name: string, member: unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
    throw typeError(argument, 'an object', value);
  }
  return Object.entries(value)
    .map(([name, member]): [string, unknown] => [readName(name, argument), member])
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
