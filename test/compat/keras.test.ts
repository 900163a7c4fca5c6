import { describe, expect, jest, test } from '@jest/globals';

import { keras, tf } from '../../lib/compat/index';
import { Tensor } from '../../lib/index';
import { channelsFirst, channelsLast, dataOf, expectDefined, failure, toKeras, windowed, type Window } from './support';

// Whole grids, on a machine that may have other work.
jest.setTimeout(60_000);

/**
 * Keras' published formula, one dimension: the input is stretched by the stride, padded by `left` and `right` rows of zeros, and
 * correlated with the flipped kernel. So outputs begin `extent - 1 - left` rows into what the definition reaches.
 */
function kerasWindow(k: number, s: number, d: number, input: number, padding: 'same' | 'valid', op: number | null): { begin: number; size: number } {
  const extent = (k - 1) * d + 1;
  let left: number;
  let right: number;
  if (padding === 'valid') {
    const outputPadding = op ?? Math.max(extent, s) - extent;
    left = extent - 1;
    right = extent - 1 + outputPadding;
  } else {
    const length = op === null ? s + extent - 2 : extent + (extent % 2) - 2 + op;
    left = Math.min(Math.floor(length / 2) + (length % 2), extent - 1);
    right = length - left;
  }
  const stretched = (input - 1) * s + 1;
  return { begin: extent - 1 - left, size: stretched + left + right - extent + 1 };
}

interface Dimension { k: number; s: number; input: number; op: number | null }

/** Kernels 1 to 5, strides 1 to 4, inputs 1 to 6 and every legal output padding, also none. */
const grid: Dimension[] = [];
for (let k = 1; k <= 5; k++) for (let s = 1; s <= 4; s++) for (let input = 1; input <= 6; input++) {
  for (const op of [null, ...Array.from({ length: s }, (_, i) => i)]) grid.push({ k, s, input, op });
}
const paddings = ['same', 'valid'] as const;
const functions = [
  [keras.conv1dTranspose, keras.conv1dTransposeAsync, keras.Conv1DTranspose],
  [keras.conv2dTranspose, keras.conv2dTransposeAsync, keras.Conv2DTranspose],
  [keras.conv3dTranspose, keras.conv3dTransposeAsync, keras.Conv3DTranspose],
] as const;

interface Layer { k: number[]; s: number[]; d?: number[]; input: number[]; op: number[] | null; padding: 'same' | 'valid'; bias: boolean }

/** Runs a layer in all forms and both data formats, and holds it against the definition. */
async function check(layer: Layer, number: number, forms: 'function' | 'all'): Promise<void> {
  const { k, s, input, op, padding } = layer;
  const dims = k.length;
  const d = layer.d ?? k.map(() => 1);
  const spans = k.map((size, i) => kerasWindow(size, s[i] as number, d[i] as number, input[i] as number, padding, op === null ? null : op[i] as number));
  const window: Window = { begin: spans.map(({ begin }) => begin), size: spans.map(({ size }) => size) };
  const p = windowed({ batch: 2, inChannels: 3, outChannels: 2, groups: 1, in: input, kernel: k, stride: s, dilation: d }, window, layer.bias);
  const data = dataOf(p, number);
  const kernel = toKeras(data.w, 3, 2, k);
  const bias = data.b === null ? null : new Tensor(data.b, [2]);
  const config = { strides: s, padding, output_padding: op, ...(layer.d === undefined ? {} : { dilation_rate: d }) };
  const last = channelsLast(data.x, 2, 3, input);
  const first = new Tensor(data.x, [2, 3, ...input]);
  const [run, runAsync, Layer] = functions[dims - 1] as typeof functions[1];
  expectDefined(p, data, window, channelsFirst(run(last, kernel, bias, config)));
  if (forms === 'function') return;
  expectDefined(p, data, window, run(first, kernel, bias, { ...config, data_format: 'channels_first' }));
  expectDefined(p, data, window, channelsFirst(await runAsync(last, kernel, bias, { ...config, kernel_size: k, filters: 2 })));
  const module = new Layer(config, kernel, bias);
  expect(module.outputShape(last.shape)).toEqual([2, ...window.size, 2]);
  expectDefined(p, data, window, channelsFirst(module.forward(last)));
  expectDefined(p, data, window, channelsFirst(await module.forwardAsync(last)));
  expect([...module.stateDict().weight.data]).toEqual([...data.w]);
  module.dispose();
}

