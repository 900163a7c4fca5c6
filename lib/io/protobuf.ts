/**
 * Messages of protocol buffers, of which only some fields are wanted. protobufjs reads the encoding; here its errors become format
 * errors, and nothing is copied.
 */
import { Reader } from 'protobufjs/minimal';

import { formatError, quote, type Origin } from './format-error';

/** What one field of a message holds. */
export type FieldValue =
  /** a varint, exact in 64 bits */
  | { readonly kind: 'varint'; readonly value: bigint }
  /** 4 or 8 bytes */
  | { readonly kind: 'fixed'; readonly bytes: Uint8Array }
  /** a string, bytes, a message or packed numbers, in place */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array };

const varintType = 0;
const fixed64Type = 1;
const bytesType = 2;
const fixed32Type = 5;

/** A 64-bit integer as protobufjs gives it: a number, or an object of two halves. */
function toBigInt(value: unknown): bigint {
  if (typeof value === 'number') return BigInt(value);
  const { low, high } = value as { low: number; high: number };
  return (BigInt(high) << 32n) | BigInt(low >>> 0);
}

function readValue(reader: Reader, wireType: number): FieldValue {
  switch (wireType) {
    case varintType: return { kind: 'varint', value: toBigInt(reader.int64()) };
    case fixed64Type: {
      const start = reader.pos;
      reader.skip(8);
      return { kind: 'fixed', bytes: reader.buf.subarray(start, reader.pos) };
    }
    case bytesType: return { kind: 'bytes', bytes: reader.bytes() };
    case fixed32Type: {
      const start = reader.pos;
      reader.skip(4);
      return { kind: 'fixed', bytes: reader.buf.subarray(start, reader.pos) };
    }
    // Groups are as old as protocol buffers; no format that is read here has any.
    default: throw new Error(`wire type ${wireType}`);
  }
}

/** Runs protobufjs; what it finds wrong is a format error at `place`. */
function reading<T>(origin: Origin, place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw formatError(origin, place, 'a message of protocol buffers', quote((error as Error).message));
  }
}

/** Calls `field` for each field of a message, in order. */
export function readFields(
  origin: Origin, place: string, message: Uint8Array, field: (number: number, value: FieldValue) => void,
): void {
  // A Buffer would be copied by protobufjs' subclass for it.
  const reader = new Reader(new Uint8Array(message.buffer, message.byteOffset, message.byteLength));
  while (reader.pos < reader.len) {
    const [number, value] = reading(origin, place, () => {
      const tag = reader.uint32();
      if (tag >>> 3 === 0) throw new Error('field 0');
      return [tag >>> 3, readValue(reader, tag & 7)] as const;
    });
    field(number, value);
  }
}

/** The bytes of a field that must hold bytes. */
export function bytesOfField(origin: Origin, place: string, value: FieldValue): Uint8Array {
  if (value.kind !== 'bytes') throw formatError(origin, place, 'a field of bytes', value.kind);
  return value.bytes;
}

/** The text of a field, which must be UTF-8. */
export function textOfField(origin: Origin, place: string, value: FieldValue): string {
  const bytes = bytesOfField(origin, place, value);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw formatError(origin, place, 'text in UTF-8', 'other bytes');
  }
}

/** The number of a field: an integer below 2^53 in magnitude. */
export function integerOfField(origin: Origin, place: string, value: FieldValue): number {
  if (value.kind !== 'varint') throw formatError(origin, place, 'an integer', value.kind);
  return toSafeInteger(origin, place, value.value);
}

function toSafeInteger(origin: Origin, place: string, value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw formatError(origin, place, 'an integer below 2^53', String(value));
  return number;
}

/** Appends the integers of a repeated field, packed or not, to a list of at most `most`. */
export function appendIntegers(origin: Origin, place: string, value: FieldValue, to: number[], most: number): void {
  const append = (number: number): void => {
    if (to.length === most) throw formatError(origin, place, `at most ${most} integers`, 'more');
    to.push(number);
  };
  if (value.kind !== 'bytes') {
    append(integerOfField(origin, place, value));
    return;
  }
  const reader = new Reader(new Uint8Array(value.bytes.buffer, value.bytes.byteOffset, value.bytes.byteLength));
  while (reader.pos < reader.len) append(toSafeInteger(origin, place, reading(origin, place, () => toBigInt(reader.int64()))));
}
