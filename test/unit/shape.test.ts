import { describe, expect, it } from '@jest/globals';

import { checkGeometry, elementCount, resolveSizes, type Geometry } from '../../lib/shape';

/** A layer with 4 inputs and 6 outputs, one spatial dimension for each entry of `kernel`. */
function geometry(kernel: number[], fields: Partial<Record<'stride' | 'dilation' | 'begin' | 'end' | 'outputPadding', number[]>> = {}): Geometry {
  const fill = (value: number) => kernel.map(() => value);
  const { stride = fill(1), dilation = fill(1), begin = fill(0), end = begin, outputPadding = fill(0) } = fields;
  return { inChannels: 4, outChannels: 6, groups: 2, kernel, stride, dilation, padding: { begin, end }, outputPadding };
}

function outputOf(layer: Geometry, input: number[], outputSize?: number[]): readonly number[] {
  return resolveSizes(layer, 0, [1, 4, ...input], outputSize, 'input').output;
}

/** `code argument: message`, or null. */
function refusal(work: () => unknown): string | null {
  try {
    work();
    return null;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code.replace('ERR_CONVTRANSPOSE_', '')} ${message}`;
  }
}

describe('output sizes', () => {
  it.each([
    ['k3 s2 p1 op1', geometry([3], { stride: [2], begin: [1], outputPadding: [1] }), [32], [64]],
    ['asymmetric everything', geometry([3, 5], { stride: [2, 1], dilation: [3, 1], begin: [4, 2], end: [4, 2] }), [50, 50], [97, 50]],
    ['the same, smaller', geometry([3, 5], { stride: [2, 1], dilation: [3, 1], begin: [4, 2], end: [4, 2] }), [10, 10], [17, 10]],
    ['output padding below the dilation', geometry([2, 2], { dilation: [2, 2], begin: [3, 3], outputPadding: [1, 1] }), [4, 4], [1, 1]],
    ['two-sided padding', geometry([3], { stride: [2], begin: [1], end: [0] }), [3], [6]],
    ['a negative end adds rows', geometry([3], { stride: [2], begin: [1], end: [-3] }), [3], [9]],
    ['kernel below stride', geometry([2], { stride: [3], outputPadding: [2] }), [4], [13]],
    ['padding above kernel - 1', geometry([3], { stride: [2], begin: [4] }), [6], [5]],
    ['an output of 0', geometry([2], { stride: [2], begin: [2] }), [2], [0]],
    ['an empty input that still reaches rows', geometry([3], {}), [0], [2]],
    ['three dimensions', geometry([2, 3, 4], { stride: [2, 1, 3] }), [3, 4, 5], [6, 6, 16]],
  ])('%s', (_, layer, input, expected) => {
    checkGeometry(layer);
    expect(outputOf(layer, input)).toEqual(expected);
  });

  it('are those that are asked for, within the range of output padding', () => {
    const layer = geometry([3, 3], { stride: [2, 1], dilation: [1, 3], begin: [1, 0] });
    expect(outputOf(layer, [4, 4])).toEqual([7, 10]);
    for (const size of [[7, 10], [8, 10], [7, 12], [8, 11]]) expect(outputOf(layer, [4, 4], size)).toEqual(size);
    for (const size of [[6, 10], [9, 10], [7, 9], [7, 13]]) {
      expect(refusal(() => outputOf(layer, [4, 4], size))).toBe(
        `OUTPUT_SIZE outputSize: expected sizes from [7, 10] to [8, 12] (for input sizes [4, 4]), got [${size.join(', ')}]`);
    }
  });

  it('may be asked for where the smallest would be negative', () => {
    const layer = geometry([1], { stride: [3], begin: [1] });
    expect(outputOf(layer, [1], [0])).toEqual([0]);
    expect(outputOf(layer, [1], [1])).toEqual([1]);
    expect(refusal(() => outputOf(layer, [1], [2]))).toContain('from [0] to [1]');
  });

  it('below 0 are refused, with the padding or the input to blame', () => {
    expect(refusal(() => outputOf(geometry([2], { stride: [2], begin: [3] }), [2]))).toBe(
      'OUTPUT_SIZE padding: expected an output size of at least 0 (for input sizes [2]), got -2 in dimension 0');
    expect(refusal(() => outputOf(geometry([1], { stride: [2] }), [0]))).toBe(
      'OUTPUT_SIZE input: expected an output size of at least 0 (for input sizes [0]), got -1 in dimension 0');
  });
});

describe('shapes', () => {
  const layer = geometry([3, 3], { stride: [2, 2] });

  it('keep layout and batch dimension of the input', () => {
    expect(resolveSizes(layer, 0, [5, 4, 2, 3], undefined, 'input')).toMatchObject({ batch: 5, input: [2, 3], output: [5, 7], outputShape: [5, 6, 5, 7] });
    expect(resolveSizes(layer, 0, [4, 2, 3], undefined, 'input')).toMatchObject({ batch: 1, outputShape: [6, 5, 7], inputCount: 24, outputCount: 210 });
    expect(resolveSizes(layer, 1, [5, 2, 3, 4], undefined, 'input')).toMatchObject({ batch: 5, input: [2, 3], outputShape: [5, 5, 7, 6] });
    expect(resolveSizes(layer, 1, [2, 3, 4], undefined, 'input')).toMatchObject({ batch: 1, outputShape: [5, 7, 6] });
    expect(resolveSizes(layer, 0, [0, 4, 2, 3], undefined, 'input')).toMatchObject({ batch: 0, outputShape: [0, 6, 5, 7], outputCount: 0 });
  });

  it.each([[[1, 3, 2, 2]], [[4, 2]], [[1, 1, 4, 2, 2]], [[]], [[2, 2, 4]]])('%j is refused', (shape) => {
    expect(refusal(() => resolveSizes(layer, 0, shape, undefined, 'input'))).toBe(
      `SHAPE input: expected shape [N, 4, H, W] or [4, H, W] (contiguous), got [${shape.join(', ')}]`);
  });

  it('of channelsLast name that layout', () => {
    expect(refusal(() => resolveSizes(layer, 1, [1, 4, 2, 2], undefined, 'inputShape'))).toBe(
      'SHAPE inputShape: expected shape [N, H, W, 4] or [H, W, 4] (channelsLast), got [1, 4, 2, 2]');
  });
});

describe('combinations that are wrong for every input', () => {
  it('output padding is below stride or dilation', () => {
    checkGeometry(geometry([3, 3], { stride: [1, 3], dilation: [4, 1], outputPadding: [3, 2] }));
    expect(refusal(() => checkGeometry(geometry([3, 3], { stride: [2, 1], outputPadding: [1, 1] })))).toBe(
      'INVALID_VALUE outputPadding: expected less than stride or dilation (0 to 0 in dimension 1), got 1');
  });

  it('groups divide both channel counts', () => {
    expect(refusal(() => checkGeometry({ ...geometry([3]), groups: 3 }))).toBe('INVALID_VALUE groups: expected a divisor of inChannels (4), got 3');
    expect(refusal(() => checkGeometry({ ...geometry([3]), groups: 4 }))).toBe('INVALID_VALUE groups: expected a divisor of outChannels (6), got 4');
  });
});

describe('an output rule', () => {
  it('decides where outputs lie, from the sizes and what is asked for', () => {
    const seen: unknown[] = [];
    const layer = {
      ...geometry([3, 2], { stride: [2, 1], dilation: [1, 3] }),
      outputRule: (...given: unknown[]) => {
        seen.push(given);
        return { begin: [-1, 2], output: [7, 3] };
      },
    };
    const sizes = resolveSizes(layer, 0, [1, 4, 5, 6], [8, 8], 'input');
    expect(seen).toEqual([[[5, 6], [11, 9], [8, 8]]]);
    expect([sizes.padBegin, sizes.output, sizes.outputShape, sizes.outputCount]).toEqual([[-1, 2], [7, 3], [1, 6, 7, 3], 126]);
  });

  it('is not asked for inputs of the wrong shape', () => {
    const layer = { ...geometry([3]), outputRule: () => { throw new Error('asked'); } };
    expect(refusal(() => resolveSizes(layer, 0, [1, 5, 3], undefined, 'input'))).toMatch(/^SHAPE input: /);
  });
});

describe('products above 2^53', () => {
  const huge = 2 ** 53 - 1;

  it.each([
    ['stride', () => outputOf(geometry([3], { stride: [huge] }), [2]), 'stride'],
    ['dilation', () => checkGeometry(geometry([3], { dilation: [huge] })), 'dilation'],
    ['weights', () => checkGeometry({ ...geometry([2 ** 26, 2 ** 25]), groups: 1 }), 'weight'],
    ['an input', () => resolveSizes(geometry([1]), 0, [2 ** 40, 4, 2 ** 12], undefined, 'inputShape'), 'inputShape'],
    ['a plane behind an empty batch', () => resolveSizes(geometry([1, 1]), 0, [0, 4, 2 ** 30, 2 ** 30], undefined, 'inputShape'), 'inputShape'],
    ['an output', () => outputOf(geometry([1, 1], { stride: [2 ** 30, 2 ** 30] }), [2, 2]), 'input'],
    ['rows that a negative end adds', () => outputOf(geometry([1], { end: [-huge] }), [2]), 'input'],
    ['rows that a rule adds in front', () => outputOf({ ...geometry([1]), outputRule: () => ({ begin: [-huge], output: [3] }) }, [2]), 'input'],
    ['a product that a later 0 would hide', () => elementCount([2 ** 30, 2 ** 30, 0], 'shape'), 'shape'],
  ])('%s', (_, work, argument) => {
    expect(refusal(work)).toMatch(new RegExp(`^TOO_LARGE ${argument}: `));
  });

  it('count one element less than 2^51 as legal', () => {
    expect(elementCount([2 ** 51 - 1], 'shape')).toBe(2 ** 51 - 1);
    expect(refusal(() => elementCount([2 ** 51], 'shape'))).not.toBeNull();
  });
});
