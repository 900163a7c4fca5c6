/** What is global: threads, version, processor. */
import { callNative } from './call';
import type { NativeCpuInfo } from './native';
import { toThreads } from './options';

/** The processor as this package sees it. */
export interface CpuInfo {
  readonly vendor: string;
  readonly model: string;
  /** `'x64'` or `'arm64'`. */
  readonly arch: string;
  /** Names of the instruction-set features that matter here. */
  readonly features: readonly string[];
  /** Instruction sets that this machine and this binary can run, ascending. */
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
