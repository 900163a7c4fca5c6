/**
 * Hugging Face's .safetensors files: named arrays behind one JSON header.
 *
 * A file is the length of the header (64 bits, little-endian), the header (a JSON object, padded with spaces) and the elements of
 * all tensors. The tensors fill the rest of the file without holes or overlaps. The reader accepts exactly that, and reads from a
 * file only the header and the tensors that are asked for.
 */
import type { FileHandle } from 'node:fs/promises';

import { argumentError, list, typeError, valueError } from '../errors';
import { readOptions } from '../options';
import { Tensor, type TensorLike } from '../tensor';
import { checkConversion, readBytes, readFileName, readMembers, readName, readNames, readReadOptions, readWholeTensor } from './arguments';
import type { Conversion, ReadOptions } from './arguments';
import { bytesOf, decodeElements, readElements, type ElementType } from './elements';
import { openSized, readFully, writeAtomically } from './files';
import { countElements, formatError, quote, type Origin } from './format-error';

/** Bytes of the header's length at the start of a file. */
const prefixBytes = 8;
/** The longest header that the format allows. */
const maxHeaderBytes = 100_000_000;
/** Sizes of shapes have no limit in the format; more dimensions than this are surely an error. */
const maxDimensions = 64;
/** The writer pads the header so that the elements begin at a multiple of this many bytes. */
const alignment = 8;
const metadataKey = '__metadata__';

/** The format's element types: bits of an element, and ours if it can be read. */
const dtypes: ReadonlyMap<string, { readonly bits: number; readonly type: ElementType | null }> = new Map([
  ['BOOL', { bits: 8, type: null }],
  ['F4', { bits: 4, type: null }],
  ['F6_E2M3', { bits: 6, type: null }],
  ['F6_E3M2', { bits: 6, type: null }],
  ['F8_E5M2', { bits: 8, type: null }],
  ['F8_E4M3', { bits: 8, type: null }],
  ['F8_E8M0', { bits: 8, type: null }],
  ['C64', { bits: 64, type: null }],
  ['U8', { bits: 8, type: 'uint8' }],
  ['I8', { bits: 8, type: 'int8' }],
  ['U16', { bits: 16, type: 'uint16' }],
  ['I16', { bits: 16, type: 'int16' }],
  ['U32', { bits: 32, type: 'uint32' }],
  ['I32', { bits: 32, type: 'int32' }],
  ['U64', { bits: 64, type: 'uint64' }],
  ['I64', { bits: 64, type: 'int64' }],
  ['F16', { bits: 16, type: 'float16' }],
  ['BF16', { bits: 16, type: 'bfloat16' }],
  ['F32', { bits: 32, type: 'float32' }],
  ['F64', { bits: 64, type: 'float64' }],
]);

/** One tensor of a file, as its header describes it. */
export interface SafetensorsEntry {
  /** The format's name of the element type: 'F32', 'BF16', ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Where its elements lie, in bytes from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of their elements in the file. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface SafetensorsReadOptions extends ReadOptions {
  /** The tensors to read; all, if left out. */
  readonly names?: readonly string[] | undefined;
}

export interface SafetensorsWriteOptions {
  /** Text to keep in the header. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** An object without a prototype, so that every name is only a name. */
function record<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

/** Reads the JSON of a header, which may only have the form that the format gives it. */
class HeaderParser {
  private position = 0;
  readonly entries = new Map<string, SafetensorsEntry>();
  readonly metadata = record<string>();

  constructor(private readonly origin: Origin, private readonly text: string) {}

  parse(): void {
    let hasMetadata = false;
    if (this.text[0] !== '{') this.fail('"{"');
    this.members((name) => {
      if (name === metadataKey) {
        if (hasMetadata) this.fail(`${metadataKey} only once`);
        hasMetadata = true;
        this.parseMetadata();
      } else {
        if (this.entries.has(name)) this.fail(`each tensor once, ${quote(name)} is repeated`);
        this.entries.set(name, this.parseEntry());
      }
    });
    if (/[^ ]/.test(this.text.slice(this.position))) this.fail('spaces after the JSON object');
  }

  private parseMetadata(): void {
    this.members((key) => {
      if (key in this.metadata) this.fail(`each key once, ${quote(key)} is repeated`);
      this.metadata[key] = this.string();
    });
  }

