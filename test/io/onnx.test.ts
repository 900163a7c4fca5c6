import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Writer } from 'protobufjs/minimal';

import { onnx } from '../../lib/compat/index';
import { decodeOnnx, readOnnx, type OnnxConvTranspose } from '../../lib/io/index';
import { Tensor } from '../../lib/tensor';
import { tolerance } from '../support/bound';
import { define } from '../support/definition';
import type { Problem } from '../support/problem';
import { applyEdits, doubles, edits, expectSame, failure, fixture, fixturePath, temporaryFolder } from './support';

const folder = temporaryFolder();
const values = [-2, -1, 0, 1, 2, 3].map((value) => value * 0.75);

const ways: [string, (name: string, options?: { convert: 'float32' }) => Promise<OnnxConvTranspose[]>][] = [
  ['from bytes', async (name, options) => decodeOnnx(fixture(name), options)],
  ['from a file', (name, options) => readOnnx(fixturePath(name), options)],
];

describe.each(ways)('models that other programs wrote, %s', (_way, read) => {
  test('a network of PyTorch, run node by node', async () => {
    const nodes = await read('exported.onnx');
    expect(nodes.map(({ attributes, opset, W, B }) => [attributes, opset, W?.shape, B?.shape])).toEqual([
      [{ dilations: [1, 1], group: 1, kernel_shape: [3, 3], output_padding: [1, 1], pads: [1, 1, 1, 1], strides: [2, 2] }, 11, [3, 4, 3, 3], [4]],
      [{ dilations: [1, 2], group: 2, kernel_shape: [2, 3], pads: [0, 0, 0, 0], strides: [2, 1] }, 11, [4, 3, 2, 3], undefined],
    ]);
    const expected = doubles('exported-expected.safetensors');
    const steps = [
      { x: 'x', y: 'middle', options: { activation: 'relu' as const }, problem: { padding: [[1, 1], [1, 1]], outputPadding: [1, 1] } },
      { x: 'middle', y: 'y', options: {}, problem: { padding: [[0, 0], [0, 0]], outputPadding: [0, 0] } },
    ];
    for (const [i, step] of steps.entries()) {
      const node = nodes[i] as OnnxConvTranspose & { W: Tensor };
      const x = expected[step.x] as { data: Float64Array; shape: number[] };
      const y = expected[step.y] as { data: Float64Array; shape: number[] };
      const X = new Tensor(Float32Array.from(x.data), x.shape);
      const [batch, inChannels, ...input] = x.shape as [number, number, number, number];
      const group = node.attributes.group as number;
      const problem: Problem = {
        rank: 2, batch, inChannels, outChannels: (node.W.shape[1] as number) * group, groups: group, in: input, kernel: node.W.shape.slice(2),
        stride: node.attributes.strides as number[], dilation: node.attributes.dilations as number[], bias: node.B !== null,
        padding: step.problem.padding as [number, number][], outputPadding: step.problem.outputPadding,
      };
      const { magnitude, terms } = define(problem, X.data, node.W.data, node.B?.data ?? null);
      const got = onnx.convTranspose(node.attributes, X, node.W, node.B, { opset: node.opset, ...step.options });
      expect(got.shape).toEqual(y.shape);
      got.data.forEach((value, at) => {
        // The inputs of the second node were rounded to float32 here: at most 2^-24 of each product.
        const size = magnitude[at] as number;
        const allowed = tolerance(terms[at % terms.length] as number, size, true) + 2 ** -24 * size;
        expect(Math.abs(value - (y.data[at] as number))).toBeLessThanOrEqual(allowed);
      });
    }
    expect(nodes[1]?.inputs.B).toBeNull();
  });

  test('every way to store a tensor', async () => {
    const nodes = await read('types.onnx', { convert: 'float32' });
    const summary = nodes.map(({ name, output, attributes, inputs, W, B }) => ({ name, output, attributes, inputs, W: W?.shape, B: B?.shape }));
    const plain = (name: string) => ({ name, output: `y-${name}`, attributes: {}, inputs: { X: 'x', W: name, B: null }, W: [2, 3, 1], B: undefined });
    expect(summary).toEqual([
      ...['float', 'float16', 'bfloat16', 'double'].flatMap((type) => [plain(`${type}-raw`), plain(`${type}-typed`)]),
      {
        name: '', output: 'y-constant', attributes: { auto_pad: 'SAME_LOWER', strides: [2], output_padding: [1] },
        inputs: { X: 'x', W: 'constant', B: 'bias' }, W: [2, 3, 1], B: [3],
      },
      {
        name: 'dynamic', output: 'y-dynamic', W: undefined, B: undefined, inputs: { X: 'x', W: 'w', B: null },
        attributes: { group: 1, kernel_shape: [1], pads: [0, 0], dilations: [3], output_shape: [4] },
      },
      { ...plain('outer'), inputs: { X: 'x', W: 'float-raw', B: null } },
      { ...plain('inner'), output: 'y-own', inputs: { X: 'x', W: 'own', B: null } },
    ]);
    for (const { W } of nodes) if (W !== null) expectSame(W.data, values);
    expectSame(nodes[8]?.B?.data as Float32Array, [1, 2, 3]);
  });

  test('other number types are converted when asked, and only then', async () => {
    const error = await failure(() => read('types.onnx'));
    expect(error.code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
    expect(error.message).toMatch(/tensor "float16-raw".*convert: 'float32'.*, got float16$/);
  });
});

describe('elements in another file', () => {
  test('are read from beside the model, and only the tensor\'s', async () => {
    const [node] = await readOnnx(fixturePath('external.onnx'));
    expect(node?.W?.shape).toEqual([2, 3, 1]);
    expectSame(node?.W?.data as Float32Array, values);
    expect((await failure(() => decodeOnnx(fixture('external.onnx')))).message).toMatch(/elements in the model .*, got elements in another file/);
  });

  const models = path.join(folder, 'deep', 'models');

  /** A copy of the model with another place of the same length; files of the right size lie inside and outside of its folder. */
  function moved(name: string, ...replacements: [string, string][]): string {
    let bytes = Buffer.from(fixture('external.onnx'));
    for (const [from, to] of replacements) {
      expect(to.length).toBe(from.length);
      const at = bytes.indexOf(from);
      expect(at).toBeGreaterThan(0);
      bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(to), bytes.subarray(at + from.length)]);
    }
    mkdirSync(path.join(models, 'weights'), { recursive: true });
    for (const place of ['weights/far.bin', '../secret.bin', '../../secret.bi']) {
      copyFileSync(fixturePath('weights/far.bin'), path.join(models, place));
    }
    writeFileSync(path.join(models, name), bytes);
    return path.join(models, name);
  }

  test('not from outside of the model\'s folder', async () => {
    expect((await readOnnx(moved('same.onnx')))[0]?.W?.shape).toEqual([2, 3, 1]);
    for (const [name, place] of [['up.onnx', '../../secret.bi'], ['other.onnx', '..///secret.bin'], ['root.onnx', '/etc/passwd////'], ['zero.onnx', 'weights/far\0bin'], ['self.onnx', 'weights/../////']] as const) {
      const error = await failure(() => readOnnx(moved(name, ['weights/far.bin', place])));
      expect([name, error.code]).toEqual([name, 'ERR_CONVTRANSPOSE_FORMAT']);
      expect(error.message).toMatch(/a file in the folder of the model/);
    }
    symlinkSync('../../secret.bin', path.join(models, 'weights', 'lnk.bin'));
    expect((await failure(() => readOnnx(moved('link.onnx', ['weights/far.bin', 'weights/lnk.bin'])))).message).toMatch(/a file in the folder of the model/);
    symlinkSync('far.bin', path.join(models, 'weights', 'own.bin'));
    expectSame((await readOnnx(moved('own.onnx', ['weights/far.bin', 'weights/own.bin'])))[0]?.W?.data as Float32Array, values);
  });

  test('of the wrong size, missing', async () => {
    expect((await failure(() => readOnnx(moved('long.onnx', ['24', '28'])))).message).toMatch(/24 bytes for shape \[2, 3, 1\] .*got 28 at 16 of a file of 43/);
    expect((await failure(() => readOnnx(moved('late.onnx', ['16', '20'])))).message).toMatch(/got 24 at 20 of a file of 43/);
    expect((await failure(() => readOnnx(moved('minus.onnx', ['16', '-6'])))).message).toMatch(/an integer below 2\^53 at offset/);
    expect((await failure(() => readOnnx(moved('none.onnx', ['weights/far.bin', 'weights/not.bin'])))).code).toBe('ENOENT');
  });
});

