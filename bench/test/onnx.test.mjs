// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { convTransposeModel } from '../src/onnx.mjs';
import { inputShape, outputShape, parseProblem } from '../src/problem.mjs';

/**
 * Fields of a protobuf message in their order: [number, integer or bytes].
 * @param {Buffer} message
 * @returns {[number, number | Buffer][]}
 */
function fields(message) {
  /** @type {[number, number | Buffer][]} */
  const result = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte % 128) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const value = varint();
    if (key % 8 === 2) {
      assert.ok(at + value <= message.length, 'a field ends within its message');
      result.push([key >> 3, message.subarray(at, at + value)]);
      at += value;
    } else {
      assert.equal(key % 8, 0);
      result.push([key >> 3, value]);
    }
  }
  return result;
}

/** @param {Buffer} message @param {number} number @returns {Buffer[]} */
const messages = (message, number) =>
  fields(message).flatMap(([field, value]) => (field === number && typeof value !== 'number' ? [value] : []));

test('a model holds the node, its attributes and the weights', () => {
  const problem = parseProblem('n2 c4 o300 i5x6 k3x2 s2x1 p1x0 op1x0 d1x2 g2');
  const weight = Float32Array.from({ length: 4 * 150 * 6 }, (_, i) => i / 7);
  const bias = new Float32Array(300).fill(0.5);
  const model = convTransposeModel(problem, inputShape(problem), outputShape(problem), weight, bias);
  const [graph] = messages(model, 7);
  assert.ok(graph);
  const [node] = messages(graph, 1);
  assert.ok(node);
  assert.deepEqual(messages(node, 1).map(String), ['x', 'w', 'b']);
  assert.deepEqual(messages(node, 4).map(String), ['ConvTranspose']);
  const attributes = Object.fromEntries(
    messages(node, 5).map((attribute) => {
      const values = fields(attribute).filter(([field]) => field === 3 || field === 8);
      return [String(messages(attribute, 1)[0]), values.map(([, value]) => value)];
    }),
  );
  assert.deepEqual(attributes, {
    kernel_shape: [3, 2],
    strides: [2, 1],
    pads: [1, 0, 1, 0],
    output_padding: [1, 0],
    dilations: [1, 2],
    group: [2],
  });
  const [w, b] = messages(graph, 5);
  assert.ok(w && b);
  assert.deepEqual(fields(w).filter(([field]) => field === 1).map(([, size]) => size), [4, 150, 3, 2]);
  assert.deepEqual(messages(w, 9)[0], Buffer.from(weight.buffer));
  assert.deepEqual(fields(b).filter(([field]) => field === 1).map(([, size]) => size), [300]);
});

test('weights of the wrong size are refused', () => {
  const problem = parseProblem('c1 o1 i4 k2');
  assert.throws(() => convTransposeModel(problem, [1, 1, 4], [1, 1, 5], new Float32Array(3), null), /weight/);
});
