/** Infinities and NaN, and numbers that overflow: outputs are non-finite exactly where the definition's are. */
import { cpuInfo } from '../../lib/index';
import { compare } from '../support/bound';
import { Random, values } from '../support/data';
import { define } from '../support/definition';
import { mayDecline, runForm } from '../support/forms';
import type { AlgorithmChoice, Data } from '../support/forms';
import { winogradAllowance } from '../support/winograd-bound';
import { inputShape, memoryFormats, problemText, product, weightShape } from '../support/problem';
import { randomCase } from '../support/random-cases';

export interface NonFiniteReport {
  isa: string;
  runs: number;
  /** Outputs that had to be non-finite. */
  nonFinite: number;
  failures: string[];
}

const choices: readonly AlgorithmChoice[] = ['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference'];
const casesPerRank = 60;
const maxFailures = 20;

/** Puts a few special values at random places, at the first and at the last. */
function sprinkle(data: Float32Array, random: Random): void {
  if (data.length === 0) return;
  const special = [NaN, Infinity, -Infinity];
  const places = random.int(1, 3);
  for (let i = 0; i < places; i++) {
    const place = random.pick([0, data.length - 1, random.int(0, data.length - 1)]);
    data[place] = random.pick(special);
  }
}

export async function runNonFinite(): Promise<NonFiniteReport> {
  const report: NonFiniteReport = { isa: cpuInfo().isa, runs: 0, nonFinite: 0, failures: [] };
  for (const rank of [1, 2, 3]) {
    for (let seed = 0; seed < casesPerRank; seed++) {
      const { problem } = randomCase(rank, 20_000 + seed);
      const random = new Random(30_000 + 4 * seed + rank);
      const stream = 600_000 + 16 * seed + 4 * rank;
      const data: Data = {
        input: values('mixed', stream, product(inputShape(problem))),
        weight: values('mixed', stream + 1, product(weightShape(problem))),
        bias: problem.bias ? values('mixed', stream + 2, problem.outChannels) : null,
      };
      // Zeros among the values: 0 * infinity is NaN where it is a product, and nothing where it is padding.
      for (const array of [data.input, data.weight]) array.forEach((_, i) => { if (random.chance(0.2)) array[i] = 0; });
      const where = random.int(0, 3);
      if (where !== 1) sprinkle(data.input, random);
      if (where !== 0) sprinkle(data.weight, random);
      if (where === 3 && data.bias !== null) sprinkle(data.bias, random);
      const expected = define(problem, data.input, data.weight, data.bias);
      const winograd = winogradAllowance(problem, data.input, data.weight, expected, true);
      for (const memoryFormat of memoryFormats) {
        for (const algorithm of choices) {
          for (const form of ['functional', 'module'] as const) {
            try {
              const actual = await runForm(form, problem, data, { memoryFormat, algorithm });
              const { failure } = compare(actual, expected, true, false, null, winograd);
              report.runs += 1;
              report.nonFinite += expected.y.reduce((count, value) => count + Number(!Number.isFinite(value)), 0);
              if (failure !== null && report.failures.length < maxFailures) {
                report.failures.push(`${failure}: ${form} ${memoryFormat} ${algorithm}, case ${rank} ${20_000 + seed} ${problemText(problem)}`);
              }
            } catch (error) {
              if (!mayDecline(algorithm) || (error as { code?: string }).code !== 'ERR_CONVTRANSPOSE_UNSUPPORTED') throw error;
            }
          }
        }
      }
    }
  }
  return report;
}
