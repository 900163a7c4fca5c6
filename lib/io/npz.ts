/**
 * NumPy's .npz files: zip archives of .npy files, stored (np.savez) or deflated (np.savez_compressed).
 *
 * yauzl reads the archive; here its entries are checked against the archive's size before any memory is taken for them, and against
 * their checksums.
 */
import zlib from 'node:zlib';

import * as yauzl from 'yauzl';
import portableCrc32 from 'yauzl/crc32';

import { argumentError } from '../errors';
import type { Tensor } from '../tensor';
import { readBytes, readFileName, readNames, readReadOptions, type Conversion, type ReadOptions } from './arguments';
import { openSized } from './files';
import { formatError, quote, type Origin } from './format-error';
import { decodeArray } from './npy';

/** Options of {@link readNpz} and {@link decodeNpz}. */
export interface NpzReadOptions extends ReadOptions {
  /** The arrays to read, without `.npy`; all, if left out. */
  readonly names?: readonly string[] | undefined;
}

const suffix = '.npy';
/** DEFLATE makes at most 258 bytes of 2 bits. */
const mostInflation = 1032;
const zipOptions: yauzl.Options = { autoClose: false, lazyEntries: true, decodeStrings: true, validateEntrySizes: true };

/** A checksum of bytes. Node.js before 20.15 has none. */
const crc32: (bytes: Uint8Array) => number =
  typeof zlib.crc32 === 'function' ? (bytes) => zlib.crc32(bytes) : (bytes) => portableCrc32(bytes);

/** What yauzl or zlib find wrong, as a format error; errors of the file system and of this package, which have other codes, pass through. */
function translated(origin: Origin, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== undefined && !code.startsWith('Z_')) return error;
  return formatError(origin, 'the archive', 'a well-formed zip archive', quote(message));
}

/** The arrays of an archive of `size` bytes by name. */
async function listArrays(origin: Origin, zip: yauzl.ZipFile, size: number): Promise<Map<string, yauzl.Entry>> {
  const entries = new Map<string, yauzl.Entry>();
  let total = 0;
  for await (const entry of zip.eachEntry()) {
    // Entries may share their bytes, and so announce far more than the archive could hold.
    total += entry.compressedSize;
    if (total > size) throw formatError(origin, 'the list of entries', `entries of at most ${size} bytes in all`, 'more');
    if (!entry.fileName.endsWith(suffix)) continue;
    const name = entry.fileName.slice(0, -suffix.length);
    if (entries.has(name)) throw formatError(origin, 'the list of entries', 'each array once', `${quote(name)} again`);
    entries.set(name, entry);
  }
  return entries;
}

function allocateBytes(origin: Origin, size: number): Buffer {
  try {
    return Buffer.allocUnsafe(size);
  } catch {
    throw argumentError('ERR_CONVTRANSPOSE_OUT_OF_MEMORY', origin.argument, 'arrays that fit in memory', `${size} bytes`);
  }
}

/** The bytes of an entry. */
async function readEntry(origin: Origin, place: string, zip: yauzl.ZipFile, entry: yauzl.Entry): Promise<Uint8Array> {
  if (!entry.canDecodeFileData()) {
    throw formatError(origin, place, 'an entry that is stored or deflated, without encryption', `method ${entry.compressionMethod}`);
  }
  const size = entry.uncompressedSize;
  if (size > entry.compressedSize * mostInflation) {
    throw formatError(origin, place, `at most ${entry.compressedSize * mostInflation} bytes`, `${size} bytes`);
  }
  const bytes = allocateBytes(origin, size);
  let done = 0;
  const stream = await zip.openReadStreamPromise(entry);
  for await (const chunk of stream as AsyncIterable<Buffer>) done += chunk.copy(bytes, done);
  if (done !== size || crc32(bytes) !== entry.crc32) {
    throw formatError(origin, place, `${size} bytes with the checksum of the archive`, 'others');
  }
  return bytes;
}

async function readArrays(
  origin: Origin, zip: yauzl.ZipFile, size: number, names: readonly string[] | undefined, convert: Conversion,
): Promise<Record<string, Tensor>> {
  const entries = await listArrays(origin, zip, size);
  const tensors = Object.create(null) as Record<string, Tensor>;
  for (const name of new Set(names ?? entries.keys())) {
    const entry = entries.get(name);
    if (entry === undefined) {
      const known = [...entries.keys()].slice(0, 8).map(quote).join(', ');
      throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'names', `names of arrays in the file (${known || 'which has none'})`, quote(name));
    }
    const place = `array ${quote(name)}`;
    const bytes = await readEntry(origin, place, zip, entry);
    tensors[name] = decodeArray({ argument: origin.argument, file: origin.file === null ? place : `${place} of ${origin.file}` }, bytes, convert);
  }
  return tensors;
}

function checkReadOptions(options: unknown): { names: string[] | undefined; convert: Conversion } {
  const { raw, convert } = readReadOptions(options, ['names']);
  return { names: raw.names === undefined ? undefined : readNames(raw.names, 'names'), convert };
}

/**
 * Reads arrays from the contents of a .npz file: those named, or all. Otherwise as {@link readNpz}.
 *
 * @returns a promise, because entries are inflated off the main thread
 */
export async function decodeNpz(bytes: Uint8Array, options: NpzReadOptions = {}): Promise<Record<string, Tensor>> {
  readBytes(bytes, 'bytes');
  const { names, convert } = checkReadOptions(options);
  const origin: Origin = { argument: 'bytes', file: null };
  try {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const zip = await yauzl.fromBufferPromise(buffer, zipOptions);
    return await readArrays(origin, zip, bytes.length, names, convert);
  } catch (error) {
    throw translated(origin, error);
  }
}

/**
 * Reads arrays from a .npz file: those named, or all; nothing else of the file is read. Entries that are no .npy files are left out.
 *
 * Float32 arrays are read as they are, other number types only with `convert: 'float32'`. Malformed archives and arrays throw a
 * RangeError with code ERR_CONVTRANSPOSE_FORMAT; errors of the file system pass through. The result is an object without a prototype.
 */
export async function readNpz(file: string | URL, options: NpzReadOptions = {}): Promise<Record<string, Tensor>> {
  const name = readFileName(file, 'file');
  const { names, convert } = checkReadOptions(options);
  const origin: Origin = { argument: 'file', file: name };
  const { handle, size } = await openSized(origin, name);
  try {
    const zip = await yauzl.fromFdPromise(handle.fd, zipOptions);
    return await readArrays(origin, zip, size, names, convert);
  } catch (error) {
    throw translated(origin, error);
  } finally {
    await handle.close();
  }
}
