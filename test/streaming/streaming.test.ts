/** Streams of ConvTranspose1d: bits, order, errors, and the streams of the web and of Node.js over them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ReadableStream, WritableStream } from 'node:stream/web';

import { describe, expect, test } from '@jest/globals';

import { ConvTranspose1d, cpuInfo, Tensor } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { compare } from '../support/bound';
import { detach } from '../support/buffers';
import { runChildForJson } from '../support/child';
import { oneSided, Random, values } from '../support/data';
import { define } from '../support/definition';
import { failure } from '../support/failure';
import { loadFixtures, nameOf } from '../support/fixtures';
import { makeModule } from '../support/forms';
import { outputShape } from '../support/problem';
import type { StreamingReport } from './run-streaming';

/** Chunkings of all instruction sets together; CONVTRANSPOSE_FUZZ_RUNS=12500 makes more than 10,000 comparisons. */
const runs = Number(process.env['CONVTRANSPOSE_FUZZ_RUNS'] ?? 300);
/** Streams are invariant, so they never run the kernels that amx adds to avx512. */
const supported = cpuInfo().supported.filter((isa) => isa !== 'amx');

describe('bits, against one call on everything', () => {
  test.each(supported)('random layers in random chunks, CONVTRANSPOSE_ISA=%s', async (isa) => {
    const count = Math.ceil(runs / supported.length);
    const report = await runChildForJson<StreamingReport>('streaming/streaming.child', { CONVTRANSPOSE_ISA: isa }, [String(count)]);
    expect(report.failure).toBeNull();
    expect(report.isa).toBe(isa);
    expect(report.compared).toBeGreaterThan(0.6 * count);
    expect(report.compared + report.refused).toBe(count);
  }, 600_000 + runs * 100);

  test.each([Infinity, 0.4])('samples that no product reaches, with a weight of %s and an activation', (weight) => {
    for (let frames = 1; frames < 12; frames++) {
      const make = (invariant: boolean) => new ConvTranspose1d(1, 2, 1, {
        padding: [[0, -1]], activation: 'gelu', invariant, weight: new Tensor(new Float32Array([weight, 0.3]), [1, 2, 1]),
        bias: new Tensor(new Float32Array([-0.1, -0.903058111667633]), [2]),
      });
      const input = { data: new Float32Array(frames).fill(0.3), shape: [1, frames] };
      const stream = make(false).stream();
      expect(concatenated([stream.push(input), stream.flush()])).toEqual(make(true).forward(input));
    }
  });

  test('the same for any number of threads', async () => {
    const layer = new ConvTranspose1d(48, 80, 16, { stride: 8, padding: 4, seed: 3 });
    const input = ramp([48, 160]);
    const wanted = new ConvTranspose1d(48, 80, 16, { stride: 8, padding: 4, seed: 3, invariant: true }).forward(input);
    for (const numThreads of [1, 2, 4]) {
      const stream = layer.stream({ numThreads });
      const first = await stream.pushAsync(slice(input, 0, 100));
      const second = stream.push(slice(input, 100, 160));
      expect(concatenated([first, second, stream.flush()])).toEqual(wanted);
    }
  });
});

test('results of PyTorch, frame by frame and in chunks', () => {
  const random = new Random(77);
  let compared = 0;
  for (const fixture of loadFixtures()) {
    if (fixture.rank !== 1) continue;
    const layer = makeModule(fixture, { weight: fixture.weight, bias: fixture.biasData }) as ConvTranspose1d;
    const input = { data: fixture.input, shape: fixture.batch === null ? [fixture.inChannels, ...fixture.in] : [fixture.batch, fixture.inChannels, ...fixture.in] };
    const definition = define(fixture, fixture.input, fixture.weight, fixture.biasData);
    for (const most of [1, 7]) {
      const stream = layer.stream(fixture.batch === null ? {} : { batch: fixture.batch });
      const chunks: Tensor[] = [];
      for (let first = 0; first < (fixture.in[0] as number);) {
        const next = Math.min(fixture.in[0] as number, first + random.int(1, most));
        chunks.push(stream.push(slice(input, first, next)));
        first = next;
      }
      chunks.push(stream.flush());
      const actual = concatenated(chunks);
      expect([nameOf(fixture), ...actual.shape]).toEqual([nameOf(fixture), ...outputShape(fixture)]);
      const exact = fixture.data === 'integers' || fixture.data === 'ones';
      const { failure: wrong } = compare(actual.data, { ...definition, y: fixture.expected }, !oneSided(fixture.data), exact);
      expect([nameOf(fixture), wrong]).toEqual([nameOf(fixture), null]);
      compared += 1;
    }
    layer.dispose();
  }
  expect(compared).toBeGreaterThan(40);
});