describe.each(paddings)('the whole grid with padding %s', (padding) => {
  test('in one dimension, all forms', async () => {
    for (const [number, { k, s, input, op }] of grid.entries()) {
      await check({ k: [k], s: [s], input: [input], op: op === null ? null : [op], padding, bias: number % 2 === 0 }, number, 'all');
    }
  });

  test('in two dimensions, each beside another', async () => {
    for (const [number, { k, s, input, op }] of grid.entries()) {
      const partner = grid.filter((other) => (other.op === null) === (op === null));
      const other = partner[(number * 37 + 11) % partner.length] as Dimension;
      await check({
        k: [k, other.k], s: [s, other.s], input: [input, other.input], op: op === null ? null : [op, other.op as number], padding, bias: false,
      }, number, number % 16 === 0 ? 'all' : 'function');
    }
  });

  test('in three dimensions, a part', async () => {
    for (const [number, { k, s, input, op }] of grid.entries()) {
      if (number % 17 !== 0 || k > 3) continue;
      await check({
        k: [k, 2, 3], s: [s, 2, 1], input: [Math.min(input, 3), 2, 3], op: op === null ? null : [op, 1, 0], padding, bias: true,
      }, number, 'all');
    }
  });

  test('dilated', async () => {
    for (const op of [null, [0, 0]]) await check({ k: [3, 2], s: [1, 1], d: [2, 3], input: [4, 5], op, padding, bias: true }, 3, 'all');
  });
});

describe('numbers by hand', () => {
  const ones = new Tensor(Float32Array.of(1, 1), [1, 2, 1]);
  const kernel = new Tensor(Float32Array.of(1, 2, 3), [3, 1, 1]);
  // Stride 2 puts the kernel 1 2 3 at 0 and 2: 1 2 4 2 3.
  test.each([
    [{ strides: 2 }, [1, 2, 4, 2, 3]],
    [{ strides: 2, padding: 'same' }, [1, 2, 4, 2]],
    [{ strides: 2, padding: 'SAME' }, [1, 2, 4, 2]],
    [{ strides: 2, padding: 'same', output_padding: 0 }, [2, 4, 2]],
    [{ strides: 2, padding: 'same', output_padding: 1 }, [1, 2, 4, 2]],
    [{ strides: 2, output_padding: 1 }, [1, 2, 4, 2, 3, 0]],
    [{ strides: 4 }, [1, 2, 3, 0, 1, 2, 3, 0]],
    [{ strides: 4, output_padding: 0 }, [1, 2, 3, 0, 1, 2, 3]],
  ])('%j', (config, expected) => {
    expect([...keras.conv1dTranspose(ones, kernel, null, config as keras.ConvTransposeConfig).data]).toEqual(expected);
  });
});

