/**
 * The private interface of the compiled addon. This is the only file that loads it; nothing here is exported by the package.
 *
 * Every argument has been validated by the caller; the addon checks again only what could corrupt memory (handles, lengths,
 * detached buffers) and throws plain errors with a `code` for it.
 */
import path from 'node:path';
import { isMainThread } from 'node:worker_threads';

import loadBinary from 'node-gyp-build';

/** A compiled layer: an opaque object with a type tag. */
export interface NativeLayer {
  readonly __convtransposeLayer: never;
}

/**
 * Settles one asynchronous call. `error` is null, or what to reject with; `result` is there if there is no error and the call was
 * given no `out`. Called on the JavaScript thread that started it.
 */
export type NativeCallback = (error: NativeFailure | null, result?: Float32Array) => void;

/** How the addon reports a failure: the TypeScript side turns it into a TypeError or RangeError of the caller's realm. */
export interface NativeFailure {
  /** 'ERR_CONVTRANSPOSE_...' */
  code: string;
  /** The public name of the offending argument; '' if none. */
  argument: string;
  message: string;
}

export interface NativeExplanation {
  algorithm: string;
  choice: string;
  isa: string;
  kernels: string[];
  reason: string;
  rejected: { name: string; reason: string }[];
  precision: string;
  fused: string[];
  notes: string[];
  flops: number;
  estimatedSeconds: number;
  phases: number;
  tasks: number;
  workspaceBytes: number;
  sharedBytes: number;
  packedWeights: Record<string, number>;
  blocking: Record<string, number>;
}

export interface NativeCpuInfo {
  vendor: string;
  model: string;
  arch: string;
  features: string[];
  /** Instruction sets that this machine and binary can run, ascending. */
  supported: string[];
  /** The one in use (capped by CONVTRANSPOSE_ISA). */
  isa: string;
  caches: { l1d: number; l2: number; l3: number; line: number };
  processors: number;
  /** Processors' worth of cgroup CPU quota; 0 if there is none. */
  quota: number;
  defaultThreads: number;
}

/** What can be handed to native code: contents of any Float32Array view, also over a SharedArrayBuffer. */
export interface NativeAddon {
  /** Version that the binary was compiled as. */
  readonly version: string;
  /** Names of the slots of the Float64Array that describes a layer, in order (arrays as 'kernel0', 'kernel1', 'kernel2'). */
  readonly layerFields: readonly string[];
  /** The same for a call. */
  readonly callFields: readonly string[];

  cpuInfo(): NativeCpuInfo;
  getNumThreads(): number;
  setNumThreads(threads: number): void;

  /**
   * Memory for results. With external memory allowed: uninitialised, 64-byte aligned, from the recycling pool. Otherwise, and where
   * the runtime refuses it, memory of V8.
   */
  allocate(bytes: number): ArrayBuffer;
  /** For the main thread: external memory must not outlive the thread that made it, and may be moved to any other. */
  allowExternalMemory(): void;

  /**
   * Copies weight and bias. With `seed`, what is null (and belongs to the layer) is drawn as PyTorch does by default after
   * torch.manual_seed(seed), bit for bit.
   */
  createLayer(layer: Float64Array, weight: Float32Array | null, bias: Float32Array | null, seed?: number): NativeLayer;
  /** Copies the weights, and the bias if the layer has one, to arrays of their sizes. */
  readLayer(layer: NativeLayer, weight: Float32Array, bias: Float32Array | null): void;
  /** Frees the packed weights when in-flight work has finished; later calls with the handle throw ERR_CONVTRANSPOSE_DISPOSED. */
  disposeLayer(layer: NativeLayer): void;

  /**
   * The last ones of this and the other forms, which may be left out: a tensor that is added before the activation, as long as the
   * output; the slopes of prelu, one for each output channel; whether `out` was allocated for this call, so that the caches do not hold
   * it: results do not depend on that.
   */
  forward(layer: NativeLayer, call: Float64Array, input: Float32Array, out: Float32Array, threads: number,
    residual?: Float32Array | null, slopes?: Float32Array | null, fresh?: boolean): void;
  /**
   * Returns a ticket for `abort`. The callback is called exactly once, never before this returns. Without `out` (and with something
   * to compute) it gets a new array.
   */
  forwardAsync(
    layer: NativeLayer, call: Float64Array, input: Float32Array, out: Float32Array | null, threads: number, done: NativeCallback,
    residual?: Float32Array | null, slopes?: Float32Array | null,
  ): number;
  prepare(layer: NativeLayer, call: Float64Array): void;
  prepareAsync(layer: NativeLayer, call: Float64Array, done: NativeCallback): number;
  /** The call settles with ERR_CONVTRANSPOSE_ABORTED as soon as its running tasks end. Unknown tickets are ignored. */
  abort(ticket: number): void;
  /** Asynchronous calls of this thread that have not settled. */
  queueDepth(): number;
  /** Infinity: no limit. */
  getQueueLimit(): number;
  setQueueLimit(limit: number): void;
  explain(layer: NativeLayer, call: Float64Array): NativeExplanation;

