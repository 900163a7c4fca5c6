import { cpuInfo } from '../../lib/index';
import type { Explanation } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { compare, termAllowance } from '../support/bound';
import type { Clamp } from '../support/bound';
import { Random, oneSided, values } from '../support/data';
import { define } from '../support/definition';
import { callFunctional, contiguousOutput, inputTensor, makeModule, mayDecline, tensor } from '../support/forms';
import type { AlgorithmChoice, Data, RunOptions } from '../support/forms';
import { inputShape, memoryFormats, outputShape, outputSize, problemText, product, weightShape, type MemoryFormat } from '../support/problem';
import type { Problem } from '../support/problem';
import { winogradAllowance } from '../support/winograd-bound';
import { fewOutputsCase, matricesCase, randomCase } from '../support/random-cases';
import type { RandomCase } from '../support/random-cases';

export interface RandomReport {
  isa: string;
  /** Problems that were run, by dimensions. */
  problems: Record<number, number>;
  /** Runs by what the native counters saw: 'direct-wide/2d/channelsLast'. */
  runs: Record<string, number>;
  /** Runs of Winograd whose products were made of bfloat16 terms, by dimensions. */
  winogradTerms: Record<number, number>;
  /** Names of the kernels that ran. */
  kernels: string[];
  /** Runs that went over two blocks, by algorithm and blocked axis: 'direct-wide/columns'. */
  overTwoBlocks: Record<string, number>;
  /** Runs whose last block was smaller than the others, likewise. */
  tails: Record<string, number>;
  /** The largest error as a fraction of what is allowed, by algorithm. */
  worst: Record<string, number>;
  failures: string[];
}

/** Algorithms as the counters name them. */
const counted = ['depthwise', 'direct-few', 'direct-overlap', 'direct-wide', 'direct-channels', 'direct-residues', 'gemm', 'winograd', 'reference'] as const;
const countedOfAmx = ['amx', 'amx-overlap'] as const;
export type CountedAlgorithm = (typeof counted)[number] | (typeof countedOfAmx)[number];

/** Those that an instruction set has. */
export function countedAlgorithms(isa: string): readonly CountedAlgorithm[] {
  return isa === 'amx' ? [...counted, ...countedOfAmx] : counted;
}

/** The memory formats that an algorithm is for. */
export function formatsOf(algorithm: CountedAlgorithm): readonly MemoryFormat[] {
  return algorithm === 'amx-overlap' ? ['contiguous'] : memoryFormats;
}

/** The dimensions that an algorithm is for. */
export function ranksOf(algorithm: CountedAlgorithm): readonly number[] {
  return algorithm === 'direct-overlap' ? [1, 2] : [1, 2, 3];
}

/**
 * Cases of every (algorithm, dimension, memory format). Contiguous layers are rarely for direct-overlap: the native tests run it on those
 * by itself.
 */
export const wantedCases = (algorithm: CountedAlgorithm, format: MemoryFormat): number =>
  algorithm === 'direct-overlap' && format === 'contiguous' ? 40 : 300;

/** What the algorithms cut into blocks, and how many runs must go over two of them and must end with a smaller one. */
const blockedAxes: readonly string[] = [
  ...['rows', 'columns'].map((axis) => `depthwise/${axis}`),
  ...['rows', 'columns'].map((axis) => `direct-few/${axis}`),
  ...['rows', 'columns', 'panel', 'channelChunk'].map((axis) => `direct-wide/${axis}`),
  ...['images', 'depths', 'rows', 'columns', 'panel', 'channelChunk'].map((axis) => `direct-channels/${axis}`),
  ...['pixels', 'panel', 'channelChunk'].map((axis) => `gemm/${axis}`),
];
const blockedAxesOfAmx: readonly string[] = [
  ...['images', 'depths', 'rows', 'columns'].map((axis) => `amx/${axis}`),
  ...['planes', 'stripe', 'pixels'].map((axis) => `amx-overlap/${axis}`),
];
export const wantedOverTwoBlocks = 10;
export const wantedTails = 5;

