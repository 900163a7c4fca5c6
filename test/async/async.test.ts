import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';

import { ConvTranspose2d, Tensor, convTranspose2d, convTranspose2dAsync, getNumThreads, setNumThreads } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { detach, resizableBuffer, shared } from '../support/buffers';
import { values } from '../support/data';
import { attempt } from '../support/expect-error';

const native = loadNative();

// On a busy machine, and with narrow vectors, slow calls take long.
jest.setTimeout(60_000);

/** 16 channels to 8, k4 s2 p1: [1, 16, size, size] gives [1, 8, 2*size, 2*size]. */
const weight = new Tensor(values('mixed', 1, 16 * 8 * 16), [16, 8, 4, 4]);
const bias = new Tensor(values('mixed', 2, 8), [8]);
const options = { stride: 2, padding: 1 } as const;

function inputOf(size: number, stream = 3): { data: Float32Array; shape: number[] } {
  return { data: values('mixed', stream, 16 * size * size), shape: [1, 16, size, size] };
}

function makeLayer(): ConvTranspose2d {
  return new ConvTranspose2d(16, 8, 4, { ...options, weight, bias });
}

/** A convolution that takes tens of milliseconds at least: time to do something meanwhile. */
function makeSlow(): { layer: ConvTranspose2d; input: Tensor } {
  const layer = new ConvTranspose2d(128, 128, 4, { ...options, seed: 1 });
  const input = Tensor.zeros([2, 128, 96, 96]);
  return { layer, input };
}

async function nothingLeft(): Promise<void> {
  const { queued, staged } = native.memory();
  expect({ queued, staged }).toEqual({ queued: 0, staged: 0 });
}

describe('concurrency', () => {
  test('fifty calls in flight give what fifty calls one after the other give', async () => {
    const layers = [makeLayer(), makeLayer()];
    const inputs = Array.from({ length: 50 }, (_, i) => inputOf(5 + (i % 7), 100 + i));
    const expected = inputs.map((input) => convTranspose2d(input, weight, bias, options));
    const results = await Promise.all(inputs.map((input, i) =>
      i % 3 === 2 ? convTranspose2dAsync(input, weight, bias, options) : (layers[i % 2] as ConvTranspose2d).forwardAsync(input)));
    results.forEach((result, i) => {
      expect(result.shape).toEqual(expected[i]?.shape);
      expect(Buffer.from(result.data.buffer, result.data.byteOffset, result.data.byteLength)
        .equals(Buffer.from((expected[i] as Tensor).data.buffer, (expected[i] as Tensor).data.byteOffset, (expected[i] as Tensor).data.byteLength))).toBe(true);
    });
    layers.forEach((layer) => layer.dispose());
    await nothingLeft();
  });

  test('synchronous calls while others are in flight', async () => {
    const { layer, input } = makeSlow();
    const pending = layer.forwardAsync(input);
    const small = makeLayer();
    const x = inputOf(6);
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    expect([...small.forward(x).data]).toEqual(expected);
    await pending;
    expect([...small.forward(x).data]).toEqual(expected);
  });

  test('a small call does not wait for the large ones that run', async () => {
    const { layer, input } = makeSlow();
    const order: string[] = [];
    // One call more than there are threads may run at a time.
    const large = Array.from({ length: getNumThreads() }, () => layer.forwardAsync(input).then(() => order.push('large')));
    const small = makeLayer().forwardAsync(inputOf(4)).then(() => order.push('small'));
    await Promise.all([...large, small]);
    expect(order[0]).toBe('small');
  });

  test('a thousand queued calls hold references, not copies', async () => {
    const layer = makeLayer();
    const input = inputOf(32); // foreign memory: staged
    const pending = Array.from({ length: 1000 }, () => layer.forwardAsync(input));
    expect(native.memory().staged).toBeLessThanOrEqual(getNumThreads() + 1);
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, native.memory().staged)), 0);
    const results = await Promise.all(pending);
    clearInterval(watch);
    expect(most).toBeLessThanOrEqual(getNumThreads() + 1);
    const expected = [...convTranspose2d(input, weight, bias, options).data];
    expect([...(results[999] as Tensor).data]).toEqual(expected);
    await nothingLeft();
  });

  test('prepareAsync plans and packs; forward then gives the same', async () => {
    const layer = makeLayer();
    await Promise.all([layer.prepareAsync([1, 16, 9, 9]), layer.prepareAsync([2, 16, 9, 9])]);
    const x = inputOf(9);
    expect([...layer.forward(x).data]).toEqual([...makeLayer().forward(x).data]);
  });
});

