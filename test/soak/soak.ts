/**
 * `npm run soak`: the main thread and worker threads compute random layers in every
 * form and verify every answer, some workers terminated in the middle of it all, while the memory of the process is watched. Ends with 1
 * after a wrong answer, or if memory grew by 5 % or more from the first fifth of the time (after a start of a tenth) to the last.
 *
 * Memory is looked at while the process rests: all workers have ended, the main thread has collected its garbage. At work the resident
 * size moves by a third with the layers that happen to be computed. And glibc keeps freed memory in an arena per thread, and the larger
 * the blocks it has seen freed, the larger those that it takes from there: with threads that come and go the resident size grew by 30 %
 * in minutes while what was allocated stayed at 20 to 30 MiB. So on Linux this runs in a process whose glibc gives memory back. V8 collects
 * without threads of its own (--single-threaded-gc): with them, ending workers that only make and drop arrays, without this package, takes
 * Node 20 from 49 to 96 MiB in 300 workers; without, it stays at 51.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

import { Command } from 'commander';

import { cpuInfo } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { Random } from '../support/data';
import { soak, type SoakReport, type SoakWorkerData } from './worker';

const values = new Command('npm run soak --')
  .description('Random layers in every form on many threads, every answer verified, workers terminated in the middle, memory watched.')
  .option('--minutes <n>', 'how long', '1')
  .option('--workers <n>', 'threads beside the main thread', '3')
  .option('--seed <n>', 'of all that is random', '1')
  .option('--ignore-memory', 'do not fail if memory grows')
  .parse().opts<{ minutes: string; workers: string; seed: string; ignoreMemory?: true }>();
const frugal = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '8192', MALLOC_TRIM_THRESHOLD_: '8192' };
if (process.platform === 'linux' && !values.ignoreMemory && process.env['MALLOC_ARENA_MAX'] !== frugal.MALLOC_ARENA_MAX) {
  const { status } = spawnSync(process.execPath, [...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit', env: { ...process.env, ...frugal } });
  process.exit(status ?? 1);
}
const milliseconds = Number(values.minutes) * 60_000;
const workerCount = Number(values.workers);
const random = new Random(Number(values.seed));
if (!(milliseconds > 0) || !Number.isInteger(workerCount) || workerCount < 1) throw new RangeError('expected --minutes above 0 and --workers of 1 or more');

declare const gc: () => void;

const maxGrowth = 0.05;
const start = Date.now();
const total: SoakReport = { verified: 0, aborted: 0, detached: 0, declined: 0, algorithms: {}, failures: [] };
const samples: { at: number; rss: number }[] = []; // at rest
let rests = false;
let terminated = 0;
let lastSeed = Number(values.seed) * 1000;
const workers: Worker[] = [];

function add(report: SoakReport): void {
  total.verified += report.verified;
  total.aborted += report.aborted;
  total.detached += report.detached;
  total.declined += report.declined;
  for (const [name, count] of Object.entries(report.algorithms)) total.algorithms[name] = (total.algorithms[name] ?? 0) + count;
  for (const failure of report.failures) {
    total.failures.push(failure);
    console.log(`soak: WRONG: ${failure}`);
  }
}

function startWorker(index: number): void {
  const workerData: SoakWorkerData = { seed: ++lastSeed };
  const file = JSON.stringify(path.join(__dirname, 'worker.ts'));
  const register = JSON.stringify(path.join(__dirname, '..', 'support', 'register.cjs'));
  const worker = new Worker(`require(${register}); require(${file});`, {
    eval: true, workerData, resourceLimits: { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 },
  });
  worker.on('message', add);
  worker.on('error', (error) => {
    total.failures.push(error.stack ?? error.message);
    console.log(`soak: a worker failed: ${error.stack ?? error.message}`);
  });
  workers[index] = worker;
}

function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
const rssBetween = (from: number, to: number): number => median(samples.filter(({ at }) => at >= from * milliseconds && at < to * milliseconds).map(({ rss }) => rss));

function progress(): void {
  const { liveBytes, recycledBytes, queued, staged } = loadNative().memory();
  const { rss } = process.memoryUsage();
  console.log(`soak: ${((Date.now() - start) / 60_000).toFixed(1)} min, ${total.verified} verified, ${total.aborted} aborted, ${total.detached} detached, ` +
    `${total.declined} declined, ${terminated} workers terminated, ${total.failures.length} failures, RSS ${mebibytes(rss)} MiB, live ${mebibytes(liveBytes)}, ` +
    `recycled ${mebibytes(recycledBytes)}, queued ${queued}, staged ${staged}`);
}

/** Ends all workers, notes what memory is left, and starts others. */
async function rest(): Promise<void> {
  rests = true;
  await Promise.all(workers.map((worker) => worker.terminate()));
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 100)); // finalizers, pool threads that free blocks
  }
  samples.push({ at: Date.now() - start, rss: process.memoryUsage.rss() });
  for (let index = 0; index < workerCount; index++) startWorker(index);
  rests = false;
}

const restEvery = Math.max(5_000, milliseconds / 40);
let nextRest = start + restEvery;

/** What the main thread does between two rounds of its own. */
async function goesOn(): Promise<boolean> {
  if (Date.now() >= nextRest) {
    await rest();
    nextRest = Date.now() + restEvery;
  }
  return Date.now() - start < milliseconds;
}

async function finish(): Promise<void> {
  await own;
  await rest();
  await Promise.all(workers.map((worker) => worker.terminate()));
  progress();
  const early = rssBetween(0.1, 0.3);
  const late = rssBetween(0.8, 1.01);
  const growth = late / early - 1;
  console.log(`soak: algorithms ${JSON.stringify(total.algorithms)}`);
  console.log(`soak: median RSS at rest ${mebibytes(early)} MiB, then ${mebibytes(late)} MiB: ${(100 * growth).toFixed(1)} %`);
  console.log(`soak: ${total.failures.length} wrong answers or failures`);
  const grew = !values.ignoreMemory && !(growth < maxGrowth);
  // exitCode would wait for what is left alive; nothing is.
  process.exit(total.failures.length > 0 || total.verified === 0 || grew ? 1 : 0);
}

console.log(`soak: ${values.minutes} minutes, ${workerCount} workers, ${cpuInfo().isa}, Node ${process.version}`);
for (let index = 0; index < workerCount; index++) startWorker(index);
const own = soak(lastSeed, add, goesOn).catch((error: unknown) => {
  total.failures.push((error as Error).stack ?? String(error));
});
const printing = setInterval(progress, 60_000);
// One of the workers ends wherever it is, and another takes its place; one stays.
const terminating = setInterval(() => {
  if (workerCount < 2 || rests) return;
  const index = random.int(1, workerCount - 1);
  void workers[index]?.terminate().then(() => {
    terminated += 1;
    if (!rests) startWorker(index);
  });
}, 5_000);
setTimeout(() => {
  for (const timer of [printing, terminating]) clearInterval(timer);
  void finish();
}, milliseconds);
