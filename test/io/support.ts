/** What the tests of this folder share. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import zlib from 'node:zlib';

import { afterAll, expect } from '@jest/globals';
import fc from 'fast-check';

import { inspectSafetensors } from '../../lib/io/index';

export function fixturePath(name: string): string {
  return path.join(__dirname, 'fixtures', name);
}

export function fixture(name: string): Uint8Array {
  return readFileSync(fixturePath(name));
}

/** A folder that exists until the tests of the file have ended. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-io-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** The float64 tensors of a .safetensors file, unrounded. */
export function doubles(name: string): Record<string, { data: Float64Array; shape: readonly number[] }> {
  const bytes = fixture(name);
  const result: Record<string, { data: Float64Array; shape: readonly number[] }> = {};
  for (const [key, { dtype, shape, begin, end }] of inspectSafetensors(bytes).entries) {
    if (dtype !== 'F64') throw new Error(`${key} is ${dtype}`);
    result[key] = { data: new Float64Array(Uint8Array.from(bytes.subarray(begin, end)).buffer), shape };
  }
  return result;
}

export { failure, type CodedError } from '../support/failure';

/** Values compared by their bits, apart from NaNs, which are all alike. */
export function expectSame(got: Float32Array, expected: ArrayLike<number>): void {
  expect(got.length).toBe(expected.length);
  for (let i = 0; i < got.length; i++) {
    if (!Object.is(got[i], expected[i])) throw new Error(`element ${i}: expected ${expected[i]}, got ${got[i]}`);
  }
}

/** Small shapes, also of no dimensions and with zeros. */
export const shapes = fc.array(fc.nat(4), { maxLength: 5 });

/** A shape with as many values of all kinds. */
export const tensors = shapes.chain((shape) => {
  const length = shape.reduce((product, size) => product * size, 1);
  return fc.record({ shape: fc.constant(shape), data: fc.float32Array({ minLength: length, maxLength: length }) });
});

/** One way to damage a file: bytes from `at` on (a fraction of the length) are replaced by others, or by as many others. */
const edit = fc.record({
  at: fc.integer({ min: 0, max: 1 << 20 }).map((step) => step / (1 << 20)),
  remove: fc.oneof(fc.constant('as many' as const), fc.constant(0), fc.nat(3), fc.nat(1000)),
  insert: fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc.uint8Array({ maxLength: 200 }),
    fc.constantFrom(
      '(', ')', ',', '{', '}', '[', ']', ':', '"', "'", '\\', '0', '1', '-1', '99999999', '9007199254740991', '9007199254740992',
      '1e9', '1.0', 'L', ' ', '\n', 'True', 'null', '"F32"', '"F64"', '<f8', '>f4', '\\u0000', '\ud800', '__metadata__', 'shape',
    ).map((text) => Uint8Array.from(Buffer.from(text))),
  ),
});
export const edits = fc.array(edit, { minLength: 1, maxLength: 4 });
type Edits = typeof edits extends fc.Arbitrary<infer T> ? T : never;

/** The file damaged. `from` and `to` bound where. */
export function applyEdits(bytes: Uint8Array, list: Edits, from = 0, to = bytes.length): Uint8Array {
  let middle = Buffer.from(bytes.subarray(from, to));
  for (const { at, remove, insert } of list) {
    const start = Math.floor(at * middle.length);
    const end = start + (remove === 'as many' ? insert.length : remove);
    middle = Buffer.concat([middle.subarray(0, start), insert, middle.subarray(end)]);
  }
  return Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(to)]);
}

/** An entry of a zip archive, and what it claims of itself where that is not the truth. */
export interface ZipEntry {
  name: string;
  content: Uint8Array;
  method?: number | undefined;
  size?: number | undefined;
  packed?: Uint8Array | undefined;
  crc?: number | undefined;
  flags?: number | undefined;
  offset?: number | undefined;
  packedSize?: number | undefined;
  listedOnly?: boolean | undefined;
}

/** CRC-32, bit by bit. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** An archive as the format says, with whatever an entry claims of itself. */
export function archive(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let position = 0;
  for (const { name, content, method = 0, size = content.length, packed = method === 8 ? zlib.deflateRawSync(content) : content, crc = crc32(content), flags = 0, offset = position, packedSize = packed.length, listedOnly = false } of entries) {
    const text = Buffer.from(name);
    const common = Buffer.alloc(26);
    [20, flags, method, 0, 0].forEach((value, i) => common.writeUInt16LE(value, 2 * i));
    [crc, packedSize, size].forEach((value, i) => common.writeUInt32LE(value, 10 + 4 * i));
    common.writeUInt16LE(text.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, text, packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\0'), common, tail, text]));
    if (listedOnly) continue;
    parts.push(local);
    position += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(position, 12);
  return Buffer.concat([...parts, central, Buffer.from('PK\x05\x06'), end]);
}
