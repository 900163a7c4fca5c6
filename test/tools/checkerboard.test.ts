/** checkerboard() against the definition: ones scattered, flat inputs convolved with the weights. */
import { describe, expect, test } from '@jest/globals';

import { checkerboard, ConvTranspose1d, ConvTranspose2d, convTranspose2d, ConvTranspose3d, Tensor, type CheckerboardQuery } from '../../lib/index';
import { outcomeOf } from '../support/expect-error';

/** Ones scattered over [...sizes], in any number of dimensions; independent of how the package counts. */
function scatterOnes(input: number[], output: number[], kernel: number[], stride: number[], dilation: number[], begin: number[]): number[] {
  const counts = new Array<number>(output.reduce((a, b) => a * b, 1)).fill(0);
  const walk = (d: number, index: number): void => {
    if (d === input.length) {
      (counts[index] as number)++;
      return;
    }
    for (let i = 0; i < (input[d] as number); i++) {
      for (let k = 0; k < (kernel[d] as number); k++) {
        const o = i * (stride[d] as number) + k * (dilation[d] as number) - (begin[d] as number);
        if (o >= 0 && o < (output[d] as number)) walk(d + 1, index * (output[d] as number) + o);
      }
    }
  };
  walk(0, 0);
  return counts;
}

const modules = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d];

interface Case {
  kernelSize: number[];
  stride: number[];
  dilation: number[];
  padding: [number, number][];
  outputPadding: number[];
  inputSize: number[];
}

const cases: Case[] = [
  { kernelSize: [3], stride: [2], dilation: [1], padding: [[1, 1]], outputPadding: [1], inputSize: [9] },
  { kernelSize: [5], stride: [3], dilation: [2], padding: [[2, 0]], outputPadding: [2], inputSize: [12] },
  { kernelSize: [2], stride: [4], dilation: [1], padding: [[0, -3]], outputPadding: [0], inputSize: [5] },
  { kernelSize: [4], stride: [4], dilation: [2], padding: [[3, 3]], outputPadding: [0], inputSize: [9] },
  { kernelSize: [3, 3], stride: [2, 2], dilation: [1, 1], padding: [[1, 1], [1, 1]], outputPadding: [1, 1], inputSize: [8, 7] },
  { kernelSize: [4, 5], stride: [2, 3], dilation: [1, 2], padding: [[1, 1], [0, 2]], outputPadding: [0, 1], inputSize: [6, 9] },
  { kernelSize: [2, 3, 4], stride: [2, 2, 3], dilation: [1, 1, 1], padding: [[0, 0], [1, 0], [2, 1]], outputPadding: [1, 0, 0], inputSize: [4, 5, 6] },
];

