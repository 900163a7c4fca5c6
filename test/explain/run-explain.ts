/** explain() against the native counters of the kernels that really ran, in the process's instruction set. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { cpuInfo } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { values } from '../support/data';
import { makeModule, mayDecline } from '../support/forms';
import type { AlgorithmChoice, RunOptions } from '../support/forms';
import { inputShape, memoryFormats, outputShape, problemText, product, weightShape } from '../support/problem';
import type { Problem } from '../support/problem';
import { randomCase } from '../support/random-cases';

const maxFailures = 25;

export interface ExplainReport {
  isa: string;
  /** Problems of the bench's suite among them. */
  suite: number;
  compared: number;
  /** Algorithms that were explained, by name. */
  algorithms: Record<string, number>;
  failures: string[];
}

interface SuiteLayer {
  name: string;
  batch: number;
  inChannels: number;
  outChannels: number;
  groups: number;
  inputSize: number[];
  kernelSize: number[];
  stride: number[];
  padding: number[];
  outputPadding: number[];
  dilation: number[];
}

const suiteFile = path.join(__dirname, '..', '..', 'bench', 'suite', 'layers.json');

/** Operations of a layer that is still run here; larger ones are cut to a part of their rows, which changes no kernel size. */
const maxFlops = 1e9;
const casesPerRank = 40;

/** The layers of the bench, smaller along the first dimension where they are very large. */
export function suiteProblems(): { name: string; problem: Problem }[] {
  if (!existsSync(suiteFile)) throw new Error(`no ${suiteFile}`);
  return (JSON.parse(readFileSync(suiteFile, 'utf8')) as SuiteLayer[]).map((layer) => {
    const problem: Problem = {
      rank: layer.inputSize.length, batch: layer.batch, inChannels: layer.inChannels, outChannels: layer.outChannels,
      groups: layer.groups, in: [...layer.inputSize], kernel: layer.kernelSize, stride: layer.stride,
      padding: layer.padding.map((p): [number, number] => [p, p]), outputPadding: layer.outputPadding, dilation: layer.dilation,
      bias: true,
    };
    const flops = () => 2 * (problem.batch ?? 1) * problem.inChannels * (problem.outChannels / problem.groups) * product(problem.in) * product(problem.kernel);
    while (flops() > maxFlops && (problem.batch ?? 1) > 1) problem.batch = Math.ceil((problem.batch ?? 1) / 2);
    while (flops() > maxFlops && problem.rank > 1 && (problem.in[0] as number) > 8) problem.in[0] = Math.ceil((problem.in[0] as number) / 2);
    return { name: layer.name, problem };
  });
}

export function runExplain(): ExplainReport {
  const suite = suiteProblems();
  const report: ExplainReport = { isa: cpuInfo().isa, suite: suite.length, compared: 0, algorithms: {}, failures: [] };
  const random = [1, 2, 3].flatMap((rank) => Array.from({ length: casesPerRank }, (_, i) => {
    const { problem, seed } = randomCase(rank, 40_000 + i);
    return { name: `random ${rank} ${seed}`, problem };
  }));
  const choices: readonly AlgorithmChoice[] = ['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference'];
  for (const { name, problem } of suite) {
    for (const memoryFormat of memoryFormats) compareOne(report, name, problem, { memoryFormat });
  }
  for (const { name, problem } of random) {
    for (const memoryFormat of memoryFormats) {
      for (const algorithm of choices) compareOne(report, name, problem, { memoryFormat, algorithm });
    }
  }
  return report;
}

function compareOne(report: ExplainReport, name: string, p: Problem, run: RunOptions): void {
  const native = loadNative();
  const format = run.memoryFormat ?? 'contiguous';
  const data = { weight: values('mixed', 1, product(weightShape(p))), bias: p.bias ? values('mixed', 2, p.outChannels) : null };
  const layer = makeModule(p, data, run);
  const wrong = (what: string) => {
    if (report.failures.length < maxFailures) report.failures.push(`${name} ${JSON.stringify(run)}: ${what}: ${problemText(p)}`);
  };
  try {
    const shape = inputShape(p, format);
    const before = layer.explain(shape);
    const input = { data: values('mixed', 3, product(shape)), shape };
    native.resetCounters();
    layer.forward(input);
    const counters = native.counters();
    const ran = Object.keys(counters).filter((key) => !key.startsWith('runtime/')).sort();
    if (ran.join() !== [...before.kernels].sort().join()) wrong(`explained [${before.kernels.join()}], ran [${ran.join()}]`);
    const foreign = ran.filter((kernel) => kernel.split('/')[0] !== before.algorithm);
    if (foreign.length > 0) wrong(`explained ${before.algorithm}, ran ${foreign.join()}`);
    if (run.algorithm !== undefined && run.algorithm !== 'auto' && before.choice !== run.algorithm) wrong(`choice ${before.choice}`);
    if (before.isa !== (before.algorithm === 'reference' ? 'baseline' : report.isa)) wrong(`isa ${before.isa}`);
    if (before.reason === '' || before.rejected.some((other) => other.name === '' || other.reason === '')) wrong('no reason');
    if (before.rejected.some((other) => other.name === before.algorithm)) wrong('the algorithm that runs was rejected');
    const flops = 2 * (p.batch ?? 1) * p.inChannels * (p.outChannels / p.groups) * product(p.in) * product(p.kernel);
    if (before.flops !== flops) wrong(`flops ${before.flops} instead of ${flops}`);
    if (before.precision !== 'highest') wrong(`precision ${before.precision}`);
    if (!(before.tasks >= 1 && before.phases >= 1 && before.estimatedSeconds > 0 && before.workspaceBytes >= 0)) wrong('figures');
    const scratch = before.workspaceBytes + before.sharedBytes;
    if (scratch > 8 * 2 ** 20) wrong(`scratch of ${scratch} bytes`);
    if (before.sharedBytes > 0 && before.algorithm !== 'winograd') wrong(`${before.sharedBytes} bytes shared`);
    // Explaining again after the run says the same, and what is packed: at most 2.5 times the weights (and a page).
    const after = layer.explain(shape);
    if (after.kernels.join() !== before.kernels.join() || after.algorithm !== before.algorithm) wrong('explained differently after the run');
    const packed = Object.values(after.packedWeights).reduce((a, b) => a + b, 0);
    if (packed > 2.5 * 4 * data.weight.length + 4096) wrong(`${packed} bytes of packed weights for ${4 * data.weight.length}`);
    if (!after.summary.includes(after.algorithm)) wrong('summary does not name the algorithm');
    if (layer.outputShape(shape).join() !== outputShape(p, format).join()) wrong('outputShape');
    report.algorithms[before.algorithm] = (report.algorithms[before.algorithm] ?? 0) + 1;
    report.compared += 1;
  } catch (error) {
    if (!mayDecline(run.algorithm) || (error as { code?: string }).code !== 'ERR_CONVTRANSPOSE_UNSUPPORTED') throw error;
  } finally {
    layer.dispose();
  }
}
