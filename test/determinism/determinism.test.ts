import { beforeAll, describe, expect, test } from '@jest/globals';

import { runChildForJson } from '../support/child';
import { distinctIsas } from '../support/isas';
import type { DeterminismReport } from './run-determinism';

describe.each(distinctIsas)('bits with CONVTRANSPOSE_ISA=%s', (isa) => {
  let determinism: DeterminismReport;
  let invariance: DeterminismReport;
  beforeAll(async () => {
    [determinism, invariance] = await runChildForJson<[DeterminismReport, DeterminismReport]>(
      'determinism/determinism.child', { CONVTRANSPOSE_ISA: isa });
    expect(determinism.isa).toBe(isa);
  }, 300_000);

  test('are the same for any number of threads, sync or async, aligned or not, run after run', () => {
    expect(determinism.failures).toEqual([]);
    expect(determinism.compared).toBeGreaterThan(3000);
  });

  test('depend on the values that reach an output alone, with invariant: true', () => {
    expect(invariance.failures).toEqual([]);
    expect(invariance.compared).toBeGreaterThan(1000);
  });
});