describe('the map', () => {
  test.each(cases)('%j is that of scattered ones', (query) => {
    const { kernelSize, stride, dilation, padding, inputSize } = query;
    const { map, overlap, borders, unevenness } = checkerboard(query);
    const Module = modules[kernelSize.length - 1] as typeof ConvTranspose1d;
    const layer = new Module(1, 1, kernelSize, { stride, dilation, padding, outputPadding: query.outputPadding, seed: 0 });
    const output = layer.outputShape([1, ...inputSize]).slice(1);
    expect(map?.shape).toEqual(output);
    const counts = scatterOnes(inputSize, output, kernelSize, stride, dilation, padding.map(([begin]) => begin));
    expect([...(map as Tensor).data]).toEqual(counts);

    // Inside the borders the map repeats the period; the first row that fewer products reach is outside.
    expect(overlap.shape).toEqual(stride);
    const inside = (o: number, d: number): boolean => {
      const [begin, end] = (borders as [number, number][])[d] as [number, number];
      return o >= begin && o < (output[d] as number) - end;
    };
    let compared = 0;
    counts.forEach((found, index) => {
      let rest = index;
      const at = output.map((_, d) => {
        const size = output.slice(d + 1).reduce((a, b) => a * b, 1);
        const o = Math.floor(rest / size);
        rest -= o * size;
        return o;
      });
      const place = at.reduce((sum, o, d) => sum * (stride[d] as number) + (o % (stride[d] as number)), 0);
      const expected = overlap.data[place] as number;
      if (at.every(inside)) {
        expect(found).toBe(expected);
        compared += 1;
      } else {
        expect(found).toBeLessThanOrEqual(expected);
      }
    });
    expect(compared).toBeGreaterThan(0);

    // Split into its mean and the rest.
    const period = [...overlap.data];
    const mean = period.reduce((a, b) => a + b) / period.length;
    const rms = (values: number[]) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
    expect(unevenness).toBeCloseTo(rms(period.map((value) => value - mean)) / rms(period), 12);
  });

  test('rows with fewer products are the border, all of them', () => {
    expect(checkerboard({ kernelSize: 4, stride: 2, inputSize: 8 }).borders).toEqual([[2, 2], [2, 2]]);
    expect(checkerboard({ kernelSize: 4, stride: 2, padding: 1, inputSize: 8 }).borders).toEqual([[1, 1], [1, 1]]);
    expect(checkerboard({ kernelSize: 2, stride: 2, inputSize: 8 }).borders).toEqual([[0, 0], [0, 0]]);
    expect(checkerboard({ kernelSize: [9], inputSize: [3] }).borders).toEqual([[8, 8]]); // no output sees all nine taps
    expect(checkerboard({ kernelSize: 3, stride: 2 })).toMatchObject({ map: null, borders: null, weight: null });
  });

  test('flat where the stride divides the kernel', () => {
    for (const stride of [1, 2, 3, 4]) {
      for (let kernelSize = 1; kernelSize <= 12; kernelSize++) {
        const { unevenness, overlap } = checkerboard({ kernelSize, stride });
        expect(unevenness === 0).toBe(kernelSize % stride === 0);
        expect(new Set(overlap.data).size === 1).toBe(kernelSize % stride === 0);
      }
    }
  });
});

/** Weights of many sizes and signs. */
function noise(shape: number[], seed: number): Tensor {
  const tensor = Tensor.empty(shape);
  let state = seed;
  tensor.data.forEach((_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    tensor.data[i] = (state / 2 ** 31 - 1) * (1 + (i % 3));
  });
  return tensor;
}