/** Values that tell positions apart, of both signs. */
function ramp(shape: number[], stream = 5): Tensor {
  return new Tensor(values('mixed', stream, shape.reduce((a, b) => a * b, 1)), shape);
}

/** Frames of [..., L]. */
function slice({ data, shape }: { data: Float32Array; shape: readonly number[] }, first: number, last: number): Tensor {
  const length = shape.at(-1) as number;
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const result = new Float32Array(rows * (last - first));
  for (let r = 0; r < rows; r++) result.set(data.subarray(r * length + first, r * length + last), r * (last - first));
  return new Tensor(result, [...shape.slice(0, -1), last - first]);
}

/** Tensors [..., L] side by side. */
function concatenated(tensors: readonly { data: Float32Array; shape: readonly number[] }[]): Tensor {
  const length = tensors.reduce((sum, { shape }) => sum + (shape.at(-1) as number), 0);
  const leading = (tensors[0] as Tensor).shape.slice(0, -1);
  const rows = leading.reduce((a, b) => a * b, 1);
  const result = new Float32Array(rows * length);
  let first = 0;
  for (const { data, shape } of tensors) {
    const count = shape.at(-1) as number;
    for (let r = 0; r < rows; r++) result.set(data.subarray(r * count, (r + 1) * count), r * length + first);
    first += count;
  }
  return new Tensor(result, [...leading, length]);
}

const options = { stride: 4, padding: 2, seed: 1 } as const;
/** 3 channels to 2; samples come 4 a frame. */
const makeLayer = (more: object = {}) => new ConvTranspose1d(3, 2, 8, { ...options, ...more });
const input = ramp([3, 50]);
const whole = (): Tensor => makeLayer({ invariant: true }).forward(input);

