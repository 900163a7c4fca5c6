// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, productsReaching } from '../src/agreement.mjs';
import { transposed } from '../src/data.mjs';
import { parseProblem } from '../src/problem.mjs';
import { geometricMean, summarize } from '../src/statistics.mjs';

test('products that reach each output are counted', () => {
  assert.deepEqual(productsReaching(parseProblem('c1 o1 i3 k3 s2')), [1, 1, 2, 1, 2, 1, 1]);
  assert.deepEqual(productsReaching(parseProblem('c1 o1 i3 k3 s2 p1')), [1, 2, 1, 2, 1]);
  assert.deepEqual(productsReaching(parseProblem('c4 o2 i1x2 k2x1 s1x2 g2')), [2, 0, 2, 2, 0, 2]);
  assert.deepEqual(productsReaching(parseProblem('c1 o1 i2 k2 s1 d3')), [1, 1, 0, 1, 1]);
});

test('rounding errors agree, anything more does not', () => {
  const problem = parseProblem('n2 c8 o1 i2 k2 s2'); // 8 products reach each of the 2*4 outputs
  const expected = Float32Array.of(1, -1, 2, -2, 1, -1, 2, -2);
  const magnitudes = new Float32Array(8).fill(4);
  const limit = 2 * 2 ** -22 * Math.sqrt(9) * 4; // about 5.7e-6
  const withError = (/** @type {number} */ error) => expected.map((value, i) => (i === 5 ? value + error : value));
  const agrees = (/** @type {Float32Array} */ actual) => compare(problem, actual, expected, magnitudes, true, 1).agrees;
  assert.ok(agrees(expected));
  assert.ok(agrees(withError(0.9 * limit)));
  assert.ok(!agrees(withError(1.1 * limit)));
  assert.ok(!agrees(withError(NaN)));
  assert.ok(!agrees(withError(Infinity)));
});

test('without an element-wise bound the RMS difference decides', () => {
  const problem = parseProblem('c1 o1 i4 k1');
  const expected = Float32Array.of(1, -1, 1, -1);
  const magnitudes = new Float32Array(4).fill(1);
  const actual = expected.map((value) => value * (1 + 2 ** -10));
  assert.ok(compare(problem, actual, expected, magnitudes, false, 2 ** -9).agrees);
  assert.ok(!compare(problem, actual, expected, magnitudes, false, 2 ** -11).agrees);
  assert.ok(!compare(problem, actual.fill(NaN, 0, 1), expected, magnitudes, false, 2 ** -9).agrees);
});

test('a result of another size is an error, not an agreement', () => {
  const problem = parseProblem('c1 o1 i4 k1');
  assert.throws(() => compare(problem, new Float32Array(3), new Float32Array(4), new Float32Array(4), true, 1), RangeError);
});

test('channels move behind the points and back', () => {
  const values = Float32Array.from({ length: 12 }, (_, i) => i); // 2 x 3 channels x 2 points
  const moved = transposed(values, 2, 3, 2);
  assert.deepEqual([...moved], [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
  assert.deepEqual(transposed(moved, 2, 2, 3), values);
});

test('statistics', () => {
  assert.deepEqual(summarize([3, 1, 2]), { min: 1, median: 2, runs: 3 });
  assert.deepEqual(summarize([4, 1, 2, 10]), { min: 1, median: 3, runs: 4 });
  assert.ok(Math.abs(geometricMean([1, 4, 16]) - 4) < 1e-12);
});
