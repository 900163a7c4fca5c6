/** solve() against brute force: every combination of small parameters, sizes as the package itself gives them. */
import { describe, expect, test } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, solve, type DimensionSolution, type SolveQuery } from '../../lib/index';
import { outcomeOf } from '../support/expect-error';

type Numbers = [kernel: number, stride: number, dilation: number, begin: number, end: number, outputPadding: number];

const numbersOf = ({ kernelSize, stride, dilation, padding, outputPadding }: DimensionSolution): Numbers => {
  const [begin, end] = typeof padding === 'number' ? [padding, padding] : padding;
  return [kernelSize, stride, dilation, begin, end, outputPadding];
};
const sorted = (all: readonly Numbers[]) => all.map((numbers) => numbers.join()).sort();

/** The size that the definition gives: one more than the last position that a tap lands on, less the crop, plus the extra rows. */
function sizeByScatter(input: number, [kernel, stride, dilation, begin, end, extra]: Numbers): number {
  let last = -1;
  for (let i = 0; i < input; i++) for (let k = 0; k < kernel; k++) last = Math.max(last, i * stride + k * dilation);
  return last + 1 - begin - end + extra;
}

interface Limits {
  kernel: [number, number];
  stride: [number, number];
  dilation: [number, number];
  /** null: up to dilation * (kernel - 1) */
  padding: [number, number] | null;
  outputPadding: [number, number];
  asymmetric: boolean;
}

/** Every combination, with the size it gives. */
function everything(input: number, limits: Limits): Map<number, Numbers[]> {
  const bySize = new Map<number, Numbers[]>();
  for (let k = limits.kernel[0]; k <= limits.kernel[1]; k++) {
    for (let s = limits.stride[0]; s <= limits.stride[1]; s++) {
      for (let d = limits.dilation[0]; d <= limits.dilation[1]; d++) {
        const [least, most] = limits.padding ?? [0, d * (k - 1)];
        for (let begin = least; begin <= most; begin++) {
          for (let end = least; end <= most; end++) {
            if (!limits.asymmetric && begin !== end) continue;
            for (let extra = limits.outputPadding[0]; extra <= limits.outputPadding[1]; extra++) {
              if (extra >= s && extra >= d) continue;
              const numbers: Numbers = [k, s, d, begin, end, extra];
              const size = sizeByScatter(input, numbers);
              bySize.set(size, [...(bySize.get(size) ?? []), numbers]);
            }
          }
        }
      }
    }
  }
  return bySize;
}

const range = ([min, max]: [number, number]) => ({ min, max });
const queryOf = (inputSize: number, outputSize: number, limits: Limits): SolveQuery => ({
  inputSize, outputSize, kernelSize: range(limits.kernel), stride: range(limits.stride), dilation: range(limits.dilation),
  ...(limits.padding === null ? {} : { padding: range(limits.padding) }), outputPadding: range(limits.outputPadding), asymmetric: limits.asymmetric,
});

const limitsOf: [string, Limits][] = [
  ['paddings up to the kernel', { kernel: [1, 5], stride: [1, 4], dilation: [1, 3], padding: null, outputPadding: [0, 9], asymmetric: false }],
  ['large paddings', { kernel: [1, 4], stride: [1, 3], dilation: [1, 2], padding: [0, 6], outputPadding: [0, 9], asymmetric: false }],
  ['both ends apart', { kernel: [1, 4], stride: [1, 4], dilation: [1, 3], padding: [0, 4], outputPadding: [0, 9], asymmetric: true }],
  ['no output padding', { kernel: [2, 5], stride: [2, 4], dilation: [1, 2], padding: null, outputPadding: [0, 0], asymmetric: false }],
  ['parity alone', { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], padding: [0, 3], outputPadding: [0, 0], asymmetric: false }],
  ['some padding, some output padding', { kernel: [1, 6], stride: [2, 5], dilation: [2, 3], padding: [1, 3], outputPadding: [1, 3], asymmetric: false }],
  ['both ends apart, fixed output padding', { kernel: [3, 3], stride: [3, 4], dilation: [1, 1], padding: [1, 2], outputPadding: [2, 2], asymmetric: true }],
];

