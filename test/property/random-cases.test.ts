import { beforeAll, describe, expect, test } from '@jest/globals';

import { runChildForJson } from '../support/child';
import { distinctIsas as isas } from '../support/isas';
import { countedAlgorithms, formatsOf, ranksOf, uncrossedAxes, wantedCases, wantedTerms } from './run-random-cases';
import type { RandomReport } from './run-random-cases';

// Two minutes or three; with AddressSanitizer half an hour.
const timeout = process.env['ASAN_OPTIONS'] === undefined ? 600_000 : 3_600_000;

describe('random problems', () => {
  const reports = new Map<string, RandomReport>();

  // All at once: each process computes with one thread most of the time, and one after the other would leave processors idle.
  beforeAll(async () => {
    await Promise.all(isas.map(async (isa) => {
      reports.set(isa, await runChildForJson<RandomReport>('property/random-cases.child', { CONVTRANSPOSE_ISA: isa }));
    }));
    const counts = isas.flatMap((isa) => Object.entries(reports.get(isa)?.runs ?? {}).map(([key, count]) => `${isa} ${key}: ${count}`));
    process.stdout.write(`random problems compared with the definition:\n  ${counts.sort().join('\n  ')}\n`);
  }, timeout);

  describe.each(isas)('CONVTRANSPOSE_ISA=%s', (isa) => {
    const report = () => {
      const found = reports.get(isa);
      if (found === undefined) throw new Error(`no report for ${isa}`);
      return found;
    };

    test('every result is within the promised bound', () => {
      expect(report().failures).toEqual([]);
    });

    test('enough of every algorithm, dimension and memory format', () => {
      expect(report().isa).toBe(isa);
      const few: string[] = [];
      for (const algorithm of countedAlgorithms(isa)) {
        for (const rank of ranksOf(algorithm)) {
          for (const format of formatsOf(algorithm)) {
            const count = report().runs[`${algorithm}/${rank}d/${format}`] ?? 0;
            if (count < wantedCases(algorithm, format)) few.push(`${algorithm}/${rank}d/${format}: ${count}`);
          }
        }
      }
      expect(few).toEqual([]);
      // An algorithm that is not listed would go uncounted.
      const ran = new Set(Object.keys(report().runs).map((key) => key.slice(0, key.indexOf('/'))));
      expect([...ran].sort()).toEqual([...countedAlgorithms(isa)].sort());
    });

    test('more than two blocks, and smaller last blocks, along every blocked axis', () => {
      expect(uncrossedAxes(report())).toEqual([]);
    });

    if (isa === 'amx') test.each([1, 2, 3])('Winograd by products of terms in %i-D', (rank) => {
      expect(report().winogradTerms[rank]).toBeGreaterThanOrEqual(wantedTerms);
    });

    test('kernels of this instruction set alone', () => {
      const foreign = report().kernels.filter((name) => !name.startsWith('reference/') && name.split('/')[1] !== isa);
      expect(foreign).toEqual([]);
    });
  });
});