/** Axes that too few runs have crossed. */
export function uncrossedAxes({ isa, overTwoBlocks, tails }: Pick<RandomReport, 'isa' | 'overTwoBlocks' | 'tails'>): string[] {
  return [...blockedAxes, ...(isa === 'amx' ? blockedAxesOfAmx : [])].filter((axis) => (overTwoBlocks[axis] ?? 0) < wantedOverTwoBlocks || (tails[axis] ?? 0) < wantedTails);
}

/** Problems of a dimension after which the search for rarely chosen algorithms ends. */
const maxProblems = 4000;
const maxFailures = 10;

const choices: readonly AlgorithmChoice[] = ['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference'];

/** Runs of Winograd by products of terms, of every dimension. */
export const wantedTerms = 20;

/** Seeds from here on are cases of few outputs, for the algorithms that add up what neighbours give, */
const fewOutputsSeeds = 1_000_000;
/** and from here on those of matrices, which Winograd alone is tested with. */
const matricesSeeds = 2_000_000;

export function runRandomCases(): RandomReport {
  const report: RandomReport = { isa: cpuInfo().isa, problems: {}, runs: {}, winogradTerms: {}, kernels: [], overTwoBlocks: {}, tails: {}, worst: {}, failures: [] };
  const kernels = new Set<string>();
  const reached = (algorithm: CountedAlgorithm, rank: number) =>
    formatsOf(algorithm).every((format) => (report.runs[`${algorithm}/${rank}d/${format}`] ?? 0) >= wantedCases(algorithm, format));
  const overlaps: readonly CountedAlgorithm[] = ['direct-overlap', 'amx-overlap'];
  const [others, ofFewOutputs] = [false, true].map((few) =>
    countedAlgorithms(report.isa).filter((algorithm) => overlaps.includes(algorithm) === few)) as [CountedAlgorithm[], CountedAlgorithm[]];
  const few: Record<number, number> = {};
  const matrices: Record<number, number> = {};
  const run = (rank: number, problems: Record<number, number>, first: number) => {
    const seed = problems[rank] ?? 0;
    if (seed >= maxProblems || report.failures.length >= maxFailures) return false;
    runInto(report, kernels, rank, first + seed);
    problems[rank] = seed + 1;
    return true;
  };
  for (const rank of [1, 2, 3]) {
    while (!others.every((algorithm) => reached(algorithm, rank)) && run(rank, report.problems, 0));
    while (!ofFewOutputs.every((algorithm) => !ranksOf(algorithm).includes(rank) || reached(algorithm, rank)) && run(rank, few, fewOutputsSeeds));
    if (report.isa !== 'amx') continue;
    while ((report.winogradTerms[rank] ?? 0) < wantedTerms && (matrices[rank] ?? 0) < 10 * wantedTerms && run(rank, matrices, matricesSeeds));
  }
  for (let rank = 1; ; rank = rank % 3 + 1) {
    const axes = uncrossedAxes(report);
    if (axes.length === 0) break;
    const overlap = axes.every((axis) => axis.startsWith('amx-overlap/'));
    if (!run(rank, overlap ? few : report.problems, overlap ? fewOutputsSeeds : 0)) break;
  }
  report.kernels = [...kernels].sort();
  return report;
}

/** One case alone, to repeat a failure. */
export function runRandomCase(rank: number, seed: number): RandomReport & { problem: Problem } {
  const report: RandomReport = { isa: cpuInfo().isa, problems: { [rank]: 1 }, runs: {}, winogradTerms: {}, kernels: [], overTwoBlocks: {}, tails: {}, worst: {}, failures: [] };
  const kernels = new Set<string>();
  runInto(report, kernels, rank, seed);
  return { ...report, kernels: [...kernels].sort(), problem: caseOf(rank, seed).problem };
}

function caseOf(rank: number, seed: number): RandomCase {
  return seed < fewOutputsSeeds ? randomCase(rank, seed) : seed < matricesSeeds ? fewOutputsCase(rank, seed) : matricesCase(rank, seed);
}