describe('push and flush', () => {
  test('give what is final, then the rest, and start anew after reset', () => {
    const stream = makeLayer({ outputPadding: 1 }).stream();
    expect(stream.outputShape(2)).toEqual([2, 6]);
    const wanted = makeLayer({ outputPadding: 1, invariant: true }).forward(input);
    for (let round = 0; round < 2; round++) {
      const chunks = [stream.push(slice(input, 0, 2)), stream.push(slice(input, 2, 2)), stream.push(slice(input, 2, 50))];
      expect(chunks.map(({ shape }) => shape[1])).toEqual([6, 0, 192]);
      expect([stream.framesIn, stream.samplesOut, stream.finished]).toEqual([50, 198, false]);
      chunks.push(stream.flush());
      expect(stream.finished).toBe(true);
      expect(concatenated(chunks)).toEqual(wanted);
      stream.reset();
      expect([stream.framesIn, stream.samplesOut, stream.finished]).toEqual([0, 0, false]);
    }
  });

  test('an end that padding crops is held back, and comes as far as frames follow', () => {
    const layer = new ConvTranspose1d(1, 1, 2, { padding: [[0, 5]], weight: { data: Float32Array.of(1, 10), shape: [1, 1, 2] } });
    const stream = layer.stream();
    const given = [1, 2, 3, 4, 5, 6, 7].map((x) => [...stream.push({ data: Float32Array.of(x), shape: [1, 1] }).data]);
    expect(given).toEqual([[], [], [], [], [1], [12], [23]]);
    expect([...stream.flush().data]).toEqual([]);
  });

  test('without a frame flush gives what forward gives for length 0', async () => {
    for (const more of [{}, { outputPadding: 3 }, { padding: 0 }, { padding: [[0, -3]] }, { padding: 4 }] as const) {
      const layer = makeLayer(more);
      const nothing = { data: new Float32Array(0), shape: [3, 0] };
      let wanted: unknown;
      try {
        wanted = layer.forward(nothing);
      } catch (error) {
        wanted = (error as { code?: string }).code;
      }
      const stream = layer.stream();
      if (typeof wanted === 'string') expect(await failure(() => stream.flush())).toMatchObject({ code: wanted, argument: 'padding' });
      else expect(stream.flush()).toEqual(wanted);
    }
    expect(makeLayer().stream({ batch: 5 }).flush().shape).toEqual([5, 2, 0]);
  });

  test('use new weights from the next chunk on', () => {
    const layer = new ConvTranspose1d(1, 1, 1, { weight: { data: Float32Array.of(2), shape: [1, 1, 1] } });
    const stream = layer.stream();
    const one = { data: Float32Array.of(1), shape: [1, 1] };
    expect([...stream.push(one).data]).toEqual([2]);
    layer.loadStateDict({ weight: { data: Float32Array.of(3), shape: [1, 1, 1] } });
    expect([...stream.push(one).data]).toEqual([3]);
  });

  test('write to out, and allocate nothing in the steady state', () => {
    const stream = makeLayer().stream();
    stream.prepare(5);
    stream.push(slice(input, 0, 5));
    const chunk = slice(input, 5, 10);
    const out = Tensor.empty(stream.outputShape(5));
    expect(stream.push(chunk, { out })).toBe(out);
    stream.push(chunk, { out });
    const before = loadNative().memory().allocations;
    for (let i = 0; i < 1000; i++) stream.push(chunk, { out });
    expect(loadNative().memory().allocations).toBe(before);
  });

  test('keep a bounded state, whatever has passed', () => {
    const stream = makeLayer().stream();
    const random = new Random(5);
    const out = new Float32Array(2 * 4 * 64);
    const push = () => {
      const frames = random.int(0, 60);
      const shape = stream.outputShape(frames);
      stream.push(ramp([3, frames]), { out: { data: out.subarray(0, 2 * (shape[1] as number)), shape } });
    };
    for (let i = 0; i < 500; i++) push();
    const before = loadNative().memory().liveBytes;
    for (let i = 0; i < 3000; i++) push();
    expect(loadNative().memory().liveBytes).toBe(before);
    stream.dispose();
  });

  test('prepare packs and plans ahead', async () => {
    const layer = makeLayer();
    expect(layer.explain([3, 50]).packedWeights).toEqual({});
    await layer.stream().prepareAsync(8);
    expect(Object.keys(layer.explain([3, 50]).packedWeights).length).toBeGreaterThan(0);
  });
});

