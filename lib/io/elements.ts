/**
 * Element types of tensor files and their conversion to float32.
 *
 * Hosts are little-endian: the package has kernels for x86-64 and ARM64 only.
 */
import type { FileHandle } from 'node:fs/promises';

import { readFully } from './files';
import type { Origin } from './format-error';

export type ElementType =
  | 'float16' | 'bfloat16' | 'float32' | 'float64'
  | 'int8' | 'int16' | 'int32' | 'int64'
  | 'uint8' | 'uint16' | 'uint32' | 'uint64';

/** Bytes of one element. */
export const elementBytes: Readonly<Record<ElementType, number>> = {
  float16: 2, bfloat16: 2, float32: 4, float64: 8,
  int8: 1, int16: 2, int32: 4, int64: 8,
  uint8: 1, uint16: 2, uint32: 4, uint64: 8,
};

/** Bytes read at a time where elements are converted on the way; a multiple of every element's. */
const conversionChunk = 1 << 20;

/** The bytes of a float32 array, in place. */
export function bytesOf(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The value of IEEE binary16 bits; exact. */
function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/**
 * A number that rounds to the same float32 as a 64-bit integer does. Beyond 2^53 the low bits are folded into one sticky bit, so
 * that the way through a double rounds once, not twice.
 */
function fromInt64(value: bigint): number {
  if (BigInt.asIntN(54, value) === value) return Number(value);
  const magnitude = value < 0n ? -value : value;
  const sticky = (magnitude & 0x7ffn) === 0n ? 0n : 1n;
  return (value < 0n ? -2048 : 2048) * Number((magnitude >> 11n) | sticky);
}

/**
 * Converts elements to float32: integers and float64 are rounded to nearest even, float16 and bfloat16 are exact.
 *
 * `bytes` holds exactly out.length elements of `type`. float32 keeps its bits, also those of NaNs.
 */
export function decodeElements(type: ElementType, littleEndian: boolean, bytes: Uint8Array, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = out.length;
  switch (type) {
    case 'float32':
      bytesOf(out).set(bytes);
      if (!littleEndian) Buffer.from(out.buffer, out.byteOffset, out.byteLength).swap32();
      break;
    case 'float64':
      for (let i = 0; i < count; i++) out[i] = view.getFloat64(i * 8, littleEndian);
      break;
    case 'float16':
      for (let i = 0; i < count; i++) out[i] = fromFloat16(view.getUint16(i * 2, littleEndian));
      break;
    case 'bfloat16': {
      const bits = new Uint32Array(out.buffer, out.byteOffset, count);
      for (let i = 0; i < count; i++) bits[i] = view.getUint16(i * 2, littleEndian) << 16;
      break;
    }
    case 'int8':
      for (let i = 0; i < count; i++) out[i] = view.getInt8(i);
      break;
    case 'int16':
      for (let i = 0; i < count; i++) out[i] = view.getInt16(i * 2, littleEndian);
      break;
    case 'int32':
      for (let i = 0; i < count; i++) out[i] = view.getInt32(i * 4, littleEndian);
      break;
    case 'int64':
      for (let i = 0; i < count; i++) out[i] = fromInt64(view.getBigInt64(i * 8, littleEndian));
      break;
    case 'uint8':
      for (let i = 0; i < count; i++) out[i] = view.getUint8(i);
      break;
    case 'uint16':
      for (let i = 0; i < count; i++) out[i] = view.getUint16(i * 2, littleEndian);
      break;
    case 'uint32':
      for (let i = 0; i < count; i++) out[i] = view.getUint32(i * 4, littleEndian);
      break;
    case 'uint64':
      for (let i = 0; i < count; i++) out[i] = fromInt64(view.getBigUint64(i * 8, littleEndian));
      break;
  }
}

/** Reads out.length elements of a file from byte `position` on, as `decodeElements` does. */
export async function readElements(
  origin: Origin, handle: FileHandle, position: number, type: ElementType, littleEndian: boolean, out: Float32Array,
): Promise<void> {
  if (type === 'float32' && littleEndian) {
    await readFully(origin, handle, bytesOf(out), position);
    return;
  }
  const size = elementBytes[type];
  const chunk = new Uint8Array(Math.min(conversionChunk, out.length * size));
  for (let done = 0; done < out.length;) {
    const count = Math.min(chunk.length / size, out.length - done);
    const bytes = chunk.subarray(0, count * size);
    await readFully(origin, handle, bytes, position + done * size);
    decodeElements(type, littleEndian, bytes, out.subarray(done, done + count));
    done += count;
  }
}