function runInto(report: RandomReport, kernels: Set<string>, rank: number, seed: number): void {
  const native = loadNative();
  const { problem, data: kind } = caseOf(rank, seed);
  const [formats, algorithms]: [readonly MemoryFormat[], readonly AlgorithmChoice[]] =
    seed < fewOutputsSeeds ? [memoryFormats, choices] :
    seed < matricesSeeds ? [memoryFormats, report.isa === 'amx' ? ['auto', 'direct', 'amx'] : ['auto', 'direct']] : [memoryFormats, ['winograd']];
  const stream = 16 * seed + 4 * rank;
  const data: Data = {
    input: values(kind, stream, product(inputShape(problem))),
    weight: values(kind, stream + 1, product(weightShape(problem))),
    bias: problem.bias ? values(kind, stream + 2, problem.outChannels) : null,
  };
  const expected = define(problem, data.input, data.weight, data.bias);
  const random = new Random(stream + 3);
  for (const memoryFormat of formats) {
    for (const algorithm of algorithms) {
      const { options, clamp } = randomOptions(random);
      if (algorithm === 'winograd' || algorithm === 'amx') delete options.invariant;
      if (algorithm === 'amx' && options.workspaceLimit !== undefined) options.workspaceLimit *= 4; // or blocks were single pixels
      const run: RunOptions = { ...options, memoryFormat, algorithm };
      const style = random.pick(['functional', 'module', 'view'] as const);
      native.resetCounters();
      let actual: Float32Array;
      try {
        const result = runStyle(style, problem, data, run);
        actual = result.values;
        if (result.explanation !== null) countBlocks(report, problem, result.explanation);
      } catch (error) {
        const may = mayDecline(algorithm) || run.workspaceLimit !== undefined;
        if (may && (error as { code?: string }).code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') continue;
        report.failures.push(`${(error as Error).message}: ${failureText(rank, seed, problem, run)}`);
        continue;
      }
      const ran = new Set<string>();
      let terms = false;
      for (const name of Object.keys(native.counters())) {
        if (name.startsWith('runtime/')) continue;
        ran.add(name.slice(0, name.indexOf('/')));
        kernels.add(name);
        terms ||= name.startsWith('winograd/amx/bf16');
      }
      if (terms) report.winogradTerms[rank] = (report.winogradTerms[rank] ?? 0) + 1;
      const lower = run.precision !== undefined;
      const others = ran.has('winograd') ? winogradAllowance(problem, data.input, data.weight, expected, !oneSided(kind), lower) :
        countedOfAmx.some((name) => ran.has(name)) ? termAllowance(expected, !oneSided(kind), run.precision) : null;
      const { worst, failure } = compare(actual, expected, !oneSided(kind), kind === 'integers' && !lower, clamp, others);
      if (failure !== null) report.failures.push(`${failure}: ${kind} data, ${style}, ${failureText(rank, seed, problem, run)}`);
      for (const name of ran) {
        const key = `${name}/${rank}d/${memoryFormat}`;
        report.runs[key] = (report.runs[key] ?? 0) + 1;
        const how = name.startsWith('amx') && lower ? `${name} ${run.precision}` : name;
        report.worst[how] = Math.max(report.worst[how] ?? 0, worst);
      }
      // What ran must be what was asked for.
      const wrong = [...ran].filter((name) => algorithm !== 'auto' && !name.startsWith(algorithm));
      const products = expected.terms.some((n) => n > 1);
      if (wrong.length > 0 || (products && ran.size === 0)) {
        report.failures.push(`ran ${[...ran].join() || 'nothing'}: ${failureText(rank, seed, problem, run)}`);
      }
    }
  }
}

function failureText(rank: number, seed: number, problem: Problem, run: RunOptions): string {
  return `CONVTRANSPOSE_ISA=${cpuInfo().isa}, arguments ${rank} ${seed}, options ${JSON.stringify(run)}, problem ${problemText(problem)}`;
}

function randomOptions(random: Random): { options: RunOptions; clamp: Clamp | null } {
  const options: RunOptions = { numThreads: random.int(1, 3) };
  if (random.chance(0.2)) options.invariant = true;
  if (random.chance(0.3)) options.precision = random.pick(['high', 'high', 'medium']);
  // Little scratch memory makes small blocks.
  if (random.chance(0.3)) options.workspaceLimit = random.pick([8, 16, 32, 64]) * 1024;
  let clamp: Clamp | null = null;
  const activation = random.int(0, 6);
  if (activation === 0) {
    options.activation = 'relu';
    clamp = { lower: 0, upper: Infinity };
  } else if (activation === 1) {
    options.activation = { type: 'clamp', min: -1, max: 0.5 };
    clamp = { lower: -1, upper: 0.5 };
  }
  return { options, clamp };
}

/** An unaligned view in the middle of guard values. */
function unaligned(values: Float32Array): Float32Array {
  const whole = new Float32Array(values.length + 8).fill(NaN);
  whole.set(values, 3);
  return whole.subarray(3, 3 + values.length);
}

/** Counts the axes that a run cuts into more than two blocks, and those that leave a smaller last block. */
function countBlocks(report: RandomReport, p: Problem, { algorithm, blocking }: Explanation): void {
  // Dilation is split into sub-grids, whose sizes are not those of the problem.
  if (p.dilation.some((d) => d !== 1)) return;
  const out = outputSize(p);
  /** Outputs of the largest phase along a dimension, counted from the last. */
  const phase = (fromLast: number): number => {
    const d = p.rank - 1 - fromLast;
    return d < 0 ? 1 : Math.ceil((out[d] as number) / (p.stride[d] as number));
  };
  const extents: Record<string, number> = {
    columns: phase(0), rows: phase(1), depths: phase(2), images: p.batch ?? 1, channelChunk: p.inChannels / p.groups,
    panel: p.outChannels / p.groups, pixels: (p.batch ?? 1) * product(p.in),
  };
  if (algorithm === 'amx-overlap') { // cuts rows and planes of the input
    const height = p.in[p.rank - 2] ?? 1;
    const planes = (p.batch ?? 1) * (p.in[p.rank - 3] ?? 1);
    Object.assign(extents, { planes, rows: Math.min(height, blocking['stripe'] as number), stripe: height, pixels: phase(0) });
  }
  for (const [axis, block] of Object.entries(blocking)) {
    const extent = extents[axis];
    if (extent === undefined || block < 1) continue;
    const key = `${algorithm}/${axis}`;
    report.overTwoBlocks[key] = (report.overTwoBlocks[key] ?? 0) + Number(extent > 2 * block);
    report.tails[key] = (report.tails[key] ?? 0) + Number(extent > block && extent % block !== 0);
  }
}

interface StyleResult {
  values: Float32Array;
  /** What the module said that it would run; the functional form cannot say. */
  explanation: Explanation | null;
}

/** 'view': a module that reads from and writes to unaligned views, whose surroundings must stay as they are. */
function runStyle(style: 'functional' | 'module' | 'view', p: Problem, data: Data, run: RunOptions): StyleResult {
  const format = run.memoryFormat ?? 'contiguous';
  if (style === 'functional') return { values: contiguousOutput(p, callFunctional(p, data, run).data, format), explanation: null };
  const layer = makeModule(p, data, run);
  try {
    const input = inputTensor(p, data.input, format);
    const explanation = layer.explain(input.shape);
    if (style === 'module') return { values: contiguousOutput(p, layer.forward(input).data, format), explanation };
    const shape = outputShape(p, format);
    const view = unaligned(new Float32Array(product(shape)));
    layer.forward(tensor(unaligned(input.data), input.shape), { out: tensor(view, shape) });
    const around = new Float32Array(view.buffer);
    const intact = around.subarray(0, 3).every(Number.isNaN) && around.subarray(3 + view.length).every(Number.isNaN);
    if (!intact) throw new Error('values around `out` were overwritten');
    return { values: contiguousOutput(p, view, format), explanation };
  } finally {
    layer.dispose();
  }
}
