/** What the addon refuses by itself, whatever the TypeScript above it does: all that could corrupt memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { loadNative, type NativeFailure } from '../../lib/native';
import { detach, resizableBuffer, shared } from '../support/buffers';
import { runChild } from '../support/child';
import { createLayer, expectedOutput, isClose, makeProblem, outcome } from './problem';

const native = loadNative();
const p = makeProblem(3, 5);
const wanted = expectedOutput(p);
const layer = createLayer(p);
afterAll(() => native.disposeLayer(layer));

const ignore = () => {};

/** What the call throws; fails if it does not throw an error of the addon. */
function failureOf(call: () => unknown): NativeFailure {
  try {
    call();
  } catch (error) {
    const { code, argument, message } = error as NativeFailure;
    expect(code).toMatch(/^ERR_CONVTRANSPOSE_/);
    expect(typeof argument).toBe('string');
    return { code, argument, message };
  }
  throw new Error('expected an error');
}

/** The four ways to compute, synchronous ones first. */
type Operands = { input: Float32Array; weight: Float32Array; bias: Float32Array | null; out: Float32Array };
const forms: Record<string, (o: Operands, call?: Float64Array) => unknown> = {
  forward: (o, call = p.call) => native.forward(layer, call, o.input, o.out, 0),
  run: (o, call = p.call) => native.run(p.layer, call, o.input, o.weight, o.bias, o.out, 0),
  forwardAsync: (o, call = p.call) => native.forwardAsync(layer, call, o.input, o.out, 0, ignore),
  runAsync: (o, call = p.call) => native.runAsync(p.layer, call, o.input, o.weight, o.bias, o.out, 0, ignore),
};
const operands = (): Operands => ({ input: p.input.slice(), weight: p.weight.slice(), bias: p.bias.slice(), out: new Float32Array(p.outLength) });

describe('joined rows', () => {
  const floats = (count: number) => new Float32Array(count);
  const join = (numbers: readonly number[], from = 6, chunk = 4, to = 8) => () => {
    const [held = 3, kept = 2, added = 2, rows = 2, first = 0, count = 2] = numbers;
    native.joinRows(held, kept, added, floats(from), floats(chunk), floats(to), rows, first, count);
  };
  test('are checked against their arrays', () => {
    expect(join([])).not.toThrow();
    for (const wrong of [
      join([3, 4]), join([-1]), join([1.5, 1]), join([NaN]), join([3, 2, 2, 3]), join([3, 2, 2, 2, 1, 2]), join([2 ** 60]), join([3, 2, 2, 2 ** 50]),
      join([], 5), join([], 6, 3), join([], 6, 4, 7),
    ]) expect(failureOf(wrong)).toMatchObject({ code: expect.stringMatching(/INVALID_VALUE|DETACHED/) as unknown });
    const memory = new ArrayBuffer(64);
    const shared = () => { native.joinRows(3, 2, 2, new Float32Array(memory, 0, 6), floats(4), new Float32Array(memory, 8, 8), 2, 0, 2); };
    expect(failureOf(shared)).toMatchObject({ code: 'ERR_CONVTRANSPOSE_OVERLAP' });
  });
});