describe('asynchronous calls', () => {
  test('take turns in the order in which they were made', async () => {
    const stream = makeLayer().stream();
    const settled: number[] = [];
    const calls = [];
    for (let first = 0; first < 50; first += 5) {
      calls.push(stream.pushAsync(slice(input, first, first + 5)).finally(() => settled.push(first)));
    }
    calls.push(stream.flushAsync().finally(() => settled.push(50)));
    expect(concatenated(await Promise.all(calls))).toEqual(whole());
    expect(settled).toEqual([...settled].sort((a, b) => a - b));
    expect(settled).toHaveLength(11);
  });

  test('exclude synchronous ones meanwhile', async () => {
    const stream = makeLayer().stream();
    const call = stream.pushAsync(slice(input, 0, 5));
    const again: Promise<Tensor>[] = []; // the first may have settled meanwhile
    for (const sync of [() => stream.push(slice(input, 5, 6)), () => stream.flush(), () => { stream.reset(); }]) {
      const error = await failure(sync);
      expect(error).toMatchObject({ code: 'ERR_CONVTRANSPOSE_STREAM', argument: 'this' });
      expect(error.message).toMatch(/asynchronous/);
      again.push(stream.pushAsync(slice(input, 0, 0)));
    }
    await Promise.all(again);
    const first = await call;
    expect(concatenated([first, stream.push(slice(input, 5, 50)), stream.flush()])).toEqual(whole());
  });

  test('that fail or are aborted leave the stream as it was', async () => {
    const stream = makeLayer().stream();
    const controller = new AbortController();
    const chunk = slice(input, 20, 50);
    const first = stream.pushAsync(slice(input, 0, 20));
    const aborted = stream.pushAsync(chunk, { signal: controller.signal });
    const wrong = stream.pushAsync({ data: new Float32Array(8), shape: [4, 2] });
    const gone = slice(input, 0, 9);
    const detached = stream.pushAsync(gone);
    detach(gone.data);
    const second = stream.pushAsync(chunk);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    await expect(wrong).rejects.toMatchObject({ code: 'ERR_CONVTRANSPOSE_SHAPE', argument: 'chunk' });
    await expect(detached).rejects.toMatchObject({ code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'chunk' });
    await expect(stream.pushAsync(chunk, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(concatenated([await first, await second, await stream.flushAsync()])).toEqual(whole());
    await expect(stream.flushAsync()).rejects.toMatchObject({ code: 'ERR_CONVTRANSPOSE_STREAM' });
  });

  test('of large chunks are put together in slices between turns of the event loop', async () => {
    const layer = new ConvTranspose1d(8, 1, 2, { stride: 2, seed: 1 });
    const long = ramp([8, 600_000]);
    const stream = layer.stream();
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 0);
    const first = await stream.pushAsync(long);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
    const wanted = new ConvTranspose1d(8, 1, 2, { stride: 2, seed: 1, invariant: true }).forward(long);
    expect(Buffer.compare(Buffer.from(concatenated([first, await stream.flushAsync()]).data.buffer), Buffer.from(wanted.data.buffer, wanted.data.byteOffset, wanted.data.byteLength))).toBe(0);
  });

  test('in flight finish when the stream or the module is disposed of; later ones throw', async () => {
    const layer = makeLayer();
    const stream = layer.stream();
    const other = layer.stream();
    const call = stream.pushAsync(slice(input, 0, 50));
    await sleep(0);
    stream.dispose();
    expect((await call).shape).toEqual([2, 198]);
    for (const late of [() => stream.push(input), () => stream.pushAsync(input), () => stream.flush(), () => { stream.reset(); }, () => stream.outputShape(1), () => { stream.prepare(1); }]) {
      expect(await failure(late)).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DISPOSED', argument: 'this' });
    }
    other.push(slice(input, 0, 5));
    layer.dispose();
    expect(await failure(() => other.push(slice(input, 5, 6)))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DISPOSED' });
    expect(await failure(() => layer.stream())).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DISPOSED' });
  });
});

describe('wrong use', () => {
  const chunk = (shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });
  test.each<[string, () => unknown, string, string]>([
    ['channels', () => makeLayer().stream().push(chunk([4, 2])), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['rank', () => makeLayer().stream().push(chunk([3])), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['rank 4', () => makeLayer().stream().push(chunk([1, 1, 3, 2])), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['channelsLast', () => makeLayer({ memoryFormat: 'channelsLast' }).stream().push(chunk([3, 2])), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['another batch than asked for', () => makeLayer().stream({ batch: 2 }).push(chunk([3, 3, 2])), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['no batch', () => makeLayer().stream({ batch: 2 }).push(chunk([3, 2])), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['another batch than before', () => {
      const stream = makeLayer().stream();
      stream.push(chunk([2, 3, 2]));
      stream.push(chunk([1, 3, 2]));
    }, 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['a batch after none', () => {
      const stream = makeLayer().stream();
      stream.push(chunk([3, 2]));
      stream.push(chunk([1, 3, 2]));
    }, 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['a length that does not fit', () => makeLayer().stream().push({ data: new Float32Array(5), shape: [3, 2] }), 'ERR_CONVTRANSPOSE_SHAPE', 'chunk'],
    ['no tensor', () => makeLayer().stream().push(5 as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'chunk'],
    ['out of another shape', () => makeLayer().stream().push(chunk([3, 2]), { out: chunk([2, 8]) }), 'ERR_CONVTRANSPOSE_SHAPE', 'out'],
    ['out that overlaps', () => {
      const data = new Float32Array(12);
      makeLayer().stream().push({ data: data.subarray(0, 6), shape: [3, 2] }, { out: { data, shape: [2, 6] } });
    }, 'ERR_CONVTRANSPOSE_OVERLAP', 'out'],
    ['a misspelt option', () => makeLayer().stream().push(chunk([3, 2]), { output: chunk([2, 6]) } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'output'],
    ['a misspelt option of the stream', () => makeLayer().stream({ batchSize: 2 } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'batchSize'],
    ['a batch that is none', () => makeLayer().stream({ batch: -1 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'batch'],
    ['threads', () => makeLayer().stream({ numThreads: 0 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'numThreads'],
    ['frames that are none', () => makeLayer().stream().outputShape(1.5), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'frames'],
    ['a signal that is none', () => makeLayer().stream().pushAsync(chunk([3, 2]), { signal: {} as never }), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'signal'],
    ['positions beyond 2^53', () => new ConvTranspose1d(1, 1, 1, { stride: 2 ** 52 }).stream().push(chunk([1, 3])), 'ERR_CONVTRANSPOSE_TOO_LARGE', 'chunk'],
    ['more samples than memory', () => new ConvTranspose1d(1, 1, 1, { stride: 2 ** 45 }).stream().push(chunk([1, 3])), 'ERR_CONVTRANSPOSE_OUT_OF_MEMORY', 'input'],
    ['an algorithm that cannot', () => new ConvTranspose1d(2, 2, 3, { algorithm: 'gemm' }).stream().push(chunk([2, 3])), 'ERR_CONVTRANSPOSE_UNSUPPORTED', 'algorithm'],
    ['push after flush', () => {
      const stream = makeLayer().stream();
      stream.flush();
      stream.push(chunk([3, 2]));
    }, 'ERR_CONVTRANSPOSE_STREAM', 'this'],
    ['flush after flush', () => {
      const stream = makeLayer().stream();
      stream.flush();
      stream.flush();
    }, 'ERR_CONVTRANSPOSE_STREAM', 'this'],
  ])('%s', async (_, call, code, argument) => {
    const error = await failure(call);
    expect(error).toMatchObject({ code, argument });
    expect(error.message).toMatch(code === 'ERR_CONVTRANSPOSE_UNSUPPORTED' ? /cannot run/ : /: expected .*, got /);
  });

  test('a push that fails leaves the stream as it was', () => {
    const stream = makeLayer().stream();
    const first = stream.push(slice(input, 0, 7));
    expect(() => stream.push(slice(input, 7, 30), { out: { data: new Float32Array(4), shape: [2, 2] } })).toThrow(RangeError);
    expect(concatenated([first, stream.push(slice(input, 7, 50)), stream.flush()])).toEqual(whole());
  });

  test('a getter that pushes into the same stream', () => {
    const stream = makeLayer().stream();
    const inner: Tensor[] = [];
    const outer = stream.push({ get data() { inner.push(stream.push(slice(input, 0, 10))); return slice(input, 10, 50).data; }, shape: [3, 40] });
    expect(concatenated([...inner, outer, stream.flush()])).toEqual(whole());
  });
});

/** The input in chunks of 7 frames. */
function chunks(): Tensor[] {
  const result: Tensor[] = [];
  for (let first = 0; first < 50; first += 7) result.push(slice(input, first, Math.min(50, first + 7)));
  return result;
}

describe('streams of the web', () => {
  test('transform end to end', async () => {
    const received: Tensor[] = [];
    await ReadableStream.from(chunks()).pipeThrough(makeLayer().stream().toWeb()).pipeTo(new WritableStream({ write: (samples: Tensor) => { received.push(samples); } }));
    expect(received.every(({ data }) => data.length > 0)).toBe(true);
    expect(concatenated(received)).toEqual(whole());
  });

  test('hold the source back until somebody reads', async () => {
    let pulled = 0;
    const source = new ReadableStream<Tensor>({ pull(controller) { pulled += 1; controller.enqueue(slice(input, 0, 1)); } }, { highWaterMark: 0 });
    const reader = source.pipeThrough(makeLayer().stream().toWeb()).getReader();
    await sleep(30);
    expect(pulled).toBeLessThan(5);
    for (let i = 0; i < 20; i++) await reader.read();
    expect(pulled).toBeGreaterThanOrEqual(20);
    await reader.cancel();
    await sleep(5);
    const stopped = pulled;
    await sleep(20);
    expect(pulled).toBe(stopped);
  });

  test('pass errors on to both sides', async () => {
    const { readable, writable } = makeLayer().stream().toWeb();
    const writer = writable.getWriter();
    const reading = failure(() => readable.getReader().read());
    const writing = failure(() => writer.write({ data: new Float32Array(2), shape: [1, 2] }));
    expect(await reading).toMatchObject({ code: 'ERR_CONVTRANSPOSE_SHAPE', argument: 'chunk' });
    await writing;
    expect(await failure(() => writer.closed)).toMatchObject({ code: 'ERR_CONVTRANSPOSE_SHAPE' });
  });

  test('end when their signal aborts', async () => {
    const controller = new AbortController();
    const stream = makeLayer().stream();
    const endless = new ReadableStream<Tensor>({ pull: (queue) => { queue.enqueue(slice(input, 0, 5)); } });
    let count = 0;
    const reason = new Error('enough');
    const sink = new WritableStream({ write: () => { if (++count === 3) controller.abort(reason); } });
    const piped = endless.pipeThrough(stream.toWeb(), { signal: controller.signal }).pipeTo(sink);
    expect(await failure(() => piped)).toBe(reason);
    await sleep(10);
    stream.reset();
    expect(concatenated([...chunks().map((chunk) => stream.push(chunk)), stream.flush()])).toEqual(whole());
  });
});

describe('streams of Node.js', () => {
  const collect = (received: Tensor[]) => new Writable({ objectMode: true, write(samples: Tensor, _, done) { received.push(samples); done(); } });

  test('transform end to end', async () => {
    const received: Tensor[] = [];
    await pipeline(Readable.from(chunks()), makeLayer().stream().toNode(), collect(received));
    expect(received.every(({ data }) => data.length > 0)).toBe(true);
    expect(concatenated(received)).toEqual(whole());
  });

  test('can be read by for await', async () => {
    const received: Tensor[] = [];
    for await (const samples of Readable.from(chunks()).pipe(makeLayer().stream().toNode())) received.push(samples as Tensor);
    expect(concatenated(received)).toEqual(whole());
  });

  test('hold the source back while the sink is slow', async () => {
    let pulled = 0;
    const source = new Readable({ objectMode: true, highWaterMark: 1, read() { pulled += 1; this.push(slice(input, 0, 1)); } });
    const transform = source.pipe(makeLayer().stream().toNode());
    await sleep(30);
    expect(pulled).toBeLessThan(8);
    source.destroy();
    transform.destroy();
  });

  test('pass errors through the pipeline', async () => {
    const wrong = [slice(input, 0, 5), { data: new Float32Array(2), shape: [1, 2] }];
    expect(await failure(() => pipeline(Readable.from(wrong), makeLayer().stream().toNode(), collect([])))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_SHAPE', argument: 'chunk' });
  });

  test('end when their signal aborts, and the stream can be used again', async () => {
    const stream = makeLayer().stream();
    const controller = new AbortController();
    const received: Tensor[] = [];
    const endless = Readable.from((function* () { for (;;) yield slice(input, 0, 5); })());
    const piped = pipeline(endless, stream.toNode(), new Writable({ objectMode: true, write(samples: Tensor, _, done) { received.push(samples); if (received.length === 3) controller.abort(); done(); } }), { signal: controller.signal });
    expect(await failure(() => piped)).toMatchObject({ name: 'AbortError' });
    await sleep(10);
    stream.reset();
    expect(concatenated([...chunks().map((chunk) => stream.push(chunk)), stream.flush()])).toEqual(whole());
  });
});