test('outputSize of a call: what the convolution turns back, and nothing else', () => {
  const kernel = new Tensor(Float32Array.of(1, 2, 3), [3, 1, 1]);
  const x = new Tensor(Float32Array.of(1, 1), [1, 2, 1]);
  const same = new keras.Conv1DTranspose({ strides: 2, padding: 'same' }, kernel);
  expect([...same.forward(x, { outputSize: 3 }).data]).toEqual([2, 4, 2]);
  expect([...same.forward(x, { outputSize: 4 }).data]).toEqual([1, 2, 4, 2]);
  for (const outputSize of [2, 5]) {
    expect(() => same.forward(x, { outputSize })).toThrow(expect.objectContaining({ code: 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', argument: 'outputSize' }));
  }
  const valid = new keras.Conv1DTranspose({ strides: 2 }, kernel);
  expect([...valid.forward(x, { outputSize: 6 }).data]).toEqual([1, 2, 4, 2, 3, 0]);
  expect(() => valid.forward(x, { outputSize: 7 })).toThrow('spatial sizes from [5] to [6]');
  const padded = new keras.Conv1DTranspose({ strides: 2, output_padding: 1 }, kernel);
  expect(() => padded.forward(x, { outputSize: 6 })).toThrow(expect.objectContaining({ code: 'ERR_CONVTRANSPOSE_CONFLICT', argument: 'outputSize' }));
});

describe('tf', () => {
  test('every legal output shape gives what Keras gives for it, in all dimensions and layouts', async () => {
    for (let k = 1; k <= 5; k++) for (let s = 1; s <= 4; s++) for (const input of [1, 3, 4]) {
      const kernelData = Float32Array.from({ length: k * 2 * 3 }, (_, i) => (i % 5) - 2);
      const xData = Float32Array.from({ length: input * 3 }, (_, i) => (i % 7) - 3);
      const layer = new keras.Conv1DTranspose({ strides: s, padding: 'same' }, new Tensor(kernelData, [k, 2, 3]));
      for (let size = (input - 1) * s + 1; size <= input * s; size++) {
        const expected = [...layer.forward(new Tensor(xData, [1, input, 3]), { outputSize: size }).data];
        const x1 = new Tensor(xData, [1, input, 3]);
        const f1 = new Tensor(kernelData, [k, 2, 3]);
        expect([...tf.conv1dTranspose(x1, f1, { output_shape: [1, size, 2], strides: s }).data]).toEqual(expected);
        const x2 = new Tensor(xData, [1, input, 1, 3]);
        const f2 = new Tensor(kernelData, [k, 1, 2, 3]);
        const args = { output_shape: [1, size, 1, 2], strides: [1, s, 1, 1], padding: 'SAME' as const, dilations: [1] };
        expect([...(await tf.conv2dTransposeAsync(x2, f2, args)).data]).toEqual(expected);
        const x3 = new Tensor(xData, [1, 1, 1, input, 3]);
        const f3 = new Tensor(kernelData, [1, 1, k, 2, 3]);
        expect([...tf.conv3dTranspose(x3, f3, { output_shape: [1, 1, 1, size, 2], strides: [1, 1, s], data_format: 'NDHWC' }).data]).toEqual(expected);
      }
    }
  });

  test('Keras with output_padding is TensorFlow with the size that it gives, where TensorFlow allows that', () => {
    let compared = 0;
    for (const padding of paddings) for (const { k, s, input, op } of grid) {
      const kernel = new Tensor(Float32Array.from({ length: k }, (_, i) => i + 1), [k, 1, 1]);
      const x = new Tensor(Float32Array.from({ length: input }, (_, i) => (i * 5) % 7), [1, input, 1]);
      const y = keras.conv1dTranspose(x, kernel, null, { strides: s, padding, output_padding: op });
      const size = y.shape[1] as number;
      const back = padding === 'same' ? Math.ceil(size / s) : Math.ceil((size - k + 1) / s);
      if (back !== input) continue;
      const word = padding === 'same' ? 'SAME' : 'VALID';
      expect([k, s, input, op, ...tf.conv1dTranspose(x, kernel, { output_shape: y.shape, strides: s, padding: word }).data]).toEqual([k, s, input, op, ...y.data]);
      compared++;
    }
    expect(compared).toBeGreaterThan(700);
  });

  test('padding in rows, channels first', async () => {
    const p = windowed({ batch: 2, inChannels: 3, outChannels: 4, groups: 1, in: [3, 4], kernel: [3, 4], stride: [2, 3], dilation: [1, 2] },
      { begin: [1, 2], size: [6, 11] }, false);
    const data = dataOf(p, 9);
    const filters = toKeras(data.w, 3, 4, [3, 4]);
    const window = { begin: [1, 2], size: [6, 11] };
    const first = tf.conv2dTranspose(new Tensor(data.x, [2, 3, 3, 4]), filters, {
      output_shape: [2, 4, 6, 11], strides: [1, 1, 2, 3], dilations: [1, 1, 1, 2], padding: [[0, 0], [0, 0], [1, 0], [2, 3]], data_format: 'NCHW',
    });
    expectDefined(p, data, window, first);
    const last = tf.conv2dTranspose(channelsLast(data.x, 2, 3, [3, 4]), filters, {
      output_shape: [2, 6, 11, 4], strides: [2, 3], dilations: [1, 2], padding: [[0, 0], [1, 0], [2, 3], [0, 0]],
    });
    expectDefined(p, data, window, channelsFirst(last));
  });
});

test('options reach the calls', async () => {
  const x = new Tensor(Float32Array.of(1, -1), [1, 2, 1]);
  const kernel = new Tensor(Float32Array.of(1, 2), [2, 1, 1]);
  const bias = new Tensor(Float32Array.of(-1), [1]);
  const out = Tensor.empty([1, 3, 1]);
  expect(keras.conv1dTranspose(x, kernel, bias, {}, { out, activation: 'relu' })).toBe(out);
  expect([...out.data]).toEqual([0, 0, 0]);
  expect(tf.conv1dTranspose(x, kernel, { output_shape: [1, 3, 1], strides: 1, padding: 'VALID' }, { out, numThreads: 1 })).toBe(out);
  expect([...out.data]).toEqual([1, 1, -2]);
  const reason = new Error('enough');
  const signal = AbortSignal.abort(reason);
  await expect(keras.conv1dTransposeAsync(x, kernel, bias, {}, { signal })).rejects.toBe(reason);
  await expect(tf.conv1dTransposeAsync(x, kernel, { output_shape: [1, 3, 1], strides: 1, padding: 'VALID' }, { signal })).rejects.toBe(reason);
});

describe('errors in the references\' words', () => {
  const kernel = Tensor.zeros([3, 3, 2, 3]);
  const inputs = Tensor.zeros([1, 4, 4, 3]);
  const layer = (config: object, x: unknown = inputs, w: unknown = kernel, b: unknown = null, options: object = {}) => () =>
    keras.conv2dTranspose(x as never, w as never, b as never, config, options);
  const flow = (args: object, x: unknown = inputs, w: unknown = kernel) => () => tf.conv2dTranspose(x as never, w as never, args as never);
  const shape = [1, 8, 8, 2];
  const wrong: [() => unknown, string, string][] = [
    [layer({ stride: 2 }), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'stride'],
    [layer({ strides: 0 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [layer({ strides: [1, 2, 2, 1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [layer({ strides: 2, output_padding: 2 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_padding'],
    [layer({ output_padding: 1 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_padding'],
    [layer({ padding: 'full' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding'],
    [layer({ padding: 1 }), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'padding'],
    [layer({ data_format: 'NHWC' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'data_format'],
    [layer({ dilation_rate: -1 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'dilation_rate'],
    [layer({ kernel_size: 2 }), 'ERR_CONVTRANSPOSE_SHAPE', 'kernel_size'],
    [layer({ filters: 3 }), 'ERR_CONVTRANSPOSE_SHAPE', 'filters'],
    [layer({}, Tensor.zeros([4, 4, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'inputs'],
    [layer({}, Tensor.zeros([1, 4, 4, 2])), 'ERR_CONVTRANSPOSE_SHAPE', 'inputs'],
    [layer({ strides: 2, padding: 'same', output_padding: 0 }, Tensor.zeros([1, 0, 4, 3])), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'inputs'],
    [layer({}, inputs, Tensor.zeros([3, 2, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'kernel'],
    [layer({}, inputs, Tensor.zeros([0, 3, 2, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'kernel'],
    [layer({}, inputs, { data: new Float32Array(2), shape: [3, 3, 2, 3] }), 'ERR_CONVTRANSPOSE_SHAPE', 'kernel'],
    [layer({}, inputs, kernel, Tensor.zeros([3])), 'ERR_CONVTRANSPOSE_SHAPE', 'bias'],
    [layer({}, inputs, kernel, null, { padding: 'same' }), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'padding'],
    [() => new keras.Conv2DTranspose({ filters: 1 }, kernel), 'ERR_CONVTRANSPOSE_SHAPE', 'filters'],
    [() => new keras.Conv2DTranspose({}, kernel).forward(Tensor.zeros([4, 4, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'inputs'],
    [flow({ strides: 2 }), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'output_shape'],
    [flow({ output_shape: shape }), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'strides'],
    [flow({ output_shape: [8, 8], strides: 2 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'output_shape'],
    [flow({ output_shape: [2, 8, 8, 2], strides: 2 }), 'ERR_CONVTRANSPOSE_SHAPE', 'output_shape'],
    [flow({ output_shape: [1, 8, 8, 3], strides: 2 }), 'ERR_CONVTRANSPOSE_SHAPE', 'output_shape'],
    [flow({ output_shape: [1, 9, 8, 2], strides: 2 }), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'output_shape'],
    [flow({ output_shape: [1, 6, 8, 2], strides: 2 }), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'output_shape'],
    [flow({ output_shape: [1, 8, 9, 2], strides: 2, padding: 'VALID' }), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'output_shape'],
    [flow({ output_shape: shape, strides: [2, 2, 2, 1] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [flow({ output_shape: shape, strides: [2, 2, 2] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [flow({ output_shape: shape, strides: 2, dilations: 0 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'dilations'],
    [flow({ output_shape: shape, strides: 2, padding: 'same' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding'],
    [flow({ output_shape: shape, strides: 2, padding: [[0, 0], [1, 1]] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding'],
    [flow({ output_shape: shape, strides: 2, padding: [[1, 0], [1, 1], [1, 1], [0, 0]] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding'],
    [flow({ output_shape: shape, strides: 2, padding: [[0], [1, 1], [1, 1], [0, 0]] }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'padding'],
    [flow({ output_shape: shape, strides: 2, padding: 3 }), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'padding'],
    [flow({ output_shape: shape, strides: 2, data_format: 'NWC' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'data_format'],
    [flow({ output_shape: shape, strides: 2 }, Tensor.zeros([4, 4, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'input'],
    [flow({ output_shape: shape, strides: 2 }, inputs, Tensor.zeros([3, 3, 3])), 'ERR_CONVTRANSPOSE_SHAPE', 'filters'],
    [() => tf.conv1dTransposeAsync(inputs, kernel, { output_shape: [1], strides: 1 }), 'ERR_CONVTRANSPOSE_SHAPE', 'filters'],
  ];
  test.each(wrong.map(([call, code, argument], i) => ({ i, call, code, argument })))('$i: $code $argument', async ({ call, code, argument }) => {
    const error = await failure(call);
    expect([error.code, error.argument]).toEqual([code, argument]);
  });
});

