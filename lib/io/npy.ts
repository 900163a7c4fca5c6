/**
 * NumPy's .npy files, versions 1.0, 2.0 and 3.0: one array each.
 *
 * A file is the magic number, two version bytes, the length of the header, the header (a Python dictionary of exactly `descr`,
 * `fortran_order` and `shape`, ended by a newline) and the elements, nothing more. The reader accepts exactly that.
 */
import { list } from '../errors';
import { Tensor, type TensorLike } from '../tensor';
import {
  checkConversion, readBytes, readFileName, readReadOptions, readWholeTensor, type Conversion, type ReadOptions,
} from './arguments';
import { bytesOf, decodeElements, elementBytes, readElements, type ElementType } from './elements';
import { openSized, readFully, writeAtomically } from './files';
import { countElements, formatError, quote, type Origin } from './format-error';

const magic = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59);
/** Bytes before the header in version 1.0 and in later ones. */
const shortPrefix = 10;
const longPrefix = 12;
/** The longest header that is read; one of a plain array has about a hundred bytes. */
const maxHeaderBytes = 1 << 16;
/** NumPy's own limit. */
const maxDimensions = 64;
/** NumPy aligns the elements to this many bytes. */
const alignment = 64;

/** What a header says. */
interface NpyHeader {
  readonly type: ElementType;
  readonly littleEndian: boolean;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  readonly count: number;
  /** Where the elements begin. */
  readonly dataOffset: number;
}

/** NumPy's names of element types without byte order. */
const elementTypes: ReadonlyMap<string, ElementType> = new Map([
  ['f2', 'float16'], ['f4', 'float32'], ['f8', 'float64'],
  ['i1', 'int8'], ['i2', 'int16'], ['i4', 'int32'], ['i8', 'int64'],
  ['u1', 'uint8'], ['u2', 'uint16'], ['u4', 'uint32'], ['u8', 'uint64'],
]);

/** A cursor over the text of a header: each method consumes one token, after blanks, or throws. */
class HeaderScanner {
  private position = 0;

  /** `start` is the header's first byte in the file; the text has one character per byte. */
  constructor(private readonly origin: Origin, private readonly text: string, private readonly start: number) {}

  fail(expected: string): never {
    const got = this.position < this.text.length ? quote(this.text.slice(this.position)) : 'the end of the header';
    throw formatError(this.origin, `byte ${this.start + this.position}`, expected, got);
  }

  /** Consumes `token` if it comes next. */
  accept(token: string): boolean {
    this.skipBlanks();
    if (!this.text.startsWith(token, this.position)) return false;
    this.position += token.length;
    return true;
  }

  expect(token: string): void {
    if (!this.accept(token)) this.fail(quote(token));
  }

  /** A Python string of printable ASCII without escapes, in either kind of quotes. */
  string(what: string): string {
    return this.match(/'[ !#-&(-[\]-~]*'|"[ !#-&(-[\]-~]*"/y, what).slice(1, -1);
  }

  boolean(): boolean {
    return this.match(/(?:True|False)(?!\w)/y, 'True or False') === 'True';
  }

  /** A decimal integer, as Python 2 wrote it if `longSuffix`. */
  integer(longSuffix: boolean): number {
    const start = this.position;
    const digits = this.match(/(?:0|[1-9][0-9]{0,15})(?![0-9])/y, 'a dimension');
    if (longSuffix && this.text[this.position] === 'L') this.position++;
    const value = Number(digits);
    if (!Number.isSafeInteger(value)) {
      this.position = start;
      this.fail('a dimension below 2^53');
    }
    return value;
  }

  /** Only blanks and the newline that ends the header may follow. */
  end(): void {
    if (!/^ *\n$/.test(this.text.slice(this.position))) this.fail('spaces and a newline at the end of the header');
  }

  private match(token: RegExp, expected: string): string {
    this.skipBlanks();
    token.lastIndex = this.position;
    const found = token.exec(this.text);
    if (found === null) this.fail(expected);
    this.position = token.lastIndex;
    return found[0];
  }

  private skipBlanks(): void {
    while (this.text[this.position] === ' ') this.position++;
  }
}

