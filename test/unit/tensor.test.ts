import { asked, reset } from './fake-addon';

import { beforeEach, describe, expect, it } from '@jest/globals';
import os from 'node:os';
import { inspect, isDeepStrictEqual } from 'node:util';
import { runInNewContext } from 'node:vm';

import { Tensor } from '../../lib/index';
import { checkLength, readTensor } from '../../lib/tensor';
import { overlaps } from '../../lib/typed-array';
import { detach, resizableBuffer, shared } from '../support/buffers';

function refusal(work: () => unknown): { name: string; code: string; argument: string; message: string } {
  try {
    work();
  } catch (error) {
    return error as ReturnType<typeof refusal>;
  }
  throw new Error('nothing was thrown');
}

beforeEach(reset);

describe('Tensor', () => {
  it('keeps the array and copies the shape', () => {
    const data = new Float32Array(6);
    const shape = [2, 3];
    const tensor = new Tensor(data, shape);
    shape[0] = 7;
    expect(tensor.data).toBe(data);
    expect(tensor.shape).toEqual([2, 3]);
    expect(Object.isFrozen(tensor.shape)).toBe(true);
    expect(tensor.dtype).toBe('float32');
  });

  it('is compared by what it holds, has structured clones, and cannot be assigned to', () => {
    const tensor = new Tensor(new Float32Array([1, NaN]), [2]);
    expect(tensor).toEqual(new Tensor(new Float32Array([1, NaN]), [2]));
    expect(tensor).not.toEqual(new Tensor(new Float32Array([2, NaN]), [2]));
    expect(tensor).not.toEqual(new Tensor(new Float32Array([1, NaN]), [2, 1]));
    expect(isDeepStrictEqual(tensor, new Tensor(new Float32Array([1, 2]), [2]))).toBe(false);
    expect(readTensor(structuredClone(tensor), 'input')).toEqual({ data: new Float32Array([1, NaN]), shape: [2] });
    expect(Reflect.set(tensor, 'data', new Float32Array(2))).toBe(false);
  });

  it('may be a single value or empty', () => {
    expect(new Tensor(Float32Array.of(1), []).shape).toEqual([]);
    expect(new Tensor(new Float32Array(0), [3, 0, 2]).shape).toEqual([3, 0, 2]);
  });

  it('takes views, shared and resizable memory, and arrays of other realms', () => {
    expect(new Tensor(new Float32Array(8).subarray(3, 5), [2]).data.byteOffset).toBe(12);
    expect(new Tensor(shared(Float32Array.of(1, 2)), [2]).data[1]).toBe(2);
    expect(new Tensor(new Float32Array(resizableBuffer(8, 16)), [2]).shape).toEqual([2]);
    const foreign = runInNewContext('({ data: new Float32Array(2), shape: [2] })') as { data: Float32Array; shape: number[] };
    expect(foreign.data).not.toBeInstanceOf(Float32Array);
    expect(new Tensor(foreign.data, foreign.shape).shape).toEqual([2]);
  });

  it.each([new Float64Array(2), new Int32Array(2), new BigInt64Array(2), Buffer.alloc(2)])('refuses the element type of %p for now', (data) => {
    expect(refusal(() => new Tensor(data as never, [2]))).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_UNSUPPORTED', argument: 'data' });
  });

  it('refuses lengths that are not the product', () => {
    expect(refusal(() => new Tensor(new Float32Array(5), [2, 3])).message).toBe('data: expected 6 elements for shape [2, 3], got an array of 5');
  });

  it('prints its shape and values', () => {
    expect(inspect(new Tensor(Float32Array.of(1, 2), [2, 1]))).toBe('Tensor([2, 1], float32) Float32Array(2) [ 1, 2 ]');
  });
});

describe('Tensor.empty and Tensor.zeros', () => {
  it('take memory of the package', () => {
    expect(Tensor.empty([2, 3]).data.length).toBe(6);
    expect(asked.allocated).toBe(24);
    expect([...Tensor.zeros([2]).data]).toEqual([0, 0]);
    expect(asked.allocated).toBe(32);
  });

  it('need none for nothing', () => {
    expect(Tensor.empty([0, 5]).data.length).toBe(0);
    expect(asked.allocated).toBe(0);
  });

  it('refuse more than the machine has, without asking for it', () => {
    const count = Math.ceil(os.totalmem() / 4) + 1;
    expect(refusal(() => Tensor.empty([count]))).toMatchObject({ name: 'RangeError', code: 'ERR_CONVTRANSPOSE_OUT_OF_MEMORY', argument: 'shape' });
    expect(refusal(() => Tensor.zeros([2 ** 26, 2 ** 26])).code).toBe('ERR_CONVTRANSPOSE_TOO_LARGE');
    expect(asked.allocated).toBe(0);
  });
});

