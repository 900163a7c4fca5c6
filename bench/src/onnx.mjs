// @ts-check
/**
 * Writes the ONNX file of a model that is one ConvTranspose node: all of the format that the benches need. The format is
 * protobuf (field numbers as in onnx.proto3): a message is a sequence of fields, a field a key (number*8 + wire type) and a
 * value. This file needs nothing but Node.
 */
import { product, weightShape } from './problem.mjs';

const VARINT = 0;
const LENGTH_DELIMITED = 2;

const FLOAT = 1; // TensorProto.DataType
const ATTRIBUTE_INT = 2; // AttributeProto.AttributeType
const ATTRIBUTE_INTS = 7;
const IR_VERSION = 8;
const OPSET = 11; // ConvTranspose has not changed from 11 to 21 for float32

/** @param {number} value a safe integer of 0 or more */
function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}

/** @param {number} field @param {number} value */
const int = (field, value) => Buffer.concat([varint(field * 8 + VARINT), varint(value)]);

/** @param {number} field @param {Uint8Array} content */
const bytes = (field, content) =>
  Buffer.concat([varint(field * 8 + LENGTH_DELIMITED), varint(content.byteLength), content]);

/** @param {number} field @param {string} text */
const string = (field, text) => bytes(field, Buffer.from(text));

/** @param {number} field @param {Uint8Array[]} fields */
const message = (field, ...fields) => bytes(field, Buffer.concat(fields));

/** NodeProto.attribute @param {string} name @param {number | readonly number[]} value */
const attribute = (name, value) =>
  typeof value === 'number'
    ? message(5, string(1, name), int(3, value), int(20, ATTRIBUTE_INT))
    : message(5, string(1, name), ...value.map((item) => int(8, item)), int(20, ATTRIBUTE_INTS));

/** GraphProto.initializer @param {string} name @param {readonly number[]} shape @param {Float32Array} data */
const initializer = (name, shape, data) =>
  message(
    5,
    ...shape.map((size) => int(1, size)),
    int(2, FLOAT),
    string(8, name),
    bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  );

/**
 * GraphProto.input (11) and output (12).
 * @param {number} field @param {string} name @param {readonly number[]} shape
 */
const valueInfo = (field, name, shape) => {
  const dimensions = message(2, ...shape.map((size) => message(1, int(1, size))));
  return message(field, string(1, name), message(2, message(1, int(1, FLOAT), dimensions)));
};

/**
 * The model: input "x", output "y", weights and bias as initialisers.
 * @param {import('./problem.mjs').Problem} problem
 * @param {readonly number[]} inputShape
 * @param {readonly number[]} outputShape
 * @param {Float32Array} weight little-endian in memory, as on every machine that Node runs on
 * @param {Float32Array | null} bias
 * @returns {Buffer}
 */
export function convTransposeModel(problem, inputShape, outputShape, weight, bias) {
  if (weight.length !== product(weightShape(problem))) throw new RangeError('weight: wrong number of values');
  const { kernelSize, stride, padding, outputPadding, dilation, groups } = problem;
  const node = message(
    1,
    string(1, 'x'),
    string(1, 'w'),
    ...(bias ? [string(1, 'b')] : []),
    string(2, 'y'),
    string(4, 'ConvTranspose'),
    attribute('kernel_shape', kernelSize),
    attribute('strides', stride),
    attribute('pads', [...padding, ...padding]),
    attribute('output_padding', outputPadding),
    attribute('dilations', dilation),
    attribute('group', groups),
  );
  const graph = message(
    7,
    node,
    string(2, 'layer'),
    initializer('w', weightShape(problem), weight),
    ...(bias ? [initializer('b', [bias.length], bias)] : []),
    valueInfo(11, 'x', inputShape),
    valueInfo(12, 'y', outputShape),
  );
  return Buffer.concat([int(1, IR_VERSION), graph, message(8, string(1, ''), int(2, OPSET))]);
}