describe('handles', () => {
  const foreign: [string, unknown][] = [
    ['undefined', undefined], ['null', null], ['a number', 1], ['an object', {}], ['an array', []], ['a function', ignore],
    ['an object that inherits from a handle', Object.create(layer)], ['a proxy of a handle', new Proxy(layer, {})],
    ['a typed array', new Float32Array(4)], ['the addon', native], ['a wrapped object of Node', new AbortController()],
  ];
  test.each(foreign)('%s is none', (_, value) => {
    const handle = value as never;
    for (const call of [
      () => native.forward(handle, p.call, p.input, new Float32Array(p.outLength), 0),
      () => native.forwardAsync(handle, p.call, p.input, new Float32Array(p.outLength), 0, ignore),
      () => native.prepare(handle, p.call),
      () => native.prepareAsync(handle, p.call, ignore),
      () => native.explain(handle, p.call),
      () => native.disposeLayer(handle),
    ]) expect(failureOf(call)).toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'layer' });
  });

  test('a disposed one is refused; disposing of it again is not', () => {
    const own = createLayer(p);
    native.disposeLayer(own);
    native.disposeLayer(own);
    const disposed = { code: 'ERR_CONVTRANSPOSE_DISPOSED' };
    expect(failureOf(() => native.forward(own, p.call, p.input, new Float32Array(p.outLength), 0))).toMatchObject(disposed);
    expect(failureOf(() => native.prepareAsync(own, p.call, ignore))).toMatchObject(disposed);
    expect(failureOf(() => native.explain(own, p.call))).toMatchObject(disposed);
  });

  test('disposed while its calls wait: they finish', async () => {
    const own = createLayer(p);
    const outs = Array.from({ length: 20 }, () => new Float32Array(p.outLength));
    const pending = outs.map((out) => outcome((done) => native.forwardAsync(own, p.call, p.input, out, 0, done)));
    native.disposeLayer(own);
    expect(await Promise.all(pending)).toEqual(outs.map(() => 'done'));
    expect(outs.every((out) => isClose(out, wanted))).toBe(true);
  });
});

describe('descriptions', () => {
  const wrongNumbers = [NaN, Infinity, -Infinity, 0.5, 2 ** 53, -(2 ** 53), 1e300];

  test.each(native.callFields.map((name, slot) => [name, slot] as const))('the slot %s of a call', (name, slot) => {
    const isReal = ['lower', 'upper', 'alpha'].includes(name);
    for (const value of isReal ? [NaN] : wrongNumbers) {
      const call = p.call.slice();
      call[slot] = value;
      for (const form of Object.values(forms)) {
        expect(failureOf(() => form(operands(), call))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_VALUE', argument: `call.${name}` });
      }
    }
    // Whole numbers, however large, are weighed by the core; if it takes them, lengths no longer fit.
    for (const value of isReal ? [] : [-1, 2 ** 31, 2 ** 32 + 1, 2 ** 52, 2 ** 53 - 1]) {
      const call = p.call.slice();
      call[slot] = value;
      for (const form of Object.values(forms)) {
        try {
          form(operands(), call);
        } catch (error) {
          expect((error as NativeFailure).code).toMatch(/^ERR_CONVTRANSPOSE_(INVALID_VALUE|DETACHED|UNSUPPORTED|OUT_OF_MEMORY)$/);
        }
      }
    }
  });

  test.each(native.layerFields.map((name, slot) => [name, slot] as const))('the slot %s of a layer', (name, slot) => {
    for (const value of [...wrongNumbers, -1]) {
      const spec = p.layer.slice();
      spec[slot] = value;
      for (const call of [
        () => native.createLayer(spec, p.weight, p.bias),
        () => native.run(spec, p.call, p.input, p.weight, p.bias, new Float32Array(p.outLength), 0),
      ]) {
        const { code, argument } = failureOf(call);
        expect(code).toBe('ERR_CONVTRANSPOSE_INVALID_VALUE');
        if (wrongNumbers.includes(value)) expect(argument).toBe(`layer.${name}`);
      }
    }
    // Strides and dilations may be as large as that; sizes then have no weights to match.
    for (const value of [2 ** 31, 2 ** 32 + 1, 2 ** 52, 2 ** 53 - 1]) {
      const spec = p.layer.slice();
      spec[slot] = value;
      try {
        native.disposeLayer(native.createLayer(spec, p.weight, p.bias));
        expect(name).toMatch(/^(stride|dilation)/);
      } catch (error) {
        expect((error as NativeFailure).code).toMatch(/^ERR_CONVTRANSPOSE_(INVALID_VALUE|DETACHED)$/);
      }
    }
  });

  test('of the wrong type or length', () => {
    for (const wrong of [undefined, null, 3, [], {}, [...p.call], p.call.subarray(1), new Float64Array(p.call.length + 1), new Float32Array(p.call.length)]) {
      expect(failureOf(() => native.forward(layer, wrong as never, p.input, new Float32Array(p.outLength), 0)))
        .toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'call' });
      expect(failureOf(() => native.createLayer(wrong as never, p.weight, p.bias)))
        .toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'layer' });
    }
  });

  test('may lie in shared memory', () => {
    const call = new Float64Array(new SharedArrayBuffer(p.call.byteLength));
    call.set(p.call);
    const out = new Float32Array(p.outLength);
    native.forward(layer, call, p.input, out, 0);
    expect(isClose(out, wanted)).toBe(true);
  });
});

