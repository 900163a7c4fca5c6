/**
 * Scenes of the life of a process, each in a process of its own: a crash there is a failed test here. The first argument
 * names the scene; one that ends as it should leaves with status 0, most after printing 'fine'.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { fork } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { MessageChannel, Worker, isMainThread, parentPort } from 'node:worker_threads';

import { ConvTranspose2d, Tensor, cpuInfo } from '../../lib/index';
import { loadNative, type NativeCallback } from '../../lib/native';
import { algorithms } from '../../lib/options';
import { resizableBuffer, shared } from '../support/buffers';
import { createLayer, delay, expectedOutput, isClose, makeDoubling, makeProblem, nextTurn, outcome, type Problem } from './problem';

declare const gc: () => void;

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not so: ${what}`);
}

/** Starts another scene in a worker thread. */
function startWorker(scene: string): Worker {
  return new Worker(__filename, { argv: [scene] });
}

/** Resolves with the worker's exit code; rejects with an error thrown in it. */
function ended(worker: Worker): Promise<number> {
  return new Promise((resolve, reject) => {
    worker.once('exit', resolve);
    worker.once('error', reject);
  });
}

/** Calls on memory of every kind, so that all of copying in, running and copying out is in progress. */
function startCalls(count: number): Promise<string>[] {
  const native = loadNative();
  const p = makeProblem(32, 48);
  const layer = createLayer(p);
  return Array.from({ length: count }, (_, i) => {
    const out = i % 2 === 0 ? new Float32Array(p.outLength) : new Float32Array(native.allocate(4 * p.outLength));
    const input = i % 3 === 0 ? shared(p.input) : p.input;
    return outcome((done) => i % 5 === 4
      ? native.runAsync(p.layer, p.call, input, p.weight, p.bias, out, 0, done)
      : native.forwardAsync(layer, p.call, input, out, 0, done));
  });
}

/**
 * Starts a call whose handle and input nothing but the call can reach, and checks its output. No closure may mention them here:
 * V8 would keep them alive for as long as any closure of the same scope lives.
 */
function startUnreachable(p: Problem, i: number, wanted: Float32Array): Promise<boolean> {
  const native = loadNative();
  let resolve!: (right: boolean) => void;
  const result = new Promise<boolean>((settle) => (resolve = settle));
  const out = i % 2 === 0 ? new Float32Array(new SharedArrayBuffer(4 * p.outLength)) : new Float32Array(native.allocate(4 * p.outLength));
  const input = i % 3 === 0 ? shared(p.input) : i % 3 === 1 ? p.input.slice() : new Float32Array(native.allocate(p.input.byteLength));
  input.set(p.input);
  native.forwardAsync(createLayer(p), p.call, input, out, 0, reportTo(resolve, out, wanted));
  return result;
}

function reportTo(resolve: (right: boolean) => void, out: Float32Array, wanted: Float32Array): NativeCallback {
  return (failure) => resolve(failure === null && isClose(out, wanted));
}

/** Runs and checks a few calls of every form. */
async function work(rounds: number): Promise<void> {
  const native = loadNative();
  const p = makeProblem(6, 9);
  const layer = createLayer(p);
  const wanted = expectedOutput(p);
  for (let round = 0; round < rounds; round++) {
    const out = Array.from({ length: 6 }, (_, i) => i % 2 === 0 ? new Float32Array(p.outLength) : new Float32Array(native.allocate(4 * p.outLength)));
    const [a, b, c, d, e, f] = out as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
    native.forward(layer, p.call, p.input, a, 0);
    native.run(p.layer, p.call, p.input, p.weight, p.bias, b, 0);
    const outcomes = await Promise.all([
      outcome((done) => native.forwardAsync(layer, p.call, p.input, c, 0, done)),
      outcome((done) => native.forwardAsync(layer, p.call, p.input, d, 0, done)),
      outcome((done) => native.runAsync(p.layer, p.call, p.input, p.weight, p.bias, e, 0, done)),
      outcome((done) => native.runAsync(p.layer, p.call, shared(p.input), shared(p.weight), shared(p.bias), f, 0, done)),
    ]);
    check(outcomes.every((each) => each === 'done'), 'every call succeeds');
    check(out.every((each) => isClose(each, wanted)), 'every result is right');
  }
  native.disposeLayer(layer);
}

