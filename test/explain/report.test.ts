/** The report of explain() in words and units. */
import { describe, expect, test } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, type ConvTransposeModule } from '../../lib/index';
import { formatBytes, formatCount, formatFlops, formatSeconds } from '../../lib/text';

test.each([
  [formatSeconds(1.5e-6), '1.50 µs'], [formatSeconds(0.0123), '12.3 ms'], [formatSeconds(2), '2.00 s'], [formatBytes(0), '0 bytes'],
  [formatBytes(1536), '1.5 KiB'], [formatBytes(8 * 2 ** 20), '8 MiB'], [formatFlops(0), '0 FLOP'], [formatFlops(999), '999 FLOP'],
  [formatFlops(8.59e9), '8.59 GFLOP'], [formatFlops(4e15), '4000 TFLOP'], [formatCount(1234567), '1,234,567'],
])('%s', (actual, wanted) => {
  expect(actual).toBe(wanted);
});

describe('the report', () => {
  /** The text behind a term, on one line. */
  const row = (layer: ConvTransposeModule, shape: number[], term: string): string => {
    const lines = layer.explain(shape).summary.split('\n');
    const first = lines.findIndex((line) => line.startsWith(`  ${term} `));
    const last = lines.findIndex((line, i) => i > first && line[2] !== ' ');
    return lines.slice(first, last < 0 ? undefined : last).map((line) => line.trim()).join(' ').replace(term, '').trim();
  };

  test('names layer, phases, work and memory', () => {
    const layer = new ConvTranspose2d(256, 128, 4, { stride: 2, padding: 1, seed: 1 });
    const shape = [1, 256, 64, 64];
    expect(row(layer, shape, 'layer')).toBe('256 channels to 128, kernel 4 x 4, stride 2, padding 1');
    expect(row(layer, shape, 'phases')).toBe('4 phases (2 x 2): 4 of the 16 kernel positions reach an output, 1,024 products over 256 channels');
    expect(row(layer, shape, 'work')).toBe('4.29 GFLOP; input 4 MiB, weights 2 MiB, output 8 MiB');
    expect(row(layer, shape, 'memory')).toMatch(/^[\d.]+ [KM]iB of scratch for each thread(?: and [\d.]+ [KM]iB for all of them)?; no weights packed yet$/);
    layer.prepare(shape);
    expect(row(layer, shape, 'memory')).toMatch(/; packed weights [\d.]+ MiB \(.+ [\d.]+ MiB\)$/);
    expect(row(layer, shape, 'estimate')).toMatch(/^[\d.]+ ms on one thread, [\d.]+ GFLOP\/s$/);
    expect(Math.max(...layer.explain(shape).summary.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  test('tells uneven phases and those without a product', () => {
    const uneven = new ConvTranspose2d(2, 2, [3, 5], { stride: 2, padding: [[1, 0], [0, 2]], outputPadding: 1, groups: 2, seed: 1 });
    expect(row(uneven, [2, 6, 6], 'layer')).toBe('2 channels to 2, kernel 3 x 5, stride 2, padding [[1, 0], [0, 2]], output padding 1, groups 2');
    expect(row(uneven, [2, 6, 6], 'phases')).toBe('4 phases (2 x 2): 2 to 6 of the 15 kernel positions reach an output, 2 to 6 products over 1 channel');
    const gaps = new ConvTranspose1d(3, 1, 4, { stride: 4, dilation: 2, seed: 1 });
    expect(row(gaps, [3, 6], 'phases')).toBe('4 phases: 0 to 2 of the 4 kernel positions reach an output, 0 to 6 products over 3 channels; outputs without any hold the bias');
    expect(row(new ConvTranspose1d(1, 1, 1, { seed: 1 }), [1, 6], 'phases')).toBe('1 phase: 1 of the 1 kernel position reach an output, 1 products over 1 channel');
  });

  test('gives every algorithm that was not taken its reason', () => {
    const { summary, rejected, algorithm } = new ConvTranspose2d(16, 16, 3, { seed: 1 }).explain([16, 9, 9]);
    expect(summary.split('\n')[0]).toContain(algorithm);
    expect(rejected.length).toBeGreaterThan(3);
    for (const { name } of rejected) expect(summary).toMatch(new RegExp(`^  not (.*, )?${name}( +\\S|,|$)`, 'm'));
    const forced = new ConvTranspose2d(16, 16, 3, { seed: 1, algorithm: 'reference' }).explain([16, 9, 9]);
    expect(forced.summary.match(/^ {2}not /gm)).toHaveLength(1);
  });
});
