// @ts-check
import { Command, InvalidArgumentError, Option } from 'commander';
import progress from 'cli-progress';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { compare } from './agreement.mjs';
import { randomData } from './data.mjs';
import { canMeasureMemory, measureMemory } from './memory.mjs';
import { measureInterleaved } from './measure.mjs';
import { buildPeak, measurePeak } from './peak.mjs';
import { flops, formatProblem, parseProblem, readSuite, selectLayers, SUITE_FILE } from './problem.mjs';
import { header, legend, row, summary } from './report.mjs';
import { findPython, Torch } from './runners/torch.mjs';

/** @typedef {Omit<import('./runners/convtranspose.mjs').RunnerOptions, 'memoryFormat'>} RunnerOptions */
/**
 * @typedef {RunnerOptions & { layer: string[], shape: string[], isa?: string, seconds: number, json?: string, continue: boolean,
 *   channelsLast: boolean, bias: boolean, ort: boolean, torch: boolean, python: string[], memory: boolean }} Options
 */

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
    .addOption(new Option('--algorithm <name>', 'force ours').choices(['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference']).default('auto'))
    .addOption(new Option('--precision <name>', 'of ours').choices(['highest', 'high', 'medium']).default('highest'))
    .option('--channels-last', 'ours with channels-last tensors too, beside contiguous ones', false)
    .option('--bias', 'with a bias', false)
    .option('--no-ort', 'without onnxruntime-node, so without a comparison of the answers')
    .option('--no-torch', 'without PyTorch, which takes part where a python has it')
    .option('--python <program>', 'a python that has torch; may be given several times, the first that has it counts', several, [])
    .option('--no-memory', 'without the measurement of peak memory (Linux only)')
    .option('--json <file>', 'write all results to this file, after each layer')
    .option('--continue', 'keep the layers that the file of --json holds already, and run the others', false);
  /** @type {Options} */
  const options = command.parse().opts();
  if (options.continue && !options.json) command.error('error: --continue needs --json');
  return options;
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
  await runner.turn(0);
  const output = runner.output();
  await runner.close();
  return output;
}

/**
 * Compares every side with onnxruntime-node; gives the one that disagrees, or the worst.
 * @param {import('./problem.mjs').Problem} problem
 * @param {Map<string, import('./measure.mjs').Runner>} runners
 * @param {Float32Array} magnitudes
 * @param {(side: string) => { elementwise: boolean, limit: number }} tolerance
 */
async function compareAll(problem, runners, magnitudes, tolerance) {
  const expected = await /** @type {import('./measure.mjs').Runner} */ (runners.get('onnxruntime')).output();
  let worst;
  for (const [side, runner] of runners) {
    if (side === 'onnxruntime') continue;
    const { elementwise, limit } = tolerance(side);
    const agreement = { side, ...compare(problem, await runner.output(), expected, magnitudes, elementwise, limit) };
    if (!worst || (worst.agrees && (!agreement.agrees || agreement.rms > worst.rms))) worst = agreement;
  }
  return worst;
}

/**
 * @param {import('./problem.mjs').Problem} problem
 * @param {Options} options
 * @param {Torch | undefined} torch
 * @returns {Promise<import('./report.mjs').LayerResult>}
 */
