import { describe, expect, jest, test } from '@jest/globals';

import { onnx } from '../../lib/compat/index';
import { Tensor } from '../../lib/index';
import { product } from '../support/problem';
import { Random } from '../support/data';
import { dataOf, expectDefined, failure, windowed, type Window } from './support';

// Whole grids, on a machine that may have other work.
jest.setTimeout(60_000);

interface Case {
  name: string;
  attributes: onnx.ConvTransposeAttributes;
  x: number[];
  w: number[];
  bias?: boolean;
  options?: { convention?: onnx.Convention; opset?: number };
}

/** The equations of the operator's text, one dimension at a time; opset 11 and later, or the ones printed before. */
function textWindow({ attributes: a, x, w, options }: Case): Window {
  const window: Window = { begin: [], size: [] };
  const dims = x.length - 2;
  for (let i = 0; i < dims; i++) {
    const stride = a.strides?.[i] ?? 1;
    const input = x[i + 2] as number;
    const withoutPads = stride * (input - 1) + (a.output_padding?.[i] ?? 0) + (((w[i + 2] as number) - 1) * (a.dilations?.[i] ?? 1) + 1);
    let outputShape = a.output_shape?.[i];
    const isSame = a.auto_pad === 'SAME_UPPER' || a.auto_pad === 'SAME_LOWER';
    const isGiven = outputShape !== undefined;
    if (outputShape === undefined && isSame) outputShape = input * stride;
    let [start, end] = [a.pads?.[i] ?? 0, a.pads?.[i + dims] ?? 0];
    if (outputShape !== undefined) {
      const total = withoutPads - outputShape;
      const half = Math.floor(total / 2);
      const upper = isGiven && (options?.opset ?? 22) < 11 ? a.auto_pad !== 'SAME_UPPER' : a.auto_pad === 'SAME_UPPER';
      [start, end] = upper ? [half, total - half] : [total - half, half];
    }
    window.begin.push(start);
    window.size.push(withoutPads - start - end);
  }
  return window;
}

async function check(c: Case, window: Window, number: number): Promise<void> {
  const [batch, inChannels, ...input] = c.x as [number, number, ...number[]];
  const [, outPerGroup, ...kernel] = c.w as [number, number, ...number[]];
  const groups = c.attributes.group ?? 1;
  const ones = input.map(() => 1);
  const p = windowed({
    batch, inChannels, outChannels: outPerGroup * groups, groups, in: input, kernel,
    stride: [...(c.attributes.strides ?? ones)], dilation: [...(c.attributes.dilations ?? ones)],
  }, window, c.bias === true);
  const data = dataOf(p, number);
  const X = new Tensor(data.x, c.x);
  const W = new Tensor(data.w, c.w);
  const B = data.b === null ? null : new Tensor(data.b, [data.b.length]);
  const node = new onnx.ConvTranspose(c.attributes, W, B, c.options);
  expect(node.outputShape(c.x)).toEqual([batch, p.outChannels, ...window.size]);
  const results = [
    onnx.convTranspose(c.attributes, X, W, B, c.options),
    await onnx.convTransposeAsync(c.attributes, X, W, B, c.options),
    node.forward(X),
    await node.forwardAsync({ data: X.data, dims: X.shape }),
  ];
  node.dispose();
  for (const y of results) expectDefined(p, data, window, y);
}

// The parameters of all node tests that the operator publishes.
const x33 = [1, 1, 3, 3];
const w33 = [1, 2, 3, 3];
const nodeTests: Case[] = [
  { name: 'convtranspose', attributes: {}, x: x33, w: w33 },
  { name: 'convtranspose_1d', attributes: {}, x: [1, 1, 3], w: [1, 2, 3] },
  { name: 'convtranspose_3d', attributes: {}, x: [1, 1, 3, 4, 5], w: [1, 2, 3, 3, 3] },
  { name: 'convtranspose_output_shape', attributes: { strides: [3, 2], output_shape: [10, 8] }, x: x33, w: w33 },
  { name: 'convtranspose_pad', attributes: { strides: [3, 2], output_padding: [1, 1] }, x: x33, w: w33 },
  {
    name: 'convtranspose_kernel_shape', x: x33, w: w33,
    attributes: { strides: [3, 2], output_shape: [10, 8], kernel_shape: [3, 3], output_padding: [1, 1] },
  },
  { name: 'convtranspose_pads', attributes: { strides: [3, 2], pads: [1, 2, 1, 2] }, x: x33, w: w33 },
  { name: 'convtranspose_dilations', attributes: { dilations: [2, 2] }, x: x33, w: [1, 1, 2, 2] },
  { name: 'convtranspose_autopad_same', attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] }, x: x33, w: w33 },
  { name: 'convtranspose_group_2', attributes: { group: 2 }, x: [1, 2, 3, 3], w: [2, 1, 3, 3] },
  { name: 'convtranspose_group_2_image_3', attributes: { group: 2 }, x: [3, 2, 3, 3], w: [2, 1, 3, 3] },
];

