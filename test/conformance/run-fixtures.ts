/** Holds every stored PyTorch result against every form, memory format and algorithm, in the process's instruction set. */
import { cpuInfo } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { compare, termAllowance } from '../support/bound';
import { oneSided } from '../support/data';
import { define } from '../support/definition';
import { loadFixtures, nameOf } from '../support/fixtures';
import type { Fixture } from '../support/fixtures';
import { forms, runForm } from '../support/forms';
import type { AlgorithmChoice, Form, RunOptions } from '../support/forms';
import { winogradAllowance } from '../support/winograd-bound';
import { memoryFormats } from '../support/problem';

export interface FixtureReport {
  isa: string;
  /** Runs that were compared, by form, memory format and algorithm: 'module/channelsLast/direct'. */
  runs: Record<string, number>;
  /** Runs that were refused, with their fixtures (several times those of several precisions): by algorithm. */
  declined: Record<string, number[]>;
  /** Native counters of the kernels that ran. */
  counters: Record<string, number>;
  /** The largest error as a fraction of what is allowed, by algorithm. */
  worst: Record<string, number>;
  failures: string[];
}

type Run = Required<Pick<RunOptions, 'algorithm' | 'memoryFormat'>> & Pick<RunOptions, 'precision'>;

/** The first failures tell the story; thousands more would hide it. */
const maxFailures = 25;

const implemented: readonly AlgorithmChoice[] = ['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference'];

/** True where the gemm algorithm promises to run: exactly one tap reaches every output. */
export function isGemm(f: Fixture): boolean {
  return f.kernel.every((k, d) => k === f.stride[d] && f.dilation[d] === 1 && f.outputPadding[d] === 0 && f.padding[d]?.join() === '0,0');
}

/** True where the depthwise algorithm promises to run: few input channels per group. */
export function isDepthwise(f: Fixture): boolean {
  return f.inChannels / f.groups <= 8;
}

const mayBeWinograd = (algorithm: AlgorithmChoice) => algorithm === 'auto' || algorithm === 'winograd';

/** Data whose sums float32 holds exactly. */
function exactData(f: Fixture): boolean {
  return f.data === 'integers' || f.data === 'ones';
}

export async function runFixtures(): Promise<FixtureReport> {
  const native = loadNative();
  const report: FixtureReport = { isa: cpuInfo().isa, runs: {}, declined: {}, counters: {}, worst: {}, failures: [] };
  native.resetCounters();
  for (const fixture of loadFixtures()) {
    const { magnitude, terms } = define(fixture, fixture.input, fixture.weight, fixture.biasData);
    const expected = { y: fixture.expected, magnitude, terms };
    const winograd = winogradAllowance(fixture, fixture.input, fixture.weight, expected, !oneSided(fixture.data));
    const data = { input: fixture.input, weight: fixture.weight, bias: fixture.biasData };
    for (const format of memoryFormats) {
      for (const form of forms) {
        for (const algorithm of implemented) await runOne(fixture, form, { algorithm, memoryFormat: format });
        // Few channels fill too little of what it multiplies; with a lower precision it takes more of them.
        for (const precision of ['high', 'medium'] as const) await runOne(fixture, form, { algorithm: 'amx', memoryFormat: format, precision });
      }
    }

    async function runOne(f: Fixture, form: Form, run: Run): Promise<void> {
      const { algorithm, memoryFormat, precision } = run;
      const fail = (what: string) => {
        if (report.failures.length < maxFailures) report.failures.push(`${nameOf(f)} ${form} ${JSON.stringify(run)}: ${what}`);
      };
      try {
        const actual = await runForm(form, f, data, run);
        const others = mayBeWinograd(algorithm) ? winograd : termAllowance(expected, !oneSided(f.data), precision);
        const { worst, failure } = compare(actual, expected, !oneSided(f.data), exactData(f) && precision === undefined, null, others);
        if (failure !== null) fail(failure);
        report.worst[algorithm] = Math.max(report.worst[algorithm] ?? 0, worst);
        const key = `${form}/${memoryFormat}/${algorithm}`;
        report.runs[key] = (report.runs[key] ?? 0) + 1;
      } catch (error) {
        if ((error as { code?: string }).code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') {
          (report.declined[algorithm] ??= []).push(f.number);
        } else {
          fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
        }
      }
    }
  }
  report.counters = native.counters();
  return report;
}
