// @ts-check
import { Command, InvalidArgumentError, Option } from 'commander';
import progress from 'cli-progress';
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { compare } from './agreement.mjs';
import { randomData } from './data.mjs';
import { canMeasureMemory, measureMemory } from './memory.mjs';
import { measureInterleaved } from './measure.mjs';
import { buildPeak, measurePeak } from './peak.mjs';
import { flops, formatProblem, parseProblem, readSuite, selectLayers, SUITE_FILE } from './problem.mjs';
import { header, legend, row, summary } from './report.mjs';

/** @typedef {import('./runners/convtranspose.mjs').RunnerOptions} RunnerOptions */
/** @typedef {RunnerOptions & { layer: string[], shape: string[], isa?: string, seconds: number, json?: string, bias: boolean, ort: boolean, memory: boolean }} Options */

/** RMS differences from onnxruntime-node that each precision may show; a wrong result is far beyond. */
const RMS_LIMITS = { highest: 3e-6, high: 1.5e-5, medium: 7e-3 };

/** @param {(value: number) => boolean} legal @param {string} expected */
const numeric = (legal, expected) => (/** @type {string} */ text) => {
  const value = Number(text);
  if (text.trim() === '' || !legal(value)) throw new InvalidArgumentError(`expected ${expected}`);
  return value;
};

/** @param {string} text @param {string[]} previous */
const several = (text, previous) => [...previous, text];

/** @returns {Options} */
function readOptions() {
  const command = new Command('npm run bench --')
    .description('Times the layers of the suite against onnxruntime-node, interleaved in one run, and checks that the answers agree.')
    .option('--layer <name>', 'a layer of the suite, * and ? match; may be given several times', several, [])
    .option('--shape <problem>', 'a problem of your own, such as "n1 c64 o32 i16x16 k4 s2 p1 op0 d1 g1"; may be given several times', several, [])
    .option('--threads <n>', 'threads for each side', numeric((n) => Number.isInteger(n) && n >= 1 && n <= 1024, 'an integer from 1 to 1024'), 1)
    .option('--seconds <s>', 'time to spend on each layer, all sides together', numeric((s) => s > 0 && s < 3600, 'a number of seconds'), 2)
    .addOption(new Option('--isa <name>', 'cap the instruction set of ours (as CONVTRANSPOSE_ISA)').choices(['baseline', 'avx2', 'avx512', 'amx', 'neon']))
    .addOption(new Option('--algorithm <name>', 'force ours').choices(['auto', 'direct', 'gemm', 'winograd', 'depthwise', 'reference']).default('auto'))
    .addOption(new Option('--precision <name>', 'of ours').choices(['highest', 'high', 'medium']).default('highest'))
    .addOption(new Option('--memory-format <name>', 'of the tensors of ours').choices(['contiguous', 'channelsLast']).default('contiguous'))
    .option('--bias', 'with a bias', false)
    .option('--no-ort', 'ours alone')
    .option('--no-memory', 'without the measurement of peak memory (Linux only)')
    .option('--json <file>', 'write all results to this file');
  return command.parse().opts();
}

/** @param {Options} options */
function selectProblems({ layer, shape }) {
  const suite = readSuite(SUITE_FILE);
  const chosen = layer.length > 0 ? selectLayers(suite, layer) : shape.length > 0 ? [] : suite;
  return [...chosen, ...shape.map((text) => parseProblem(text))];
}

/** @param {import('./data.mjs').LayerData} data @returns {import('./data.mjs').LayerData} */
const absolute = ({ input, weight, bias }) => ({ input: input.map(Math.abs), weight: weight.map(Math.abs), bias: bias && bias.map(Math.abs) });

/**
 * What one run of a layer that is made for it gives.
 * @param {Promise<import('./measure.mjs').Runner>} made
 */
async function resultOnce(made) {
  const runner = await made;
  await runner.run();
  const output = runner.output();
  await runner.close();
  return output;
}

/**
 * @param {import('./problem.mjs').Problem} problem
 * @param {Options} options
 * @returns {Promise<import('./report.mjs').LayerResult>}
 */
