// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columnSummary, readPeers, scaledRatios } from '../src/peers.mjs';
import { readSuite, SUITE_FILE } from '../src/problem.mjs';

/** @param {string} name @param {number} ours @param {number} ort */
const layer = (name, ours, ort) =>
  /** @type {import('../src/report.mjs').LayerResult} */ (
    /** @type {unknown} */ ({ name, times: { ours: { min: ours }, onnxruntime: { min: ort } } })
  );
/** @param {number} threads @param {import('../src/report.mjs').LayerResult[]} layers */
const report = (threads, layers) =>
  /** @type {import('../src/report.mjs').Report} */ (/** @type {unknown} */ ({ options: { threads }, layers }));
const table = {
  source: '',
  peers: '',
  columns: { plain: '', any: '', anyTwoThreads: '' },
  layers: { a: { plain: 0.5, any: 0.25, anyTwoThreads: 0.125 }, b: { plain: 1, any: 1, anyTwoThreads: 1 } },
};

test('a peer is scaled to the onnxruntime of the run', () => {
  const scaled = scaledRatios(report(1, [layer('a', 1, 8), layer('b', 2, 2), layer('other', 1, 1)]), table);
  assert.deepEqual(scaled.columns, ['plain', 'any']);
  assert.deepEqual(scaled.rows, [{ name: 'a', ratios: [4, 2] }, { name: 'b', ratios: [1, 1] }]);
  assert.deepEqual(scaled.missing, ['other']);
  assert.deepEqual(columnSummary(scaled, 0), { mean: 2, worst: { name: 'b', ratio: 1 } });
});

test('several threads have a column of their own', () => {
  const scaled = scaledRatios(report(2, [layer('a', 1, 8)]), table);
  assert.deepEqual(scaled.rows, [{ name: 'a', ratios: [1] }]);
});

test('the committed table knows layers of the suite alone, and no peer in its own layout is slower than in the plain one', () => {
  const names = readSuite(SUITE_FILE).map(({ name }) => name);
  for (const [name, { plain, any, anyTwoThreads }] of Object.entries(readPeers().layers)) {
    assert.ok(names.includes(name), name);
    assert.ok(any > 0 && any <= plain && plain <= 1 && anyTwoThreads > 0 && anyTwoThreads <= 1, name);
  }
});
