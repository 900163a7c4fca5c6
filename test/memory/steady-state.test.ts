import { describe, expect, test } from '@jest/globals';

import { ConvTranspose2d, Tensor, convTranspose2d, cpuInfo } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { values } from '../support/data';
import { algorithmChoices, makeModule, mayDecline, tensor } from '../support/forms';
import { inputShape, memoryFormats, outputShape, product, weightShape } from '../support/problem';
import type { Problem } from '../support/problem';
import { randomCase } from '../support/random-cases';

const native = loadNative();

/** All that the native side counts about memory, and what array buffers take. */
function memory(): { allocations: number; liveBytes: number; counted: Record<string, number>; arrayBuffers: number } {
  const { allocations, liveBytes } = native.memory();
  const counted = Object.fromEntries(Object.entries(native.counters()).filter(([name]) => name.startsWith('runtime/')));
  return { allocations, liveBytes, counted, arrayBuffers: process.memoryUsage().arrayBuffers };
}

/** The same as before; array buffers may have been collected, but none may have been added. */
function expectNoMore(before: ReturnType<typeof memory>): void {
  const after = memory();
  expect({ ...after, arrayBuffers: 0 }).toEqual({ ...before, arrayBuffers: 0 });
  expect(after.arrayBuffers).toBeLessThanOrEqual(before.arrayBuffers);
}

describe('the steady state', () => {
  const cases = [1, 2, 3].flatMap((rank) => [0, 1, 2, 3].map((i) => randomCase(rank, 70_000 + i).problem));
  const channels: Problem = { // many of them: amx refuses the others
    rank: 2, batch: 2, inChannels: 64, outChannels: 48, groups: 1, in: [9, 11], kernel: [4, 4], stride: [2, 2], dilation: [1, 1],
    padding: [[1, 1], [1, 1]], outputPadding: [0, 0], bias: false,
  };
  const grid = memoryFormats.flatMap((memoryFormat) =>
    algorithmChoices.filter((a) => a !== 'winograd' && (a !== 'amx' || cpuInfo().isa === 'amx')).map((algorithm) => ({ memoryFormat, algorithm })));

  test.each(grid)('forward with out allocates nothing from the second call on ($memoryFormat, $algorithm)', ({ memoryFormat, algorithm }) => {
    let measured = 0;
    for (const p of [...cases, channels]) {
      const layer = makeModule(p, { weight: values('mixed', 1, product(weightShape(p))), bias: null }, { memoryFormat, algorithm });
      const input = tensor(values('mixed', 2, product(inputShape(p))), inputShape(p, memoryFormat));
      const out = tensor(new Float32Array(product(outputShape(p))), outputShape(p, memoryFormat));
      try {
        layer.forward(input, { out });
      } catch (error) {
        if (mayDecline(algorithm) && (error as { code?: string }).code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') continue;
        throw error;
      }
      const before = memory();
      for (let i = 0; i < 20; i++) layer.forward(input, { out });
      expectNoMore(before);
      measured += 1;
    }
    expect(measured).toBeGreaterThan(0);
  });

  test('the same, with several threads and two shapes in turn', () => {
    const layer = new ConvTranspose2d(16, 24, 4, { stride: 2, padding: 1, seed: 1, numThreads: 2 });
    const calls = [40, 33].map((size) => ({
      input: tensor(values('mixed', 2, 16 * size * size), [1, 16, size, size]),
      out: tensor(new Float32Array(24 * 4 * size * size), [1, 24, 2 * size, 2 * size]),
    }));
    // The pool's threads grow their scratch memory when they first take part, which may be in a later call.
    for (let i = 0; i < 50; i++) for (const { input, out } of calls) layer.forward(input, { out });
    const before = memory();
    for (let i = 0; i < 50; i++) for (const { input, out } of calls) layer.forward(input, { out });
    expectNoMore(before);
  });

  test('outputs are recycled: a thousand of them leave no more memory than a few', async () => {
    const layer = new ConvTranspose2d(4, 4, 2, { stride: 2, seed: 1 });
    const input = tensor(new Float32Array(4 * 64 * 64), [1, 4, 64, 64]);
    const bytes = 4 * 4 * 128 * 128;
    for (let i = 0; i < 1000; i++) {
      layer.forward(input);
      // Finalizers run between turns of the event loop.
      if (i % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
    }
    const { liveBytes } = native.memory();
    expect(liveBytes).toBeLessThan(1000 * bytes);
  });

  test('the workspace is known before the run, and can be capped', () => {
    const p = { in: [1, 32, 64, 64], weight: new Tensor(values('mixed', 1, 32 * 32 * 16), [32, 32, 4, 4]) };
    const x = tensor(values('mixed', 2, 32 * 64 * 64), p.in);
    const free = new ConvTranspose2d(32, 32, 4, { stride: 2, weight: p.weight });
    const { workspaceBytes } = free.explain(p.in);
    expect(workspaceBytes).toBeGreaterThan(0);
    const limit = Math.floor(workspaceBytes / 2);
    const capped = new ConvTranspose2d(32, 32, 4, { stride: 2, weight: p.weight, workspaceLimit: limit });
    expect(capped.explain(p.in).workspaceBytes).toBeLessThanOrEqual(limit);
    const wanted = free.forward(x).data;
    const error = capped.forward(x).data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (wanted[i] as number))), 0);
    expect(error).toBeLessThan(1e-3);
  });

  test('a problem whose column buffer would not fit needs no such thing', () => {
    // 64 -> 64 k4 s2 on 128 x 128: a column buffer would take 67 MB.
    const weight = new Tensor(values('mixed', 1, 64 * 64 * 16), [64, 64, 4, 4]);
    const input = Tensor.zeros([1, 64, 128, 128]);
    const out = Tensor.empty([1, 64, 256, 256]);
    convTranspose2d(input, weight, null, { stride: 2, padding: 1, out });
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 3; i++) convTranspose2d(input, weight, null, { stride: 2, padding: 1, out });
    expect(process.memoryUsage().rss - before).toBeLessThan(16 * 2 ** 20);
  });
});
