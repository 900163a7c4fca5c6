/**
 * An addon in JavaScript, in place of the compiled one: it computes the definition and records what it is asked for. To be imported
 * before anything of lib/, so that loadNative() is replaced in time.
 */
import { jest } from '@jest/globals';

import type { NativeAddon, NativeCallback, NativeExplanation, NativeLayer } from '../../lib/native';
import { define } from '../support/definition';
import { at, product, toChannelsLast, toContiguous, type Problem } from '../support/problem';

const layerFields = ['rank', 'groups', 'inChannels', 'outChannels', ...dims('kernel'), ...dims('stride'), ...dims('dilation'), 'hasBias'];
const callFields = [
  'batch', ...dims('in'), ...dims('padBegin'), ...dims('out'), 'format', 'activation', 'lower', 'upper', 'alpha', 'precision',
  'algorithm', 'invariant',
  'weightsReused', 'workspaceLimit',
];

function dims(name: string): string[] {
  return [0, 1, 2].map((i) => name + String(i));
}

/** A descriptor by the names of its slots. */
export type Decoded = Record<string, number>;

function decode(names: readonly string[], slots: Float64Array): Decoded {
  return Object.fromEntries(names.map((name, i) => [name, slots[i] as number]));
}

function three(fields: Decoded, name: string): number[] {
  return dims(name).map((key) => fields[key] as number);
}

/** What has been asked of the addon since `reset`, by method. */
export const asked = {
  runs: [] as { layer: Decoded; call: Decoded; threads: number }[],
  prepared: 0,
  disposed: 0,
  allocated: 0,
  aborted: [] as number[],
};

/** Asynchronous calls that wait to be settled by the test, with their tickets. */
export const waiting = new Map<number, () => void>();

/** Whether asynchronous calls settle by themselves. */
export const behaviour = { holdAsync: false, failure: null as unknown };

export function reset(): void {
  asked.runs.length = 0;
  asked.prepared = asked.disposed = asked.allocated = 0;
  asked.aborted.length = 0;
  behaviour.holdAsync = false;
  behaviour.failure = null;
}

function compute(
  layerSlots: Float64Array, callSlots: Float64Array, input: Float32Array, weight: Float32Array, bias: Float32Array | null,
  out: Float32Array, threads: number,
): void {
  const layer = decode(layerFields, layerSlots);
  const call = decode(callFields, callSlots);
  asked.runs.push({ layer, call, threads });
  // eslint-disable-next-line @typescript-eslint/only-throw-error -- reports of the addon need not be Error objects
  if (behaviour.failure !== null) throw behaviour.failure;
  const size = three(call, 'in');
  const outSize = three(call, 'out');
  const begin = three(call, 'padBegin');
  const [kernel, stride, dilation] = [three(layer, 'kernel'), three(layer, 'stride'), three(layer, 'dilation')];
  const padding = size.map((n, i): [number, number] =>
    [at(begin, i), (n - 1) * at(stride, i) - at(begin, i) + at(dilation, i) * (at(kernel, i) - 1) + 1 - at(outSize, i)]);
  const problem: Problem = {
    rank: 3, batch: call['batch'] as number, inChannels: layer['inChannels'] as number, outChannels: layer['outChannels'] as number,
    groups: layer['groups'] as number, in: size, kernel, stride, dilation, padding, outputPadding: [0, 0, 0], bias: bias !== null,
  };
  const images = problem.batch ?? 1;
  const isLast = call['format'] === 1;
  const source = isLast ? toContiguous(input, images, problem.inChannels, product(size)) : input;
  const y = Float32Array.from(define(problem, source, weight, bias).y, (value) =>
    Math.min(Math.max(value, call['lower'] as number), call['upper'] as number));
  out.set(isLast ? toChannelsLast(y, images, problem.outChannels, product(outSize)) : y);
}

/** The same into a new array if there is no `out`. */
function computeResult(
  layer: Float64Array, call: Float64Array, input: Float32Array, weight: Float32Array, bias: Float32Array | null,
  out: Float32Array | null, threads: number,
): Float32Array | undefined {
  const channels = decode(layerFields, layer)['outChannels'] as number;
  const decoded = decode(callFields, call);
  const result = out ?? new Float32Array((decoded['batch'] as number) * channels * product(three(decoded, 'out')));
  compute(layer, call, input, weight, bias, result, threads);
  return out === null ? result : undefined;
}

interface FakeLayer {
  slots: Float64Array;
  weight: Float32Array;
  bias: Float32Array | null;
  disposed: boolean;
}

function open(handle: NativeLayer): FakeLayer {
  const layer = handle as unknown as FakeLayer;
  if (layer.disposed) throw Object.assign(new Error('disposed'), { code: 'ERR_CONVTRANSPOSE_DISPOSED', argument: 'this' });
  return layer;
}