/** Reads a shape, `()`, `(3,)` or `(1, 2)` with an optional comma at the end. */
function scanShape(scanner: HeaderScanner, longSuffix: boolean): number[] {
  const shape: number[] = [];
  scanner.expect('(');
  while (!scanner.accept(')')) {
    if (shape.length === maxDimensions) scanner.fail(`at most ${maxDimensions} dimensions`);
    shape.push(scanner.integer(longSuffix));
    if (scanner.accept(',')) continue;
    // (3) is a number in Python, not a tuple.
    if (shape.length === 1) scanner.fail('","');
    scanner.expect(')');
    break;
  }
  return shape;
}

/** Reads the version and the length of the header from a file's first bytes; `bytes` holds at least min(12, size) of them. */
function parsePrefix(origin: Origin, bytes: Uint8Array, size: number): { major: number; headerStart: number; headerBytes: number } {
  if (size < shortPrefix || magic.some((byte, i) => bytes[i] !== byte)) {
    throw formatError(origin, 'byte 0', 'the magic number of a .npy file', size < shortPrefix ? `a file of ${size} bytes` : 'other bytes');
  }
  const major = bytes[6] as number;
  const minor = bytes[7] as number;
  if (major < 1 || major > 3 || minor !== 0) {
    throw formatError(origin, 'byte 6', 'version 1.0, 2.0 or 3.0', `${major}.${minor}`);
  }
  const headerStart = major === 1 ? shortPrefix : longPrefix;
  if (size < headerStart) throw formatError(origin, 'byte 8', 'the length of the header', `a file of ${size} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const most = Math.min(maxHeaderBytes, size - headerStart);
  if (headerBytes > most) throw formatError(origin, 'byte 8', `a header of at most ${most} bytes`, `${headerBytes} bytes`);
  return { major, headerStart, headerBytes };
}

/** Parses a header and checks that the elements that it announces fill the file exactly. */
function parseHeader(origin: Origin, header: Uint8Array, prefix: { major: number; headerStart: number }, size: number): NpyHeader {
  // Versions 1.0 and 2.0 are Latin-1, 3.0 is UTF-8; the headers that are accepted are ASCII, which both contain.
  const scanner = new HeaderScanner(origin, Buffer.from(header).toString('latin1'), prefix.headerStart);
  let descr: string | undefined;
  let fortranOrder: boolean | undefined;
  let shape: number[] | undefined;
  scanner.expect('{');
  while (!scanner.accept('}')) {
    const key = scanner.string('a key of the header');
    scanner.expect(':');
    if (key === 'descr' && descr === undefined) descr = scanner.string('a plain element type');
    else if (key === 'fortran_order' && fortranOrder === undefined) fortranOrder = scanner.boolean();
    else if (key === 'shape' && shape === undefined) shape = scanShape(scanner, prefix.major < 3);
    else scanner.fail(`a value of descr, fortran_order or shape, each once (the key is ${quote(key)})`);
    if (scanner.accept(',')) continue;
    scanner.expect('}');
    break;
  }
  scanner.end();
  if (descr === undefined || fortranOrder === undefined || shape === undefined) {
    throw formatError(origin, `byte ${prefix.headerStart}`, 'a header with descr, fortran_order and shape', 'one without all of them');
  }
  const type = elementTypes.get(descr.slice(1));
  const order = descr[0] as string;
  if (type === undefined || !(order === '<' || order === '>' || (order === '|' && elementBytes[type] === 1))) {
    throw formatError(origin, 'descr', 'an integer or floating point type of up to 64 bits with its byte order', quote(descr));
  }
  const dataOffset = prefix.headerStart + header.length;
  const count = countElements(origin, 'shape', shape);
  const dataBytes = count * elementBytes[type];
  if (dataBytes !== size - dataOffset) {
    throw formatError(origin, `byte ${dataOffset}`, `${dataBytes} bytes for shape ${list(shape)} of ${descr}`, `${size - dataOffset} bytes`);
  }
  return { type, littleEndian: order !== '>', fortranOrder, shape, count, dataOffset };
}

/** Reorders elements whose first index varies fastest so that the last one does. */
function fortranToC(source: Float32Array, shape: readonly number[], out: Float32Array): void {
  const last = shape.length - 1;
  const strides: number[] = [];
  let stride = 1;
  for (const size of shape) {
    strides.push(stride);
    stride *= size;
  }
  const rowLength = shape[last] as number;
  const rowStride = strides[last] as number;
  const index = new Array<number>(last).fill(0);
  let offset = 0;
  for (let to = 0; to < out.length;) {
    for (let i = 0; i < rowLength; i++) out[to++] = source[offset + i * rowStride] as number;
    for (let axis = last - 1; axis >= 0; axis--) {
      offset += strides[axis] as number;
      if (++(index[axis] as number) < (shape[axis] as number)) break;
      offset -= (strides[axis] as number) * (shape[axis] as number);
      index[axis] = 0;
    }
  }
}

/** A tensor for a header, and the array that its elements are to be decoded into, in the order of the file. */
function allocate(header: NpyHeader): { tensor: Tensor; elements: Float32Array } {
  const tensor = Tensor.empty(header.shape);
  const reordered = header.fortranOrder && header.shape.length > 1;
  return { tensor, elements: reordered ? new Float32Array(header.count) : tensor.data };
}

/** The tensor, once its elements have been decoded. */
function finish(header: NpyHeader, { tensor, elements }: { tensor: Tensor; elements: Float32Array }): Tensor {
  if (elements !== tensor.data) fortranToC(elements, header.shape, tensor.data);
  return tensor;
}

/**
 * Reads the contents of a .npy file.
 *
 * Float32 arrays of either byte order are read as they are; other number types only with `convert: 'float32'`. Fortran order is
 * turned into C order. Malformed contents throw a RangeError with code ERR_CONVTRANSPOSE_FORMAT that says where; no more memory
 * is taken than the elements need.
 */
export function decodeNpy(bytes: Uint8Array, options: ReadOptions = {}): Tensor {
  readBytes(bytes, 'bytes');
  const { convert } = readReadOptions(options, []);
  return decodeArray({ argument: 'bytes', file: null }, bytes, convert);
}

/** The array of a whole .npy file that `origin` holds. */
export function decodeArray(origin: Origin, bytes: Uint8Array, convert: Conversion): Tensor {
  const prefix = parsePrefix(origin, bytes, bytes.length);
  const headerEnd = prefix.headerStart + prefix.headerBytes;
  const header = parseHeader(origin, bytes.subarray(prefix.headerStart, headerEnd), prefix, bytes.length);
  checkConversion(origin, 'the array', header.type, header.type, convert);
  const target = allocate(header);
  decodeElements(header.type, header.littleEndian, bytes.subarray(header.dataOffset), target.elements);
  return finish(header, target);
}

/** The header of the float32 array of a shape, padded so that the elements are aligned. */
function encodeHeader(shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  const total = Math.ceil((shortPrefix + dictionary.length + 1) / alignment) * alignment;
  const header = Buffer.alloc(total, ' ');
  header.set(magic);
  header.set([1, 0], magic.length);
  header.writeUInt16LE(total - shortPrefix, 8);
  header.write(dictionary, shortPrefix, 'latin1');
  header.write('\n', total - 1, 'latin1');
  return header;
}

/** The contents of a .npy file (version 1.0, little-endian, C order) that holds a tensor. */
export function encodeNpy(tensor: TensorLike): Uint8Array {
  const { data, shape } = readWholeTensor(tensor, 'tensor');
  return Buffer.concat([encodeHeader(shape), bytesOf(data)]);
}

/** Reads a .npy file; like `decodeNpy`, without holding the file in memory besides the tensor. Errors of the file system pass through. */
export async function readNpy(file: string | URL, options: ReadOptions = {}): Promise<Tensor> {
  const name = readFileName(file, 'file');
  const { convert } = readReadOptions(options, []);
  const origin: Origin = { argument: 'file', file: name };
  const { handle, size } = await openSized(origin, name);
  try {
    const start = new Uint8Array(Math.min(longPrefix, size));
    await readFully(origin, handle, start, 0);
    const prefix = parsePrefix(origin, start, size);
    const headerBytes = new Uint8Array(prefix.headerBytes);
    await readFully(origin, handle, headerBytes, prefix.headerStart);
    const header = parseHeader(origin, headerBytes, prefix, size);
    checkConversion(origin, 'the array', header.type, header.type, convert);
    const target = allocate(header);
    await readElements(origin, handle, header.dataOffset, header.type, header.littleEndian, target.elements);
    return finish(header, target);
  } finally {
    await handle.close();
  }
}

/** Writes a tensor to a .npy file (version 1.0, little-endian, C order), whole or not at all. */
export async function writeNpy(file: string | URL, tensor: TensorLike): Promise<void> {
  const name = readFileName(file, 'file');
  const { data, shape } = readWholeTensor(tensor, 'tensor');
  await writeAtomically({ argument: 'file', file: name }, name, [encodeHeader(shape), bytesOf(data)]);
}