type Build = (writer: Writer) => Writer;
const message = (build: Build): Uint8Array => build(Writer.create()).finish();
const nested = (field: number, build: Build): Build => (writer) => writer.uint32((field << 3) | 2).bytes(message(build));
const text = (field: number, value: string): Build => (writer) => writer.uint32((field << 3) | 2).string(value);
const bytesField = (field: number, value: Uint8Array): Build => (writer) => writer.uint32((field << 3) | 2).bytes(value);
const integer = (field: number, value: number): Build => (writer) => writer.uint32(field << 3).int64(value);
const all = (...parts: Build[]): Build => (writer) => parts.reduce((to, part) => part(to), writer);

const opset = nested(8, integer(2, 13));
/** A model of one node; W [1, 1, 2]. */
function model({ tensor = all(integer(1, 1), integer(1, 1), integer(1, 2), integer(2, 1), text(8, 'W'), bytesField(9, new Uint8Array(8))), node = all() }: { tensor?: Build; node?: Build } = {}): Uint8Array {
  const own = all(text(1, 'X'), text(1, 'W'), text(2, 'Y'), text(4, 'ConvTranspose'), node);
  return message(all(opset, nested(7, all(nested(1, own), nested(5, tensor)))));
}
const attribute = (name: string, ...fields: Build[]): Build => nested(5, all(text(1, name), ...fields));