/** Names of the threads of this process that are the pool's. */
function poolThreads(): string[] {
  const tasks = '/proc/self/task';
  return readdirSync(tasks).map((id) => readFileSync(path.join(tasks, id, 'comm'), 'utf8').trim()).filter((name) => name.startsWith('convtransp'));
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
}

const scenes: Record<string, () => Promise<void> | void> = {
  // ---- process.exit()
  'exit-at-once': () => {
    void startCalls(200);
    process.exit(0);
  },
  'exit-while-running': async () => {
    void startCalls(200);
    await delay(15);
    process.exit(0);
  },
  'exit-in-callback': async () => {
    await Promise.race(startCalls(50));
    process.exit(0);
  },
  'exit-in-callback-itself': () => {
    const native = loadNative();
    const p = makeProblem(8, 16);
    const layer = createLayer(p);
    for (let i = 0; i < 20; i++) {
      native.forwardAsync(layer, p.call, p.input, new Float32Array(p.outLength), 0, () => process.exit(0));
    }
  },
  'uncaught-with-work-in-flight': async () => {
    void startCalls(50);
    await delay(5);
    throw new Error('on purpose');
  },

  // ---- the event loop
  'stays-alive': () => {
    const pending = startCalls(20);
    let settled = 0;
    for (const each of pending) void each.then(() => (settled += 1));
    // Nothing but the calls keeps the process alive, and nothing keeps it alive after them.
    process.once('exit', () => {
      check(settled === 20, 'the process outlives its calls');
      console.log('fine');
    });
  },
  'callback-throws': async () => {
    const native = loadNative();
    const p = makeProblem(4, 8);
    const layer = createLayer(p);
    const caught: unknown[] = [];
    process.on('uncaughtException', (error) => caught.push(error));
    const thrown = Array.from({ length: 5 }, (_, i) => new Error(`on purpose ${i}`));
    let called = 0;
    for (const error of thrown) {
      native.forwardAsync(layer, p.call, p.input, new Float32Array(p.outLength), 0, () => {
        called += 1;
        throw error;
      });
    }
    check(await outcome((done) => native.forwardAsync(layer, p.call, p.input, new Float32Array(p.outLength), 0, done)) === 'done',
      'a later call settles');
    while (called < 5) await nextTurn();
    await nextTurn();
    check(caught.length === 5 && thrown.every((error) => caught.includes(error)), 'every exception arrives, unchanged');
    console.log('fine');
  },
  'async-local-storage': async () => {
    const native = loadNative();
    const p = makeProblem(4, 8);
    const layer = createLayer(p);
    const storage = new AsyncLocalStorage<number>();
    const seen = await Promise.all(Array.from({ length: 30 }, (_, i) => storage.run(i, () => new Promise<number | undefined>((resolve) => {
      const ticket = native.forwardAsync(layer, p.call, p.input, new Float32Array(p.outLength), 0, () => resolve(storage.getStore()));
      if (i % 3 === 0) native.abort(ticket);
    }))));
    check(seen.every((value, i) => value === i), 'each callback runs in the context of its call');
    console.log('fine');
  },
  'copies-yield': async () => {
    const native = loadNative();
    const [height, width] = [4096, 4096];
    const megabytes = height * width * 4 / 2 ** 20;
    const { layer, call } = makeDoubling(height, width);
    const own = new Float32Array(native.allocate(4 * height * width));
    const foreign = new Float32Array(height * width).fill(1.5);
    const last = foreign.length - 1;

    // In: one mebibyte is copied by the call, and one a turn. What is written before the last turn still gets into the copy.
    const copiedIn = outcome((done) => native.forwardAsync(layer, call, foreign, own, 0, done));
    foreign[0] = 100;
    for (let turn = 0; turn < megabytes - 4; turn++) await nextTurn();
    foreign[last] = 100;
    check(await copiedIn === 'done', 'the call on a foreign array succeeds');
    check(own[last] === 200, `the last of ${megabytes} MiB is not copied before its turn`);
    check(own[0] === 3, 'the first of them is copied by the call');
    check(own.subarray(1, last).every((value) => value === 3), 'the copy is complete');

    // Out: from the first element seen to the last there are as many turns.
    own.fill(1);
    foreign.fill(0);
    const copiedOut = outcome((done) => native.forwardAsync(layer, call, own, foreign, 0, done));
    let turns = 0;
    while (foreign[last] === 0) {
      if (foreign[0] !== 0) turns += 1;
      await nextTurn();
    }
    check(await copiedOut === 'done', 'the call into a foreign array succeeds');
    check(turns >= megabytes - 4, `${megabytes} MiB are not copied in ${turns} turns`);
    check(foreign.every((value) => value === 2), 'the foreign output is complete');
    console.log('fine');
  },
  'detached-while-copied': async () => {
    const native = loadNative();
    const { layer, call } = makeDoubling(4096, 4096);
    for (const which of ['input', 'out'] as const) {
      const foreign = new Float32Array(4096 * 4096);
      const own = new Float32Array(native.allocate(foreign.byteLength));
      const pending = which === 'input'
        ? outcome((done) => native.forwardAsync(layer, call, foreign, own, 0, done))
        : outcome((done) => native.forwardAsync(layer, call, own, foreign, 0, done));
      for (let i = 0; i < 10; i++) await nextTurn();
      structuredClone(foreign.buffer, { transfer: [foreign.buffer] });
      check(await pending === 'ERR_CONVTRANSPOSE_DETACHED', `the call learns that ${which} has gone`);
    }
    const { queued, staged } = native.memory();
    check(queued === 0 && staged === 0, 'nothing is left in the queue');
    console.log('fine');
  },
  'aborted-while-copied': async () => {
    const native = loadNative();
    const { layer, call } = makeDoubling(4096, 4096);
    const foreign = new Float32Array(4096 * 4096);
    let ticket = 0;
    const pending = outcome((done) => (ticket = native.forwardAsync(layer, call, foreign, new Float32Array(foreign.length), 0, done)));
    for (let i = 0; i < 10; i++) await nextTurn();
    native.abort(ticket);
    check(await pending === 'ERR_CONVTRANSPOSE_ABORTED', 'the call settles as aborted');
    native.abort(ticket);
    console.log('fine');
  },

  'written-while-read': async () => {
    const native = loadNative();
    const { layer, call } = makeDoubling(512, 512);
    const input = new Float32Array(new SharedArrayBuffer(4 * 512 * 512)).fill(1);
    const writer = new Worker(`const { workerData: input } = require('node:worker_threads');
      for (let i = 0; ; i++) input.fill(i % 2 === 0 ? 3 : 1);`, { eval: true, workerData: input });
    await new Promise((resolve) => writer.once('online', resolve));
    const out = new Float32Array(new SharedArrayBuffer(input.byteLength));
    for (let round = 0; round < 40; round++) {
      out.fill(0);
      check(await outcome((done) => native.forwardAsync(layer, call, input, out, 0, done)) === 'done', 'the call succeeds');
      check(out.every((value) => value === 2 || value === 6), 'each output is that of a value that was there');
      out.fill(0);
      native.forward(layer, call, input, out, 0);
      check(out.every((value) => value === 2 || value === 6), 'the same, synchronously');
    }
    await writer.terminate();
    console.log('fine');
  },

  // Algorithms that refuse infinities find them in the middle of a run, or not: then another begins, on inputs that are finite again, or not.
  'infinities-while-read': async () => {
    const native = loadNative();
    const p = makeProblem(64, 24);
    const input = new Float32Array(new SharedArrayBuffer(p.input.byteLength));
    const writer = new Worker(`const { workerData: { input, values } } = require('node:worker_threads');
      const specials = [Infinity, NaN, 2 ** 30, -(2 ** 127)];
      for (let i = 0; ; i++) {
        input.fill(specials[i % 4], i * 7919 % input.length);
        input.set(values);
      }`, { eval: true, workerData: { input, values: p.input } });
    await new Promise((resolve) => writer.once('online', resolve));
    const layer = createLayer(p);
    const runs = ['auto', 'winograd', 'amx'].filter((name) => name !== 'amx' || cpuInfo().isa === 'amx').flatMap((name) => [0, 1].map((format) => {
      const call = p.call.slice();
      call[native.callFields.indexOf('algorithm')] = algorithms.indexOf(name as (typeof algorithms)[number]);
      call[native.callFields.indexOf('format')] = format;
      return { call, out: new Float32Array(new SharedArrayBuffer(4 * p.outLength)) };
    }));
    for (let round = 0; round < 30; round++) {
      const pending = runs.map(({ call, out }) => outcome((done) => native.forwardAsync(layer, call, input, out, 2, done)));
      for (const { call, out } of runs) native.forward(layer, call, input, out.slice(), 2);
      for (const how of await Promise.all(pending)) check(how === 'done', `the call succeeds: ${how}`);
    }
    await writer.terminate();
    input.set(p.input);
    for (const { call, out } of runs) {
      if (call[native.callFields.indexOf('format')] !== 0) continue;
      check(await outcome((done) => native.forwardAsync(layer, call, input, out, 2, done)) === 'done', 'the call succeeds');
      check(isClose(out, expectedOutput(p)), 'the right answer once nobody writes');
    }
    console.log('fine');
  },
  'transferred-and-resized': async () => {
    const native = loadNative();
    const { layer, call } = makeDoubling(512, 512);
    const bytes = 4 * 512 * 512;
    const { port1, port2 } = new MessageChannel();
    type Grow = SharedArrayBuffer & { grow(bytes: number): void };
    const Growable = SharedArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => Grow;
    const kinds: Record<string, () => { view: Float32Array; change: () => void; mayFail: boolean }> = {
      transferred: () => {
        const view = new Float32Array(bytes / 4).fill(1);
        return { view, change: () => port1.postMessage(view, [view.buffer]), mayFail: true };
      },
      shrunk: () => {
        const buffer = resizableBuffer(bytes, 2 * bytes);
        return { view: new Float32Array(buffer, 0, bytes / 4).fill(1), change: () => buffer.resize(bytes / 2), mayFail: true };
      },
      'shrunk and grown again': () => {
        const buffer = resizableBuffer(bytes, 2 * bytes);
        const change = () => {
          buffer.resize(0);
          buffer.resize(2 * bytes);
        };
        return { view: new Float32Array(buffer, 0, bytes / 4).fill(1), change, mayFail: true };
      },
      grown: () => {
        const buffer = resizableBuffer(bytes, 2 * bytes);
        return { view: new Float32Array(buffer, 0, bytes / 4).fill(1), change: () => buffer.resize(2 * bytes), mayFail: false };
      },
      'grown, shared': () => {
        const buffer = new Growable(bytes, { maxByteLength: 2 * bytes });
        return { view: new Float32Array(buffer, 0, bytes / 4).fill(1), change: () => buffer.grow(2 * bytes), mayFail: false };
      },
    };
    for (const [name, make] of Object.entries(kinds)) {
      for (const role of ['input', 'out'] as const) {
        for (const turns of [0, 1, 2, 3]) {
          const changing = Array.from({ length: 4 }, make);
          const pending = changing.map(({ view }) => {
            const other = new Float32Array(bytes / 4).fill(1);
            const [input, out] = role === 'input' ? [view, other] : [other, view];
            return outcome((done) => native.forwardAsync(layer, call, input, out, 0, done)).then((how) => ({ how, out }));
          });
          for (let turn = 0; turn < turns; turn++) await nextTurn();
          changing.forEach(({ change }) => change());
          for (const { how, out } of await Promise.all(pending)) {
            const fine = how === 'done' || (how === 'ERR_CONVTRANSPOSE_DETACHED' && changing[0]?.mayFail === true);
            check(fine, `a call whose ${role} is ${name} after ${turns} turns ends as documented, not with ${how}`);
            // Where the call was done first, memory that went away later says nothing of it.
            if (how === 'done' && changing[0]?.mayFail !== true) check(out[512] === 2, `the call whose ${role} is ${name} computes`);
          }
        }
      }
    }
    port1.close();
    port2.close();
    console.log('fine');
  },
  'fork-after-load': async () => {
    // With jobs in flight, so that all threads of the pool are there and at work.
    const own = startCalls(40);
    const codes = await Promise.all(Array.from({ length: 3 }, () => new Promise((resolve) => {
      fork(__filename, ['child: work'], { execArgv: process.execArgv }).once('exit', resolve);
    })));
    check(codes.every((code) => code === 0), `every child process ends well, not with ${codes.join()}`);
    check((await Promise.all(own)).every((each) => each === 'done'), 'calls of this process are not touched');
    console.log('fine');
  },
  'child: work': () => work(2),

  // ---- memory (with --expose-gc)
  'gc-with-calls-in-flight': async () => {
    const native = loadNative();
    const p = makeProblem(16, 24);
    const wanted = expectedOutput(p);
    for (let round = 0; round < 20; round++) {
      const results = Array.from({ length: 12 }, (_, i) => startUnreachable(p, i, wanted));
      gc();
      await nextTurn();
      gc();
      // Blocks that came back too early are handed out again, and overwritten, while most of the calls still wait.
      const others = Array.from({ length: 24 }, () => new Float32Array(native.allocate(p.input.byteLength)).fill(NaN));
      check((await Promise.all(results)).every(Boolean), 'every call succeeds');
      check(others.every((each) => each.every(Number.isNaN)), 'memory of others is not written');
    }
    console.log('fine');
  },
  'gc-returns-all': async () => {
    const native = loadNative();
    const before = process.memoryUsage().external;
    const settle = async () => {
      for (let i = 0; i < 10; i++) {
        gc();
        await nextTurn();
      }
    };
    await (async () => {
      const p = makeProblem(64, 4);
      const layers = Array.from({ length: 20 }, () => createLayer(p));
      const outputs = Array.from({ length: 50 }, () => native.allocate(1 << 20));
      check(native.memory().liveBytes >= 50 * 2 ** 20, 'outputs are counted');
      check(process.memoryUsage().external - before >= 50 * 2 ** 20, 'V8 knows of outputs');
      check(outputs.every((each) => each.byteLength === 1 << 20), 'outputs have their size');
      const out = new Float32Array(p.outLength);
      for (const layer of layers) native.forward(layer, p.call, p.input, out, 0);
      await Promise.all(layers.map((layer) => outcome((done) => native.prepareAsync(layer, p.call, done))));
    })();
    await settle();
    check(native.memory().liveBytes === 0, `all memory comes back, not all but ${native.memory().liveBytes} bytes`);
    check(process.memoryUsage().external - before < 2 ** 20, 'V8 is told');
    console.log('fine');
  },
  'layers-without-dispose': async () => {
    // A handle is a few bytes to V8, which would see no reason to collect it if it did not know of 8 MiB behind each.
    const p = makeProblem(256, 4);
    let most = 0;
    for (let i = 0; i < 200; i++) {
      createLayer(p);
      await nextTurn();
      most = Math.max(most, process.memoryUsage.rss());
    }
    check(200 * p.weight.byteLength > 0.75 * 2 ** 30 && most < 0.5 * 2 ** 30, `layers are collected in time, not after ${most} bytes`);
    console.log('fine');
  },
  'ten-thousand-layers': async () => {
    const weight = new Tensor(new Float32Array(32 * 32 * 16).fill(0.5), [32, 32, 4, 4]);
    const input = new Tensor(new Float32Array(32 * 16).fill(1), [1, 32, 4, 4]);
    // What V8 takes for its own heap comes and goes.
    const beyondHeap = async () => {
      for (let i = 0; i < 3; i++) {
        gc();
        await nextTurn();
      }
      const { rss, heapTotal, external } = process.memoryUsage();
      return { rss: rss - heapTotal, external };
    };
    const samples: { rss: number; external: number }[] = [];
    const warmUp = 6_000;
    for (let i = 0; i < warmUp + 10_000; i++) {
      const layer = new ConvTranspose2d(32, 32, 4, { stride: 2, padding: 1, weight });
      const output = i % 2 === 0 ? layer.forward(input) : await layer.forwardAsync(input);
      check(output.data[100] !== 0, 'the layer computes');
      layer.dispose();
      if (i % 100 === 99) await nextTurn();
      if (i >= warmUp && i % 500 === 499) samples.push(await beyondHeap());
    }
    for (const of of ['rss', 'external'] as const) {
      const values = samples.map((sample) => sample[of]);
      // Pages of V8's come and go for some thousand layers; what is lost stays.
      const [early, late] = [median(values.slice(0, 6)), Math.min(...values.slice(14, 20))];
      check(late < 1.05 * early, `${of} stays as it is, not ${early} and then ${late} bytes`);
    }
    const { liveBytes } = loadNative().memory();
    check(liveBytes <= 2 ** 14, `nothing is left but the last output, not ${liveBytes} bytes`);
    console.log('fine');
  },
  'modules-collected': async () => {
    const weight = new Tensor(new Float32Array(16 * 16 * 16).fill(0.5), [16, 16, 4, 4]);
    const input = new Tensor(new Float32Array(16 * 24 * 24).fill(1), [1, 16, 24, 24]);
    const wanted = new ConvTranspose2d(16, 16, 4, { stride: 2, padding: 1, weight }).forward(input).data;
    // The module is out of reach as soon as its call has started.
    const start = () => new ConvTranspose2d(16, 16, 4, { stride: 2, padding: 1, weight }).forwardAsync(input);
    for (let round = 0; round < 20; round++) {
      const pending = Array.from({ length: 12 }, start);
      gc();
      await nextTurn();
      gc();
      for (const { data } of await Promise.all(pending)) check(data.every((value, i) => value === wanted[i]), 'every result is right');
    }
    console.log('fine');
  },
  'outputs-in-one-turn': () => {
    const native = loadNative();
    // Finalizers cannot run here: without a bound, 8 GiB would pile up.
    let most = 0;
    for (let i = 0; i < 2048; i++) {
      new Uint8Array(native.allocate(4 << 20)).fill(1);
      most = Math.max(most, process.memoryUsage.rss());
    }
    check(most < 1.5 * 2 ** 30, `memory stays bounded, not ${most} bytes`);
    console.log('fine');
  },

  // ---- worker threads
  'worker: load': () => {
    loadNative();
  },
  'worker: give-results-away': async () => {
    // The ways that memory can be moved in: transfer() for Node 22 and later, a list of postMessage() for results of any kind.
    const layer = new ConvTranspose2d(4, 4, 4, { stride: 2, padding: 1, seed: 1 });
    const x = Tensor.empty([1, 4, 64, 64]);
    x.data.fill(1);
    const results = [layer.forward(x), await layer.forwardAsync(x), layer.forward(x), await layer.forwardAsync(x)];
    const buffers = results.map(({ data }, i) => {
      const buffer = data.buffer as ArrayBuffer & { transfer?: () => ArrayBuffer };
      return i < 2 || buffer.transfer === undefined ? buffer : buffer.transfer();
    });
    parentPort?.postMessage(buffers, buffers);
  },
  // Blocks that are given back when their thread ends are handed out again at once, so that a reader would see others' results.
  'results-outlive-their-worker': async () => {
    const layer = new ConvTranspose2d(4, 4, 4, { stride: 2, padding: 1, seed: 1 });
    const x = Tensor.zeros([1, 4, 64, 64]);
    const other = layer.forward(x).data;
    x.data.fill(1);
    const wanted = layer.forward(x).data;
    check(!isClose(other, wanted), 'inputs of two kinds give results of two kinds');
    for (let round = 0; round < 20; round++) {
      const worker = startWorker('worker: give-results-away');
      const received = new Promise<ArrayBuffer[]>((resolve) => worker.once('message', resolve));
      check(await ended(worker) === 0, 'the worker ends well');
      x.data.fill(0);
      const later = Array.from({ length: 20 }, () => layer.forward(x));
      for (const buffer of await received) {
        check(isClose(new Float32Array(buffer), wanted), 'a result of a worker is right after its end');
      }
      check(later.every(({ data }) => isClose(data, other)), 'so are results of this thread');
    }
    console.log('fine');
  },
  'worker: layer': () => {
    createLayer(makeProblem(8, 8));
    loadNative().allocate(1 << 20);
  },
  'worker: work': () => work(3),
  'worker: leave-work': async () => {
    void startCalls(100);
    await delay(5);
    process.exit(0);
  },
  'worker: wait-with-work': async () => {
    void startCalls(100);
    await delay(60_000);
  },
  'worker: sync-forever': () => {
    const native = loadNative();
    const p = makeProblem(16, 24);
    const layer = createLayer(p);
    for (;;) native.forward(layer, p.call, p.input, new Float32Array(native.allocate(4 * p.outLength)), 0);
  },
  'worker: run-forever': () => {
    const native = loadNative();
    const p = makeProblem(16, 24);
    for (;;) native.run(p.layer, p.call, p.input, p.weight, p.bias, new Float32Array(native.allocate(4 * p.outLength)), 0);
  },
  'worker: async-forever': async () => {
    for (;;) await Promise.all(startCalls(8));
  },
  'worker: copy-forever': async () => {
    const native = loadNative();
    const { layer, call } = makeDoubling(2048, 2048);
    const input = new Float32Array(2048 * 2048);
    for (;;) await outcome((done) => native.forwardAsync(layer, call, input, new Float32Array(input.length), 0, done));
  },
  'worker: abort-forever': async () => {
    const native = loadNative();
    const p = makeProblem(32, 32);
    const layer = createLayer(p);
    for (;;) {
      await Promise.all(Array.from({ length: 10 }, () => outcome((done) => {
        const ticket = native.forwardAsync(layer, p.call, p.input, new Float32Array(p.outLength), 0, done);
        setImmediate(() => native.abort(ticket));
        return ticket;
      })));
    }
  },
  'terminate': async () => {
    const endless = ['sync', 'run', 'async', 'copy', 'abort'].map((kind) => `worker: ${kind}-forever`);
    for (let round = 0; round < 40; round++) {
      const worker = startWorker(endless[round % endless.length] as string);
      await new Promise((resolve) => worker.once('online', resolve));
      await delay(30 + 7 * (round % 10));
      check(await worker.terminate() === 1, 'the worker was still at work');
    }
    await work(1);
    console.log('fine');
  },
  'terminate-several-at-once': async () => {
    for (let round = 0; round < 5; round++) {
      const workers = ['async', 'copy', 'sync', 'abort'].map((kind) => startWorker(`worker: ${kind}-forever`));
      const own = startCalls(10);
      await delay(100);
      await Promise.all(workers.map((worker) => worker.terminate()));
      check((await Promise.all(own)).every((each) => each === 'done'), 'calls of this thread are not touched');
    }
    console.log('fine');
  },
  'exit-stages-in-workers': async () => {
    for (const scene of ['load', 'layer', 'work', 'leave-work']) {
      check(await ended(startWorker(`worker: ${scene}`)) === 0, `a worker that ends after '${scene}' ends well`);
    }
    await work(1);
    console.log('fine');
  },
  // Node unloads an addon with the last environment that loaded it: threads of the pool must survive that.
  'only-workers-load': async () => {
    for (let round = 0; round < 3; round++) {
      check(await ended(startWorker('worker: leave-work')) === 0, 'the worker ends well');
      await delay(50);
    }
    console.log('fine');
  },
  'sixty-four-workers': async () => {
    const codes = await Promise.all(Array.from({ length: 64 }, () => ended(startWorker('worker: work'))));
    check(codes.every((code) => code === 0), 'every worker ends well');
    if (process.platform === 'linux') {
      const threads = poolThreads();
      check(threads.length > 0 && threads.length <= loadNative().getNumThreads(), `one pool serves them all, not ${threads.length} threads`);
    }
    console.log('fine');
  },
  'exit-with-workers-at-work': async () => {
    startWorker('worker: async-forever');
    startWorker('worker: sync-forever');
    startWorker('worker: wait-with-work');
    void startCalls(20);
    await delay(150);
    process.exit(0);
  },
};

void (async () => {
  const name = process.argv[2] ?? '';
  const scene = scenes[name];
  if (scene === undefined || name.startsWith('worker: ') === isMainThread) throw new Error(`no scene '${name}' here`);
  await scene();
})();