describe.each(Object.entries(forms))('the operands of %s', (name, form) => {
  const used = name.startsWith('run') ? ['input', 'weight', 'bias', 'out'] as const : ['input', 'out'] as const;

  test.each(used)('%s: anything but a Float32Array', (which) => {
    for (const wrong of [undefined, 1, 'x', [], {}, new Float64Array(1000), new Int32Array(1000), new DataView(new ArrayBuffer(4000)), new ArrayBuffer(4000)]) {
      expect(failureOf(() => form({ ...operands(), [which]: wrong as never })))
        .toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: which });
    }
  });

  test.each(used)('%s: too short, detached, shrunk', (which) => {
    const gone = { code: 'ERR_CONVTRANSPOSE_DETACHED', argument: which };
    const whole = operands()[which] as Float32Array;
    expect(failureOf(() => form({ ...operands(), [which]: whole.subarray(1) }))).toMatchObject(gone);
    expect(failureOf(() => form({ ...operands(), [which]: shared(whole).subarray(1) }))).toMatchObject(gone);
    detach(whole);
    expect(failureOf(() => form({ ...operands(), [which]: whole }))).toMatchObject(gone);

    const bytes = (operands()[which] as Float32Array).byteLength;
    const buffer = resizableBuffer(bytes + 8, 2 * bytes + 8);
    const [fixed, tracking] = [new Float32Array(buffer, 8, bytes / 4), new Float32Array(buffer, 8)];
    buffer.resize(bytes);
    expect(failureOf(() => form({ ...operands(), [which]: fixed }))).toMatchObject(gone);
    expect(failureOf(() => form({ ...operands(), [which]: tracking }))).toMatchObject(gone);
    buffer.resize(0);
    expect(failureOf(() => form({ ...operands(), [which]: fixed }))).toMatchObject(gone);
    expect(failureOf(() => form({ ...operands(), [which]: tracking }))).toMatchObject(gone);
  });

  test('out that overlaps another, also through two objects for the same shared memory', () => {
    for (const which of used) {
      if (which === 'out') continue;
      const memory = new SharedArrayBuffer(8000);
      const length = (operands()[which] as Float32Array).length;
      const read = new Float32Array(memory, 0, length).fill(1);
      const overlapping = new Float32Array(structuredClone(memory), 4 * (length - 1), p.outLength);
      const expected = { code: 'ERR_CONVTRANSPOSE_OVERLAP', argument: 'out', message: expect.stringContaining(which) as unknown };
      expect(failureOf(() => form({ ...operands(), [which]: read, out: overlapping }))).toMatchObject(expected);
      const apart = new Float32Array(memory, 4 * length, p.outLength);
      form({ ...operands(), [which]: read, out: apart });
    }
  });

  test('too few arguments', () => {
    const methods = native as unknown as Record<string, (this: void, ...given: unknown[]) => void>;
    const method = methods[name] as (this: void, ...given: unknown[]) => void;
    const all = name.startsWith('run')
      ? [p.layer, p.call, p.input, p.weight, p.bias, new Float32Array(p.outLength), 0]
      : [layer, p.call, p.input, new Float32Array(p.outLength), 0];
    for (let count = 0; count < all.length; count++) failureOf(() => method(...all.slice(0, count)));
    if (name.endsWith('Async')) expect(failureOf(() => method(...all)).argument).toBe('done');
  });
});