describe('against brute force', () => {
  test.each(limitsOf)('%s: all solutions, no other, and the nearest sizes', (_what, limits) => {
    let found = 0;
    let missed = 0;
    for (let input = 1; input <= 5; input++) {
      const bySize = everything(input, limits);
      const largest = Math.max(...bySize.keys());
      for (let output = 1; output <= largest + 3; output++) {
        const { solutions, dimensions, reason } = solve(queryOf(input, output, limits));
        const [dimension] = dimensions;
        if (dimension === undefined) throw new Error('no dimension');
        expect(sorted(dimension.solutions.map(numbersOf))).toEqual(sorted(bySize.get(output) ?? []));
        expect(solutions.length).toBe(dimension.solutions.length);
        found += solutions.length;
        if (solutions.length > 0) {
          expect([reason, dimension.reason, dimension.nearest]).toEqual([null, null, []]);
          continue;
        }
        missed += 1;
        const below = Math.max(...[...bySize.keys()].filter((size) => size < output && size >= 1));
        const above = Math.min(...[...bySize.keys()].filter((size) => size > output));
        expect(dimension.nearest.map(({ outputSize }) => outputSize)).toEqual([below, above].filter(Number.isFinite));
        for (const near of dimension.nearest) {
          expect(sorted(bySize.get(near.outputSize) ?? [])).toContain(numbersOf(near).join());
          expect(reason).toContain(`${near.outputSize} (`);
        }
        expect(reason).toContain(`makes ${output} of ${input}`);
      }
    }
    expect(found).toBeGreaterThan(10);
    expect(missed).toBeGreaterThan(5);
  });

  test('what is said to multiply every size, or to be even, is so; nothing else', () => {
    const limits: Limits = { kernel: [1, 6], stride: [1, 4], dilation: [1, 4], padding: [0, 4], outputPadding: [0, 9], asymmetric: true };
    let checked = 0;
    for (const output of [2, 3, 4, 6]) {
      for (const solution of solve(queryOf(2, output, limits)).dimensions[0]?.solutions ?? []) {
        const numbers = numbersOf(solution);
        const [kernel, stride, dilation] = numbers;
        expect(solution.scales).toBe([1, 2, 7].every((input) => sizeByScatter(input, numbers) === input * stride));
        // Ones, scattered, well inside: one count for every phase.
        const counts = new Array<number>(400).fill(0);
        for (let i = 0; i < 60; i++) for (let k = 0; k < kernel; k++) (counts[i * stride + k * dilation] as number)++;
        const inside = counts.slice(30 * stride, 31 * stride);
        expect(solution.even).toBe(new Set(inside).size === 1);
        checked += 1;
      }
    }
    expect(checked).toBeGreaterThan(300);
  });

  test('the best come first', () => {
    const order = solve({ inputSize: 32, outputSize: 64 }).dimensions[0]?.solutions ?? [];
    expect(order.slice(0, 3).map(numbersOf)).toEqual([[2, 2, 1, 0, 0, 0], [4, 2, 1, 1, 1, 0], [6, 2, 1, 2, 2, 0]]);
    const ranks = order.map(({ scales, even }) => Number(scales) * 2 + Number(even));
    expect(ranks).toEqual([...ranks].sort((a, b) => b - a));
  });
});

