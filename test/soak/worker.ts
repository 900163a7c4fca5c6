/**
 * What every thread of the soak does: random layers, kept for a while, and calls of every form on them, several in flight, some of them
 * aborted, some with memory that goes away meanwhile. Every answer is held against the definition.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';

import { loadNative } from '../../lib/native';
import { compare } from '../support/bound';
import { detach, shared } from '../support/buffers';
import { Random, oneSided, values } from '../support/data';
import { define } from '../support/definition';
import type { Definition } from '../support/definition';
import { callFunctional, contiguousOutput, functionalAsync, inputTensor, makeModule, tensor } from '../support/forms';
import type { AlgorithmChoice, Data, RunOptions } from '../support/forms';
import { inputShape, outputShape, problemOptions, problemText, product, weightShape } from '../support/problem';
import type { MemoryFormat, Problem } from '../support/problem';
import { randomCase } from '../support/random-cases';
import { winogradAllowance } from '../support/winograd-bound';

/** What a thread reports after every round. */
export interface SoakReport {
  verified: number;
  aborted: number;
  detached: number;
  declined: number;
  algorithms: Record<string, number>;
  failures: string[];
}

export interface SoakWorkerData {
  seed: number;
}

declare const gc: () => void;

type Layer = ReturnType<typeof makeModule>;
type Forward = (input: { data: Float32Array; shape: number[] }, options?: object) => { data: Float32Array; shape: readonly number[] };
type ForwardAsync = (input: { data: Float32Array; shape: number[] }, options?: object) => Promise<{ data: Float32Array; shape: readonly number[] }>;

/** A problem with its data, its right answer, and the module of some calls. */
interface Scene {
  problem: Problem;
  data: Data;
  expected: Definition;
  mixedSigns: boolean;
  exact: boolean;
  /** What outputs are allowed if Winograd makes them; null if it cannot. */
  winograd: Float64Array | null;
  run: RunOptions;
  layer: Layer | null;
}

let random: Random;
const native = loadNative();
const report: SoakReport = { verified: 0, aborted: 0, detached: 0, declined: 0, algorithms: {}, failures: [] };

function makeScene(): Scene {
  const { problem, data: kind } = randomCase(random.int(1, 3), random.int(0, 1_000_000));
  const stream = random.int(0, 1_000_000);
  const data: Data = {
    input: values(kind, stream, product(inputShape(problem))),
    weight: values(kind, stream + 1, product(weightShape(problem))),
    bias: problem.bias ? values(kind, stream + 2, problem.outChannels) : null,
  };
  const run: RunOptions = {
    algorithm: random.pick<AlgorithmChoice>(['auto', 'auto', 'auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference']),
    memoryFormat: random.pick<MemoryFormat>(['contiguous', 'channelsLast']),
    numThreads: random.int(1, 4),
    invariant: random.chance(0.2),
  };
  if (random.chance(0.2)) run.workspaceLimit = random.pick([16, 64, 256]) * 1024;
  const expected = define(problem, data.input, data.weight, data.bias);
  const mayBeWinograd = run.algorithm === 'winograd' || (run.algorithm === 'auto' && run.invariant !== true);
  const winograd = mayBeWinograd ? winogradAllowance(problem, data.input, data.weight, expected, !oneSided(kind)) : null;
  return { problem, data, expected, mixedSigns: !oneSided(kind), exact: kind === 'integers', winograd, run, layer: null };
}

function verify(scene: Scene, result: { data: Float32Array; shape: readonly number[] }, form: string): void {
  const format = scene.run.memoryFormat as MemoryFormat;
  let failure: string | null;
  if (result.shape.join() !== outputShape(scene.problem, format).join()) failure = `shape [${result.shape.join()}]`;
  else failure = compare(contiguousOutput(scene.problem, result.data, format), scene.expected, scene.mixedSigns, scene.exact, null, scene.winograd).failure;
  report.verified += 1;
  if (failure !== null) report.failures.push(`${form}: ${failure}: options ${JSON.stringify(scene.run)}, problem ${problemText(scene.problem)}`);
}

function input(scene: Scene): { data: Float32Array; shape: number[] } {
  const { data, shape } = inputTensor(scene.problem, scene.data.input, scene.run.memoryFormat as MemoryFormat);
  const place = random.int(0, 3);
  if (place === 0) return tensor(shared(data), shape);
  if (place === 1) return tensor(data.slice(), shape);
  const own = new Float32Array(native.allocate(data.byteLength));
  own.set(data);
  return tensor(own, shape);
}