describe('numbers of threads, sizes and tickets', () => {
  test.each([NaN, -1, Infinity, 2 ** 31, '1', null, undefined, {}, 1n])('%p threads', (threads) => {
    const wrong = { argument: 'numThreads' };
    expect(failureOf(() => native.forward(layer, p.call, p.input, new Float32Array(p.outLength), threads as never))).toMatchObject(wrong);
    expect(failureOf(() => native.setNumThreads(threads as never))).toMatchObject(wrong);
  });

  test.each([NaN, -1, 0.5, 2 ** 53, Infinity, '1', null, undefined, 1n])('%p bytes', (bytes) => {
    expect(failureOf(() => native.allocate(bytes as never))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_VALUE', argument: 'bytes' });
  });

  test.each([2 ** 44, 2 ** 50, 2 ** 53 - 1])('%p bytes are more than there are', (bytes) => {
    expect(failureOf(() => native.allocate(bytes)).code).toBe('ERR_CONVTRANSPOSE_OUT_OF_MEMORY');
  });

  test('no bytes are an empty buffer', () => {
    expect(native.allocate(0).byteLength).toBe(0);
  });

  test.each([NaN, -1, 0, 0.5, 1e18, 2 ** 53, Infinity, '1', null, undefined, {}, 1n])('ticket %p: nothing happens', (ticket) => {
    native.abort(ticket as never);
  });
});

describe('allocate', () => {
  test('gives memory that asynchronous calls use in place, like shared memory; other arrays are staged', async () => {
    const own = (from: Float32Array) => {
      const copy = new Float32Array(native.allocate(from.byteLength));
      copy.set(from);
      return copy;
    };
    const foreign = (from: Float32Array) => from.slice();
    for (const [hold, staged] of [[own, false], [shared, false], [foreign, true]] as const) {
      const [input, weight, bias, out] = [hold(p.input), hold(p.weight), hold(p.bias), hold(new Float32Array(p.outLength))];
      const before = native.memory().liveBytes;
      const pending = outcome((done) => native.runAsync(p.layer, p.call, input, weight, bias, out, 0, done));
      const copies = native.memory().liveBytes - before;
      if (staged) expect(copies).toBeGreaterThanOrEqual(input.byteLength + weight.byteLength + bias.byteLength + out.byteLength);
      // The call may be packing its weights already, in memory of one size class (a quarter of a power of two).
      else expect([0, 640]).toContain(copies);
      expect(await pending).toBe('done');
      expect(isClose(out, wanted)).toBe(true);
    }
  });

  test('gives memory that cannot be taken away', () => {
    const buffer = native.allocate(64);
    try {
      structuredClone(buffer, { transfer: [buffer] }); // copies it in Node 20 and before, throws in later ones
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    }
    expect(buffer.byteLength).toBe(64);
  });

  test('gives views at any offset, which calls accept', async () => {
    const buffer = native.allocate(4 * (p.outLength + 3));
    const out = new Float32Array(buffer, 12, p.outLength);
    expect(await outcome((done) => native.runAsync(p.layer, p.call, p.input, p.weight, p.bias, out, 0, done))).toBe('done');
    expect(isClose(out, wanted)).toBe(true);
  });
});

describe('loading', () => {
  const empty = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-'));
  afterAll(() => rmSync(empty, { recursive: true }));
  let stdout = '';
  beforeAll(async () => {
    ({ stdout } = await runChild('lifecycle/load.child', { CONVTRANSPOSE_PREBUILD: empty }));
  });

  test('without a binary: an error that says what to do', () => {
    const error = JSON.parse(stdout) as { code: string; argument: string; message: string };
    expect(error).toMatchObject({ code: 'ERR_CONVTRANSPOSE_NO_BINARY', argument: '' });
    for (const part of [`${process.platform}-${process.arch}`, process.version, 'prebuilds', path.join('build', 'Release'), 'npm rebuild convtranspose', 'cmake']) {
      expect(error.message).toContain(part);
    }
  });

  test('happens once', () => {
    expect(loadNative()).toBe(native);
  });

  test('the version is that of the package', () => {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- the manifest lies outside of the sources
    const { version } = require('../../package.json') as { version: string };
    expect(native.version).toBe(version);
  });
});