describe('layers', () => {
  test('every layer does it', () => {
    for (const query of [
      { inputSize: [7, 9], outputSize: [14, 18] }, { inputSize: [5, 8], outputSize: [11, 15], asymmetric: true, kernelSize: { max: 4 } },
      { inputSize: [4, 4], outputSize: [9, 6], dilation: { max: 2 } }, { inputSize: [10, 10], outputSize: [37, 37], stride: [4, 4] },
    ]) {
      const { solutions, dimensions } = solve(query);
      expect(solutions.length).toBeGreaterThan(0);
      for (const { kernelSize, options, inputSize, outputSize } of solutions) {
        expect([inputSize, outputSize]).toEqual([query.inputSize, query.outputSize]);
        const layer = new ConvTranspose2d(1, 1, kernelSize, { ...options, seed: 0 });
        expect(layer.outputShape([1, ...query.inputSize])).toEqual([1, ...query.outputSize]);
        layer.dispose();
      }
      const shared = solutions.filter(({ kernelSize }) => typeof kernelSize === 'number');
      const keys = dimensions.map((dimension) => new Set(sorted(dimension.solutions.map(numbersOf))));
      const common = [...(keys[0] ?? [])].filter((key) => keys.every((set) => set.has(key)));
      if (common.length > 0) expect(shared.length).toBe(common.length);
    }
  });

  test('where no numbers fit all dimensions, the best of each are put together', () => {
    const { solutions, reason } = solve({ inputSize: [8, 8], outputSize: [16, 32] });
    expect(reason).toBeNull();
    expect(solutions).toEqual([{
      kernelSize: [2, 4], options: { stride: [2, 4], padding: 0, outputPadding: 0, dilation: 1 }, inputSize: [8, 8], outputSize: [16, 32],
      scales: true, even: true,
    }]);
  });

  test('one dimension that cannot be solved', () => {
    const { solutions, dimensions, reason } = solve({ inputSize: [8, 8], outputSize: [16, 900] });
    expect([solutions, dimensions[0]?.reason]).toEqual([[], null]);
    expect(reason).toMatch(/^Dimension 1: No .* makes 900 of 8\. The nearest/);
  });
});

describe('why there is none', () => {
  test.each([
    [{ inputSize: 32, outputSize: 64, kernelSize: 3, stride: 2, outputPadding: 0 },
      'No kernelSize 3, stride 2, dilation 1, padding up to dilation * (kernelSize - 1), outputPadding 0 makes 64 of 32. ' +
      'The nearest that can be had: 63 (kernelSize 3, stride 2, padding 1) and 65 (kernelSize 3, stride 2, padding 0). ' +
      'It would work with another outputPadding (kernelSize 3, stride 2, padding 1, outputPadding 1), ' +
      'or padding that differs between both ends (kernelSize 3, stride 2, padding [0, 1]), ' +
      'or another kernelSize (kernelSize 2, stride 2, padding 0).'],
    [{ inputSize: 4, outputSize: 9, kernelSize: 2, stride: 2, padding: 0, outputPadding: 5 },
      'No kernelSize 2, stride 2, dilation 1, padding 0, outputPadding 5 makes 9 of 4. ' +
      'outputPadding must be less than stride or dilation, here at most 1. ' +
      'It would work with another outputPadding (kernelSize 2, stride 2, padding 0, outputPadding 1).'],
    [{ inputSize: 80, outputSize: 20480 },
      'No kernelSize 1 to 16, stride 1 to 16, dilation 1, padding up to dilation * (kernelSize - 1), outputPadding 0 to 15 makes 20480 of 80. ' +
      'The nearest that can be had: 1295 (kernelSize 16, stride 16, padding 0, outputPadding 15). ' +
      'It would work with another stride (kernelSize 16, stride 256, padding 0, outputPadding 240).'],
  ])('%j', (query, expected) => {
    const { solutions, reason } = solve(query);
    expect(solutions).toEqual([]);
    expect(reason).toBe(expected);
  });
});

