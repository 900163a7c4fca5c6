import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { convertWeights, type WeightLayout } from '../../lib/compat/index';
import { Tensor } from '../../lib/index';
import { product } from '../support/problem';
import { failure } from './support';

interface Sizes { g: number; i: number; o: number; k: number[] }
/** Where the weight of input channel ci (of all), output channel co (in its group) and tap k stands, and the shape; from each format's documentation. */
type Place = (s: Sizes, ci: number, co: number, k: number[]) => { shape: number[]; index: number[] };

const groupOf = (s: Sizes, ci: number) => Math.floor(ci / s.i);
const pytorch: Place = (s, ci, co, k) => ({ shape: [s.g * s.i, s.o, ...s.k], index: [ci, co, ...k] });
const keras: Place = (s, ci, co, k) => ({ shape: [...s.k, s.o, s.i], index: [...k, co, ci] });
const places: Record<WeightLayout, Place> = {
  pytorch,
  onnx: pytorch,
  keras,
  tensorflow: keras,
  tfjs: keras,
  tflite: (s, ci, co, k) => ({ shape: [s.o, ...s.k, s.i], index: [co, ...k, ci] }),
  onednn: (s, ci, co, k) => (s.g === 1
    ? { shape: [s.o, s.i, ...s.k], index: [co, ci, ...k] }
    : { shape: [s.g, s.o, s.i, ...s.k], index: [groupOf(s, ci), co, ci % s.i, ...k] }),
  xnnpack: (s, ci, co, k) => ({ shape: [s.g * s.o, ...s.k, s.i], index: [groupOf(s, ci) * s.o + co, ...k, ci % s.i] }),
  ncnn: (s, ci, co, k) => ({ shape: [s.g * s.o, s.i, ...s.k], index: [groupOf(s, ci) * s.o + co, ci % s.i, ...k] }),
  jax: (s, ci, co, k) => ({ shape: [...s.k, s.i, s.o], index: [...k.map((tap, d) => (s.k[d] as number) - 1 - tap), ci, co] }),
};
const names = Object.keys(places) as WeightLayout[];
const ungrouped = new Set<WeightLayout>(['keras', 'tensorflow', 'tfjs', 'tflite', 'jax']);

function offset(shape: number[], index: number[]): number {
  return index.reduce((sum, value, d) => sum * (shape[d] as number) + value, 0);
}

/** Weights in a layout; every value names its weight. */
function make(name: WeightLayout, s: Sizes): Tensor {
  const place = places[name];
  const { shape } = place(s, 0, 0, s.k.map(() => 0));
  const data = new Float32Array(product(shape)).fill(-1);
  let value = 0;
  for (let ci = 0; ci < s.g * s.i; ci++) for (let co = 0; co < s.o; co++) {
    for (let tap = 0; tap < product(s.k); tap++) {
      let rest = tap;
      const k = [...s.k].reverse().map((size) => {
        const at = rest % size;
        rest = Math.floor(rest / size);
        return at;
      }).reverse();
      data[offset(shape, place(s, ci, co, k).index)] = value++;
    }
  }
  return new Tensor(data, shape);
}

test('between any two layouts', () => {
  const sizes = fc.record({ g: fc.integer({ min: 1, max: 3 }), i: fc.integer({ min: 1, max: 3 }), o: fc.integer({ min: 1, max: 4 }), k: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 }) });
  fc.assert(fc.property(sizes, fc.constantFrom(...names), fc.constantFrom(...names), (given, from, to) => {
    const s = ungrouped.has(from) || ungrouped.has(to) ? { ...given, g: 1 } : given;
    const got = convertWeights(make(from, s), from, to, { groups: s.g });
    const expected = make(to, s);
    expect(got.shape).toEqual(expected.shape);
    expect([...got.data]).toEqual([...expected.data]);
  }), { numRuns: 1000 });
});

test('every pair, with flips that cancel out', () => {
  const s = { g: 1, i: 2, o: 3, k: [2, 3] };
  for (const from of names) for (const to of names) {
    expect([from, to, ...convertWeights(make(from, s), from, to).data]).toEqual([from, to, ...make(to, s).data]);
  }
  expect([...convertWeights(make('jax', s), 'jax', 'jax').data]).toEqual([...make('jax', s).data]);
});

test('no channels', () => {
  expect(convertWeights(Tensor.zeros([0, 3, 2]), 'pytorch', 'keras').shape).toEqual([2, 3, 0]);
});

describe('errors', () => {
  const w = Tensor.zeros([4, 3, 2, 2]);
  const wrong: [() => unknown, string, string][] = [
    [() => convertWeights(w, 'torch' as never, 'keras'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'from'],
    [() => convertWeights(w, 'pytorch', 7 as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'to'],
    [() => convertWeights(w, 'pytorch', 'keras', { groups: 2 }), 'ERR_CONVTRANSPOSE_UNSUPPORTED', 'groups'],
    [() => convertWeights(w, 'jax', 'pytorch', { groups: 2 }), 'ERR_CONVTRANSPOSE_UNSUPPORTED', 'groups'],
    [() => convertWeights(w, 'pytorch', 'onednn', { groups: 3 }), 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
    [() => convertWeights(Tensor.zeros([2, 3, 2, 2]), 'onednn', 'pytorch', { groups: 3 }), 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
    [() => convertWeights(w, 'pytorch', 'onednn', { groups: 0 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'groups'],
    [() => convertWeights(w, 'pytorch', 'onednn', { group: 1 } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'group'],
    [() => convertWeights(Tensor.zeros([4, 3]), 'pytorch', 'keras'), 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
    [() => convertWeights(Tensor.zeros([1, 1, 1, 1, 1, 1]), 'pytorch', 'keras'), 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
    [() => convertWeights({ data: new Float32Array(3), shape: [1, 1, 2] }, 'pytorch', 'keras'), 'ERR_CONVTRANSPOSE_SHAPE', 'weight'],
  ];
  test.each(wrong.map(([call, code, argument], i) => ({ i, call, code, argument })))('$i: $code $argument', async ({ call, code, argument }) => {
    const error = await failure(call);
    expect([error.code, error.argument]).toEqual([code, argument]);
  });
});
