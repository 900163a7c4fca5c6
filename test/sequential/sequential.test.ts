/** Sequential: the same as its modules one after the other, in memory that is kept, also when calls overlap. */
import { describe, expect, jest, test } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, Sequential, Tensor, type ConvTransposeModule, type SequentialOptions, type TensorLike } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { detach } from '../support/buffers';
import { values } from '../support/data';
import { attempt } from '../support/expect-error';

// Machines may be busy.
jest.setTimeout(60_000);

const native = loadNative();

function makeModules(memoryFormat: 'contiguous' | 'channelsLast' = 'contiguous'): ConvTransposeModule[] {
  const up = { stride: 2, padding: 1, memoryFormat };
  return [
    new ConvTranspose2d(6, 16, 4, { memoryFormat, activation: 'relu', seed: 1 }),
    new ConvTranspose2d(16, 8, 4, { ...up, activation: 'leakyRelu', seed: 2 }),
    new ConvTranspose2d(8, 12, 4, { ...up, activation: 'silu', seed: 3 }),
    new ConvTranspose2d(12, 3, 4, { ...up, activation: 'tanh', seed: 4 }),
  ];
}

function oneByOne(modules: readonly ConvTransposeModule[], input: TensorLike): Tensor {
  return modules.reduce<TensorLike>((x, module) => module.forward(x), input) as Tensor;
}

/** The bits of a tensor. */
const bits = ({ data }: { data: Float32Array }) => Buffer.from(data.slice().buffer).toString('base64');

const inputOf = (stream: number, size = 3) => new Tensor(values('mixed', stream, 2 * 6 * size * size), [2, 6, size, size]);

describe('results', () => {
  test.each(['contiguous', 'channelsLast'] as const)('are those of the modules, %s', async (memoryFormat) => {
    const net = new Sequential(makeModules(memoryFormat));
    for (const size of [1, 4, 2, 4]) {
      const shape = memoryFormat === 'contiguous' ? [2, 6, size, size] : [2, size, size, 6];
      const input = new Tensor(values('mixed', size, 12 * size * size), shape);
      const wanted = oneByOne(net.modules, input);
      expect(net.outputShape(shape)).toEqual(wanted.shape);
      expect(bits(net.forward(input))).toBe(bits(wanted));
      expect(bits(await net.forwardAsync(input))).toBe(bits(wanted));
      const out = Tensor.empty(wanted.shape);
      expect(net.forward(input, { out, numThreads: 2 })).toBe(out);
      expect(bits(out)).toBe(bits(wanted));
      const foreign = { data: new Float32Array(out.data.length), shape: wanted.shape };
      expect((await net.forwardAsync(input, { out: foreign })).data).toBe(foreign.data);
      expect(bits(foreign)).toBe(bits(wanted));
    }
    net.dispose();
  });

  test('one module, an input without batch, and an empty batch', () => {
    const net = new Sequential([new ConvTranspose1d(2, 3, 4, { stride: 2, seed: 1 })]);
    expect(net.forward(Tensor.zeros([2, 5])).shape).toEqual([3, 12]);
    expect(net.forward(Tensor.zeros([0, 2, 5])).shape).toEqual([0, 3, 12]);
    const longer = new Sequential(makeModules());
    expect(longer.forward(Tensor.zeros([0, 6, 1, 1])).shape).toEqual([0, 3, 32, 32]);
  });

  test('twenty overlapping calls of several shapes, with synchronous ones between them', async () => {
    const net = new Sequential(makeModules());
    const inputs = Array.from({ length: 20 }, (_, i) => inputOf(i, 1 + (i % 4)));
    const wanted = inputs.map((input) => bits(oneByOne(net.modules, input)));
    const pending = inputs.map((input) => net.forwardAsync(input));
    expect(bits(net.forward(inputs[3] as Tensor))).toBe(wanted[3]);
    await pending[0];
    expect(bits(net.forward(inputs[2] as Tensor))).toBe(wanted[2]);
    expect((await Promise.all(pending)).map(bits)).toEqual(wanted);
  });
});

describe('memory', () => {
  test('from the second call on, forward with out allocates nothing', () => {
    const net = new Sequential(makeModules());
    const input = inputOf(1);
    const out = Tensor.empty(net.outputShape(input.shape));
    net.forward(input, { out });
    const { allocations, liveBytes } = native.memory();
    for (let i = 0; i < 20; i++) net.forward(input, { out });
    expect(native.memory()).toMatchObject({ allocations, liveBytes });
  });

  test('buffers are as large as explain says, and prepare makes them', () => {
    const net = new Sequential(makeModules());
    const { scratchBytes } = net.explain([2, 6, 3, 3]);
    // What the layers but the last give: 6 x 6, 12 x 12 and 24 x 24 positions; the first and the third share a buffer.
    expect(scratchBytes).toBe(4 * 2 * (Math.max(16 * 36, 12 * 576) + 8 * 144));
    net.prepare([2, 6, 3, 3]);
    const out = Tensor.empty([2, 3, 48, 48]);
    const { liveBytes } = native.memory();
    net.forward(inputOf(1), { out });
    expect(native.memory().liveBytes).toBe(liveBytes);
  });

  test('many calls at once hold the buffers of two', async () => {
    const net = new Sequential(makeModules());
    const input = inputOf(1, 8);
    await net.prepareAsync(input.shape);
    const { scratchBytes } = net.explain(input.shape);
    const outs = Array.from({ length: 30 }, () => Tensor.empty(net.outputShape(input.shape)));
    const before = native.memory().liveBytes;
    let most = 0;
    const watch = setInterval(() => { most = Math.max(most, native.memory().liveBytes); }, 1);
    await Promise.all(outs.map((out) => net.forwardAsync(input, { out })));
    clearInterval(watch);
    // Two pairs, in blocks that may be a quarter larger, and what the runs of two layers share.
    expect(most - before).toBeLessThan(6 * scratchBytes);
  });
});