/** One asynchronous call, perhaps aborted, perhaps robbed of its input. Never rejects. */
async function callAsync(scene: Scene): Promise<void> {
  const x = input(scene);
  const abort = random.chance(0.15);
  const rob = !abort && x.data.buffer instanceof ArrayBuffer && random.chance(0.1);
  const controller = abort ? new AbortController() : null;
  const signal = controller === null ? {} : { signal: controller.signal };
  const asFunction = random.chance(0.3);
  const { problem, data, run } = scene;
  try {
    let pending: Promise<{ data: Float32Array; shape: readonly number[] }>;
    if (asFunction || scene.layer === null) {
      const call = functionalAsync[problem.rank - 1] as (typeof functionalAsync)[1];
      const bias = data.bias === null ? null : tensor(data.bias, [problem.outChannels]);
      pending = call(x, tensor(data.weight, weightShape(problem)), bias, { ...problemOptions(problem), ...run, ...signal });
    } else {
      pending = (scene.layer.forwardAsync.bind(scene.layer) as ForwardAsync)(x, signal);
    }
    if (controller !== null) setTimeout(() => controller.abort(), random.int(0, 3));
    if (rob) {
      try {
        detach(x.data);
      } catch (error) {
        // Memory of this package cannot be taken away: Node copies it or refuses.
        if ((error as Error).name !== 'DataCloneError' && (error as Error).message !== 'still attached') throw error;
      }
    }
    verify(scene, await pending, asFunction ? 'functionalAsync' : 'forwardAsync');
  } catch (error) {
    const { name, code, message } = error as { name: string; code?: string; message: string };
    if (abort && name === 'AbortError') report.aborted += 1;
    else if (rob && code === 'ERR_CONVTRANSPOSE_DETACHED') report.detached += 1;
    else if (code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') report.declined += 1;
    else report.failures.push(`${message}: options ${JSON.stringify(run)}, problem ${problemText(problem)}`);
  }
}

function callSync(scene: Scene): void {
  try {
    if (scene.layer === null || random.chance(0.3)) {
      verify(scene, callFunctional(scene.problem, scene.data, scene.run), 'functional');
      return;
    }
    const x = input(scene);
    const forward = scene.layer.forward.bind(scene.layer) as Forward;
    const shape = outputShape(scene.problem, scene.run.memoryFormat);
    const out = random.chance(0.5) ? { out: tensor(new Float32Array(product(shape)), shape) } : {};
    verify(scene, forward(x, out), 'forward');
    const { algorithm } = scene.layer.explain(inputShape(scene.problem, scene.run.memoryFormat));
    report.algorithms[algorithm] = (report.algorithms[algorithm] ?? 0) + 1;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') report.declined += 1;
    else report.failures.push(`${message}: options ${JSON.stringify(scene.run)}, problem ${problemText(scene.problem)}`);
  }
}

/** Computes and reports, round after round, as long as `goesOn` says so. */
export async function soak(seed: number, deliver: (report: SoakReport) => void, goesOn: () => boolean | Promise<boolean>): Promise<void> {
  random = new Random(seed);
  const scenes: Scene[] = [];
  for (let round = 1; await goesOn(); round++) {
    // Garbage that V8 has not yet looked for would hide what is lost for good.
    if (round % 8 === 0) gc();
    // A new scene a round; old ones go, with calls in flight, some without dispose().
    const scene = makeScene();
    if (random.chance(0.8)) scene.layer = makeModule(scene.problem, scene.data, scene.run);
    scenes.push(scene);
    const pending: Promise<void>[] = [];
    for (let i = random.int(1, 12); i > 0; i--) {
      const chosen = random.pick(scenes);
      if (random.chance(0.4)) callSync(chosen);
      else pending.push(callAsync(chosen));
    }
    if (scenes.length > 4) {
      const [gone] = scenes.splice(random.int(0, scenes.length - 1), 1);
      if (gone !== undefined && gone.layer !== null && random.chance(0.7)) gone.layer.dispose();
    }
    await Promise.all(pending);
    deliver({ ...report, algorithms: { ...report.algorithms }, failures: [...report.failures] });
    Object.assign(report, { verified: 0, aborted: 0, detached: 0, declined: 0 });
    report.algorithms = {};
    report.failures = [];
  }
}

if (!isMainThread) void soak((workerData as SoakWorkerData).seed, (each) => parentPort?.postMessage(each), () => true);