async function benchLayer(problem, options, torch) {
  const ours = await import('./runners/convtranspose.mjs');
  const peer = options.ort ? await import('./runners/onnxruntime.mjs') : undefined;
  const { threads, seconds, precision, algorithm, bias } = options;
  const { isa } = ours.cpuInfo();
  const data = randomData(problem, bias);
  /** @type {import('./runners/convtranspose.mjs').RunnerOptions} */
  const settings = { threads, precision, algorithm, memoryFormat: 'contiguous' };
  const { explanation, fresh, reused } = await ours.makeRunners(problem, data, settings);
  const last = options.channelsLast ? await ours.makeRunners(problem, data, { ...settings, memoryFormat: 'channelsLast' }) : undefined;
  /** @type {Map<string, import('./measure.mjs').Runner>} */
  const runners = new Map([
    ['ours', fresh],
    ['oursOut', reused],
  ]);
  if (last) runners.set('oursLast', last.fresh);
  if (peer) runners.set('onnxruntime', await peer.makeRunner(problem, data, options));
  for (const [side, runner] of (await torch?.makeRunners(problem, data)) ?? []) runners.set(side, runner);

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
  if (peer) {
    const magnitudes = await resultOnce(peer.makeRunner(problem, absolute(data), options));
    const explanations = /** @type {Record<string, typeof explanation | undefined>} */ ({ ours: explanation, oursOut: explanation, oursLast: last?.explanation });
    agreement = await compareAll(problem, runners, magnitudes, (side) => {
      const how = explanations[side];
      // PyTorch's convolutions may be of Winograd's kind.
      return how
        ? { elementwise: how.choice !== 'winograd' && how.precision === 'highest', limit: RMS_LIMITS[precision] }
        : { elementwise: false, limit: RMS_LIMITS.highest };
    });
  }
  for (const [side, runner] of runners) if (side !== 'oursOut') await runner.close(); // which is the layer of 'ours'

  /** @type {Record<string, number> | undefined} */
  let extraBytes;
  if (options.memory && canMeasureMemory) {
    extraBytes = { convtranspose: measureMemory('convtranspose', problem, { ...settings, bias }) };
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

/**
 * PyTorch, if a python at hand has it.
 * @param {Options} options
 * @param {string} isa
 */
async function startTorch({ torch, python, threads }, isa) {
  if (!torch) return undefined;
  const program = findPython(python.length > 0 ? python : ['python3', '/usr/bin/python3']);
  if (!program) {
    if (python.length > 0) throw new Error(`${python.join(', ')}: cannot import torch`);
    return undefined;
  }
  const helper = new Torch(program, { threads, isa });
  await helper.start();
  return helper;
}

/** What says which layers run and for how long, rather than how. */
const SELECTION = ['layer', 'shape', 'seconds', 'json', 'continue', 'python'];

/** What must be equal for layers of two runs to stand in one file. @param {import('./report.mjs').Report} report */
const conditions = ({ machine, versions, options }) =>
  JSON.stringify([machine, versions, Object.entries(options).filter(([name]) => !SELECTION.includes(name))]);

/**
 * The layers that a file of results holds, made under the same conditions.
 * @param {string} file
 * @param {import('./report.mjs').Report} report
 */
function earlierLayers(file, report) {
  if (!existsSync(file)) return [];
  const earlier = JSON.parse(readFileSync(file, 'utf8'));
  if (conditions(earlier) !== conditions(report)) throw new Error(`--continue: ${file} was made with other options or elsewhere`);
  return earlier.layers;
}

/** Whole or not at all. @param {string} file @param {import('./report.mjs').Report} report */
function writeReport(file, report) {
  writeFileSync(`${file}.part`, JSON.stringify(report, null, 1) + '\n');
  renameSync(`${file}.part`, file);
}

/** Runs the bench that the command line asks for. @returns {Promise<number>} exit code: 1 if any answers disagree */
export async function main() {
  const options = readOptions();
  const problems = selectProblems(options);
  if (options.isa) process.env['CONVTRANSPOSE_ISA'] = options.isa; // read by the package at its first use, which is below
  buildPeak();
  const ours = await import('./runners/convtranspose.mjs');
  const peer = options.ort ? await import('./runners/onnxruntime.mjs') : undefined;
  const torch = await startTorch(options, ours.cpuInfo().isa);
  try {
    return await benchAll(problems, options, { ours, peer, torch });
  } finally {
    torch?.close(); // or its process would keep this one alive
  }
}

/**
 * @param {import('./problem.mjs').Problem[]} problems
 * @param {Options} options
 * @param {{ ours: typeof import('./runners/convtranspose.mjs'), peer?: typeof import('./runners/onnxruntime.mjs'), torch?: Torch }} parties
 */
async function benchAll(problems, options, { ours, peer, torch }) {
  const { model, isa } = ours.cpuInfo();
  const sides = { torch: torch !== undefined, channelsLast: options.channelsLast };
  /** @type {import('./report.mjs').Report} */
  const report = {
    date: new Date().toISOString(),
    machine: { cpu: model, isa, node: process.version, platform: `${process.platform}-${process.arch} ${os.release()}` },
    versions: { [ours.name]: ours.version, ...(peer && { [peer.name]: peer.version }), ...(torch && { PyTorch: torch.version }) },
    options: { ...options },
    layers: [],
  };
  if (options.continue && options.json) report.layers = earlierLayers(options.json, report);
  const versions = Object.entries(report.versions).map((words) => words.join(' '));
  console.log(`${model}, ${isa}, ${options.threads} thread${options.threads === 1 ? '' : 's'}; ${versions.join(', ')}; Node ${process.version}`);
  if (torch && !torch.sides.some((side) => side === 'torch')) console.log('PyTorch runs without conv_transpose: it has the reference BLAS alone (Debian: apt-get install libopenblas0).');
  console.log(`${legend(sides)}\n\n${header(sides)}`);

  const bar = new progress.SingleBar({ format: '{bar} {value}/{total} {layer}', clearOnComplete: true, hideCursor: true }, progress.Presets.rect);
  const showsBar = process.stderr.isTTY && problems.length > 1;
  for (const [index, problem] of problems.entries()) {
    const kept = report.layers.find(({ name }) => name === problem.name);
    if (kept) {
      console.log(row(kept, sides));
      continue;
    }
    if (showsBar) bar.start(problems.length, index, { layer: problem.name });
    const result = await benchLayer(problem, options, torch);
    if (showsBar) bar.stop();
    report.layers.push(result);
    console.log(row(result, sides));
    if (options.json) writeReport(options.json, report);
  }
  console.log(['', ...summary(report.layers)].join('\n'));
  return report.layers.every(({ agreement }) => agreement?.agrees ?? true) ? 0 : 1;
}
