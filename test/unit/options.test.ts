import { describe, expect, it, jest } from '@jest/globals';

import * as options from '../../lib/options';
import { nearestName, readOptions, readPadding, readPerDimension, readShape, readSignal, toInteger, toWord } from '../../lib/options';

interface Refusal {
  name: string;
  code: string;
  argument: string;
  message: string;
}

function refusal(work: () => unknown): Refusal {
  try {
    work();
  } catch (error) {
    return error as Refusal;
  }
  throw new Error('nothing was thrown');
}

const names = ['stride', 'padding', 'outputPadding', 'outputSize', 'dilation', 'groups'] as const;

describe('readOptions', () => {
  it('takes an object or nothing', () => {
    expect(readOptions(undefined, 'options', names)).toEqual({});
    expect(readOptions({ stride: 2, padding: undefined }, 'options', names)).toEqual({ stride: 2 });
    for (const wrong of [null, 1, 'stride', [], () => 1, Symbol('x'), 1n, true]) {
      expect(refusal(() => readOptions(wrong, 'options', names))).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'options' });
    }
  });

  it('reads inherited options and ignores symbols', () => {
    class Settings {
      get stride() {
        return 3;
      }
    }
    expect(readOptions(new Settings(), 'options', names)).toEqual({ stride: 3 });
    expect(readOptions({ [Symbol('x')]: 1 }, 'options', names)).toEqual({});
  });

  it.each([
    ['strid', 'stride'], ['strides', 'stride'], ['Stride', 'stride'], ['output_padding', 'outputPadding'], ['outpuPading', 'outputPadding'],
    ['dilations', 'dilation'], ['dilaton', 'dilation'], ['group', 'groups'], ['output_size', 'outputSize'], ['pad', 'padding'],
  ])('suggests for %s the option %s', (key, near) => {
    const error = refusal(() => readOptions({ [key]: 1 }, 'options', names));
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', argument: key });
    expect(error.message).toBe(`${key}: expected a known option (did you mean ${near}?), got the unknown option "${key}"`);
  });

  it('lists the options where none is near', () => {
    expect(refusal(() => readOptions({ zzz: 1 }, 'options', names)).message).toContain('one of stride, padding, outputPadding');
    expect(nearestName('x'.repeat(10_000), ['stride'])).toBeUndefined();
  });

  it('reads each option once and lets exceptions through', () => {
    let reads = 0;
    readOptions({ get stride() { reads++; return 1; } }, 'options', names);
    expect(reads).toBe(1);
    const thrown = { own: true };
    expect(refusal(() => readOptions({ get stride(): number { throw thrown as unknown as Error; } }, 'options', names))).toBe(thrown);
    expect(refusal(() => readOptions(new Proxy({}, { ownKeys() { throw thrown as unknown as Error; } }), 'options', names))).toBe(thrown);
  });
});

describe('numbers', () => {
  it('take -0 as 0', () => {
    expect(Object.is(toInteger(-0, 'padding', 0), 0)).toBe(true);
    expect(refusal(() => toInteger(-0, 'stride', 1)).message).toBe('stride: expected an integer of at least 1, got -0');
  });

  it.each([NaN, Infinity, -Infinity, 1.5, 0, -1, 2 ** 53, 1e300, 5e-324])('%p is no stride', (value) => {
    expect(refusal(() => toInteger(value, 'stride', 1))).toMatchObject({ name: 'RangeError', code: 'ERR_CONVTRANSPOSE_INVALID_VALUE', argument: 'stride' });
  });

  it('may be as large as 2^53 - 1', () => {
    expect(toInteger(2 ** 53 - 1, 'stride', 1)).toBe(2 ** 53 - 1);
    expect(refusal(() => toInteger(2 ** 53, 'stride', 1)).message).toContain('below 2^53');
  });

  it('are given once or per dimension', () => {
    expect(readPerDimension(2, 'stride', 3, 1)).toEqual([2, 2, 2]);
    expect(readPerDimension([1, 2], 'stride', 2, 1)).toEqual([1, 2]);
    expect(readPerDimension(Int32Array.of(1, 2), 'stride', 2, 1)).toEqual([1, 2]);
    expect(refusal(() => readPerDimension([1], 'stride', 2, 1)).message).toBe(
      'stride: expected an integer of at least 1, or an array of 2 (one per dimension), got 1 entry');
    expect(refusal(() => readPerDimension([1, 2], 'stride', 1, 1)).code).toBe('ERR_CONVTRANSPOSE_INVALID_VALUE');
    expect(refusal(() => readPerDimension(BigInt64Array.of(1n, 2n), 'stride', 2, 1)).code).toBe('ERR_CONVTRANSPOSE_INVALID_TYPE');
  });
});