  /**
   * For the rows from `first` to `first + count` of `rows`: row r of `to` becomes the last `kept` of the `held` floats of row r of
   * `from`, then the `added` floats of row r of `chunk`.
   */
  joinRows(
    held: number, kept: number, added: number, from: Float32Array, chunk: Float32Array, to: Float32Array,
    rows: number, first: number, count: number,
  ): void;
  /** `joinRows` of all rows, then `forward` of `to`. */
  forwardJoined(
    layer: NativeLayer, call: Float64Array, held: number, kept: number, added: number, from: Float32Array, chunk: Float32Array,
    to: Float32Array, out: Float32Array, threads: number, slopes?: Float32Array | null, fresh?: boolean,
  ): void;

  /** Functional form: weights are read in place, packed for this call alone. */
  run(layer: Float64Array, call: Float64Array, input: Float32Array, weight: Float32Array, bias: Float32Array | null,
    out: Float32Array, threads: number, residual?: Float32Array | null, slopes?: Float32Array | null, fresh?: boolean): void;
  /** Asynchronous functional form: weight and bias follow the same memory rules as input. */
  runAsync(layer: Float64Array, call: Float64Array, input: Float32Array, weight: Float32Array, bias: Float32Array | null,
    out: Float32Array | null, threads: number, done: NativeCallback, residual?: Float32Array | null,
    slopes?: Float32Array | null): number;

  /** Test hooks: counts of the kernels that really ran, and of memory. */
  counters(): Record<string, number>;
  resetCounters(): void;
  memory(): { liveBytes: number; recycledBytes: number; allocations: number; queued: number; staged: number };
}

/** The root of the package, seen from lib/ as well as from dist/. */
const packageRoot = path.join(__dirname, '..');

let addon: NativeAddon | undefined;

/** The compiled addon, loaded at the first call. Throws an Error with code ERR_CONVTRANSPOSE_NO_BINARY if there is none. */
export function loadNative(): NativeAddon {
  addon ??= load();
  return addon;
}

/** The file of the addon; loads it first, so that the errors are those of `loadNative`. */
export function binaryPath(): string {
  loadNative();
  return loadBinary.path(packageRoot);
}

function load(): NativeAddon {
  try {
    const loaded = loadBinary(packageRoot) as NativeAddon;
    if (isMainThread) loaded.allowExternalMemory();
    return loaded;
  } catch (cause) {
    const message = loadFailure(cause instanceof Error ? cause.message : String(cause));
    throw Object.assign(new Error(message, { cause }), { code: 'ERR_CONVTRANSPOSE_NO_BINARY', argument: '' });
  }
}

function loadFailure(reason: string): string {
  const libc = systemLibc();
  const platform = `${process.platform}-${process.arch}`;
  return [
    `Cannot load the native addon of convtranspose for ${platform}${libc === '' ? '' : ` (${libc})`}, Node ${process.version}.`,
    `  ${reason.trim().split('\n').join('\n  ')}`,
    'Looked for, in this order:',
    `  ${path.join(packageRoot, 'build', 'Release', '*.node')}  (compiled on this machine)`,
    `  ${path.join(packageRoot, 'build', 'Debug', '*.node')}`,
    `  ${path.join(packageRoot, 'prebuilds', platform, `convtranspose${libc === '' ? '' : `.${libc}`}.node`)}  (prebuilt)`,
    'Likely causes:',
    '  - there is no prebuilt binary for this platform, and the package was installed with --ignore-scripts or without a',
    '    C++20 compiler and cmake, so that none was compiled;',
    '  - node_modules was copied from another operating system, processor or C library;',
    '  - a bundler left the .node file out: mark convtranspose as external.',
    'To compile it here (needs cmake 3.20 and g++ 12 or clang 14 or later), run:',
    '  npm rebuild convtranspose',
  ].join('\n');
}

/** 'glibc' or 'musl' on Linux, '' elsewhere. */
function systemLibc(): string {
  if (process.platform !== 'linux') return '';
  const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return report.header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
}
