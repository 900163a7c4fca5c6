// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chart } from '../src/chart.mjs';
import { header, markdown, row, summary } from '../src/report.mjs';

/** @param {number} min */
const times = (min) => ({ min, median: 2 * min, runs: 5 });
/** @param {string} name @param {number} ours @param {number} ort @param {number} [torch] @returns {import('../src/report.mjs').LayerResult} */
const layer = (name, ours, ort, torch) => ({
  name,
  problem: '',
  flops: 1e9,
  peakGflops: 100,
  times: { ours: times(ours), oursOut: times(ours / 2), onnxruntime: times(ort), ...(torch && { torchGradient: times(torch) }) },
  algorithm: 'gemm',
  kernels: ['gemm/avx2/6x2'],
  precision: 'highest',
  workspaceBytes: 0,
  packedBytes: 0,
});
/** @param {import('../src/report.mjs').LayerResult[]} layers @returns {import('../src/report.mjs').Report} */
const report = (layers) => ({
  date: '2026-01-02T03:04:05.000Z',
  machine: { cpu: 'A & B <1>', isa: 'avx2', node: 'v20', platform: 'linux-x64' },
  versions: {},
  options: { threads: 1 },
  layers,
});

test('the headline compares calls that allocate their output', () => {
  const lines = summary([layer('a', 10, 40), layer('b', 20, 20)]);
  assert.deepEqual(lines, ['onnxruntime-node / ours: geometric mean 2.00, worst 1.00 (b)']);
  assert.match(row(layer('a', 10, 40), {}), / 4\.00 .* 100\.0 +100 /); // ratio, GFLOP/s and % of peak by 10 ms, not by 5
});

test('columns of sides that took no part are left out', () => {
  assert.ok(!header({}).includes('gradient'));
  assert.ok(header({ torch: true }).includes('gradient'));
  assert.ok(!markdown(report([layer('a', 1, 2)])).includes('PyTorch'));
  const [titles, , cells] = markdown(report([layer('a', 1, 2, 3)])).split('\n');
  assert.equal(titles?.split('|').length, cells?.split('|').length);
  assert.match(String(cells), /\| 3\.00 \|/);
});

test('the chart has a bar for each layer, the fastest first, and no markup of its data', () => {
  const svg = chart(report([layer('slow', 10, 5, 20), layer('fast', 1, 8)]));
  assert.ok(svg.indexOf('>fast<') < svg.indexOf('>slow<'));
  assert.ok(svg.includes('A &amp; B &lt;1>'));
  const widths = [...svg.matchAll(/width="([\d.]+)" height="11"/g)].map(([, width]) => Number(width)).filter((width) => width !== 3); // without marks of peers
  assert.equal(widths.length, 2);
  assert.ok(Math.abs(Number(widths[0]) / Number(widths[1]) - 3) < 0.01); // log 8 : log 2
  assert.throws(() => chart(report([])), RangeError);
});
