// @ts-check
/**
 * What a chunk of a streamed layer takes, beside its share of one call on the whole input.
 *
 * Left out, the layers are those of HiFi-GAN in the suite. The whole call is `forward` of a module with `invariant: true` and
 * `algorithm: 'direct'` on the input of the suite; `new` lets each call allocate its output, `out` does not. Calls are timed in groups of
 * about 100 us, in turns of all sides; the fastest group of each counts. The median and the 99th percentile are of calls timed one
 * by one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ConvTranspose1d, Tensor, cpuInfo, version } from '../../dist/index.mjs';
import { randomData } from '../src/data.mjs';
import { SUITE_FILE, parseProblem, readSuite, weightShape } from '../src/problem.mjs';

const GROUP_MICROSECONDS = 100;
const TURN_MICROSECONDS = 20_000;

const command = new Command('node scripts/stream-latency.mjs')
  .description('What a chunk of a streamed layer takes, beside its share of one call on the whole input.')
  .argument('[layers...]', 'names of the suite, or problems such as "n1 c64 o32 i100 k4 s2 p1" (default: those of HiFi-GAN)')
  .option('--threads <n>', 'threads that compute', '1')
  .option('--frames <list>', 'lengths of the chunks', '1,8,64')
  .option('--seconds <s>', 'for each layer and length', '2')
  .parse();
const [values, positionals] = [command.opts(), command.args];
const numThreads = Number(values.threads);
const chunkLengths = values.frames.split(',').map(Number);
const names = positionals.length > 0 ? positionals : ['hifigan-up1', 'hifigan-up2', 'hifigan-up3', 'hifigan-up4'];

const now = () => Number(process.hrtime.bigint()) / 1000;

/**
 * One thing to time: groups of calls, and single ones.
 * @param {() => void} call
 */
function makeSide(call) {
  for (let i = 0; i < 200; i++) call();
  const start = now();
  for (let i = 0; i < 20; i++) call();
  const group = Math.max(1, Math.round(GROUP_MICROSECONDS / ((now() - start) / 20)));
  let fastest = Infinity;
  /** @type {number[]} */
  const singles = [];
  return {
    turn() {
      const end = now() + TURN_MICROSECONDS;
      while (now() < end) {
        const begin = now();
        for (let i = 0; i < group; i++) call();
        fastest = Math.min(fastest, (now() - begin) / group);
      }
      for (let i = 0; i < 50; i++) {
        const begin = now();
        call();
        singles.push(now() - begin);
      }
    },
    /** Microseconds. */
    result() {
      singles.sort((a, b) => a - b);
      const at = (/** @type {number} */ part) => Number(singles[Math.floor(part * (singles.length - 1))]);
      return { fastest, median: at(0.5), high: at(0.99) };
    },
  };
}

/** @param {import('../src/problem.mjs').Problem} problem */
async function measure(problem) {
  const { inChannels, outChannels, kernelSize, stride, padding, outputPadding, dilation, groups } = problem;
  const [length = 1] = problem.inputSize;
  const data = randomData(problem, true);
  const common = {
    stride, padding, outputPadding, dilation, groups, numThreads,
    weight: new Tensor(data.weight, weightShape(problem)),
    bias: new Tensor(/** @type {Float32Array} */ (data.bias), [outChannels]),
  };
  const whole = new ConvTranspose1d(inChannels, outChannels, kernelSize, { ...common, invariant: true, algorithm: 'direct' });
  const input = new Tensor(data.input.slice(0, inChannels * length), [inChannels, length]);
  const wholeOut = whole.forward(input);
  const layer = new ConvTranspose1d(inChannels, outChannels, kernelSize, common);
  const sides = new Map([
    ['whole new', makeSide(() => whole.forward(input))],
    ['whole out', makeSide(() => whole.forward(input, { out: wholeOut }))],
  ]);
  for (const frames of chunkLengths) {
    const stream = layer.stream();
    const chunk = Tensor.empty([inChannels, frames]);
    chunk.data.set(data.input.subarray(0, chunk.data.length));
    while (stream.samplesOut === 0 || stream.outputShape(frames)[1] !== frames * Number(stride[0])) stream.push(chunk);
    const options = { out: Tensor.empty(stream.outputShape(frames)) };
    sides.set(`${frames} new`, makeSide(() => stream.push(chunk)));
    sides.set(`${frames} out`, makeSide(() => stream.push(chunk, options)));
  }
  const rounds = Math.ceil((Number(values.seconds) * 1e6) / TURN_MICROSECONDS / sides.size);
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? sides.values() : [...sides.values()].reverse()) {
      side.turn();
      await sleep(0); // memory of results that are gone comes back in a turn of the event loop
    }
  }
  const result = (/** @type {string} */ name) => /** @type {ReturnType<typeof makeSide>} */ (sides.get(name)).result();
  console.log(`${problem.name}: whole, ${length} frames: ${result('whole new').fastest.toFixed(0)} us new, ${result('whole out').fastest.toFixed(0)} us out`);
  for (const frames of chunkLengths) {
    for (const kind of ['new', 'out']) {
      const { fastest, median, high } = result(`${frames} ${kind}`);
      const share = (result(`whole ${kind}`).fastest * frames) / length;
      console.log(`  ${String(frames).padStart(4)} frames ${kind}: ${fastest.toFixed(2).padStart(9)} us, share ${share.toFixed(2).padStart(8)} us, ` +
        `ratio ${(fastest / share).toFixed(2).padStart(6)}; one by one: median ${median.toFixed(2)}, 99 % below ${high.toFixed(2)} us`);
    }
  }
  whole.dispose();
  layer.dispose();
}

console.log(`convtranspose ${version()}, ${cpuInfo().isa}, ${numThreads} ${numThreads === 1 ? 'thread' : 'threads'}`);
const suite = readSuite(SUITE_FILE);
for (const name of names) {
  await measure(suite.find((problem) => problem.name === name) ?? parseProblem(name));
}