describe('abort and dispose', () => {
  test('an abort rejects with the reason, also of calls that wait; the others go on', async () => {
    const net = new Sequential(makeModules());
    const controller = new AbortController();
    const input = inputOf(1, 6);
    const wanted = bits(oneByOne(net.modules, input));
    const kept = net.forwardAsync(input);
    const aborted = Array.from({ length: 6 }, () => net.forwardAsync(input, { signal: controller.signal }));
    const last = net.forwardAsync(input);
    const reason = new Error('enough');
    controller.abort(reason);
    for (const each of aborted) await expect(each).rejects.toBe(reason);
    expect([bits(await kept), bits(await last)]).toEqual([wanted, wanted]);
    await expect(net.forwardAsync(input, { signal: controller.signal })).rejects.toBe(reason);
  });

  test('dispose frees the modules when calls in flight have finished; later calls throw', async () => {
    const net = new Sequential(makeModules());
    const input = inputOf(1);
    const wanted = bits(oneByOne(net.modules, input));
    const pending = Array.from({ length: 5 }, () => net.forwardAsync(input));
    net.dispose();
    net.dispose();
    expect((await Promise.all(pending)).map(bits)).toEqual(pending.map(() => wanted));
    const disposed = { name: 'TypeError', code: 'ERR_CONVTRANSPOSE_DISPOSED', argument: 'this' };
    for (const call of [() => net.forward(input), () => net.forwardAsync(input), () => net.prepare(input.shape), () => net.prepareAsync(input.shape), () => net.explain(input.shape)]) {
      expect(await attempt(call)).toMatchObject(disposed);
    }
    expect(await attempt(() => net.modules[0]?.forward(input))).toMatchObject(disposed);
    expect(net.outputShape(input.shape)).toEqual([2, 3, 48, 48]);
  });

  test('a call that fails gives its buffers back', async () => {
    const net = new Sequential(makeModules());
    for (let i = 0; i < 5; i++) {
      const data = values('mixed', 1, 12);
      const call = net.forwardAsync({ data, shape: [2, 6, 1, 1] });
      detach(data);
      const { code } = await attempt(() => call);
      expect([undefined, 'ERR_CONVTRANSPOSE_DETACHED']).toContain(code);
    }
    expect((await net.forwardAsync(Tensor.zeros([2, 6, 1, 1]))).shape).toEqual([2, 3, 32, 32]);
  });
});

describe('wrong arguments', () => {
  const [first, second] = makeModules() as [ConvTransposeModule, ConvTransposeModule];
  test.each([
    ['no list', first, 'INVALID_TYPE', 'modules'],
    ['an empty list', [], 'INVALID_VALUE', 'modules'],
    ['no module', [first, {}], 'INVALID_TYPE', 'modules[1]'],
    ['channels that do not fit', [second, first], 'SHAPE', 'modules[1]'],
    ['another rank', [new ConvTranspose1d(2, 6, 3), first], 'SHAPE', 'modules[1]'],
    ['another memory format', [first, new ConvTranspose2d(16, 3, 3, { memoryFormat: 'channelsLast' })], 'CONFLICT', 'modules[1]'],
  ])('%s', async (_, modules, code, argument) => {
    expect(await attempt(() => new Sequential(modules as ConvTransposeModule[]))).toMatchObject({ code: `ERR_CONVTRANSPOSE_${code}`, argument });
  });

  const net = new Sequential(makeModules());
  const input = inputOf(1);
  const whole = new Float32Array(2 * 3 * 48 * 48);
  test.each([
    ['an input of other channels', Tensor.zeros([2, 5, 3, 3]), {}, 'SHAPE', 'input'],
    ['an input that is too short', { data: new Float32Array(5), shape: [2, 6, 3, 3] }, {}, 'SHAPE', 'input'],
    ['an out of another shape', input, { out: Tensor.zeros([2, 3, 48, 47]) }, 'SHAPE', 'out'],
    ['an out that overlaps the input', { data: whole.subarray(0, 108), shape: [2, 6, 3, 3] }, { out: { data: whole, shape: [2, 3, 48, 48] } }, 'OVERLAP', 'out'],
    ['no number of threads', input, { numThreads: 0 }, 'INVALID_VALUE', 'numThreads'],
    ['an option of modules', input, { outputSize: 48 }, 'UNKNOWN_OPTION', 'outputSize'],
  ])('%s', async (_, given, options, code, argument) => {
    const wanted = { code: `ERR_CONVTRANSPOSE_${code}`, argument };
    expect(await attempt(() => net.forward(given as Tensor, options as SequentialOptions))).toMatchObject(wanted);
    expect(await attempt(() => net.forwardAsync(given as Tensor, options as SequentialOptions))).toMatchObject(wanted);
  });

  test('a layer that would shrink to nothing is named by the input', async () => {
    const cropping = new Sequential([new ConvTranspose1d(1, 1, 1), new ConvTranspose1d(1, 1, 1, { padding: 5 })]);
    expect(await attempt(() => cropping.outputShape([1, 1, 3]))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_OUTPUT_SIZE' });
  });
});
