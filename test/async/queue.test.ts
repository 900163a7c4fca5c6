/** The queue of asynchronous calls under load: who goes first, what waits hold, what stays responsive. */
import dns from 'node:dns/promises';
import fs from 'node:fs/promises';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import {
  ConvTranspose2d, Tensor, convTranspose2dAsync, getNumThreads, getQueueLimit, queueDepth, setNumThreads, setQueueLimit,
} from '../../lib/index';
import { loadNative } from '../../lib/native';
import { values } from '../support/data';
import { attempt } from '../support/expect-error';

const native = loadNative();

// On a busy machine, and with narrow vectors, slow calls take long.
jest.setTimeout(120_000);

/** A module of a few microseconds, and an input for it. */
function makeShort(): { layer: ConvTranspose2d; input: Tensor } {
  const layer = new ConvTranspose2d(3, 3, 3, { stride: 2, padding: 1, outputPadding: 1, seed: 1 });
  return { layer, input: new Tensor(values('mixed', 1, 3 * 32 * 32), [1, 3, 32, 32]) };
}

/** A module of at least some milliseconds, and an input for it. */
function makeLong(): { layer: ConvTranspose2d; input: Tensor } {
  return { layer: new ConvTranspose2d(128, 64, 2, { stride: 2, seed: 2 }), input: Tensor.zeros([1, 128, 128, 128]) };
}

/** Notes the names of promises in the order in which they settle. */
class Order {
  readonly names: string[] = [];
  note(name: string, promise: Promise<unknown>): Promise<unknown> {
    const noted = () => this.names.push(name);
    return promise.then(noted, noted);
  }
  before(name: string): number {
    return this.names.indexOf(name);
  }
}

afterEach(() => {
  setQueueLimit(Infinity);
  expect(queueDepth()).toBe(0);
  expect(native.memory()).toMatchObject({ queued: 0, staged: 0 });
});

describe('order', () => {
  test('a short call behind ten long ones does not wait for them; its result is the same', async () => {
    const { layer, input } = makeLong();
    const short = makeShort();
    const expected = [...short.layer.forward(short.input).data];
    await layer.prepareAsync(input.shape);
    const order = new Order();
    const long = Array.from({ length: 10 }, (_, i) => order.note(`long ${i}`, layer.forwardAsync(input)));
    const result = short.layer.forwardAsync(short.input);
    await Promise.all([...long, order.note('short', result)]);
    // Those that run share the processors with it; none that was waiting may come first.
    expect(order.before('short')).toBeLessThanOrEqual(1);
    expect([...(await result).data]).toEqual(expected);
  });

  test('so does a foreign one, and one of the functional form', async () => {
    const { layer, input } = makeLong();
    const weight = new Tensor(values('mixed', 3, 3 * 3 * 9), [3, 3, 3, 3]);
    const foreign = { data: values('mixed', 4, 3 * 32 * 32), shape: [1, 3, 32, 32] };
    await layer.prepareAsync(input.shape);
    const order = new Order();
    const long = Array.from({ length: 10 }, (_, i) =>
      order.note(`long ${i}`, layer.forwardAsync({ data: new Float32Array(input.data), shape: input.shape })));
    const short = order.note('short', convTranspose2dAsync(foreign, weight, null, { stride: 2 }));
    await Promise.all([...long, short]);
    expect(order.before('short')).toBeLessThanOrEqual(1);
  });

  test('a flood of short calls does not hold up a long one', async () => {
    const { layer, input } = makeLong();
    const short = makeShort();
    await layer.prepareAsync(input.shape);
    let done = false;
    let floods = 0;
    const flood = async () => {
      while (!done && floods < 200_000) {
        await short.layer.forwardAsync(short.input);
        floods++;
      }
    };
    const streams = Array.from({ length: 50 }, flood);
    await layer.forwardAsync(input).finally(() => (done = true));
    await Promise.all(streams);
    expect(floods).toBeLessThan(200_000);
  });

  test('long calls keep their order, and all of them use the places that there are', async () => {
    const before = getNumThreads();
    setNumThreads(1); // one of two places is for long calls
    try {
      const { layer, input } = makeLong();
      const order = new Order();
      await Promise.all(Array.from({ length: 5 }, (_, i) => order.note(`long ${i}`, layer.forwardAsync(input))));
      expect(order.names).toEqual([0, 1, 2, 3, 4].map((i) => `long ${i}`));
    } finally {
      setNumThreads(before);
    }
  });
});