describe('weights', () => {
  test.each([
    { shape: [3, 2, 3, 3], options: { stride: 2, padding: 1, outputPadding: 1 } },
    { shape: [2, 3, 4, 4], options: { stride: 2, padding: 1 } },
    { shape: [4, 2, 5, 3], options: { stride: [3, 2], padding: [[2, 0], [1, 1]] as [number, number][], groups: 2 } },
    { shape: [4, 1, 4, 4], options: { stride: 2, dilation: [1, 3], groups: 4 } },
  ])('%j: as flat inputs answer', ({ shape, options }) => {
    const weight = noise(shape, 7);
    const groups = options.groups ?? 1;
    const [inChannels, outPerGroup] = shape as [number, number];
    const stride = Array.isArray(options.stride) ? options.stride : [options.stride, options.stride];
    const [rows, columns] = stride as [number, number];
    const { weight: measured } = checkerboard({ ...options, weight });
    if (measured === null) throw new Error('not measured');

    // Every input channel alone, flat, through the layer in question; one period of what comes out, well inside.
    const outChannels = outPerGroup * groups;
    const pattern = new Array<number>(outChannels).fill(0);
    const whole = new Array<number>(outChannels).fill(0);
    const responses = new Map<string, number[]>();
    for (let ci = 0; ci < inChannels; ci++) {
      const x = Tensor.zeros([inChannels, 24, 24]);
      x.data.fill(1, ci * 576, (ci + 1) * 576);
      const y = convTranspose2d(x, weight, null, { ...options, algorithm: 'reference' });
      const [, height, width] = y.shape as [number, number, number];
      for (let co = 0; co < outChannels; co++) {
        const response: number[] = [];
        for (let a = 0; a < rows; a++) {
          for (let b = 0; b < columns; b++) response.push(y.data[(co * height + 12 * rows + a) * width + 12 * columns + b] as number);
        }
        const mean = response.reduce((sum, value) => sum + value) / response.length;
        pattern[co] = (pattern[co] as number) + response.reduce((sum, value) => sum + (value - mean) ** 2, 0);
        whole[co] = (whole[co] as number) + response.reduce((sum, value) => sum + value ** 2, 0);
        responses.set(`${ci},${co}`, response);
      }
    }
    const sum = (values: number[]) => values.reduce((a, b) => a + b);
    // Sums of at most 16 products of float32 against sums in double.
    expect(measured.unevenness).toBeCloseTo(Math.sqrt(sum(pattern) / sum(whole)), 5);
    pattern.forEach((part, co) => { expect(measured.channels[co]).toBeCloseTo(Math.sqrt(part / (whole[co] as number)), 5); });
    const { inputChannel, outputChannel, response } = measured.worst;
    expect(response.shape).toEqual(stride);
    const spread = (values: number[]) => sum(values.map((value) => (value - sum(values) / values.length) ** 2));
    const largest = Math.max(...[...responses.values()].map(spread));
    const worst = responses.get(`${inputChannel},${outputChannel}`) as number[];
    expect(spread(worst)).toBeCloseTo(largest, 4);
    worst.forEach((value, i) => { expect(response.data[i]).toBeCloseTo(value, 4); });
  });

  test('weights of ones are as uneven as the overlap', () => {
    const weight = noise([2, 2, 3, 5], 1);
    weight.data.fill(1);
    const { unevenness, weight: measured } = checkerboard({ weight, stride: [2, 3] });
    expect(measured?.unevenness).toBeCloseTo(unevenness, 12);
    expect(unevenness).toBeGreaterThan(0.1);
  });

  test('weights that are alike in every phase are flat, whatever they are', () => {
    const weight = noise([3, 4, 4, 4], 3);
    for (let base = 0; base < weight.data.length; base += 16) {
      for (let a = 0; a < 4; a++) for (let b = 0; b < 4; b++) weight.data[base + a * 4 + b] = weight.data[base + (a - (a % 2)) * 4 + b - (b % 2)] as number;
    }
    const { weight: measured, advice } = checkerboard({ weight, stride: 2, padding: 1 });
    expect(measured?.unevenness).toBeLessThan(1e-7);
    expect(advice).toEqual([]);
  });

  test('a pattern and nothing else, and nothing at all', () => {
    const weight = Tensor.zeros([1, 1, 2, 2]);
    weight.data.set([1, -1, -1, 1]);
    expect(checkerboard({ weight, stride: 2 }).weight).toMatchObject({ unevenness: 1, channels: Float64Array.of(1) });
    expect(checkerboard({ weight: Tensor.zeros([1, 1, 2, 2]), stride: 2 }).weight?.unevenness).toBe(0);
  });
});

