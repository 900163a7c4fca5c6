/** ONNX models: the ConvTranspose nodes with their attributes and stored weights. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';

import { list } from '../errors';
import { Tensor } from '../tensor';
import { checkConversion, readBytes, readFileName, readReadOptions, type Conversion, type ReadOptions } from './arguments';
import { decodeElements, elementBytes, readElements, type ElementType } from './elements';
import { openSized, readFully } from './files';
import { countElements, formatError, quote, type Origin } from './format-error';
import { readModel, type Attribute, type Graph, type Node, type StoredTensor } from './onnx-model';
import { appendIntegers, integerOfField, textOfField } from './protobuf';

/** Attributes of a node by the operator's names; those that the node does not have are absent. */
export interface OnnxAttributes {
  auto_pad?: 'NOTSET' | 'SAME_UPPER' | 'SAME_LOWER' | 'VALID';
  dilations?: number[];
  group?: number;
  kernel_shape?: number[];
  output_padding?: number[];
  output_shape?: number[];
  pads?: number[];
  strides?: number[];
}

/** One ConvTranspose node of a model: what `onnx.convTranspose` of `convtranspose/compat` takes, and the names around it. */
export interface OnnxConvTranspose {
  /** The node's name, which may be empty. */
  readonly name: string;
  /** Version of the model's operator set. */
  readonly opset: number;
  readonly attributes: OnnxAttributes;
  /** Names of the values that the node reads; B is null if it has no bias. */
  readonly inputs: { readonly X: string; readonly W: string; readonly B: string | null };
  /** Name of the value that the node computes. */
  readonly output: string;
  /** The weights [C, M/group, k1, ...]; null if the model computes them. */
  readonly W: Tensor | null;
  /** The bias [M]; null if there is none, or if the model computes it. */
  readonly B: Tensor | null;
}

/** A node whose tensors have not been loaded yet. */
interface FoundNode extends Omit<OnnxConvTranspose, 'W' | 'B'> {
  readonly W: StoredTensor | null;
  readonly B: StoredTensor | null;
}

/** Protocol buffers are never larger. */
const maxModelBytes = 2 ** 31 - 1;
/** More entries than any attribute of the operator has. */
const maxAttributeEntries = 64;
const autoPads = ['NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'] as const;
const listAttributes = new Set(['dilations', 'kernel_shape', 'output_padding', 'output_shape', 'pads', 'strides'] as const);
type ListAttribute = typeof listAttributes extends Set<infer Name> ? Name : never;

/** Names of TensorProto.DataType. */
const dataTypeNames = [
  'no type', 'float32', 'uint8', 'int8', 'uint16', 'int16', 'int32', 'int64', 'string', 'bool', 'float16', 'float64', 'uint32', 'uint64',
  'complex64', 'complex128', 'bfloat16',
];
/** The types that the operator takes. */
const elementTypes: ReadonlySet<string> = new Set<ElementType>(['float16', 'bfloat16', 'float32', 'float64']);

/** Reads one attribute of the operator. */
function readAttribute(origin: Origin, place: string, { name, integer, integers, text }: Attribute, to: OnnxAttributes): void {
  const where = `attribute ${quote(name)} of ${place}`;
  if ((listAttributes as ReadonlySet<string>).has(name)) {
    const values: number[] = [];
    for (const value of integers) appendIntegers(origin, where, value, values, maxAttributeEntries);
    to[name as ListAttribute] = values;
  } else if (name === 'group' && integer !== undefined) {
    to.group = integerOfField(origin, where, integer);
  } else if (name === 'auto_pad' && text !== undefined) {
    const word = textOfField(origin, where, text);
    const known = autoPads.find((one) => one === word);
    if (known === undefined) throw formatError(origin, where, `one of ${autoPads.join(', ')}`, quote(word));
    to.auto_pad = known;
  } else {
    throw formatError(origin, place, 'the attributes of ConvTranspose', where);
  }
}

/** The tensors that a graph and those around it store by name. */
type Scope = ReadonlyMap<string, StoredTensor>;

