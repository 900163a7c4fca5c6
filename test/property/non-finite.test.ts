import { describe, expect, test } from '@jest/globals';

import { convTranspose1d, convTranspose2d } from '../../lib/index';
import { runChildForJson } from '../support/child';
import { distinctIsas } from '../support/isas';
import type { NonFiniteReport } from './run-non-finite';

describe('infinities and NaN', () => {
  test.each(distinctIsas)('arrive exactly where they should, CONVTRANSPOSE_ISA=%s', async (isa) => {
    const report = await runChildForJson<NonFiniteReport>('property/non-finite.child', { CONVTRANSPOSE_ISA: isa });
    expect(report.isa).toBe(isa);
    expect(report.failures).toEqual([]);
    expect(report.runs).toBeGreaterThan(1500);
    expect(report.nonFinite).toBeGreaterThan(10_000);
  }, 300_000);

  const algorithms = ['auto', 'direct', 'reference'] as const;

  test.each(algorithms)('padding next to an infinite weight creates no NaN (%s)', (algorithm) => {
    // Only the centre tap reaches the single pixel; the infinite ones meet nothing.
    const weight = { data: Float32Array.of(Infinity, 2, NaN), shape: [1, 1, 3] };
    const y = convTranspose1d({ data: Float32Array.of(3), shape: [1, 1, 1] }, weight, null, { padding: 1, algorithm });
    expect([...y.data]).toEqual([6]);
    const wide = convTranspose1d({ data: Float32Array.of(3, 5), shape: [1, 1, 2] }, weight, null, { padding: 1, algorithm });
    expect([...wide.data]).toEqual([Infinity, NaN]);
  });

  test.each(algorithms)('sums that overflow float32 are infinite (%s)', (algorithm) => {
    const big = 3e38;
    const y = convTranspose2d({ data: Float32Array.of(big, big), shape: [1, 2, 1, 1] },
      { data: Float32Array.of(1, -1, 1, 1), shape: [2, 2, 1, 1] }, null, { algorithm });
    expect(y.data[0]).toBe(Infinity);
    expect(y.data[1]).toBe(0);
  });

  test.each(algorithms)('relu and clamp keep NaN and order infinities (%s)', (algorithm) => {
    const input = { data: Float32Array.of(NaN, Infinity, -Infinity, -1, 5), shape: [1, 1, 5] };
    const one = { data: Float32Array.of(1), shape: [1, 1, 1] };
    expect([...convTranspose1d(input, one, null, { activation: 'relu', algorithm }).data]).toEqual([NaN, Infinity, 0, 0, 5]);
    const clamp = { type: 'clamp', min: -0.5, max: 2 } as const;
    expect([...convTranspose1d(input, one, null, { activation: clamp, algorithm }).data]).toEqual([NaN, 2, -0.5, -0.5, 2]);
    expect([...convTranspose1d(input, one, null, { activation: { type: 'clamp', max: 2 }, algorithm }).data]).toEqual([NaN, 2, -Infinity, -1, 2]);
  });
});
