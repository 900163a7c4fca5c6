import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';

import { describe, expect, jest, test } from '@jest/globals';

import { tfjs } from '../../lib/compat/index';
import { Tensor } from '../../lib/index';
import { failure } from './support';

// Whole grids, on a machine that may have other work.
jest.setTimeout(60_000);

type Rounding = 'floor' | 'round' | 'ceil';
type Stored = [[kernel: number, stride: number, input: number, pad: tfjs.Pad, rounding: Rounding | null, output: number], width: [kernel: number, stride: number, input: number, output: number], y: number[]];

/** What tfjs computed; see make-tfjs-fixture.mjs. */
const stored = JSON.parse(gunzipSync(readFileSync(path.join(__dirname, 'tfjs.json.gz'))).toString()) as Stored[];
const values = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => ((i * step) % 7) - 3);

/** The stored case with another output size along the height. */
function compute([[kernel, stride, input, pad, rounding, output], [kernelWidth, strideWidth, inputWidth, width]]: Stored, size = output): Tensor {
  const x = new Tensor(values(input * inputWidth * 2, 5), [1, input, inputWidth, 2]);
  const filter = new Tensor(values(kernel * kernelWidth * 2, 3), [kernel, kernelWidth, 1, 2]);
  return tfjs.conv2dTranspose(x, filter, [1, size, width, 1], [stride, strideWidth], pad, rounding ?? undefined);
}