describe('the convolution to invert', () => {
  /** Positions where the kernel fits into the padded input, counted. */
  function convolve(size: number, kernel: number, stride: number, dilation: number, begin: number, end: number): number {
    let made = 0;
    for (let at = -begin; at + dilation * (kernel - 1) < size + end; at += stride) made++;
    return made;
  }

  test('leads back to every size, and names every size that it could have been', () => {
    let checked = 0;
    for (let kernel = 1; kernel <= 4; kernel++) {
      for (let stride = 1; stride <= 4; stride++) {
        for (let dilation = 1; dilation <= 3; dilation++) {
          for (const [begin, end] of [[0, 0], [1, 1], [0, 2], [3, 1]] as const) {
            const convolution = { kernelSize: kernel, stride, dilation, padding: [[begin, end]] as const };
            const origins = new Map<number, number[]>();
            for (let size = 1; size <= 14; size++) {
              const made = convolve(size, kernel, stride, dilation, begin, end);
              const { solutions, reason } = solve({ outputSize: size, convolution });
              if (made === 0) {
                expect(reason).toMatch(/cannot be applied/);
                continue;
              }
              origins.set(made, [...(origins.get(made) ?? []), size]);
              const [solution] = solutions;
              if (solution === undefined || solutions.length !== 1) throw new Error('not one solution');
              expect([solution.inputSize, solution.outputSize]).toEqual([[made], [size]]);
              const layer = new ConvTranspose1d(1, 1, solution.kernelSize, { ...solution.options, seed: 0 });
              expect(layer.outputShape([1, made])).toEqual([1, size]);
              layer.dispose();
              expect(solve({ inputSize: made + 1, outputSize: size, convolution }).reason).toBe(`That convolution makes ${made} of ${size}, not ${made + 1}.`);
              checked += 1;
            }
            for (const [made, sizes] of origins) {
              if (sizes.includes(14)) continue;
              expect(solve({ inputSize: made, convolution }).solutions.map(({ outputSize }) => outputSize[0])).toEqual(sizes);
            }
          }
        }
      }
    }
    expect(checked).toBeGreaterThan(1500);
  });

  test('in two dimensions', () => {
    const { solutions } = solve({ outputSize: [65, 48], convolution: { kernelSize: 3, stride: 2, padding: 1 } });
    expect(solutions).toMatchObject([{ kernelSize: 3, inputSize: [33, 24], options: { stride: 2, padding: 1, outputPadding: [0, 1], dilation: 1 } }]);
  });
});

test.each([
  [{}, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'inputSize'],
  [{ inputSize: 4 }, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'outputSize'],
  [{ inputSize: 0, outputSize: 4 }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'inputSize'],
  [{ inputSize: 4, outputSize: 2 ** 30 }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'outputSize'],
  [{ inputSize: [4, 4], outputSize: [8] }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'outputSize'],
  [{ inputSize: 4, outputSize: 8, kernel: 3 }, 'TypeError', 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'kernel'],
  [{ inputSize: 4, outputSize: 8, stride: { min: 4, max: 2 } }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'stride.max'],
  [{ inputSize: 4, outputSize: 8, stride: { least: 4 } }, 'TypeError', 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'least'],
  [{ inputSize: 4, outputSize: 8, stride: 0 }, 'RangeError', 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'stride'],
  [{ inputSize: 4, outputSize: 8, padding: 'same' }, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'padding'],
  [{ inputSize: 4, outputSize: 8, asymmetric: 1 }, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'asymmetric'],
  [{ inputSize: 4, outputSize: 8, kernelSize: { max: 5000 }, stride: { max: 5000 } }, 'RangeError', 'ERR_CONVTRANSPOSE_TOO_LARGE', 'kernelSize'],
  [{ inputSize: 4, outputSize: 80, kernelSize: { max: 2000 }, asymmetric: true }, 'RangeError', 'ERR_CONVTRANSPOSE_TOO_LARGE', 'query'],
  [{ inputSize: 4, outputSize: 8, stride: 2, convolution: { kernelSize: 3 } }, 'TypeError', 'ERR_CONVTRANSPOSE_CONFLICT', 'stride'],
  [{ convolution: { kernelSize: 3 } }, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'outputSize'],
  [{ outputSize: 8, convolution: {} }, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'convolution.kernelSize'],
  [{ outputSize: 8, convolution: 3 }, 'TypeError', 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'convolution'],
])('%j is refused', (query, name, code, argument) => {
  let outcome = { name: null as string | null, code: undefined as unknown, argument: undefined as unknown };
  try {
    solve(query as SolveQuery);
  } catch (error) {
    outcome = outcomeOf(error);
  }
  expect(outcome).toMatchObject({ name, code, argument });
});
