import { describe, expect, test } from '@jest/globals';

import { compare, tolerance } from '../support/bound';
import { define } from '../support/definition';
import { loadFixtures, nameOf } from '../support/fixtures';
import { outputShape } from '../support/problem';

const fixtures = loadFixtures();

// The other tests hold the package against this definition, so it has to be PyTorch's.
describe('the definition that the tests use', () => {
  test('gives the shapes of PyTorch', () => {
    for (const fixture of fixtures) expect([nameOf(fixture), outputShape(fixture)]).toEqual([nameOf(fixture), fixture.outputShape]);
  });

  test('gives the values of PyTorch, both in float64', () => {
    const wrong: string[] = [];
    for (const fixture of fixtures) {
      const { y, magnitude } = define(fixture, fixture.input, fixture.weight, fixture.biasData);
      expect(y.length).toBe(fixture.expected.length);
      y.forEach((value, i) => {
        const error = Math.abs(value - (fixture.expected[i] as number));
        if (!(error <= 2 ** -50 * (magnitude[i] as number))) wrong.push(`${nameOf(fixture)}: output ${i} is off by ${error}`);
      });
    }
    expect(wrong).toEqual([]);
  });

  test('counts the products of each output', () => {
    // Ones everywhere: the sum is the count.
    const ones = fixtures.filter((f) => f.data === 'ones');
    expect(ones.length).toBeGreaterThan(3);
    for (const fixture of ones) {
      const { y, terms, magnitude } = define(fixture, fixture.input, fixture.weight, null);
      y.forEach((value, i) => {
        expect(terms[i % terms.length]).toBe(value + 1);
        expect(magnitude[i]).toBe(value);
      });
    }
  });
});

describe('the comparison that the tests use', () => {
  const expected = { y: Float64Array.of(1, -2, NaN, Infinity, 3), magnitude: Float64Array.of(1, 2, 1, 1, 3), terms: Float64Array.of(4, 4, 4, 4, 1) };
  const right = [1, -2, NaN, Infinity, 3];
  const off = (index: number, value: number) => Float32Array.from(right, (r, i) => (i === index ? value : r));

  test('accepts what is right, and errors up to the bound', () => {
    expect(compare(Float32Array.from(right), expected, true)).toEqual({ worst: 0, failure: null });
    const nearly = compare(off(1, -2 - 2 ** -22), expected, true);
    expect(nearly.failure).toBeNull();
    expect(nearly.worst).toBeCloseTo(0.5, 5);
  });

  test.each([
    ['an error above the bound', 1, -2 - 2 ** -20],
    ['a NaN', 0, NaN],
    ['a number for NaN', 2, 0],
    ['the wrong infinity', 3, -Infinity],
    ['a bias that was changed', 4, 3 + 2 ** -21],
  ])('refuses %s', (_, index, value) => {
    expect(compare(off(index, value), expected, true).failure).toContain(`output ${index}`);
  });

  test('refuses any error where sums are exact', () => {
    expect(compare(off(0, 1 + 2 ** -23), expected, true, true).failure).toContain('output 0');
  });

  test('clamps what is expected', () => {
    const clamped = Float32Array.of(1, 0, NaN, 2, 2);
    expect(compare(clamped, expected, true, false, { lower: 0, upper: 2 }).failure).toBeNull();
  });

  test('allows the smaller of both bounds to data of mixed signs', () => {
    expect(tolerance(4, 1, true)).toBeCloseTo(2 ** -22, 12);
    expect(tolerance(1024, 1, true)).toBeCloseTo(2 ** -17, 20);
    expect(tolerance(1024, 1, false)).toBeCloseTo(2 ** -14, 8);
  });
});