describe('models', () => {
  test('unknown fields are skipped, lists are packed or not', () => {
    const strange = all(integer(900, 5), (writer) => writer.uint32((901 << 3) | 1).fixed64(5), (writer) => writer.uint32((902 << 3) | 5).fixed32(5), text(903, 'x'));
    const packed = (field: number, ...numbers: number[]): Build => (writer) => numbers.reduce((to, value) => to.int64(value), writer.uint32((field << 3) | 2).fork()).ldelim();
    const floats: Build = (writer) => writer.uint32((4 << 3) | 5).float(1.5).uint32((4 << 3) | 5).float(2.5);
    const tensor = all(strange, packed(1, 1, 1, 2), integer(2, 1), text(8, 'W'), floats);
    const node = all(strange, attribute('strides', strange, packed(8, 3)), attribute('pads', integer(8, 1), integer(8, 2)));
    const [read] = decodeOnnx(model({ tensor, node }));
    expect(read?.attributes).toEqual({ strides: [3], pads: [1, 2] });
    expectSame(read?.W?.data as Float32Array, [1.5, 2.5]);
  });

  test('no node, nodes of other domains', () => {
    expect(decodeOnnx(message(all(opset, nested(7, all()))))).toEqual([]);
    expect(decodeOnnx(model({ node: text(7, 'com.example') }))).toEqual([]);
    expect(decodeOnnx(model({ node: text(7, 'ai.onnx') })).length).toBe(1);
  });

  const w = (fields: Build, dims: number[] = [1, 1, 2]): Uint8Array => model({ tensor: all(...dims.map((size) => integer(1, size)), text(8, 'W'), fields) });
  let deep: Build = all();
  for (let i = 0; i < 40; i++) {
    const inner = deep;
    deep = nested(1, all(text(4, 'If'), nested(5, all(text(1, 'then_branch'), nested(6, inner)))));
  }
  const refused: [string, Uint8Array, RegExp][] = [
    ['an empty file', new Uint8Array(0), /a graph and the version of its operators at the model/],
    ['other bytes', Buffer.from('\x89PNG\r\n\x1a\n'), /protocol buffers/],
    ['a message without a graph', message(opset), /a graph and the version/],
    ['no operator set', message(nested(7, all())), /a graph and the version/],
    ['a length beyond the end', Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0x7f), /a message of protocol buffers at the model/],
    ['a varint without end', new Uint8Array(20).fill(0xff), /protocol buffers/],
    ['a group', Uint8Array.of(0x3b, 0x3c), /protocol buffers/],
    ['field 0', Uint8Array.of(0x02, 0x00), /protocol buffers/],
    ['a graph that is a number', message(all(opset, integer(7, 1))), /a field of bytes at the model/],
    ['text that is no UTF-8', model({ node: bytesField(3, Uint8Array.of(0xff)) }), /text in UTF-8 at a node/],
    ['too few inputs', message(all(opset, nested(7, nested(1, all(text(1, 'X'), text(4, 'ConvTranspose')))))), /inputs X and W and an output at node ""/],
    ['an attribute of another operator', model({ node: attribute('alpha', integer(3, 1)) }), /the attributes of ConvTranspose at node "Y", got attribute "alpha"/],
    ['auto_pad of another word', model({ node: attribute('auto_pad', text(4, 'SAME')) }), /one of NOTSET.*got "SAME"/],
    ['group without a number', model({ node: attribute('group') }), /the attributes of ConvTranspose/],
    ['group of text', model({ node: attribute('group', bytesField(3, Uint8Array.of(1))) }), /an integer at attribute "group"/],
    ['very many strides', model({ node: attribute('strides', bytesField(8, new Uint8Array(5000).fill(1))) }), /at most 64 integers at attribute "strides"/],
    ['a stride beyond 2^53', model({ node: attribute('strides', bytesField(8, Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 127))) }), /below 2\^53/],
    ['very many dimensions', w(all(integer(2, 1)), new Array<number>(70).fill(1)), /at most 64 integers/],
    ['a negative dimension', w(all(integer(2, 1)), [1, 1, -2]), /sizes of at least 0/],
    ['dimensions beyond 2^53', w(all(integer(2, 1)), [2 ** 50, 2 ** 50, 1]), /fewer than 2\^53 bytes/],
    ['too few bytes', w(all(integer(2, 1), bytesField(9, new Uint8Array(7)))), /8 bytes for shape \[1, 1, 2\] at tensor "W", got 7 bytes/],
    ['too many bytes', w(all(integer(2, 1), bytesField(9, new Uint8Array(12)))), /got 12 bytes/],
    ['no elements', w(integer(2, 1)), /got 0 bytes/],
    ['huge, without elements', w(integer(2, 1), [1, 1, 2 ** 40]), /got 0 bytes/],
    ['huge float16, without elements', w(all(integer(2, 10), bytesField(5, new Uint8Array(9))), [1, 1, 2 ** 40]), /got 18 bytes/],
    ['float16 with more elements than sizes', w(all(integer(2, 10), bytesField(5, new Uint8Array(9)))), /at most 2 integers/],
    ['float16 of 17 bits', w(all(integer(2, 10), integer(5, 65536), integer(5, 1))), /elements of 16 bits/],
    ['floats that are integers', w(all(integer(2, 1), integer(4, 1))), /elements of fixed size/],
    ['graphs in graphs', message(all(opset, nested(7, deep))), /at most 32 graphs within each other/],
  ];
  test.each(refused)('refused: %s', async (_what, bytes, expected) => {
    const name = path.join(folder, 'refused.onnx');
    writeFileSync(name, bytes);
    const asked = jest.spyOn(Tensor, 'empty');
    for (const run of [() => decodeOnnx(bytes, { convert: 'float32' }), () => readOnnx(name, { convert: 'float32' })]) {
      const error = await failure(run);
      expect(error.code).toBe('ERR_CONVTRANSPOSE_FORMAT');
      expect(error.message.replace(` of ${name}`, '')).toMatch(expected);
    }
    expect(asked).not.toHaveBeenCalled();
    asked.mockRestore();
  });

  test.each([[9, 'bool'], [7, 'int64'], [15, 'complex128'], [17, 'type 17'], [0, 'no type']])('data type %d is refused', async (type, name) => {
    const error = await failure(() => decodeOnnx(w(integer(2, type)), { convert: 'float32' }));
    expect([error.code, error.message.endsWith(`got ${name}`)]).toEqual(['ERR_CONVTRANSPOSE_UNSUPPORTED', true]);
  });

  test.each([
    [() => decodeOnnx('x' as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'bytes'],
    [() => decodeOnnx(model(), { names: ['a'] } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'names'],
    [() => readOnnx(7 as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'file'],
    [() => readOnnx(path.join(folder, 'none.onnx')), 'ENOENT', undefined],
  ])('wrong arguments %#', async (run, code, argument) => {
    const error = await failure(run);
    expect([error.code, error.argument]).toEqual([code, argument]);
  });
});

describe('damaged models', () => {
  test('give tensors no larger than the file allows, or an error with a code', () => {
    const asked = jest.spyOn(Tensor, 'empty');
    const outcomes = { read: 0, refused: 0 };
    fc.assert(fc.property(fc.constantFrom('exported.onnx', 'types.onnx', 'external.onnx'), edits, (seed, list) => {
      const bytes = applyEdits(readFileSync(fixturePath(seed)), list);
      asked.mockClear();
      try {
        decodeOnnx(bytes, { convert: 'float32' });
        outcomes.read++;
      } catch (error) {
        outcomes.refused++;
        expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_CONVTRANSPOSE_(FORMAT|UNSUPPORTED)$/) });
      }
      for (const [shape] of asked.mock.calls) expect(shape.reduce((product, size) => product * size, 1)).toBeLessThanOrEqual(bytes.length);
    }), { numRuns: 3000 });
    asked.mockRestore();
    expect(outcomes.read).toBeGreaterThan(50);
    expect(outcomes.refused).toBeGreaterThan(500);
  }, 60_000);
});
