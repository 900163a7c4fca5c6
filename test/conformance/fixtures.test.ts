import { beforeAll, describe, expect, test } from '@jest/globals';

import { cpuInfo } from '../../lib/index';
import { runChildForJson } from '../support/child';
import { loadFixtures } from '../support/fixtures';
import { forms } from '../support/forms';
import { memoryFormats } from '../support/problem';
import { isDepthwise, isGemm, runFixtures } from './run-fixtures';
import type { FixtureReport } from './run-fixtures';

const fixtures = loadFixtures();
// Under emulation everything takes many times as long.
const timeout = 900_000;

function check(report: () => FixtureReport): void {
  test('every result is within the promised bound', () => {
    expect(report().failures).toEqual([]);
  });

  test('every form, memory format and algorithm was compared', () => {
    for (const form of forms) {
      for (const format of memoryFormats) {
        for (const algorithm of ['auto', 'direct', 'reference']) {
          const key = `${form}/${format}/${algorithm}`;
          expect([key, report().runs[key]]).toEqual([key, fixtures.length]);
        }
        expect(report().runs[`${form}/${format}/gemm`]).toBeGreaterThan(20);
        expect(report().runs[`${form}/${format}/depthwise`]).toBeGreaterThan(20);
        expect(report().runs[`${form}/${format}/winograd`]).toBeGreaterThan(20);
        if (report().isa === 'amx') expect(report().runs[`${form}/${format}/amx`]).toBeGreaterThan(80);
      }
    }
  });

  test('gemm runs wherever one tap reaches every output', () => {
    const declined = new Set(report().declined['gemm']);
    expect(fixtures.filter((f) => isGemm(f) && declined.has(f.number)).map((f) => f.number)).toEqual([]);
  });

  test('depthwise runs wherever a group has few input channels', () => {
    const declined = new Set(report().declined['depthwise']);
    expect(fixtures.filter((f) => isDepthwise(f) && declined.has(f.number)).map((f) => f.number)).toEqual([]);
  });

  test('only gemm, winograd, amx and depthwise declined', () => {
    expect(Object.keys(report().declined).sort()).toEqual(['amx', 'depthwise', 'gemm', 'winograd']);
  });

  test('the kernels were those of the instruction set', () => {
    const { isa, counters } = report();
    const names = Object.keys(counters);
    for (const algorithm of ['depthwise', 'direct-few', 'direct-wide', 'direct-channels', 'gemm', 'winograd', ...(isa === 'amx' ? ['amx', 'amx-overlap'] : [])]) {
      expect(names).toContainEqual(expect.stringMatching(`^${algorithm}/${isa}/`));
    }
    expect(names).toContainEqual(expect.stringMatching('^reference/'));
    const others = cpuInfo().supported.filter((other) => other !== isa);
    expect(names.filter((name) => others.some((other) => name.split('/')[1] === other && !name.startsWith('reference/')))).toEqual([]);
  });
}

describe('fixtures in this process', () => {
  let report: FixtureReport;
  beforeAll(async () => {
    report = await runFixtures();
  }, timeout);
  check(() => report);
});

// The best one has run above.
describe.each(cpuInfo().supported.filter((isa) => isa !== cpuInfo().isa))('fixtures with CONVTRANSPOSE_ISA=%s', (isa) => {
  let report: FixtureReport;
  beforeAll(async () => {
    report = await runChildForJson<FixtureReport>('conformance/fixtures.child', { CONVTRANSPOSE_ISA: isa });
  }, timeout);

  test('the instruction set is the forced one', () => {
    expect(report.isa).toBe(isa);
  });
  check(() => report);
});