// Known traps of the operator: what models in the field went wrong on.
const traps: Case[] = [
  { name: 'all attributes', attributes: { strides: [2, 1], dilations: [3, 1], pads: [4, 2, 4, 2] }, x: [1, 1, 10, 10], w: [1, 1, 3, 5] },
  { name: 'output padding below the dilation', attributes: { dilations: [2, 2], pads: [3, 3, 3, 3], output_padding: [1, 1] }, x: [1, 1, 4, 4], w: [1, 1, 2, 2] },
  { name: 'asymmetric', bias: true, attributes: { group: 2, strides: [2, 3], pads: [1, 0, 2, 1], dilations: [2, 1] }, x: [2, 4, 5, 4], w: [4, 3, 3, 2] },
  { name: 'more pads than the kernel reaches', attributes: { strides: [2], pads: [4, 4] }, x: [1, 1, 6], w: [1, 1, 3] },
  { name: 'groups with several outputs each and a bias', bias: true, attributes: { group: 2 }, x: [1, 4, 3, 3], w: [4, 3, 2, 2] },
  { name: 'SAME_UPPER, kernel 3', attributes: { auto_pad: 'SAME_UPPER', strides: [2] }, x: [1, 1, 3], w: [1, 1, 3] },
  { name: 'SAME_LOWER, kernel 3', attributes: { auto_pad: 'SAME_LOWER', strides: [2] }, x: [1, 1, 3], w: [1, 1, 3] },
  { name: 'SAME_UPPER, stride 1', attributes: { auto_pad: 'SAME_UPPER' }, x: [1, 1, 2], w: [1, 1, 3] },
  { name: 'VALID', attributes: { auto_pad: 'VALID', strides: [2], output_padding: [1] }, x: [1, 1, 3], w: [1, 1, 3] },
  { name: 'output_shape, no output padding added', attributes: { strides: [2], output_shape: [6], output_padding: [1] }, x: [1, 1, 3], w: [1, 1, 3] },
  { name: 'output_shape before pads', attributes: { strides: [2], output_shape: [6], pads: [2, 2] }, x: [1, 1, 3], w: [1, 1, 3] },
  { name: 'output_shape of version 1', attributes: { strides: [2], output_shape: [6] }, x: [1, 1, 3], w: [1, 1, 3], options: { opset: 1 } },
  { name: 'output_shape of version 1, SAME_UPPER', attributes: { strides: [2], output_shape: [6], auto_pad: 'SAME_UPPER' }, x: [1, 1, 3], w: [1, 1, 3], options: { opset: 10 } },
  { name: 'SAME_UPPER of version 1', attributes: { strides: [2], auto_pad: 'SAME_UPPER' }, x: [1, 1, 3], w: [1, 1, 3], options: { opset: 1 } },
  { name: 'all attributes, larger', attributes: { strides: [2, 1], dilations: [3, 1], pads: [4, 2, 4, 2] }, x: [1, 1, 50, 50], w: [1, 1, 3, 5] },
  { name: 'output padding of a dilated kernel, stride 1', attributes: { dilations: [3], output_padding: [2] }, x: [1, 2, 3], w: [2, 1, 2] },
  { name: 'output rows that hold the bias alone', bias: true, attributes: { strides: [3], output_padding: [2] }, x: [1, 1, 3], w: [1, 1, 2] },
  { name: 'depthwise columns', attributes: { group: 3, strides: [16, 1], pads: [8, 0, 8, 0] }, x: [1, 3, 4, 5], w: [3, 1, 32, 1] },
  { name: 'depthwise rows', attributes: { group: 3, strides: [1, 16], pads: [0, 8, 0, 8] }, x: [1, 3, 5, 4], w: [3, 1, 1, 32] },
  { name: 'one pixel of two groups', attributes: { group: 2 }, x: [1, 8, 1, 1], w: [8, 4, 1, 1] },
  { name: 'planes of a volume', attributes: { strides: [1, 4, 4], pads: [0, 2, 2, 0, 2, 2] }, x: [1, 2, 1, 4, 4], w: [2, 3, 1, 4, 4] },
  { name: 'an empty batch', attributes: { strides: [2] }, x: [0, 1, 3], w: [1, 1, 3] },
];