function readNode(origin: Origin, node: Node, opset: number, scope: Scope): FoundNode {
  const [X, W, B = ''] = node.inputs;
  const [output] = node.outputs;
  const place = `node ${quote(node.name === '' ? (output ?? '') : node.name)}`;
  if (X === undefined || W === undefined || output === undefined) {
    throw formatError(origin, place, 'inputs X and W and an output', `${node.inputs.length} inputs and ${node.outputs.length} outputs`);
  }
  const attributes: OnnxAttributes = {};
  for (const attribute of node.attributes) readAttribute(origin, place, attribute, attributes);
  return {
    name: node.name, opset, attributes, inputs: { X, W, B: B === '' ? null : B }, output,
    W: scope.get(W) ?? null, B: scope.get(B) ?? null,
  };
}

/** Appends the transposed convolutions of a graph and of the graphs in it. */
function findNodes(origin: Origin, graph: Graph, opset: number, around: Scope, to: FoundNode[]): void {
  const scope = new Map(around);
  for (const tensor of graph.tensors) scope.set(tensor.name, tensor);
  for (const { domain, operator, outputs, attributes } of graph.nodes) {
    const value = attributes.find(({ name }) => name === 'value')?.tensor;
    if (isStandard(domain) && operator === 'Constant' && value !== undefined && outputs[0] !== undefined) scope.set(outputs[0], value);
  }
  for (const node of graph.nodes) {
    if (isStandard(node.domain) && node.operator === 'ConvTranspose') to.push(readNode(origin, node, opset, scope));
    for (const { graphs } of node.attributes) for (const inner of graphs) findNodes(origin, inner, opset, scope, to);
  }
}

function isStandard(domain: string): boolean {
  return domain === '' || domain === 'ai.onnx';
}

/** What a stored tensor holds, once it is known that it can be read. */
interface Checked {
  readonly place: string;
  readonly type: ElementType;
  readonly bytes: number;
}

function checkTensor(origin: Origin, tensor: StoredTensor, convert: Conversion): Checked {
  const place = `tensor ${quote(tensor.name)}`;
  const typeName = dataTypeNames[tensor.dataType] ?? `type ${tensor.dataType}`;
  const type = checkConversion(origin, place, typeName, elementTypes.has(typeName) ? (typeName as ElementType) : null, convert);
  if (tensor.shape.some((size) => size < 0)) throw formatError(origin, place, 'sizes of at least 0', list(tensor.shape));
  return { place, type, bytes: countElements(origin, place, tensor.shape) * elementBytes[type] };
}

/** The bytes of elements that lie in the model. */
function storedBytes(origin: Origin, tensor: StoredTensor, { place, type, bytes }: Checked): Uint8Array {
  if (tensor.raw !== undefined) return tensor.raw;
  if (type === 'float32' || type === 'float64') {
    const pieces = tensor.floats.map((value) => {
      if (value.kind === 'varint') throw formatError(origin, place, 'elements of fixed size', 'integers');
      return value.bytes;
    });
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
  }
  // The bits of 16-bit floats are stored as integers.
  const bits: number[] = [];
  for (const value of tensor.integers) appendIntegers(origin, place, value, bits, bytes / elementBytes[type]);
  if (bits.some((value) => value < 0 || value > 0xffff)) throw formatError(origin, place, 'elements of 16 bits', 'larger integers');
  const words = Uint16Array.from(bits);
  return new Uint8Array(words.buffer);
}

/** Reads a tensor that lies in the model. No memory is taken for its elements before they are known to be there. */
function loadStored(origin: Origin, tensor: StoredTensor, convert: Conversion): Tensor {
  const checked = checkTensor(origin, tensor, convert);
  if (tensor.external !== undefined) {
    throw formatError(origin, checked.place, 'elements in the model (readOnnx reads other files, too)', 'elements in another file');
  }
  const bytes = storedBytes(origin, tensor, checked);
  if (bytes.length !== checked.bytes) {
    throw formatError(origin, checked.place, `${checked.bytes} bytes for shape ${list(tensor.shape)}`, `${bytes.length} bytes`);
  }
  const result = Tensor.empty(tensor.shape);
  decodeElements(checked.type, true, bytes, result.data);
  return result;
}

/** A decimal integer of a tensor's location. */
function readOffset(origin: Origin, place: string, key: string, text: string | undefined, missing: number): number {
  if (text === undefined) return missing;
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw formatError(origin, `${key} of ${place}`, 'an integer below 2^53', quote(text));
  return value;
}