describe('what tfjs computes', () => {
  test('every legal output shape of its grid', () => {
    expect(stored.length).toBeGreaterThan(700);
    for (const one of stored) expect([one[0], ...compute(one).data]).toEqual([one[0], ...one[2]]);
  });

  test('and no other output shape', async () => {
    const keyOf = ([[kernel, stride, input, pad, rounding]]: Stored, output: number) => [kernel, stride, input, pad, rounding, output].join();
    const legal = new Set(stored.map((one) => keyOf(one, one[0][5])));
    let refused = 0;
    for (const one of stored) {
      for (const output of [one[0][5] - 1, one[0][5] + 1]) {
        if (output === 0 || legal.has(keyOf(one, output))) continue;
        const error = await failure(() => compute(one, output));
        expect([output, error.code, error.argument]).toEqual([output, 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'outputShape']);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(300);
  });

  test('padding in rows on both sides of each dimension', () => {
    const x = new Tensor(Float32Array.of(1, 1), [1, 2, 1, 1]);
    const filter = new Tensor(Float32Array.of(1, 2, 3), [3, 1, 1, 1]);
    const run = (rows: [number, number], size: number) =>
      [...tfjs.conv2dTranspose(x, filter, [1, size, 1, 1], [2, 1], [[0, 0], rows, [0, 0], [0, 0]]).data];
    expect(run([1, 0], 4)).toEqual([2, 4, 2, 3]);
    expect(run([0, 1], 4)).toEqual([1, 2, 4, 2]);
    expect(run([0, 1], 5)).toEqual([1, 2, 4, 2, 3]);
  });
});

describe('forms', () => {
  const x = values(2 * 3 * 4 * 2, 5);
  const filter = new Tensor(values(3 * 3 * 2, 3), [3, 3, 1, 2]);

  test('without a batch, from tensors of tfjs, asynchronous, into memory that is there', async () => {
    const expected = tfjs.conv2dTranspose(new Tensor(x, [2, 3, 4, 2]), filter, [2, 6, 8, 1], 2, 'same');
    const first = { shape: [3, 4, 2], dataSync: () => x.subarray(0, 24), data: () => Promise.resolve(x) };
    const foreignFilter = { shape: filter.shape, dataSync: () => filter.data };
    const one = tfjs.conv2dTranspose(first, foreignFilter, [6, 8, 1], 2, 'same');
    expect(one.shape).toEqual([6, 8, 1]);
    expect([...one.data]).toEqual([...expected.data.subarray(0, 48)]);
    const out = Tensor.empty([2, 6, 8, 1]);
    expect(await tfjs.conv2dTransposeAsync(new Tensor(x, [2, 3, 4, 2]), filter, [2, 6, 8, 1], [2, 2], 'same', undefined, { out })).toBe(out);
    expect([...out.data]).toEqual([...expected.data]);
  });

  test('three dimensions', async () => {
    const flat = tfjs.conv2dTranspose(new Tensor(x, [2, 3, 4, 2]), filter, [2, 6, 8, 1], 2, 'same');
    const deepFilter = new Tensor(filter.data, [1, 3, 3, 1, 2]);
    const deep = tfjs.conv3dTranspose(new Tensor(x, [2, 1, 3, 4, 2]), deepFilter, [2, 1, 6, 8, 1], [1, 2, 2], 'same');
    expect([...deep.data]).toEqual([...flat.data]);
    const again = await tfjs.conv3dTransposeAsync(new Tensor(x, [2, 1, 3, 4, 2]), deepFilter, [2, 1, 6, 8, 1], [1, 2, 2], 'same');
    expect([...again.data]).toEqual([...flat.data]);
  });
});

describe('what tfjs ignores or gets wrong is refused', () => {
  const x = Tensor.zeros([2, 4, 4, 3]);
  const filter = Tensor.zeros([3, 3, 8, 3]);
  const shape = [2, 8, 8, 8];
  const run = (...args: unknown[]) => () => (tfjs.conv2dTranspose as (...given: unknown[]) => Tensor)(...args);
  const wrong: [() => unknown, string, string][] = [
    [run(x, filter, [2, 13, 8, 8], 2, 'same'), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'outputShape'],
    [run(x, filter, [1, 8, 8, 8], 2, 'same'), 'ERR_CONVTRANSPOSE_SHAPE', 'outputShape'],
    [run(x, filter, [2, 8, 8, 4], 2, 'same'), 'ERR_CONVTRANSPOSE_SHAPE', 'outputShape'],
    [run(x, filter, [8, 8, 8], 2, 'same'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'outputShape'],
    [run(x, filter, undefined, 2, 'same'), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'outputShape'],
    [run(x, filter, shape, 0, 'same'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [run(x, filter, shape, undefined, 'same'), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'strides'],
    [run(x, filter, shape, [1, 2, 2, 1], 'same'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'strides'],
    [run(x, filter, shape, 2, 'SAME'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pad'],
    [run(x, filter, shape, 2), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'pad'],
    [run(x, filter, shape, 2, 0.5), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pad'],
    [run(x, filter, shape, 2, -1), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pad'],
    [run(x, filter, shape, 2, [[0, 0], [1, 1], [1, 1]]), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pad'],
    [run(x, filter, shape, 2, [[0, 1], [1, 1], [1, 1], [0, 0]]), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'pad'],
    [run(x, filter, shape, 2, 'same', 'floor'), 'ERR_CONVTRANSPOSE_CONFLICT', 'dimRoundingMode'],
    [run(x, filter, shape, 2, 1, 'down'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'dimRoundingMode'],
    [run(x, filter, shape, 2, 'same', undefined, { dilations: 2 }), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'dilations'],
    [run(x, filter, shape, 2, 'same', undefined, { outputPadding: 1 }), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'outputPadding'],
    [run(Tensor.zeros([2, 4, 4, 2]), filter, shape, 2, 'same'), 'ERR_CONVTRANSPOSE_SHAPE', 'x'],
    [run(Tensor.zeros([4, 4]), filter, shape, 2, 'same'), 'ERR_CONVTRANSPOSE_SHAPE', 'x'],
    [run({ shape: [2, 4, 4, 3], dataSync: () => new Int32Array(96) }, filter, shape, 2, 'same'), 'ERR_CONVTRANSPOSE_UNSUPPORTED', 'x'],
    [run(x, Tensor.zeros([3, 8, 3]), shape, 2, 'same'), 'ERR_CONVTRANSPOSE_SHAPE', 'filter'],
    [run(x, null, shape, 2, 'same'), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'filter'],
    [() => tfjs.conv3dTranspose(Tensor.zeros([1, 2, 2, 2, 1]), Tensor.zeros([1, 1, 1, 1, 1]), [1, 2, 2, 2, 1], 1, 1 as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'pad'],
    [() => tfjs.conv2dTransposeAsync(x, filter, [2, 9, 8, 8], 2, 'same'), 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'outputShape'],
  ];
  test.each(wrong.map(([call, code, argument], i) => ({ i, call, code, argument })))('$i: $code $argument', async ({ call, code, argument }) => {
    const error = await failure(call);
    expect([error.code, error.argument]).toEqual([code, argument]);
  });
});
