/**
 * The parts of an ONNX model that describe transposed convolutions: nodes, their attributes, and stored tensors. Everything else is
 * skipped. Field numbers are those of onnx.proto. Numbers of attributes and tensors stay encoded until somebody asks for them, so no
 * list that a file announces is made before it is known to be wanted.
 */
import { formatError, type Origin } from './format-error';
import { appendIntegers, bytesOfField, integerOfField, readFields, textOfField, type FieldValue } from './protobuf';

/** A stored tensor: TensorProto. */
export interface StoredTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** TensorProto.DataType */
  readonly dataType: number;
  /** raw_data: all elements, little-endian. */
  readonly raw: Uint8Array | undefined;
  /** float_data and double_data, packed or not. */
  readonly floats: readonly FieldValue[];
  /** int32_data, packed or not. */
  readonly integers: readonly FieldValue[];
  /** Where the elements are if they are in another file: the keys are location, offset and length. */
  readonly external: ReadonlyMap<string, string> | undefined;
}

/** An attribute of a node: AttributeProto. Fields that it does not have are absent or empty. */
export interface Attribute {
  readonly name: string;
  readonly integer: FieldValue | undefined;
  readonly integers: readonly FieldValue[];
  readonly text: FieldValue | undefined;
  readonly tensor: StoredTensor | undefined;
  readonly graphs: readonly Graph[];
}

export interface Node {
  readonly name: string;
  readonly operator: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly Attribute[];
}

export interface Graph {
  /** Those that matter here: transposed convolutions, constants, and nodes that hold graphs. */
  readonly nodes: readonly Node[];
  readonly tensors: readonly StoredTensor[];
}

export interface Model {
  /** Version of the default operator set. */
  readonly opset: number;
  readonly graph: Graph;
}

/** Graphs in attributes of nodes of graphs in attributes of nodes: more than any model has. */
const maxDepth = 32;
/** More dimensions than any tensor has. */
const maxDimensions = 64;
/** DataLocation.EXTERNAL */
const externalLocation = 1;

/** Reads the message ModelProto. */
export function readModel(origin: Origin, bytes: Uint8Array): Model {
  let graph: Graph | undefined;
  const opsets = new Map<string, number>();
  const place = 'the model';
  readFields(origin, place, bytes, (number, value) => {
    if (number === 7) graph = readGraph(origin, bytesOfField(origin, place, value), 1);
    else if (number === 8) readOpset(origin, bytesOfField(origin, place, value), opsets);
  });
  const opset = opsets.get('') ?? opsets.get('ai.onnx');
  if (graph === undefined || opset === undefined || opset < 1) {
    throw formatError(origin, place, 'a graph and the version of its operators', 'a message without');
  }
  return { opset, graph };
}

function readOpset(origin: Origin, bytes: Uint8Array, to: Map<string, number>): void {
  let domain = '';
  let version = 0;
  const place = 'an operator set';
  readFields(origin, place, bytes, (number, value) => {
    if (number === 1) domain = textOfField(origin, place, value);
    else if (number === 2) version = integerOfField(origin, place, value);
  });
  to.set(domain, version);
}

function readGraph(origin: Origin, bytes: Uint8Array, depth: number): Graph {
  const place = 'a graph';
  if (depth > maxDepth) throw formatError(origin, place, `at most ${maxDepth} graphs within each other`, 'more');
  const nodes: Node[] = [];
  const tensors: StoredTensor[] = [];
  readFields(origin, place, bytes, (number, value) => {
    if (number === 1) {
      const node = readNode(origin, bytesOfField(origin, place, value), depth);
      if (isWanted(node)) nodes.push(node);
    } else if (number === 5) {
      tensors.push(readTensor(origin, bytesOfField(origin, place, value)));
    }
  });
  return { nodes, tensors };
}

function isWanted({ operator, attributes }: Node): boolean {
  return operator === 'ConvTranspose' || operator === 'Constant' || attributes.some(({ graphs }) => graphs.length > 0);
}

function readNode(origin: Origin, bytes: Uint8Array, depth: number): Node {
  const node = { name: '', operator: '', domain: '', inputs: [] as string[], outputs: [] as string[], attributes: [] as Attribute[] };
  const place = 'a node';
  readFields(origin, place, bytes, (number, value) => {
    switch (number) {
      case 1: node.inputs.push(textOfField(origin, place, value)); break;
      case 2: node.outputs.push(textOfField(origin, place, value)); break;
      case 3: node.name = textOfField(origin, place, value); break;
      case 4: node.operator = textOfField(origin, place, value); break;
      case 5: node.attributes.push(readAttribute(origin, bytesOfField(origin, place, value), depth)); break;
      case 7: node.domain = textOfField(origin, place, value); break;
    }
  });
  return node;
}

function readAttribute(origin: Origin, bytes: Uint8Array, depth: number): Attribute {
  let name = '';
  let integer: FieldValue | undefined;
  let text: FieldValue | undefined;
  let tensor: StoredTensor | undefined;
  const integers: FieldValue[] = [];
  const graphs: Graph[] = [];
  const place = 'an attribute';
  readFields(origin, place, bytes, (number, value) => {
    switch (number) {
      case 1: name = textOfField(origin, place, value); break;
      case 3: integer = value; break;
      case 4: text = value; break;
      case 5: tensor = readTensor(origin, bytesOfField(origin, place, value)); break;
      case 6: case 11: graphs.push(readGraph(origin, bytesOfField(origin, place, value), depth + 1)); break;
      case 8: integers.push(value); break;
    }
  });
  return { name, integer, integers, text, tensor, graphs };
}

function readTensor(origin: Origin, bytes: Uint8Array): StoredTensor {
  let name = '';
  let dataType = 0;
  let raw: Uint8Array | undefined;
  let isExternal = false;
  const shape: number[] = [];
  const floats: FieldValue[] = [];
  const integers: FieldValue[] = [];
  const location = new Map<string, string>();
  const place = 'a tensor';
  readFields(origin, place, bytes, (number, value) => {
    switch (number) {
      case 1: appendIntegers(origin, place, value, shape, maxDimensions); break;
      case 2: dataType = integerOfField(origin, place, value); break;
      case 4: case 10: floats.push(value); break;
      case 5: integers.push(value); break;
      case 8: name = textOfField(origin, place, value); break;
      case 9: raw = bytesOfField(origin, place, value); break;
      case 13: readLocation(origin, bytesOfField(origin, place, value), location); break;
      case 14: isExternal = integerOfField(origin, place, value) === externalLocation; break;
    }
  });
  return { name, shape, dataType, raw, floats, integers, external: isExternal ? location : undefined };
}

function readLocation(origin: Origin, bytes: Uint8Array, to: Map<string, string>): void {
  let key = '';
  let text = '';
  const place = 'the location of a tensor';
  readFields(origin, place, bytes, (number, value) => {
    if (number === 1) key = textOfField(origin, place, value);
    else if (number === 2) text = textOfField(origin, place, value);
  });
  to.set(key, text);
}
