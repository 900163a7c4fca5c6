/** The engine of a batch: tasks by a number of workers, where one that fails does not stop the others. */
import { performance } from 'node:perf_hooks';

import type { BatchTask } from './inputs';

/** An input that failed. */
export interface BatchFailure {
  readonly input: string;
  readonly output: string;
  readonly code: string;
  readonly message: string;
}

/** How a batch went. */
export interface BatchOutcome {
  readonly done: number;
  readonly failures: readonly BatchFailure[];
  /** True if `signal` ended it before all tasks had been done. */
  readonly interrupted: boolean;
  readonly seconds: number;
}

export interface BatchOptions {
  /** Tasks at the same time. */
  readonly jobs: number;
  /** Ends the batch: no more tasks are begun, and a task that rejects from then on is neither done nor failed. */
  readonly signal: AbortSignal;
  /** Called after each task. */
  readonly onSettled: (done: number, failed: number) => void;
  readonly onFailure: (failure: BatchFailure) => void;
}

/** An error in one line, and its code. */
function failureOf({ input, output }: BatchTask, error: unknown): BatchFailure {
  const { code = 'ERR_CONVTRANSPOSE_UNKNOWN', message = String(error) } = error as { code?: string; message?: string };
  return { input, output, code, message: message.replace(/\s*\n\s*/g, ' ') };
}

/** Runs `work` on all tasks. Never rejects for what a task does. */
export async function runBatch(tasks: readonly BatchTask[], work: (task: BatchTask) => Promise<void>, options: BatchOptions): Promise<BatchOutcome> {
  const { jobs, signal, onSettled, onFailure } = options;
  const begin = performance.now();
  const failures: BatchFailure[] = [];
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let task = tasks[next++]; task !== undefined && !signal.aborted; task = tasks[next++]) {
      try {
        await work(task);
        done += 1;
      } catch (error) {
        if (signal.aborted) return;
        const failure = failureOf(task, error);
        failures.push(failure);
        onFailure(failure);
      }
      onSettled(done, failures.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, tasks.length) }, worker));
  return {
    done, failures, interrupted: done + failures.length < tasks.length, seconds: (performance.now() - begin) / 1e3,
  };
}