describe('advice', () => {
  const choice = /^kernelSize (\S+|\[.*?\]) with padding (\S+|\[.*?\])(?: and outputPadding (\S+|\[.*?\]))?(?: and dilation (\S+|\[.*?\]))? gives the same sizes/;

  test('the kernel that it names gives the same sizes, evenly', () => {
    let named = 0;
    for (const kernelSize of [[3, 3], [5, 4], [2, 7], [1, 4], [9, 6]]) {
      for (const stride of [[2, 2], [3, 2], [4, 3]]) {
        for (const options of [{}, { padding: 1 }, { padding: [[0, 1], [1, 0]] as [number, number][] }, { outputPadding: 1 }, { dilation: [1, 2] }]) {
          const query: CheckerboardQuery = { kernelSize, stride, ...options };
          const { advice, unevenness } = checkerboard(query);
          const found = choice.exec(advice[0] ?? '');
          expect(found !== null).toBe(unevenness > 0);
          if (found === null) continue;
          const read = (text: string | undefined, otherwise: string) => JSON.parse(text ?? otherwise) as number;
          const [, kernel, padding, extra, dilation] = found;
          const better = {
            stride, padding: read(padding, '0'), outputPadding: read(extra, '0'),
            dilation: dilation === undefined ? (options as { dilation?: number[] }).dilation : read(dilation, '1'),
          };
          expect(checkerboard({ ...better, kernelSize: read(kernel, '') }).unevenness).toBe(0);
          const before = new ConvTranspose2d(1, 1, kernelSize, { stride, ...options, seed: 0 });
          const after = new ConvTranspose2d(1, 1, read(kernel, ''), { ...better, seed: 0 });
          for (const size of [6, 11]) expect(after.outputShape([1, size, size + 3])).toEqual(before.outputShape([1, size, size + 3]));
          before.dispose();
          after.dispose();
          named += 1;
        }
      }
    }
    expect(named).toBeGreaterThan(40);
  });

  test.each([
    [{ kernelSize: 2, stride: 3 }, /no product at all.* smaller than the stride/],
    [{ kernelSize: 4, stride: 4, dilation: 2 }, /no product at all.* common factor/],
    [{ kernelSize: 3, stride: 2 }, /nearest neighbour.* kernel 3 becomes one of kernelSize 4/],
    [{ weight: noise([4, 4, 4, 4], 5), stride: 2, padding: 1 }, /the pattern is in the weights/],
  ] as [CheckerboardQuery, RegExp][])('%#', (query, sentence) => {
    expect(checkerboard(query).advice).toContainEqual(expect.stringMatching(sentence));
  });

  test('repetition and a convolution are the layer that the advice says', () => {
    // Nearest neighbour by 2, then a 3-tap convolution (a, b, c): the kernel of 4 taps is their sum over pairs.
    const [a, b, c] = [0.5, -2, 3];
    const x = Float32Array.of(1, 4, -2, 3);
    const repeated = [...x].flatMap((value) => [value, value]);
    const padded = [0, 0, ...repeated, 0, 0];
    const convolved = padded.slice(2).map((_, i) => a * (padded[i] as number) + b * (padded[i + 1] as number) + c * (padded[i + 2] as number));
    const weight = { data: Float32Array.of(c, c + b, b + a, a), shape: [1, 1, 4] };
    const layer = new ConvTranspose1d(1, 1, 4, { stride: 2, weight });
    expect([...layer.forward({ data: x, shape: [1, 4] }).data]).toEqual(convolved);
    expect(checkerboard({ weight, stride: [2] }).weight?.unevenness).toBe(0);
  });
});

test.each([
  [{}, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'kernelSize'],
  [{ kernelSize: 0 }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'kernelSize'],
  [{ kernelSize: [3, 3, 3, 3] }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'query'],
  [{ kernelSize: 3, strides: 2 }, 'TypeError', 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'strides'],
  [{ kernelSize: 3, outputPadding: 1 }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'outputPadding'],
  [{ kernelSize: 3, stride: 2 ** 40 }, 'RangeError', 'ERR_CONVTRANSPOSE_TOO_LARGE', 'stride'],
  [{ kernelSize: [3, 3], inputSize: [4] }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'inputSize'],
  [{ kernelSize: [3, 3], padding: 9, inputSize: 4 }, 'RangeError', 'ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'padding'],
  [{ weight: Tensor.zeros([3]) }, 'RangeError', 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
  [{ weight: Tensor.zeros([1, 1, 3, 3]), kernelSize: 4 }, 'RangeError', 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
  [{ weight: Tensor.zeros([3, 1, 3]), groups: 2 }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'groups'],
  [{ weight: { data: new Float32Array(3), shape: [1, 1, 4] } }, 'RangeError', 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
  [{ weight: { data: Float32Array.of(1, NaN), shape: [1, 1, 2] } }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'weight'],
] as [CheckerboardQuery, string, string, string][])('%# is refused', (query, name, code, argument) => {
  let outcome = { name: null as string | null, code: undefined as unknown, argument: undefined as unknown };
  try {
    checkerboard(query);
  } catch (error) {
    outcome = outcomeOf(error);
  }
  expect(outcome).toMatchObject({ name, code, argument });
});