/** Reads a tensor from a file beside the model, which must lie in the model's folder or below. */
async function loadExternal(
  origin: Origin, folder: string, tensor: StoredTensor, location: ReadonlyMap<string, string>, convert: Conversion,
): Promise<Tensor> {
  const { place, type, bytes } = checkTensor(origin, tensor, convert);
  const name = location.get('location') ?? '';
  const outside = () => formatError(origin, `location of ${place}`, 'a file in the folder of the model', quote(name));
  if (name === '' || name.includes('\0') || path.isAbsolute(name)) throw outside();
  const root = await realpath(folder);
  const file = await realpath(path.join(folder, name));
  // Links and `..` must not lead to other people's files.
  if (!file.startsWith(root.endsWith(path.sep) ? root : root + path.sep)) throw outside();
  const offset = readOffset(origin, place, 'offset', location.get('offset'), 0);
  const { handle, size } = await openSized(origin, file);
  try {
    const length = readOffset(origin, place, 'length', location.get('length'), size - offset);
    if (length !== bytes || offset + bytes > size) {
      throw formatError(origin, `location of ${place}`, `${bytes} bytes for shape ${list(tensor.shape)}`,
        `${length} at ${offset} of a file of ${size}`);
    }
    const result = Tensor.empty(tensor.shape);
    await readElements({ argument: origin.argument, file }, handle, offset, type, true, result.data);
    return result;
  } finally {
    await handle.close();
  }
}

/**
 * Reads the ConvTranspose nodes from the contents of an ONNX model whose tensors are all stored in it; otherwise as {@link readOnnx}.
 */
export function decodeOnnx(bytes: Uint8Array, options: ReadOptions = {}): OnnxConvTranspose[] {
  readBytes(bytes, 'bytes');
  const { convert } = readReadOptions(options, []);
  const origin: Origin = { argument: 'bytes', file: null };
  const { graph, opset } = readModel(origin, bytes);
  const found: FoundNode[] = [];
  findNodes(origin, graph, opset, new Map(), found);
  const load = (tensor: StoredTensor | null) => (tensor === null ? null : loadStored(origin, tensor, convert));
  return found.map((node) => ({ ...node, W: load(node.W), B: load(node.B) }));
}

/**
 * Reads the ConvTranspose nodes of an ONNX model in the order of its graphs: attributes, and the weights and biases that are stored as
 * initializers or constants, in the model or in files beside it.
 *
 * Float32 tensors are read as they are; float16, bfloat16 and float64 only with `convert: 'float32'`. Malformed models throw a
 * RangeError with code ERR_CONVTRANSPOSE_FORMAT; errors of the file system pass through. A tensor's file must lie in the folder of the
 * model or below it.
 */
export async function readOnnx(file: string | URL, options: ReadOptions = {}): Promise<OnnxConvTranspose[]> {
  const name = readFileName(file, 'file');
  const { convert } = readReadOptions(options, []);
  const origin: Origin = { argument: 'file', file: name };
  const { graph, opset } = readModel(origin, await readWhole(origin, name));
  const found: FoundNode[] = [];
  findNodes(origin, graph, opset, new Map(), found);
  const load = async (tensor: StoredTensor | null): Promise<Tensor | null> => {
    if (tensor === null) return null;
    if (tensor.external === undefined) return loadStored(origin, tensor, convert);
    return await loadExternal(origin, path.dirname(name), tensor, tensor.external, convert);
  };
  const nodes: OnnxConvTranspose[] = [];
  for (const node of found) nodes.push({ ...node, W: await load(node.W), B: await load(node.B) });
  return nodes;
}

/** The bytes of a file that a message can be. */
async function readWhole(origin: Origin, name: string): Promise<Uint8Array> {
  const { handle, size } = await openSized(origin, name);
  try {
    if (size > maxModelBytes) throw formatError(origin, 'byte 0', `a model of at most ${maxModelBytes} bytes`, `${size} bytes`);
    const bytes = new Uint8Array(size);
    await readFully(origin, handle, bytes, 0);
    return bytes;
  } finally {
    await handle.close();
  }
}