  private parseEntry(): SafetensorsEntry {
    let dtype: string | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    this.members((key) => {
      if (key === 'dtype' && dtype === undefined) dtype = this.string();
      else if (key === 'shape' && shape === undefined) shape = this.integers(maxDimensions);
      else if (key === 'data_offsets' && offsets === undefined) offsets = this.integers(2);
      else this.fail(`dtype, shape and data_offsets, each once (the key is ${quote(key)})`);
    });
    if (dtype === undefined || shape === undefined || offsets?.length !== 2) return this.fail('dtype, shape and two data_offsets before this');
    return { dtype, shape, begin: offsets[0] as number, end: offsets[1] as number };
  }

  /** An object; `member` is called behind each colon. */
  private members(member: (key: string) => void): void {
    this.expect('{');
    if (this.accept('}')) return;
    do {
      const key = this.string();
      this.expect(':');
      member(key);
    } while (this.accept(','));
    this.expect('}');
  }

  /** An array of integers below 2^53. */
  private integers(most: number): number[] {
    const values: number[] = [];
    this.expect('[');
    if (this.accept(']')) return values;
    do {
      if (values.length === most) this.fail(`at most ${most} numbers`);
      values.push(this.integer());
    } while (this.accept(','));
    this.expect(']');
    return values;
  }

  private integer(): number {
    this.skipBlanks();
    const token = /(?:0|[1-9][0-9]{0,15})(?![0-9.eE])/y;
    token.lastIndex = this.position;
    const value = Number(token.exec(this.text)?.[0] ?? NaN);
    if (!Number.isSafeInteger(value)) this.fail('an unsigned integer below 2^53');
    this.position = token.lastIndex;
    return value;
  }

  /** A string. Its end is searched without a regular expression, which could run out of stack on a very long one. */
  private string(): string {
    this.skipBlanks();
    if (this.text[this.position] !== '"') this.fail('a string');
    let end = this.position + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === '\\' ? 2 : 1;
    let value: string;
    try {
      value = JSON.parse(this.text.slice(this.position, end + 1)) as string;
    } catch {
      return this.fail('a string');
    }
    if (/\p{Surrogate}/u.test(value)) this.fail('a string without lone surrogates');
    this.position = end + 1;
    return value;
  }

  private expect(token: string): void {
    if (!this.accept(token)) this.fail(quote(token));
  }

  private accept(token: string): boolean {
    this.skipBlanks();
    if (this.text[this.position] !== token) return false;
    this.position++;
    return true;
  }

  private skipBlanks(): void {
    while (' \t\r\n'.includes(this.text[this.position] ?? '-')) this.position++;
  }

  private fail(expected: string): never {
    const got = this.position < this.text.length ? quote(this.text.slice(this.position, this.position + 50)) : 'its end';
    throw formatError(this.origin, `character ${this.position} of the header`, expected, got);
  }
}

/** Reads the length of the header from the first 8 bytes of a file of `size` bytes (fewer, if it is shorter). */
function parsePrefix(origin: Origin, bytes: Uint8Array, size: number): number {
  if (size < prefixBytes) throw formatError(origin, 'byte 0', 'the length of the header in 8 bytes', `a file of ${size} bytes`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true);
  const most = Math.min(maxHeaderBytes, size - prefixBytes);
  if (length > BigInt(most)) throw formatError(origin, 'byte 0', `a header of at most ${most} bytes`, `${length} bytes`);
  return Number(length);
}

/** Parses a header and checks that the tensors fill the `dataBytes` bytes behind it exactly. */
function parseHeader(origin: Origin, header: Uint8Array, dataBytes: number): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw formatError(origin, `byte ${prefixBytes}`, 'a header in UTF-8', 'other bytes');
  }
  const parser = new HeaderParser(origin, text);
  parser.parse();
  const sorted = [...parser.entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  const dataOffset = prefixBytes + header.length;
  const entries = new Map<string, SafetensorsEntry>();
  let position = 0;
  for (const [name, entry] of sorted) {
    const place = `tensor ${quote(name)}`;
    const { dtype, shape, begin, end } = entry;
    if (begin !== position) {
      throw formatError(origin, `data_offsets of ${place}`, `a tensor that begins at ${position}, without hole or overlap`, `${begin}`);
    }
    const known = dtypes.get(dtype);
    if (known === undefined) throw formatError(origin, `dtype of ${place}`, `one of ${[...dtypes.keys()].join(', ')}`, quote(dtype));
    // Compared in bits: some types fill only a part of a byte. A product beyond 2^53 is rounded, but still far larger than any file.
    const bits = countElements(origin, `shape of ${place}`, shape) * known.bits;
    if (bits !== (end - begin) * 8) {
      throw formatError(origin, `data_offsets of ${place}`, `${bits / 8} bytes for ${dtype} of shape ${list(shape)}`, `${end - begin} bytes`);
    }
    entries.set(name, { dtype, shape: Object.freeze(shape), begin: dataOffset + begin, end: dataOffset + end });
    position = end;
  }
  if (position !== dataBytes) throw formatError(origin, 'the elements', `${position} bytes`, `${dataBytes} bytes`);
  return { entries, metadata: Object.freeze(parser.metadata) };
}