describe('depth and limit', () => {
  test('queueDepth counts what has not settled', async () => {
    const { layer, input } = makeShort();
    expect(queueDepth()).toBe(0);
    const pending = Array.from({ length: 10 }, () => layer.forwardAsync(input));
    expect(queueDepth()).toBe(10);
    await Promise.all(pending);
    expect(queueDepth()).toBe(0);
  });

  test('beyond the limit calls reject, and those before them are not touched', async () => {
    const { layer, input } = makeShort();
    expect(getQueueLimit()).toBe(Infinity);
    setQueueLimit(4);
    expect(getQueueLimit()).toBe(4);
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => attempt(() => layer.forwardAsync(input))));
    expect(outcomes.slice(0, 4).map(({ name }) => name)).toEqual([null, null, null, null]);
    for (const outcome of outcomes.slice(4)) expect(outcome).toMatchObject({ name: 'RangeError', code: 'ERR_CONVTRANSPOSE_QUEUE_FULL', argument: '' });
    // Places are free again.
    expect((await layer.forwardAsync(input)).shape).toEqual([1, 3, 64, 64]);
    expect(await attempt(() => layer.prepareAsync([1, 3, 7, 7]))).toMatchObject({ name: null });
  });

  test('an aborted call frees its place at once', async () => {
    const { layer, input } = makeLong();
    const controller = new AbortController();
    setQueueLimit(64);
    const pending = Array.from({ length: 64 }, () => attempt(() => layer.forwardAsync(input, { signal: controller.signal })));
    await new Promise((resolve) => setTimeout(resolve, 3));
    controller.abort(new Error('enough'));
    // The first ones may have ended before: a busy machine is late with the timer.
    const messages = (await Promise.all(pending)).map(({ message }) => message);
    for (const message of messages) expect(['enough', 'nothing was thrown']).toContain(message);
    expect(new Set(messages.slice(32))).toEqual(new Set(['enough']));
    expect(queueDepth()).toBe(0);
    expect((await layer.forwardAsync(input)).shape).toEqual([1, 64, 256, 256]);
  });

  test('a hundred calls may share a signal without a warning, and one abort ends them all', async () => {
    const { layer, input } = makeShort();
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    const controller = new AbortController();
    const pending = Array.from({ length: 100 }, () => attempt(() => layer.forwardAsync(input, { signal: controller.signal })));
    controller.abort(new Error('enough'));
    for (const outcome of await Promise.all(pending)) expect(outcome.message).toBe('enough');
    await new Promise((resolve) => setImmediate(resolve)); // warnings come in a later turn
    process.off('warning', onWarning);
    expect(warnings.filter(({ name }) => name.startsWith('MaxListeners'))).toEqual([]);
  });

  test.each([0, -1, 1.5, NaN, '3', null])('setQueueLimit refuses %p', async (limit) => {
    expect(await attempt(() => setQueueLimit(limit as number))).toMatchObject({
      code: expect.stringMatching(/^ERR_CONVTRANSPOSE_INVALID_(TYPE|VALUE)$/) as unknown, argument: 'limit',
    });
  });
});

describe('a thousand calls of mixed sizes', () => {
  test('hold no memory while they wait', async () => {
    const { layer, input } = makeLong(); // 16 MiB a result
    await layer.forwardAsync(input);
    const before = native.memory().liveBytes;
    const controller = new AbortController();
    const pending = Array.from({ length: 1000 }, () => attempt(() => layer.forwardAsync(input, { signal: controller.signal })));
    const held = native.memory().liveBytes - before;
    controller.abort();
    await Promise.all(pending);
    expect(held).toBeLessThanOrEqual((getNumThreads() + 1) * 2 ** 24);
  });

  test('leave the event loop, files and names alone', async () => {
    const long = makeLong();
    const short = makeShort();
    await long.layer.prepareAsync(long.input.shape);
    const order = new Order();
    const calls: Promise<unknown>[] = [];
    for (let i = 0; i < 1000; i++) {
      const { layer, input } = i % 20 === 0 ? long : short;
      calls.push(order.note(`call ${i}`, layer.forwardAsync(input)));
    }
    let turns = 0;
    let running = true;
    const turn = () => {
      turns += 1;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    const others = [order.note('file', fs.readFile(__filename)), order.note('name', dns.lookup('127.0.0.1'))];
    await Promise.all([...calls, ...others]);
    running = false;
    // Of libuv's threads nothing is used, so that neither waits for the calls.
    expect(order.before('file')).toBeLessThan(900);
    expect(order.before('name')).toBeLessThan(900);
    // Many for each of the fifty long calls.
    expect(turns).toBeGreaterThan(500);
  });
});

describe('abort in the middle', () => {
  const makers = {
    // Many pixels.
    'a layer': async () => {
      const layer = new ConvTranspose2d(128, 128, 4, { stride: 2, padding: 1, seed: 1 });
      const input = Tensor.zeros([2, 128, 128, 128]);
      await layer.prepareAsync(input.shape);
      return () => ({ layer, input });
    },
    // Large weights, packed by the first call of each module.
    packing: () => {
      const weight = Tensor.zeros([1024, 1024, 4, 4]);
      return Promise.resolve(() => ({
        layer: new ConvTranspose2d(1024, 1024, 4, { stride: 2, weight }), input: Tensor.zeros([1, 1024, 1, 1]),
      }));
    },
  };

  test.each(['a layer', 'packing'] as const)('of %s: long before the end', async (where) => {
    const make = await makers[where]();
    const time = async (abortAtOnce: boolean): Promise<number> => {
      const { layer, input } = make();
      const controller = new AbortController();
      const start = performance.now();
      const pending = attempt(() => layer.forwardAsync(input, { signal: controller.signal }));
      await new Promise((resolve) => setImmediate(resolve));
      if (abortAtOnce) controller.abort(new Error('enough'));
      expect((await pending).message).toBe(abortAtOnce ? 'enough' : 'nothing was thrown');
      return performance.now() - start;
    };
    await time(false);
    let whole = 0;
    let aborted = 0;
    for (let i = 0; i < 5; i++) {
      whole += await time(false);
      aborted += await time(true);
    }
    expect(aborted / whole).toBeLessThan(0.7);
  });
});
