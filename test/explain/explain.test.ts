import { describe, expect, test } from '@jest/globals';

import { ConvTranspose2d, cpuInfo } from '../../lib/index';
import { runChild, runChildForJson } from '../support/child';
import { values } from '../support/data';
import { product } from '../support/problem';
import type { ExplainReport } from './run-explain';

describe('explain()', () => {
  test.each(cpuInfo().supported)('names the kernels that really run, CONVTRANSPOSE_ISA=%s', async (isa) => {
    const report = await runChildForJson<ExplainReport>('explain/explain.child', { CONVTRANSPOSE_ISA: isa });
    expect(report.isa).toBe(isa);
    expect(report.failures).toEqual([]);
    expect(report.suite).toBeGreaterThan(20);
    expect(report.compared).toBeGreaterThan(600);
    for (const algorithm of ['depthwise', 'direct-few', 'direct-overlap', 'direct-wide', 'direct-channels', 'gemm', 'reference', ...(isa === 'amx' ? ['amx', 'amx-overlap'] : [])]) {
      expect(Object.keys(report.algorithms)).toContain(algorithm);
    }
  }, 300_000);

  test.each(['high', 'medium'] as const)('precision %s runs as highest, and says so', (precision) => {
    const layer = new ConvTranspose2d(4, 4, 4, { stride: 2, precision, seed: 1 });
    const { precision: runs, notes } = layer.explain([1, 4, 8, 8]);
    expect(runs).toBe('highest');
    expect(notes).toContainEqual(expect.stringContaining(precision));
    const x = { data: new Float32Array(256).fill(0.25), shape: [1, 4, 8, 8] };
    const exact = new ConvTranspose2d(4, 4, 4, { stride: 2, seed: 1 });
    expect([...layer.forward(x).data]).toEqual([...exact.forward(x).data]);
  });

  test.each([['high', 1e-5], ['medium', 5e-3]] as const)('precision %s runs as such where there are kernels, %p at most', (precision, most) => {
    const options = { stride: 2, seed: 1 }; // one tap to a phase, so nothing for Winograd
    const layer = new ConvTranspose2d(64, 64, 2, { ...options, precision });
    const shape = [1, 64, 24, 24];
    const { algorithm, precision: runs, kernels } = layer.explain(shape);
    const amx = cpuInfo().isa === 'amx';
    expect(runs).toBe(amx ? precision : 'highest');
    if (amx) {
      expect(['amx', 'amx-overlap']).toContain(algorithm);
      expect(kernels[0]).toMatch(`${algorithm}/amx/${precision === 'high' ? 'bf16x3' : 'bf16'}-`);
    }
    const x = { data: values('mixed', 1, product(shape)), shape };
    const exact = new ConvTranspose2d(64, 64, 2, { ...options, algorithm: 'reference' }).forward(x).data;
    let squares = 0;
    let errors = 0;
    layer.forward(x).data.forEach((value, i) => {
      squares += (exact[i] as number) ** 2;
      errors += (value - (exact[i] as number)) ** 2;
    });
    const rms = Math.sqrt(errors / squares);
    expect(rms).toBeLessThanOrEqual(most);
    if (amx) expect(rms).toBeGreaterThan(most / 20); // so it did run as such
  });

  test('the reference is never chosen silently for a large problem', () => {
    const layer = new ConvTranspose2d(64, 64, 3, { stride: 2, seed: 1 });
    expect(layer.explain([1, 64, 64, 64]).algorithm).not.toBe('reference');
  });

  test('says when weights that are not finite decide', () => {
    const weight = { data: new Float32Array(4 * 4 * 9).fill(1), shape: [4, 4, 3, 3] };
    weight.data[7] = Infinity;
    const { summary } = new ConvTranspose2d(4, 4, 3, { weight }).explain([1, 4, 8, 8]);
    expect(summary).toMatch(/infinity/);
  });

  test('does not depend on the number of threads', () => {
    const one = new ConvTranspose2d(16, 16, 4, { stride: 2, seed: 1, numThreads: 1 }).explain([1, 16, 64, 64]);
    const four = new ConvTranspose2d(16, 16, 4, { stride: 2, seed: 1, numThreads: 4 }).explain([1, 16, 64, 64]);
    expect(four).toEqual(one);
  });

  test('CONVTRANSPOSE_ALGORITHM forces an algorithm where no option does', async () => {
    const { algorithm } = await runChildForJson<{ algorithm: string }>('explain/environment.child', { CONVTRANSPOSE_ALGORITHM: 'reference' });
    expect(algorithm).toBe('reference');
  });

  test.each([
    ['CONVTRANSPOSE_ISA', 'sse9'], ['CONVTRANSPOSE_ISA', process.arch === 'arm64' ? 'avx2' : 'neon'],
    ...(cpuInfo().supported.includes('amx') ? [] : [['CONVTRANSPOSE_ISA', 'amx'] as const]),
    ['CONVTRANSPOSE_ALGORITHM', 'fastest'], ['CONVTRANSPOSE_NUM_THREADS', 'many'], ['CONVTRANSPOSE_NUM_THREADS', '0'],
  ])('%s=%s throws at first use, not at require', async (variable, value) => {
    const { status, stdout } = await runChild('explain/environment.child', { [variable]: value });
    const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as { loaded: boolean; name: string; code: string; argument: string };
    expect(last).toMatchObject({ loaded: true, code: expect.stringMatching(/^ERR_CONVTRANSPOSE_/) as unknown, argument: variable });
    expect(['TypeError', 'RangeError']).toContain(last.name);
    expect(status).toBe(0);
  });
});