describe('the definition of the operator', () => {
  test.each([...nodeTests, ...traps].map((c, number) => ({ ...c, number })))('$name', async (c) => {
    await check(c, textWindow(c), c.number);
  });

  test('random attributes', async () => {
    const random = new Random(77);
    for (let number = 0; number < 300; number++) {
      const dims = random.int(1, 3);
      const each = (low: number, high: number) => Array.from({ length: dims }, () => random.int(low, high));
      const group = random.int(1, 3);
      const strides = each(1, 4);
      const dilations = each(1, 3);
      const input = each(1, dims === 3 ? 3 : 6);
      const kernel = each(1, dims === 3 ? 3 : 5);
      const output_padding = strides.map((s, i) => random.int(0, Math.max(s, dilations[i] as number) - 1));
      const natural = input.map((size, i) => (size - 1) * (strides[i] as number) + (dilations[i] as number) * ((kernel[i] as number) - 1) + 1);
      const pick = random.int(0, 4);
      const attributes = {
        strides, dilations, group, output_padding, kernel_shape: kernel,
        ...(pick === 0 ? { pads: [...natural, ...natural].map((size) => random.int(0, Math.floor(size / 2))) } : {}),
        ...(pick === 1 || pick === 4 ? { output_shape: natural.map((size) => random.int(1, size + 5)) } : {}),
        ...(pick >= 2 ? { auto_pad: random.pick(['SAME_UPPER', 'SAME_LOWER', 'VALID', 'NOTSET'] as const) } : {}),
      };
      const c: Case = {
        name: '', attributes, x: [random.int(1, 2), group * random.int(1, 2), ...input],
        w: [0, random.int(1, 3), ...kernel], bias: random.chance(0.5), options: { opset: random.pick([1, 10, 11, 22]) },
      };
      c.w[0] = c.x[1] as number;
      const window = textWindow(c);
      if (window.size.some((size) => size < 0)) continue;
      await check(c, window, 1000 + number);
    }
  });
});

describe('numbers by hand', () => {
  const ramp = (shape: number[], from = 0) => new Tensor(Float32Array.from({ length: product(shape) }, (_, i) => i + from), shape);
  const ones = (shape: number[]) => new Tensor(new Float32Array(product(shape)).fill(1), shape);

  test('[0, 1, 2] spread by three ones', () => {
    expect([...onnx.convTranspose({}, ramp([1, 1, 3]), ones([1, 2, 3])).data]).toEqual([0, 1, 3, 3, 2, 0, 1, 3, 3, 2]);
  });

  test('the odd row of padding: in front, or behind with SAME_UPPER', () => {
    // Stride 2 puts the kernel 1 2 3 at 0 and 2: 1 2 (3+1) 2 3; four outputs of five.
    const X = ones([1, 1, 2]);
    const W = ramp([1, 1, 3], 1);
    const run = (attributes: onnx.ConvTransposeAttributes, opset?: number) => [...onnx.convTranspose({ strides: [2], ...attributes }, X, W, null, { opset }).data];
    expect(run({})).toEqual([1, 2, 4, 2, 3]);
    expect(run({ auto_pad: 'SAME_UPPER' })).toEqual([1, 2, 4, 2]);
    expect(run({ auto_pad: 'SAME_LOWER' })).toEqual([2, 4, 2, 3]);
    expect(run({ output_shape: [4] })).toEqual([2, 4, 2, 3]);
    expect(run({ output_shape: [4], auto_pad: 'SAME_UPPER' })).toEqual([1, 2, 4, 2]);
    expect(run({ output_shape: [4] }, 10)).toEqual([1, 2, 4, 2]);
    expect(run({ output_shape: [4], auto_pad: 'SAME_UPPER' }, 10)).toEqual([2, 4, 2, 3]);
    expect(run({ output_shape: [6] })).toEqual([1, 2, 4, 2, 3, 0]);
    expect(run({ output_shape: [7] })).toEqual([0, 1, 2, 4, 2, 3, 0]);
  });
});