/** A tensor of a file that can be read as asked. */
interface Selected {
  readonly name: string;
  readonly entry: SafetensorsEntry;
  readonly type: ElementType;
}

/** Finds tensors, all if no names are given, and checks that they can be read, before any memory is taken for them. */
function select(
  origin: Origin, header: SafetensorsHeader, names: readonly string[] | undefined, convert: Conversion,
): Selected[] {
  return [...new Set(names ?? header.entries.keys())].map((name) => {
    const entry = header.entries.get(name);
    if (entry === undefined) {
      const expected = `names of tensors in the file (${listNames(header)})`;
      throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'names', expected, quote(name));
    }
    const type = checkConversion(origin, `tensor ${quote(name)}`, entry.dtype, dtypes.get(entry.dtype)?.type ?? null, convert);
    return { name, entry, type };
  });
}

function checkReadOptions(options: unknown): { names: string[] | undefined; convert: Conversion } {
  const { raw, convert } = readReadOptions(options, ['names']);
  return { names: raw.names === undefined ? undefined : readNames(raw.names, 'names'), convert };
}

/** The names of a file's tensors for a message; the first few of many. */
function listNames(header: SafetensorsHeader): string {
  const shown = [...header.entries.keys()].slice(0, 8).map(quote).join(', ');
  if (header.entries.size > 8) return `${shown}, ... ${header.entries.size} in all`;
  return shown === '' ? 'which has none' : shown;
}

/** Reads the header of the contents of a .safetensors file: names, types, shapes and metadata. */
export function inspectSafetensors(bytes: Uint8Array): SafetensorsHeader {
  readBytes(bytes, 'bytes');
  return headerOfBytes({ argument: 'bytes', file: null }, bytes);
}

function headerOfBytes(origin: Origin, bytes: Uint8Array): SafetensorsHeader {
  const dataOffset = prefixBytes + parsePrefix(origin, bytes, bytes.length);
  return parseHeader(origin, bytes.subarray(prefixBytes, dataOffset), bytes.length - dataOffset);
}

/**
 * Reads tensors from the contents of a .safetensors file: those named, or all.
 *
 * F32 tensors are read as they are, other number types only with `convert: 'float32'`. Malformed contents throw a RangeError with
 * code ERR_CONVTRANSPOSE_FORMAT that says where. The result is an object without a prototype.
 */
export function decodeSafetensors(bytes: Uint8Array, options: SafetensorsReadOptions = {}): Record<string, Tensor> {
  readBytes(bytes, 'bytes');
  const { names, convert } = checkReadOptions(options);
  const origin: Origin = { argument: 'bytes', file: null };
  const tensors = record<Tensor>();
  for (const { name, entry, type } of select(origin, headerOfBytes(origin, bytes), names, convert)) {
    const tensor = Tensor.empty(entry.shape);
    decodeElements(type, true, bytes.subarray(entry.begin, entry.end), tensor.data);
    tensors[name] = tensor;
  }
  return tensors;
}