describe('padding', () => {
  it('is a number, numbers, or pairs', () => {
    expect(readPadding(1, 2)).toEqual({ begin: [1, 1], end: [1, 1] });
    expect(readPadding([1, 2], 2)).toEqual({ begin: [1, 2], end: [1, 2] });
    expect(readPadding([[1, 2], [3, -4]], 2)).toEqual({ begin: [1, 3], end: [2, -4] });
    expect(readPadding([[1, 2]], 1)).toEqual({ begin: [1], end: [2] });
  });

  it.each([
    ['two numbers in one dimension', [1, 2], 1, 'INVALID_VALUE'], ['a mixture', [1, [1, 1]], 2, 'INVALID_TYPE'], ['the other mixture', [[1, 1], 1], 2, 'INVALID_TYPE'],
    ['a negative number', -1, 2, 'INVALID_VALUE'], ['a negative begin', [[-1, 1], [0, 0]], 2, 'INVALID_VALUE'], ['a flat list of ends', [1, 2, 3, 4], 2, 'INVALID_VALUE'],
    ['one pair too few', [[1, 1]], 2, 'INVALID_VALUE'], ['a pair of three', [[1, 1, 1]], 1, 'INVALID_VALUE'], ['null in a list', [0, null], 2, 'INVALID_TYPE'],
    ['strings', ['1', '1'], 2, 'INVALID_TYPE'], ['a word', 'same', 2, 'INVALID_TYPE'], ['nothing in a list', [undefined, undefined], 2, 'INVALID_TYPE'],
  ])('refuses %s', (_, value, dims, code) => {
    expect(refusal(() => readPadding(value, dims))).toMatchObject({ code: `ERR_CONVTRANSPOSE_${code}`, argument: 'padding' });
  });
});

describe('lists', () => {
  it('are read as they are while they are read', () => {
    const growing = [1, 2];
    const grown = new Proxy(growing, { get(target, key) { if (key === '0') target.push(3); return Reflect.get(target, key) as unknown; } });
    expect(readShape(grown, 'shape')).toEqual([1, 2]);
    const shrinking = [1, 2, 3];
    const shrunk = new Proxy(shrinking, { get(target, key) { if (key === '0') target.length = 1; return Reflect.get(target, key) as unknown; } });
    expect(refusal(() => readShape(shrunk, 'shape')).message).toBe('shape: expected an integer of at least 0 in dimension 1, got undefined');
  });

  it.each([2 ** 32 - 1, NaN, -1, 1e300, '3', undefined])('with a length of %p are refused unread', (length) => {
    let reads = 0;
    const list = new Proxy([], { get(_, key) { if (key === 'length') return length; reads++; return 1; } });
    expect(refusal(() => readShape(list, 'shape')).code).toBe('ERR_CONVTRANSPOSE_INVALID_VALUE');
    expect(reads).toBe(0);
  });
});

describe('words', () => {
  it('are exact, with a suggestion', () => {
    expect(toWord('gemm', 'algorithm', options.algorithms)).toBe('gemm');
    expect(refusal(() => toWord('wino', 'algorithm', options.algorithms)).message).toBe(
      "algorithm: expected one of 'auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference' (did you mean 'winograd'?), got \"wino\"");
    expect(refusal(() => toWord(Object('gemm'), 'algorithm', options.algorithms)).code).toBe('ERR_CONVTRANSPOSE_INVALID_TYPE');
  });
});

describe('signal', () => {
  it('is anything with the interface of an AbortSignal', () => {
    expect(readSignal(undefined)).toBeUndefined();
    const { signal } = new AbortController();
    expect(readSignal(signal)).toBe(signal);
    for (const wrong of [null, 1, {}, { aborted: false }, { addEventListener() { /* nothing */ } }]) {
      expect(refusal(() => readSignal(wrong))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'signal' });
    }
  });
});

describe('CONVTRANSPOSE_ALGORITHM', () => {
  function parsed(word: string | undefined, raw: { algorithm?: unknown } = {}): number {
    const before = process.env['CONVTRANSPOSE_ALGORITHM'];
    if (word === undefined) delete process.env['CONVTRANSPOSE_ALGORITHM'];
    else process.env['CONVTRANSPOSE_ALGORITHM'] = word;
    try {
      let result = -1;
      jest.isolateModules(() => {
        // eslint-disable-next-line @typescript-eslint/no-require-imports
        result = (require('../../lib/options') as typeof options).parseRunOptions(raw).algorithm;
      });
      return result;
    } finally {
      if (before === undefined) delete process.env['CONVTRANSPOSE_ALGORITHM'];
      else process.env['CONVTRANSPOSE_ALGORITHM'] = before;
    }
  }

  it('is the default of the option', () => {
    expect(parsed(undefined)).toBe(0);
    expect(parsed('')).toBe(0);
    expect(parsed('reference')).toBe(6);
    expect(parsed('reference', { algorithm: 'direct' })).toBe(1);
    expect(parsed('nonsense', { algorithm: 'direct' })).toBe(1);
    expect(refusal(() => parsed('nonsense'))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_VALUE', argument: 'CONVTRANSPOSE_ALGORITHM' });
  });
});
