import { runInNewContext } from 'node:vm';

import { describe, expect, test } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, Tensor, convTranspose2d } from '../../lib/index';
import { runChildForJson } from '../support/child';
import { values } from '../support/data';
import { runWrongCalls } from './run-wrong-calls';
import type { MisuseReport } from './run-wrong-calls';

const input = new Tensor(values('mixed', 1, 36), [1, 4, 3, 3]);
const weight = new Tensor(values('mixed', 2, 72), [4, 2, 3, 3]);
const bias = new Tensor(values('mixed', 3, 2), [2]);
const expected = [...convTranspose2d(input, weight, bias, { stride: 2 }).data];

describe('wrong calls', () => {
  function check({ calls, failures }: MisuseReport): void {
    expect(failures).toEqual([]);
    expect(calls).toBeGreaterThanOrEqual(200);
  }

  test('throw TypeError or RangeError with code, argument and reason, and allocate nothing', async () => {
    check(await runWrongCalls());
  });

  test('do the same in a process of their own, which survives', async () => {
    check(await runChildForJson<MisuseReport>('misuse/wrong-calls.child'));
  });

  test('leave everything as it was', async () => {
    await runWrongCalls();
    expect([...convTranspose2d(input, weight, bias, { stride: 2 }).data]).toEqual(expected);
  });

  test('a class without new, methods of other objects: the TypeError of JavaScript', () => {
    expect(() => (ConvTranspose2d as unknown as () => unknown)()).toThrow(TypeError);
    expect(() => ConvTranspose2d.prototype.forward.call({} as ConvTranspose2d, input)).toThrow(TypeError);
    const fake = Object.create(ConvTranspose1d.prototype) as ConvTranspose1d;
    expect(() => ConvTranspose1d.prototype.forward.call(fake, input)).toThrow(TypeError);
  });
});

describe('exceptions of user code', () => {
  const thrown = { not: 'even an Error' };
  const throwing = (): never => {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- user code may
    throw thrown;
  };
  const hostile = new Proxy({}, { get: throwing, ownKeys: throwing, has: throwing, getOwnPropertyDescriptor: throwing, getPrototypeOf: throwing });
  const cases: [string, () => unknown][] = [
    ['a getter of an option', () => convTranspose2d(input, weight, bias, { get stride(): number { return throwing(); } })],
    ['a proxy as options', () => convTranspose2d(input, weight, bias, hostile)],
    ['a proxy as input', () => convTranspose2d(hostile as Tensor, weight, bias)],
    ['a getter of the data', () => convTranspose2d({ get data(): Float32Array { return throwing(); }, shape: [1, 4, 3, 3] }, weight, bias)],
    ['a getter of the shape', () => convTranspose2d({ data: input.data, get shape(): number[] { return throwing(); } }, weight, bias)],
    ['a proxy as shape', () => convTranspose2d({ data: input.data, shape: new Proxy([1, 4, 3, 3], { get: throwing }) }, weight, bias)],
    ['a proxy as stride', () => convTranspose2d(input, weight, bias, { stride: new Proxy([1, 1], { get: throwing }) })],
    ['a proxy inside padding', () => convTranspose2d(input, weight, bias, { padding: [[0, 0], new Proxy([0, 0], { get: throwing }) as never] })],
    ['a getter of out', () => convTranspose2d(input, weight, bias, { get out(): Tensor { return throwing(); } })],
    ['a getter of the activation', () => convTranspose2d(input, weight, bias, { activation: { get type(): 'clamp' { return throwing(); } } })],
    ['a getter of a module option', () => new ConvTranspose2d(4, 2, 3, { get groups(): number { return throwing(); } })],
    ['a proxy as kernel size', () => new ConvTranspose2d(4, 2, new Proxy([3, 3], { get: throwing }))],
    ['a proxy as input of forward', () => new ConvTranspose2d(4, 2, 3, { weight }).forward(hostile as Tensor)],
    ['a proxy as state dict', () => new ConvTranspose2d(4, 2, 3, { weight }).loadStateDict(hostile as never)],
    ['a proxy as inputShape', () => new ConvTranspose2d(4, 2, 3, { weight }).outputShape(new Proxy([1, 4, 3, 3], { get: throwing }))],
  ];

  test.each(cases)('%s: passes through unchanged', (_, call) => {
    let caught: unknown;
    try {
      call();
    } catch (error) {
      caught = error;
    }
    expect(caught).toBe(thrown);
  });

  test('a revoked proxy', () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(() => convTranspose2d(input, weight, bias, proxy)).toThrow(TypeError);
    expect(() => convTranspose2d(proxy as Tensor, weight, bias)).toThrow(TypeError);
  });
});