/** An open .safetensors file: its header has been read and checked, tensors are read when they are asked for. */
export class SafetensorsFile implements SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #origin: Origin;
  readonly #handle: FileHandle;

  private constructor(origin: Origin, handle: FileHandle, header: SafetensorsHeader) {
    this.entries = header.entries;
    this.metadata = header.metadata;
    this.#origin = origin;
    this.#handle = handle;
  }

  /** Opens a file and reads its header. Errors of the file system pass through. The caller closes the file. */
  static async open(file: string | URL): Promise<SafetensorsFile> {
    const name = readFileName(file, 'file');
    const origin: Origin = { argument: 'file', file: name };
    const { handle, size } = await openSized(origin, name);
    try {
      const prefix = new Uint8Array(Math.min(prefixBytes, size));
      await readFully(origin, handle, prefix, 0);
      const header = new Uint8Array(parsePrefix(origin, prefix, size));
      await readFully(origin, handle, header, prefixBytes);
      return new SafetensorsFile(origin, handle, parseHeader(origin, header, size - prefixBytes - header.length));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Reads the named tensors, or all; only their bytes are read. Several calls may be under way at a time. */
  async read(options: SafetensorsReadOptions = {}): Promise<Record<string, Tensor>> {
    const { names, convert } = checkReadOptions(options);
    const tensors = record<Tensor>();
    for (const { name, entry, type } of select(this.#origin, this, names, convert)) {
      const tensor = Tensor.empty(entry.shape);
      await readElements(this.#origin, this.#handle, entry.begin, type, true, tensor.data);
      tensors[name] = tensor;
    }
    return tensors;
  }

  /** Closes the file, when reads under way have finished. */
  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Reads tensors from a .safetensors file: like `decodeSafetensors`, but reads nothing else of the file. */
export async function readSafetensors(file: string | URL, options: SafetensorsReadOptions = {}): Promise<Record<string, Tensor>> {
  const checked = checkReadOptions(options);
  const opened = await SafetensorsFile.open(file);
  try {
    return await opened.read(checked);
  } finally {
    await opened.close();
  }
}

/** Text to keep in a header, as JSON. */
function encodeMetadata(metadata: unknown): string {
  const members = readMembers(metadata, 'metadata').map(([key, value]) => {
    if (typeof value !== 'string') throw typeError(`metadata[${quote(key)}]`, 'a string', value);
    return `${JSON.stringify(key)}:${JSON.stringify(readName(value, 'metadata'))}`;
  });
  return `{${members.join(',')}}`;
}

/**
 * The parts of a file, in order: everything before the elements, then the elements of each tensor, in place. The JSON is put
 * together by hand, as an object would move names that look like numbers to its front.
 */
function encodeParts(tensors: unknown, options: unknown): Uint8Array[] {
  const { metadata } = readOptions(options, 'options', ['metadata'] as const);
  const members: string[] = [];
  if (metadata !== undefined) members.push(`"${metadataKey}":${encodeMetadata(metadata)}`);
  const elements: Uint8Array[] = [];
  let position = 0;
  for (const [name, tensor] of readMembers(tensors, 'tensors')) {
    if (name === metadataKey) throw valueError('tensors', 'no tensor of the name that the format keeps for text', name);
    const { data, shape } = readWholeTensor(tensor, `tensors[${quote(name)}]`);
    const end = position + data.byteLength;
    members.push(`${JSON.stringify(name)}:{"dtype":"F32","shape":[${shape.join(',')}],"data_offsets":[${position},${end}]}`);
    elements.push(bytesOf(data));
    position = end;
  }
  const json = Buffer.from(`{${members.join(',')}}`);
  if (json.length > maxHeaderBytes - alignment) throw valueError('tensors', `a header of less than ${maxHeaderBytes} bytes`, json.length);
  const start = Buffer.alloc(prefixBytes + Math.ceil(json.length / alignment) * alignment, ' ');
  start.writeBigUInt64LE(BigInt(start.length - prefixBytes));
  start.set(json, prefixBytes);
  return [start, ...elements];
}

/**
 * The contents of a .safetensors file with these tensors, sorted by name, and the text given as metadata. The same tensors always
 * give the same bytes.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, TensorLike>>, options: SafetensorsWriteOptions = {},
): Uint8Array {
  return Buffer.concat(encodeParts(tensors, options));
}

/** Writes tensors to a .safetensors file, as `encodeSafetensors` does, whole or not at all. */
export async function writeSafetensors(
  file: string | URL, tensors: Readonly<Record<string, TensorLike>>, options: SafetensorsWriteOptions = {},
): Promise<void> {
  const name = readFileName(file, 'file');
  await writeAtomically({ argument: 'file', file: name }, name, encodeParts(tensors, options));
}