describe('conventions', () => {
  // begin and size along both dimensions; onnxruntime's are what onnxruntime 1.30 computes.
  const cases: [string, onnx.ConvTransposeAttributes, number, number, Record<onnx.Convention, [begin: number, size: number]>][] = [
    ['SAME_UPPER, kernel 2, stride 3', { auto_pad: 'SAME_UPPER', strides: [3, 3] }, 4, 2, { spec: [-1, 12], onnxruntime: [0, 11], shapeInference: [0, 11] }],
    ['SAME_LOWER, kernel 2, stride 3', { auto_pad: 'SAME_LOWER', strides: [3, 3] }, 4, 2, { spec: [0, 12], onnxruntime: [0, 11], shapeInference: [0, 11] }],
    ['SAME_UPPER and output_padding', { auto_pad: 'SAME_UPPER', strides: [2, 2], output_padding: [1, 1] }, 3, 3, { spec: [1, 6], onnxruntime: [1, 6], shapeInference: [0, 7] }],
    ['SAME_LOWER and output_padding', { auto_pad: 'SAME_LOWER', strides: [2, 2], output_padding: [1, 1] }, 3, 3, { spec: [1, 6], onnxruntime: [1, 6], shapeInference: [1, 7] }],
    ['a smaller output_shape', { strides: [2, 2], output_shape: [6, 6] }, 3, 3, { spec: [1, 6], onnxruntime: [1, 6], shapeInference: [1, 6] }],
    ['an output_shape one larger', { strides: [2, 2], output_shape: [8, 8] }, 3, 3, { spec: [0, 8], onnxruntime: [0, 8], shapeInference: [0, 8] }],
    ['an output_shape two larger', { strides: [3, 3], output_shape: [11, 11] }, 3, 3, { spec: [-1, 11], onnxruntime: [0, 11], shapeInference: [-1, 11] }],
    ['output_shape and output_padding', { strides: [2, 2], output_shape: [6, 6], output_padding: [1, 1] }, 3, 3, { spec: [1, 6], onnxruntime: [1, 6], shapeInference: [1, 6] }],
    ['VALID and output_padding', { auto_pad: 'VALID', strides: [2, 2], output_padding: [1, 1] }, 3, 3, { spec: [0, 8], onnxruntime: [0, 8], shapeInference: [0, 8] }],
  ];
  test.each(cases)('%s', async (name, attributes, input, kernel, expected) => {
    for (const [convention, [begin, size]] of Object.entries(expected) as [onnx.Convention, [number, number]][]) {
      for (const opset of convention === 'onnxruntime' ? [1, 22] : [22]) {
        const c = { name, attributes, x: [1, 2, input, input], w: [2, 3, kernel, kernel], bias: true, options: { convention, opset } };
        await check(c, { begin: [begin, begin], size: [size, size] }, 5);
      }
    }
  });
});

test('outputSize of a call takes the place of output_shape', () => {
  const W = new Tensor(Float32Array.of(1, 2, 3), [1, 1, 3]);
  const X = new Tensor(Float32Array.of(1, 1), [1, 1, 2]);
  const node = new onnx.ConvTranspose({ strides: [2], output_shape: [5] }, W);
  expect([...node.forward(X, { outputSize: [4] }).data]).toEqual([2, 4, 2, 3]);
  expect([...node.forward(X).data]).toEqual([1, 2, 4, 2, 3]);
  expect(node.stateDict().weight.shape).toEqual([1, 1, 3]);
  node.prepare([1, 1, 2], { outputSize: [4] });
  expect(node.explain([1, 1, 2]).flops).toBe(2 * 2 * 3);
  node.dispose();
  expect(() => node.forward(X)).toThrow(expect.objectContaining({ code: 'ERR_CONVTRANSPOSE_DISPOSED' }));
});

