/**
 * Prints the instruction set, then for every fixture the algorithms that really ran by the native counters, once for each
 * word of the `algorithm` option: a line per fixture, to be compared between machines.
 */
import { cpuInfo } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { loadFixtures, nameOf } from '../support/fixtures';
import { algorithmChoices, runForm } from '../support/forms';
import type { AlgorithmChoice } from '../support/forms';
import type { Fixture } from '../support/fixtures';

async function algorithmsThatRan(fixture: Fixture, algorithm: AlgorithmChoice): Promise<string> {
  const native = loadNative();
  native.resetCounters();
  try {
    await runForm('module', fixture, { input: fixture.input, weight: fixture.weight, bias: fixture.biasData }, { algorithm });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') return 'declined';
    throw error;
  }
  const ran = Object.keys(native.counters()).flatMap((name) => /^(direct-wide|direct-channels|gemm|reference)\//.exec(name)?.[1] ?? []);
  return [...new Set(ran)].sort().join('+') || 'nothing';
}

async function main(): Promise<void> {
  console.log(cpuInfo().isa);
  for (const fixture of loadFixtures()) {
    const columns: string[] = [];
    for (const algorithm of algorithmChoices) columns.push(`${algorithm}: ${await algorithmsThatRan(fixture, algorithm)}`);
    console.log(`${nameOf(fixture)}\t${columns.join('\t')}`);
  }
}

void main();