async function benchLayer(problem, options) {
  const ours = await import('./runners/convtranspose.mjs');
  const peer = options.ort ? await import('./runners/onnxruntime.mjs') : undefined;
  const { threads, seconds, precision, memoryFormat, algorithm, bias } = options;
  const { isa } = ours.cpuInfo();
  const data = randomData(problem, bias);
  const { explanation, fresh, reused } = await ours.makeRunners(problem, data, options);
  /** @type {Map<string, import('./measure.mjs').Runner>} */
  const runners = new Map([
    ['ours', fresh],
    ['oursOut', reused],
  ]);
  const theirs = await peer?.makeRunner(problem, data, options);
  if (theirs) runners.set('onnxruntime', theirs);

  let peakGflops = 0;
  const samplePeak = () => {
    peakGflops = Math.max(peakGflops, measurePeak(isa, threads));
  };
  const times = await measureInterleaved(runners, {
    seconds,
    threads,
    betweenRounds: (round) => {
      if (round % 4 === 0) samplePeak();
    },
  });
  samplePeak();

  let agreement;
  if (peer && theirs) {
    const magnitudes = await resultOnce(peer.makeRunner(problem, absolute(data), options));
    const elementwise = explanation.choice !== 'winograd' && explanation.precision === 'highest';
    const limit = RMS_LIMITS[precision];
    const checked = [fresh, reused].map((runner) => compare(problem, runner.output(), theirs.output(), magnitudes, elementwise, limit));
    agreement = checked.find(({ agrees }) => !agrees) ?? checked[0];
  }
  for (const runner of [fresh, theirs]) await runner?.close();

  /** @type {Record<string, number> | undefined} */
  let extraBytes;
  if (options.memory && canMeasureMemory) {
    extraBytes = { convtranspose: measureMemory('convtranspose', problem, { threads, precision, memoryFormat, algorithm, bias }) };
    if (peer) extraBytes['onnxruntime'] = measureMemory('onnxruntime', problem, { threads, bias });
  }
  return {
    name: problem.name,
    problem: formatProblem(problem),
    flops: flops(problem),
    peakGflops,
    times: Object.fromEntries(times),
    algorithm: explanation.algorithm,
    kernels: [...explanation.kernels],
    precision: explanation.precision,
    workspaceBytes: explanation.workspaceBytes,
    packedBytes: Object.values(explanation.packedWeights).reduce((total, bytes) => total + bytes, 0),
    ...(agreement && { agreement }),
    ...(extraBytes && { extraBytes }),
  };
}

/** Runs the bench that the command line asks for. @returns {Promise<number>} exit code: 1 if any answers disagree */
export async function main() {
  const options = readOptions();
  const problems = selectProblems(options);
  if (options.isa) process.env['CONVTRANSPOSE_ISA'] = options.isa; // read by the package at its first use, which is below
  buildPeak();
  const ours = await import('./runners/convtranspose.mjs');
  const peer = options.ort ? await import('./runners/onnxruntime.mjs') : undefined;
  const { model, isa } = ours.cpuInfo();
  /** @type {import('./report.mjs').Report} */
  const report = {
    date: new Date().toISOString(),
    machine: { cpu: model, isa, node: process.version, platform: `${process.platform}-${process.arch} ${os.release()}` },
    versions: { [ours.name]: ours.version, ...(peer && { [peer.name]: peer.version }) },
    options: { ...options },
    layers: [],
  };
  const versions = Object.entries(report.versions).map((words) => words.join(' '));
  console.log(`${model}, ${isa}, ${options.threads} thread${options.threads === 1 ? '' : 's'}; ${versions.join(', ')}; Node ${process.version}`);
  console.log(`${legend}\n\n${header()}`);

  const bar = new progress.SingleBar({ format: '{bar} {value}/{total} {layer}', clearOnComplete: true, hideCursor: true }, progress.Presets.rect);
  const showsBar = process.stderr.isTTY && problems.length > 1;
  for (const [index, problem] of problems.entries()) {
    if (showsBar) bar.start(problems.length, index, { layer: problem.name });
    const result = await benchLayer(problem, options);
    if (showsBar) bar.stop();
    report.layers.push(result);
    console.log(row(result));
    if (options.json) writeFileSync(options.json, JSON.stringify(report, null, 1) + '\n');
  }
  console.log(['', ...summary(report.layers)].join('\n'));
  return report.layers.every(({ agreement }) => agreement?.agrees ?? true) ? 0 : 1;
}