describe('the event loop', () => {
  test('goes on while a call runs', async () => {
    const { layer, input } = makeSlow();
    await layer.prepareAsync(input.shape);
    let ticks = 0;
    let running = true;
    const tick = () => {
      ticks += 1;
      if (running) setImmediate(tick);
    };
    setImmediate(tick);
    await layer.forwardAsync(input);
    running = false;
    expect(ticks).toBeGreaterThan(20);
  });

  test('goes on while a large foreign input is copied', async () => {
    const layer = new ConvTranspose2d(1, 1, 1, { weight: new Tensor(Float32Array.of(2), [1, 1, 1, 1]) });
    const data = new Float32Array(24 * 1024 * 1024).fill(1.5);
    let ticks = 0;
    let running = true;
    const tick = () => {
      ticks += 1;
      if (running) setImmediate(tick);
    };
    setImmediate(tick);
    const result = await layer.forwardAsync({ data, shape: [1, 1, 4096, 6144] });
    running = false;
    expect(result.data.every((value) => value === 3)).toBe(true);
    expect(ticks).toBeGreaterThan(5);
  });
});

describe('abort', () => {
  test('before the call: rejects with the reason, and reads nothing', async () => {
    const layer = makeLayer();
    const reason = new Error('not wanted any more');
    const pending = layer.forwardAsync(inputOf(4), { signal: AbortSignal.abort(reason) });
    await expect(pending).rejects.toBe(reason);
    await expect(convTranspose2dAsync(inputOf(4), weight, bias, { ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(layer.prepareAsync([1, 16, 4, 4], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await nothingLeft();
  });

  test('without a reason: an AbortError', async () => {
    await expect(makeLayer().forwardAsync(inputOf(4), { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('during the call: rejects early, and the layer goes on working', async () => {
    const { layer, input } = makeSlow();
    await layer.prepareAsync(input.shape);
    const whole = process.hrtime.bigint();
    await layer.forwardAsync(input);
    const wholeTime = process.hrtime.bigint() - whole;

    const controller = new AbortController();
    const reason = { why: 'any value is a reason' };
    const start = process.hrtime.bigint();
    const pending = Array.from({ length: 8 }, () => layer.forwardAsync(input, { signal: controller.signal }));
    setImmediate(() => controller.abort(reason));
    const outcomes = await Promise.allSettled(pending);
    const time = process.hrtime.bigint() - start;
    expect(outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as unknown) : 'fulfilled')))
      .toEqual(Array(8).fill(reason));
    // Eight of them would take eight times as long.
    expect(Number(time) / Number(wholeTime)).toBeLessThan(4);
    await nothingLeft();
    const result = await layer.forwardAsync(input);
    expect(result.shape).toEqual([2, 128, 192, 192]);
  });

  test('of one call leaves the others alone', async () => {
    const layer = makeLayer();
    const x = inputOf(40);
    const controller = new AbortController();
    const kept = Array.from({ length: 5 }, () => layer.forwardAsync(x));
    const dropped = Array.from({ length: 5 }, () => layer.forwardAsync(x, { signal: controller.signal }));
    controller.abort();
    const outcomes = await Promise.allSettled(dropped);
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toEqual([]);
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    for (const result of await Promise.all(kept)) expect([...result.data]).toEqual(expected);
  });

  test('after the call: nothing happens', async () => {
    const controller = new AbortController();
    const result = await makeLayer().forwardAsync(inputOf(4), { signal: controller.signal });
    controller.abort();
    expect(result.shape).toEqual([1, 8, 8, 8]);
    expect([...result.data].every(Number.isFinite)).toBe(true);
  });

  test('leaves no listener behind', async () => {
    const controller = new AbortController();
    let added = 0;
    let removed = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = ((...args: Parameters<typeof add>) => (added++, add(...args)));
    signal.removeEventListener = ((...args: Parameters<typeof remove>) => (removed++, remove(...args)));
    for (let i = 0; i < 5; i++) await makeLayer().forwardAsync(inputOf(4), { signal });
    expect(removed).toBe(added);
  });
});

describe('memory that goes away', () => {
  test('an input that is detached while its call waits in the queue: ERR_CONVTRANSPOSE_DETACHED', async () => {
    const { layer, input } = makeSlow();
    const small = makeLayer();
    const running = Array.from({ length: getNumThreads() + 3 }, () => layer.forwardAsync(input));
    const inputs = Array.from({ length: 40 }, (_, i) => inputOf(6, 300 + i));
    const expected = inputs.map((x) => [...convTranspose2d(x, weight, bias, options).data]);
    const pending = inputs.map((x) => small.forwardAsync(x));
    inputs.forEach((x) => detach(x.data));
    const outcomes = await Promise.allSettled(pending);
    outcomes.forEach((outcome, i) => {
      if (outcome.status === 'fulfilled') expect([...outcome.value.data]).toEqual(expected[i]);
      else expect(outcome.reason).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'input' });
    });
    // At most threads + 1 calls were staged when the memory went.
    expect(outcomes.filter((outcome) => outcome.status === 'rejected').length).toBeGreaterThanOrEqual(40 - (getNumThreads() + 1));
    await Promise.all(running);
    await nothingLeft();
  });

  test('a foreign out that is detached: ERR_CONVTRANSPOSE_DETACHED, nothing written', async () => {
    const { layer, input } = makeSlow();
    const target = new Float32Array(2 * 128 * 192 * 192);
    const pending = layer.forwardAsync(input, { out: { data: target, shape: [2, 128, 192, 192] } });
    detach(target);
    await expect(pending).rejects.toMatchObject({ code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'out' });
    await nothingLeft();
  });

  test('weights and bias of the functional form that are detached', async () => {
    const { layer, input } = makeSlow();
    const running = Array.from({ length: getNumThreads() + 3 }, () => layer.forwardAsync(input));
    for (const which of ['weight', 'bias'] as const) {
      const own = { weight: weight.data.slice(), bias: bias.data.slice() };
      const x = inputOf(5);
      const expected = [...convTranspose2d(x, weight, bias, options).data];
      const pending = convTranspose2dAsync(x, { data: own.weight, shape: [16, 8, 4, 4] }, { data: own.bias, shape: [8] }, options);
      detach(own[which]);
      const outcome = await pending.then((y) => [...y.data], (error: unknown) => error);
      if (Array.isArray(outcome)) expect(outcome).toEqual(expected);
      else expect(outcome).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DETACHED', argument: which });
    }
    await Promise.all(running);
  });

  test('a resizable input that shrinks while it waits', async () => {
    const { layer, input } = makeSlow();
    const small = makeLayer();
    const running = Array.from({ length: getNumThreads() + 3 }, () => layer.forwardAsync(input));
    const attempts = [];
    for (let i = 0; i < 10; i++) {
      const buffer = resizableBuffer(16 * 36 * 4, 16 * 36 * 4);
      const pending = attempt(() => small.forwardAsync({ data: new Float32Array(buffer), shape: [1, 16, 6, 6] }));
      buffer.resize(0);
      attempts.push(pending);
    }
    for (const outcome of await Promise.all(attempts)) {
      if (outcome.name !== null) expect(outcome).toMatchObject({ code: expect.stringMatching(/^ERR_CONVTRANSPOSE_/) as unknown, argument: 'input' });
    }
    await Promise.all(running);
    await nothingLeft();
  });

  test('memory of this package stays valid for the call, whatever happens to the Tensor', async () => {
    const layer = makeLayer();
    const x = inputOf(24);
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    let own: Tensor | null = Tensor.empty(x.shape);
    own.data.set(x.data);
    const pending = Array.from({ length: 20 }, () => layer.forwardAsync(own as Tensor));
    // Node may refuse to transfer memory of addons; the call must be right or refused either way.
    try {
      structuredClone(own.data.buffer, { transfer: [own.data.buffer as ArrayBuffer] });
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    }
    own = null;
    for (const outcome of await Promise.allSettled(pending)) {
      if (outcome.status === 'fulfilled') expect([...outcome.value.data]).toEqual(expected);
      else expect(outcome.reason).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'input' });
    }
  });
});

describe('results', () => {
  test('a foreign out is filled when the call settles, and no sooner read than complete', async () => {
    const layer = makeLayer();
    const x = inputOf(12);
    const target = new Float32Array(8 * 24 * 24).fill(7);
    const result = await layer.forwardAsync(x, { out: { data: target, shape: [1, 8, 24, 24] } });
    expect(result.data).toBe(target);
    expect([...target]).toEqual([...convTranspose2d(x, weight, bias, options).data]);
  });

  test('a Tensor as out is the very result', async () => {
    const out = Tensor.empty([1, 8, 24, 24]);
    const x = inputOf(12);
    expect(await makeLayer().forwardAsync(x, { out })).toBe(out);
    expect([...out.data]).toEqual([...convTranspose2d(x, weight, bias, options).data]);
  });

  test('an aborted call leaves a foreign out as it was', async () => {
    const { layer, input } = makeSlow();
    await layer.prepareAsync(input.shape);
    const controller = new AbortController();
    const target = new Float32Array(2 * 128 * 192 * 192).fill(7);
    const pending = layer.forwardAsync(input, { signal: controller.signal, out: { data: target, shape: [2, 128, 192, 192] } });
    setImmediate(() => controller.abort());
    await expect(pending).rejects.toMatchObject({ name: 'AbortError' });
    expect(target.every((value) => value === 7)).toBe(true);
  });

  test('shared memory is read and written in place', async () => {
    const x = inputOf(10);
    const out = new Float32Array(new SharedArrayBuffer(4 * 8 * 20 * 20));
    const result = await makeLayer().forwardAsync({ data: shared(x.data), shape: x.shape }, { out: { data: out, shape: [1, 8, 20, 20] } });
    expect(result.data).toBe(out);
    expect([...out]).toEqual([...convTranspose2d(x, weight, bias, options).data]);
  });

  test('shared memory is accepted everywhere', async () => {
    const x = inputOf(5);
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    const tensors = [{ data: shared(x.data), shape: x.shape }, { data: shared(weight.data), shape: [16, 8, 4, 4] }, { data: shared(bias.data), shape: [8] }] as const;
    expect([...convTranspose2d(...tensors, options).data]).toEqual(expected);
    expect([...(await convTranspose2dAsync(...tensors, options)).data]).toEqual(expected);
    const layer = new ConvTranspose2d(16, 8, 4, { ...options, weight: tensors[1], bias: tensors[2] });
    expect([...layer.forward(tensors[0]).data]).toEqual(expected);
  });

  test('input changed after the call has settled does not change the result', async () => {
    const x = inputOf(6);
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    const result = await makeLayer().forwardAsync(x);
    x.data.fill(NaN);
    expect([...result.data]).toEqual(expected);
  });
});

describe('dispose', () => {
  test('in-flight work finishes, later calls throw', async () => {
    const layer = makeLayer();
    const x = inputOf(30);
    const pending = Array.from({ length: 10 }, () => layer.forwardAsync(x));
    layer.dispose();
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    for (const result of await Promise.all(pending)) expect([...result.data]).toEqual(expected);
    const disposed = { name: 'TypeError', code: 'ERR_CONVTRANSPOSE_DISPOSED' };
    expect(await attempt(() => layer.forward(x))).toMatchObject(disposed);
    expect(await attempt(() => layer.forwardAsync(x))).toMatchObject(disposed);
    expect(await attempt(() => layer.prepare(x.shape))).toMatchObject(disposed);
    layer.dispose();
  });
});

describe('number of threads', () => {
  const before = getNumThreads();
  beforeAll(() => setNumThreads(2));
  afterAll(() => setNumThreads(before));

  test('can change while calls are in flight', async () => {
    const layer = makeLayer();
    const x = inputOf(32);
    const pending = [];
    for (let i = 0; i < 40; i++) {
      setNumThreads(1 + (i % 5));
      expect(getNumThreads()).toBe(1 + (i % 5));
      pending.push(layer.forwardAsync(x));
    }
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    for (const result of await Promise.all(pending)) expect([...result.data]).toEqual(expected);
  });
});