test('options reach the call', async () => {
  const X = Tensor.zeros([1, 1, 2]);
  const W = new Tensor(Float32Array.of(1, 2, 3), [1, 1, 3]);
  const B = new Tensor(Float32Array.of(-1), [1]);
  const out = Tensor.empty([1, 1, 4]);
  expect(onnx.convTranspose({}, X, W, B, { out, activation: 'relu', numThreads: 1 })).toBe(out);
  expect([...out.data]).toEqual([0, 0, 0, 0]);
  const reason = new Error('enough');
  await expect(onnx.convTransposeAsync({}, X, W, B, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const node = new onnx.ConvTranspose({}, W, B, { activation: 'relu' });
  await node.prepareAsync([1, 1, 2]);
  await expect(node.forwardAsync(X, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect([...(await node.forwardAsync(X)).data]).toEqual([0, 0, 0, 0]);
});

describe('errors name the operator\'s attributes', () => {
  const W = Tensor.zeros([2, 3, 3, 3]);
  const X = Tensor.zeros([1, 2, 4, 4]);
  const run = (attributes: object, x: unknown = X, w: unknown = W, b: unknown = null, options: object = {}) => () =>
    onnx.convTranspose(attributes, x as never, w as never, b as never, options);
  const wrong: [() => unknown, string, string, RegExp?][] = [
    [run({ stride: [1, 1] }), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'stride', /did you mean strides/],
    [run({ strides: [0, 1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [run({ strides: 2 }), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'strides'],
    [run({ strides: [1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [run({ dilations: [1, -1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'dilations'],
    [run({ pads: [1, 1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pads'],
    [run({ pads: [1, 1, -1, 1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pads'],
    [run({ pads: [9, 9, 9, 9] }), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'pads'],
    [run({ pads: [1, 1, 1, 1], auto_pad: 'SAME_UPPER' }), 'ERR_CONVTRANSPOSE_CONFLICT', 'pads', /auto_pad SAME_UPPER/],
    [run({ auto_pad: 'SAME' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'auto_pad'],
    [run({ group: 0 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'group'],
    [run({ group: 3 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'group'],
    [run({ kernel_shape: [3, 2] }), 'ERR_CONVTRANSPOSE_SHAPE', 'kernel_shape'],
    [run({ output_padding: [1, 0] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_padding', /0 to 0 in dimension 0/],
    [run({ strides: [2, 2], output_padding: [0, 5] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_padding', /0 to 1 in dimension 1/],
    [run({ output_shape: [1, 3, 6, 6] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_shape'],
    [run({ output_shape: [-1, 6] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_shape'],
    [run({ strides: [2 ** 52, 1] }), 'ERR_CONVTRANSPOSE_TOO_LARGE', 'strides'],
    [run({ dilations: [2 ** 52, 1] }), 'ERR_CONVTRANSPOSE_TOO_LARGE', 'dilations'],
    [run({}, Tensor.zeros([2, 4, 4])), 'ERR_CONVTRANSPOSE_SHAPE', 'X', /\[N, C, D1, D2\]/],
    [run({}, Tensor.zeros([1, 3, 4, 4])), 'ERR_CONVTRANSPOSE_SHAPE', 'X'],
    [run({}, { data: new Float32Array(3), shape: [1, 2, 4, 4] }), 'ERR_CONVTRANSPOSE_SHAPE', 'X'],
    [run({}, { data: new Float64Array(32), shape: [1, 2, 4, 4] }), 'ERR_CONVTRANSPOSE_UNSUPPORTED', 'X'],
    [run({}, X, Tensor.zeros([2, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'W'],
    [run({}, X, Tensor.zeros([2, 3, 1, 1, 1, 1])), 'ERR_CONVTRANSPOSE_SHAPE', 'W'],
    [run({}, X, Tensor.zeros([2, 3, 0, 1])), 'ERR_CONVTRANSPOSE_SHAPE', 'W'],
    [run({}, X, W, Tensor.zeros([2])), 'ERR_CONVTRANSPOSE_SHAPE', 'B'],
    [run({}, X, W, null, { opset: 0 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'opset'],
    [run({}, X, W, null, { convention: 'onnx' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'convention'],
    [run({}, X, W, null, { strides: [1, 1] }), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'strides'],
    [run({}, X, W, null, { out: Tensor.zeros([1]) }), 'ERR_CONVTRANSPOSE_SHAPE', 'out'],
    [() => new onnx.ConvTranspose({ group: 3 }, W), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'group'],
    [() => new onnx.ConvTranspose({}, W, Tensor.zeros([2])), 'ERR_CONVTRANSPOSE_SHAPE', 'B'],
    [() => new onnx.ConvTranspose({}, W, null, { out: X } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'out'],
    [() => new onnx.ConvTranspose({}, W).forward(Tensor.zeros([2, 4, 4])), 'ERR_CONVTRANSPOSE_SHAPE', 'X'],
    [() => new onnx.ConvTranspose({}, W).forwardAsync(Tensor.zeros([1, 3, 4, 4])), 'ERR_CONVTRANSPOSE_SHAPE', 'X'],
    [() => new onnx.ConvTranspose({}, W).outputShape([2, 4, 4]), 'ERR_CONVTRANSPOSE_SHAPE', 'inputShape'],
    [() => new onnx.ConvTranspose({}, W).forward(X, { outputSize: [6] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'outputSize'],
    [() => onnx.convTransposeAsync({ group: 3 }, X, W), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'group'],
  ];
  test.each(wrong.map(([call, code, argument, message], i) => ({ i, call, code, argument, message })))('$i: $code $argument', async ({ call, code, argument, message }) => {
    const error = await failure(call);
    expect([error.code, error.argument]).toEqual([code, argument]);
    expect(error.message.startsWith(`${argument}: expected `)).toBe(true);
    if (message !== undefined) expect(error.message).toMatch(message);
  });

  test('what a getter throws passes through unchanged', () => {
    const mine = new Error('mine');
    const attributes = { get strides(): number[] { throw mine; } };
    expect(() => onnx.convTranspose(attributes, X, W)).toThrow(mine);
  });
});
