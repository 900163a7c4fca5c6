// @ts-check
/**
 * How long the event loop waits while calls compute: 1,000 asynchronous calls of mixed sizes are queued at once.
 *
 * The delay is that of `monitorEventLoopDelay`, each millisecond, beyond the millisecond; beside it stand the times of a file that is read
 * and a name that is looked up again and again meanwhile, both of which use libuv's threads. The same without any calls comes first: what
 * the machine itself adds. Memory is the resident size, at its highest in 10 ms steps, beyond that of the start.
 */
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { clearInterval, setInterval } from 'node:timers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Tensor, cpuInfo, queueDepth, setNumThreads, version } from '../../dist/index.mjs';
import { randomValues } from '../src/data.mjs';

const values = new Command('node scripts/event-loop.mjs')
  .description('How long the event loop waits while many asynchronous calls of mixed sizes compute.')
  .option('--calls <n>', 'calls that are queued at once', '1000')
  .option('--threads <n>', 'threads that compute', '2')
  .option('--seed <n>', 'of the layers and sizes', '1')
  .parse().opts();
const calls = Number(values.calls);
setNumThreads(Number(values.threads));

const numbers = randomValues(2 * calls + 16, Number(values.seed)); // for each call a layer and a size, and some to warm up
let used = 0;
/** A number from 0 to 1. */
const random = () => (Number(numbers[used++]) + 1) / 2;

/** From microseconds to tens of milliseconds a call. */
const layers = [
  { layer: new ConvTranspose1d(64, 32, 4, { stride: 2, padding: 1, seed: 1 }), shape: () => [1, 64, 1 + Math.floor(random() * 4096)] },
  { layer: new ConvTranspose2d(8, 3, 4, { stride: 2, padding: 1, seed: 1 }), shape: () => [1, 8, 8, 8] },
  { layer: new ConvTranspose2d(64, 32, 2, { stride: 2, seed: 1 }), shape: () => [1, 64, 64, 16 + Math.floor(random() * 112)] },
  { layer: new ConvTranspose2d(256, 128, 3, { stride: 2, padding: 1, outputPadding: 1, seed: 1 }), shape: () => [1, 256, 48, 48] },
  { layer: new ConvTranspose3d(16, 8, 4, { stride: 2, padding: 1, seed: 1 }), shape: () => [1, 16, 12, 12, 12] },
];

/** @param {number[]} times */
function quantile(times, /** @type {number} */ part) {
  times.sort((a, b) => a - b);
  return times[Math.min(times.length - 1, Math.floor(part * times.length))] ?? NaN;
}

const file = fileURLToPath(import.meta.url);

/**
 * Watches the event loop until `work` settles, or for a second.
 * @param {string} name
 * @param {(() => Promise<unknown>) | undefined} work
 */
async function watch(name, work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  /** @type {number[]} */
  const reads = [];
  /** @type {number[]} */
  const lookups = [];
  let done = false;
  let deepest = 0;
  const restingSize = process.memoryUsage.rss();
  let largestSize = restingSize;
  const sampling = setInterval(() => {
    largestSize = Math.max(largestSize, process.memoryUsage.rss());
    deepest = Math.max(deepest, queueDepth());
  }, 10);
  const repeat = async (/** @type {number[]} */ times, /** @type {() => Promise<unknown>} */ task) => {
    while (!done) {
      const start = performance.now();
      await task();
      times.push(performance.now() - start);
      await sleep(1);
    }
  };
  const beside = [repeat(reads, () => readFile(file)), repeat(lookups, () => lookup('localhost'))];
  await sleep(20);
  delay.enable();
  const start = performance.now();
  await (work === undefined ? sleep(1000) : work());
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  done = true;
  await Promise.all(beside);
  clearInterval(sampling);
  const beyond = (/** @type {number} */ nanoseconds) => Math.max(0, nanoseconds / 1e6 - 1).toFixed(2);
  const times = (/** @type {number[]} */ list) => `median ${quantile(list, 0.5).toFixed(2)}, 99 % within ${quantile(list, 0.99).toFixed(2)} ms`;
  console.log(`${name}: ${seconds.toFixed(2)} s`);
  console.log(`  delay of the event loop: median ${beyond(delay.percentile(50))}, 99 % within ${beyond(delay.percentile(99))}, most ${beyond(delay.max)} ms`);
  console.log(`  reading a file: ${times(reads)}; looking up a name: ${times(lookups)}`);
  console.log(`  calls in the queue: up to ${deepest}; memory: +${((largestSize - restingSize) / 2 ** 20).toFixed(0)} MiB`);
}

console.log(`convtranspose ${version()}, ${cpuInfo().isa}, ${values.threads} threads, Node ${process.version}`);
const work = Array.from({ length: calls }, () => {
  const { layer, shape } = layers[Math.floor(random() * layers.length)] ?? /** @type {never} */ (layers[0]);
  return { layer, input: Tensor.zeros(shape()) };
});
await Promise.all(layers.map(({ layer, shape }) => layer.forwardAsync(Tensor.zeros(shape()))));
await watch('without calls', undefined);
await watch(`${calls} calls`, () => Promise.all(work.map(async ({ layer, input }) => { await layer.forwardAsync(input); })));