let tickets = 0;

/** Does the work later, or when the test says so. */
function later(work: () => Float32Array | undefined, done: NativeCallback): number {
  const ticket = ++tickets;
  const settle = () => {
    waiting.delete(ticket);
    try {
      done(null, work());
    } catch (error) {
      done(error as never);
    }
  };
  if (behaviour.holdAsync) waiting.set(ticket, settle);
  else setImmediate(settle);
  return ticket;
}

const explanation: NativeExplanation = {
  algorithm: 'direct-wide', choice: 'direct', isa: 'fake', kernels: ['fake/1x1'], reason: 'there is no other',
  rejected: [{ name: 'gemm', reason: 'kernel differs from stride' }], precision: 'highest', fused: ['bias'], notes: ['a remark'], flops: 1, estimatedSeconds: 2,
  phases: 3, tasks: 4, workspaceBytes: 5, sharedBytes: 0, packedWeights: { panels: 6 }, blocking: { rows: 7 },
};

export const fake: NativeAddon = {
  version: '9.8.7',
  layerFields,
  callFields,
  cpuInfo: () => ({
    vendor: 'v', model: 'm', arch: 'x64', features: [], supported: ['baseline'], isa: 'baseline', caches: { l1d: 1, l2: 2, l3: 3, line: 64 },
    processors: 2, quota: 0, defaultThreads: 2,
  }),
  getNumThreads: () => 2,
  setNumThreads: () => undefined,
  allowExternalMemory: () => undefined,
  allocate(bytes) {
    asked.allocated += bytes;
    return new ArrayBuffer(bytes);
  },
  createLayer(slots, weight, bias, seed = 0) {
    const spec = decode(layerFields, slots);
    // Not PyTorch's numbers, but those of the seed.
    const drawn = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1 + (seed % 1000)));
    const weights = (spec['inChannels'] as number) * (spec['outChannels'] as number) / (spec['groups'] as number) *
      product(three(spec, 'kernel'));
    const layer: FakeLayer = {
      slots, weight: weight?.slice() ?? drawn(weights), disposed: false,
      bias: spec['hasBias'] === 0 ? null : bias?.slice() ?? drawn(spec['outChannels'] as number),
    };
    return layer as unknown as NativeLayer;
  },
  readLayer(handle, weight, bias) {
    const layer = open(handle);
    weight.set(layer.weight);
    if (layer.bias !== null) bias?.set(layer.bias);
  },
  disposeLayer(handle) {
    open(handle).disposed = true;
    asked.disposed++;
  },
  forward(handle, call, input, out, threads) {
    const { slots, weight, bias } = open(handle);
    compute(slots, call, input, weight, bias, out, threads);
  },
  joinRows(held, kept, added, from, chunk, to, _rows, first, count) {
    for (let r = first; r < first + count; r++) {
      to.set(from.subarray((r + 1) * held - kept, (r + 1) * held), r * (kept + added));
      to.set(chunk.subarray(r * added, (r + 1) * added), r * (kept + added) + kept);
    }
  },
  forwardJoined(handle, call, held, kept, added, from, chunk, to, out, threads) {
    const rows = added === 0 ? from.length / held : chunk.length / added;
    fake.joinRows(held, kept, added, from, chunk, to, rows, 0, rows);
    fake.forward(handle, call, to, out, threads);
  },
  forwardAsync(handle, call, input, out, threads, done) {
    const { slots, weight, bias } = open(handle);
    return later(() => computeResult(slots, call, input, weight, bias, out, threads), done);
  },
  prepare(handle) {
    open(handle);
    asked.prepared++;
  },
  prepareAsync(handle, _call, done) {
    open(handle);
    return later(() => {
      asked.prepared++;
      return undefined;
    }, done);
  },
  abort(ticket) {
    asked.aborted.push(ticket);
  },
  queueDepth: () => waiting.size,
  getQueueLimit: () => Infinity,
  setQueueLimit: () => undefined,
  explain(handle) {
    open(handle);
    return explanation;
  },
  run(layer, call, input, weight, bias, out, threads) {
    compute(layer, call, input, weight, bias, out, threads);
  },
  runAsync(layer, call, input, weight, bias, out, threads, done) {
    return later(() => computeResult(layer, call, input, weight, bias, out, threads), done);
  },
  counters: () => ({}),
  resetCounters: () => undefined,
  memory: () => ({ liveBytes: 0, recycledBytes: 0, allocations: 0, queued: 0, staged: 0 }),
};

jest.mock('../../lib/native', () => ({ loadNative: () => fake }));