describe('values are read once', () => {
  /** Answers right the first time, and differently ever after. */
  function changing<T extends object>(target: T, later: (key: string) => unknown): T {
    const seen = new Set<string>();
    return new Proxy(target, {
      get(object, key) {
        if (typeof key !== 'string' || !seen.has(key)) {
          if (typeof key === 'string') seen.add(key);
          return Reflect.get(object, key) as unknown;
        }
        return later(key);
      },
    });
  }

  test('options, tensors and lists that answer differently the second time', () => {
    const options = changing({ stride: changing([2, 2], () => 1000) }, () => 'nonsense');
    const x = changing({ data: input.data, shape: changing([1, 4, 3, 3], () => 2 ** 40) }, () => new Float32Array(1));
    expect([...convTranspose2d(x, weight, bias, options).data]).toEqual(expected);
  });

  test('lists whose length changes while they are read', () => {
    for (const change of [(list: number[]) => list.push(9), (list: number[]) => (list.length = 4)]) {
      const list = [1, 4, 3, 3];
      const shape = new Proxy(list, {
        get(target, key) {
          const value = Reflect.get(target, key) as unknown;
          if (key === '3') change(target);
          return value;
        },
      });
      expect([...convTranspose2d({ data: input.data, shape }, weight, bias, { stride: 2 }).data]).toEqual(expected);
    }
  });

  test('what a getter does to other arguments is seen, or refused, never read out of bounds', () => {
    const shape = [1, 4, 3, 3];
    const data = input.data.slice();
    const call = () => convTranspose2d({ data, shape }, weight, bias, {
      get stride() {
        shape[3] = 2 ** 31;
        return 2;
      },
    });
    let result: unknown;
    try {
      result = [...call().data];
    } catch (error) {
      result = (error as { code: string }).code;
    }
    expect([expected, 'ERR_CONVTRANSPOSE_SHAPE']).toContainEqual(result);
  });
});

describe('what is unusual but right', () => {
  test('Float32Arrays of another realm, subclasses, and null prototypes', () => {
    const foreign = runInNewContext('new Float32Array(36)') as Float32Array;
    foreign.set(input.data);
    expect([...convTranspose2d({ data: foreign, shape: [1, 4, 3, 3] }, weight, bias, { stride: 2 }).data]).toEqual(expected);
    class Mine extends Float32Array {
      override get length(): number {
        return 1e9;
      }
    }
    expect([...convTranspose2d({ data: new Mine(input.data), shape: [1, 4, 3, 3] }, weight, bias, { stride: 2 }).data]).toEqual(expected);
    const bare = Object.assign(Object.create(null) as object, { data: input.data, dims: [1, 4, 3, 3] });
    expect([...convTranspose2d(bare as unknown as Tensor, weight, bias, Object.assign(Object.create(null) as object, { stride: 2 })).data]).toEqual(expected);
  });

  test('options by inheritance, undefined options, typed arrays as lists', () => {
    const inherited = Object.create({ stride: 2 }) as object;
    expect([...convTranspose2d(input, weight, bias, inherited).data]).toEqual(expected);
    expect([...convTranspose2d(input, weight, bias, { stride: 2, padding: undefined, out: undefined, groups: undefined }).data]).toEqual(expected);
    expect([...convTranspose2d(input, weight, bias, { stride: Int32Array.of(2, 2) as never }).data]).toEqual(expected);
    expect([...convTranspose2d({ data: input.data, shape: Int32Array.of(1, 4, 3, 3) as never }, weight, bias, { stride: 2 }).data]).toEqual(expected);
  });
});
