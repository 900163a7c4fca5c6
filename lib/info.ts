/** What is global: threads, version, processor. */
import { callNative } from './call';
import type { NativeCpuInfo } from './native';
import { toInteger, toThreads } from './options';

/** The processor as this package sees it. */
export interface CpuInfo {
  readonly vendor: string;
  readonly model: string;
  /** `'x64'` or `'arm64'`. */
  readonly arch: string;
  /** Names of the instruction-set features that matter here. */
  readonly features: readonly string[];
  /** Instruction sets that this machine and this binary can run, ascending; `amx` only if the process asked for it, as it does unless capped. */
  readonly supported: readonly string[];
  /** The one in use, capped by the environment variable CONVTRANSPOSE_ISA. */
  readonly isa: string;
  /** Sizes in bytes; `line` is a cache line. */
  readonly caches: { readonly l1d: number; readonly l2: number; readonly l3: number; readonly line: number };
  /** Processors that this process may run on. */
  readonly processors: number;
  /** Processors' worth of time that the cgroup grants; 0 if there is no quota. */
  readonly quota: number;
  /** Threads of a call unless told otherwise. */
  readonly defaultThreads: number;
}

/**
 * Sets how many threads calls use that do not say `numThreads`, in the whole process. Results do not depend on it.
 *
 * @param numThreads an integer from 1 to 1024
 */
export function setNumThreads(numThreads: number): void {
  const count = toThreads(numThreads);
  callNative((native) => {
    native.setNumThreads(count);
  });
}

/**
 * How many threads a call uses by default: what {@link setNumThreads} set, else CONVTRANSPOSE_NUM_THREADS, else what affinity and the
 * cgroup quota allow.
 */
export function getNumThreads(): number {
  return callNative((native) => native.getNumThreads());
}

/**
 * Asynchronous calls of this thread (the main thread or a worker thread) that have not settled: those that run, and those that wait.
 *
 * At most {@link getNumThreads} + 1 calls run at a time, and one of those places is kept free of long calls, so that a short call
 * (at most 2^24 operations and 2^16 elements in each tensor) does not wait behind long ones. Otherwise the oldest goes first. A call
 * that waits holds its arguments, and no memory for its result.
 *
 * ```js
 * import { ConvTranspose1d, queueDepth, Tensor } from 'convtranspose';
 * const layer = new ConvTranspose1d(4, 4, 2);
 * const calls = [1, 2, 3].map((length) => layer.forwardAsync(Tensor.zeros([1, 4, length])));
 * console.log(queueDepth()); // 3
 * await Promise.all(calls);
 * console.log(queueDepth()); // 0
 * ```
 */
export function queueDepth(): number {
  return callNative((native) => native.queueDepth());
}

/**
 * Limits {@link queueDepth}: a call that would exceed it rejects with `ERR_CONVTRANSPOSE_QUEUE_FULL`; calls that wait already are not
 * affected. Of this thread alone.
 *
 * @param limit an integer of at least 1, or Infinity for no limit, as it is in the beginning
 */
export function setQueueLimit(limit: number): void {
  const most = limit === Infinity ? limit : toInteger(limit, 'limit', 1);
  callNative((native) => {
    native.setQueueLimit(most);
  });
}

/** What {@link setQueueLimit} set; Infinity if there is no limit. */
export function getQueueLimit(): number {
  return callNative((native) => native.getQueueLimit());
}

/** The version of the package that the native addon was compiled as, for instance `'0.1.0'`. */
export function version(): string {
  return callNative((native) => native.version);
}

/**
 * The processor, its instruction sets and caches, and the default number of threads.
 *
 * ```js
 * import { cpuInfo } from 'convtranspose';
 * console.log(cpuInfo().isa);
 * ```
 */
export function cpuInfo(): CpuInfo {
  const info: NativeCpuInfo = callNative((native) => native.cpuInfo());
  return info;
}
