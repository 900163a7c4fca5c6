// @ts-check
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { flops, formatProblem, outputShape, parseProblem, readSuite, selectLayers, SUITE_FILE } from '../src/problem.mjs';
import { suiteText } from '../src/suite-text.mjs';

const suite = readSuite(SUITE_FILE);

test('every layer of the suite survives being written and read', () => {
  for (const { source, ...layer } of suite) {
    assert.ok(source);
    assert.deepEqual(parseProblem(formatProblem(layer), layer.name), layer);
  }
});

test('the suite of the native benches is up to date', () => {
  assert.equal(readFileSync(new URL('../suite/layers.txt', import.meta.url), 'utf8'), suiteText(suite));
});

test('left-out words take their defaults, in any order', () => {
  const problem = parseProblem('k3 i5x6x7 o4 c2');
  assert.equal(formatProblem(problem), 'n1 c2 o4 i5x6x7 k3x3x3 s1x1x1 p0x0x0 op0x0x0 d1x1x1 g1');
  assert.deepEqual(outputShape(problem), [1, 4, 7, 8, 9]);
  assert.equal(flops(problem), 2 * 2 * 4 * 5 * 6 * 7 * 27);
});

test('output sizes follow stride, padding, dilation and output padding', () => {
  assert.deepEqual(outputShape(parseProblem('n2 c3 o3 i50x50 k3x5 s2x1 p4x2 d3x1')), [2, 3, 97, 50]);
  assert.deepEqual(outputShape(parseProblem('c3 o3 i32x32 k3 s2 p1 op1')), [1, 3, 64, 64]);
});

for (const [text, message] of /** @type {[string, RegExp][]} */ ([
  ['c2 o4 i5', /"k" is missing/],
  ['c2 o4 k3', /"i" is missing/],
  ['c2 o4 i5 k3 q1', /"q1": expected one of/],
  ['c2 o4 i5 k', /"k": expected one of/],
  ['c2 o4 i5 k3 k4', /"k4": given twice/],
  ['c2 o4 i5x5 k3x3x3', /k: expected 1 or 2 sizes, got 3/],
  ['c2x2 o4 i5 k3', /c: expected one number/],
  ['c2 o4 i5x5x5x5 k3', /at most 3/],
  ['c2 o4 i5 k3 s0', /s: expected at least 1/],
  ['c2 o4 i5 k3 g3', /g: expected a divisor/],
  ['c2 o4 i1 k1 p1', /an output of at least one point/],
  ['', /expected one of/],
])) {
  test(`"${text}" is refused`, () => {
    assert.throws(() => parseProblem(text), { name: 'RangeError', message });
  });
}

test('layers are selected by name, with wildcards', () => {
  assert.deepEqual(selectLayers(suite, ['dcgan-?', 'unet-up1']).map(({ name }) => name), [
    'dcgan-1', 'dcgan-2', 'dcgan-3', 'dcgan-4', 'dcgan-5', 'unet-up1',
  ]);
  assert.throws(() => selectLayers(suite, ['dcgan-1', 'dcgan']), /no layer of the suite is called "dcgan"/);
});