describe('readTensor', () => {
  const data = new Float32Array(6);

  it('takes { data, shape } and { data, dims }', () => {
    expect(readTensor({ data, shape: [2, 3] }, 'input')).toEqual({ data, shape: [2, 3] });
    expect(readTensor({ data, dims: [2, 3] }, 'input')).toEqual({ data, shape: [2, 3] });
    expect(readTensor({ data, shape: Int32Array.of(2, 3) }, 'input').shape).toEqual([2, 3]);
  });

  it('reads every property once', () => {
    const reads: string[] = [];
    readTensor(new Proxy({ data, shape: [6] }, { get(target, key) { reads.push(String(key)); return Reflect.get(target, key) as unknown; } }), 'input');
    expect(new Set(reads).size).toBe(reads.length);
  });

  it('is not misled by a Tensor whose properties are replaced', () => {
    const tensor = new Tensor(data, [6]);
    expect(() => Object.defineProperty(tensor, 'data', { value: new Float64Array(100) })).toThrow(TypeError);
    class Derived extends Tensor {}
    const derived = new Derived(data, [6]);
    Object.defineProperty(derived, 'data', { value: new Float64Array(100) });
    Object.defineProperty(derived, 'shape', { value: [100] });
    expect(readTensor(tensor, 'input')).toEqual({ data, shape: [6] });
    expect(readTensor(derived, 'input')).toEqual({ data, shape: [6] });
  });

  it('takes ndarrays that are in row-major order, and refuses others', () => {
    expect(readTensor({ data, shape: [2, 3], stride: [3, 1], offset: 0 }, 'input').shape).toEqual([2, 3]);
    expect(readTensor({ data, shape: [2, 1, 3], strides: [3, 77, 1] }, 'input').shape).toEqual([2, 1, 3]);
    expect(refusal(() => readTensor({ data, shape: [3, 2], stride: [1, 3] }, 'input'))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_UNSUPPORTED', argument: 'input.stride' });
    expect(refusal(() => readTensor({ data, shape: [2, 2], offset: 2 }, 'input')).argument).toBe('input.offset');
  });

  it.each([undefined, null, 1, 'x', [1], data, {}, { data }, { shape: [6] }, { data: [1], shape: [1] }, { data: new ArrayBuffer(4), shape: [1] }])('refuses %p', (value) => {
    expect(refusal(() => readTensor(value, 'input'))).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'input' });
  });
});

describe('checkLength', () => {
  it('tells detached and shrunk memory from a wrong shape', () => {
    const gone = { data: new Float32Array(4), shape: [4] };
    detach(gone.data);
    expect(refusal(() => checkLength(gone, 4, 'input'))).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'input' });
    const buffer = resizableBuffer(16, 16);
    const shrunk = { data: new Float32Array(buffer, 0, 4), shape: [4] };
    buffer.resize(8);
    expect(refusal(() => checkLength(shrunk, 4, 'input')).code).toBe('ERR_CONVTRANSPOSE_DETACHED');
    expect(refusal(() => checkLength({ data: new Float32Array(0), shape: [4] }, 4, 'input')).code).toBe('ERR_CONVTRANSPOSE_SHAPE');
  });

  it('believes the memory, not what a subclass says', () => {
    class Liar extends Float32Array {
      override get length(): number {
        return 1000;
      }
    }
    expect(refusal(() => checkLength({ data: new Liar(4), shape: [1000] }, 1000, 'input')).code).toBe('ERR_CONVTRANSPOSE_SHAPE');
  });
});

describe('overlaps', () => {
  const whole = new Float32Array(10);

  it.each([
    ['neighbours', whole.subarray(0, 5), whole.subarray(5), false], ['one element', whole.subarray(0, 6), whole.subarray(5), true],
    ['one inside the other', whole, whole.subarray(4, 5), true], ['an empty view inside', whole, whole.subarray(4, 4), false],
    ['other memory', whole, new Float32Array(10), false], ['the same', whole, new Float32Array(whole.buffer), true],
  ])('%s', (_, a, b, expected) => {
    expect(overlaps(a, b)).toBe(expected);
    expect(overlaps(b, a)).toBe(expected);
  });
});
