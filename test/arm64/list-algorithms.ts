/**
 * Prints the instruction set; then for every fixture which family of algorithms really ran by the native counters, once for each word
 * of the `algorithm` option, unless it has no product at all; then all algorithms that ran. But for the first line this must not depend
 * on the machine. The fastest one does depend on the width of its vectors: for 'auto' the list says no more than whether it was the
 * reference. What answers to 'amx' is left out: some machines alone have it.
 */
import { cpuInfo } from '../../lib/index';
import { loadNative } from '../../lib/native';
import { loadFixtures, nameOf } from '../support/fixtures';
import { algorithmChoices, runForm } from '../support/forms';
import type { AlgorithmChoice } from '../support/forms';
import type { Fixture } from '../support/fixtures';

const seen = new Set<string>();

/** Whether a product reaches any output. Where none does, each algorithm may run its kernels on zeros or none at all. */
function hasProducts(fixture: Fixture): boolean {
  const outputs = fixture.outputShape.slice(-fixture.rank);
  return fixture.in.every((size, d) => {
    const at = (of: readonly number[]) => of[d] as number;
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < at(fixture.kernel); k++) {
        const o = at(fixture.stride) * i + at(fixture.dilation) * k - (fixture.padding[d] as [number, number])[0];
        if (o >= 0 && o < at(outputs)) return true;
      }
    }
    return false;
  });
}

async function familiesThatRan(fixture: Fixture, algorithm: AlgorithmChoice): Promise<string> {
  const native = loadNative();
  native.resetCounters();
  try {
    await runForm('module', fixture, { input: fixture.input, weight: fixture.weight, bias: fixture.biasData }, { algorithm });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ERR_CONVTRANSPOSE_UNSUPPORTED') return 'declined';
    throw error;
  }
  if (!hasProducts(fixture)) return 'no product';
  const families = new Set<string>();
  for (const name of Object.keys(native.counters())) {
    const [ran, isa, kernel] = name.split('/'); // kernels are counted as algorithm/instruction set/kernel
    if (ran === undefined || isa === undefined || kernel === undefined) continue;
    if (!ran.startsWith('amx')) seen.add(ran);
    families.add(ran.replace(/-.*/, ''));
  }
  if (algorithm === 'auto' && families.size === 1 && !families.has('reference')) return 'fast';
  return [...families].sort().join('+') || 'nothing';
}

async function main(): Promise<void> {
  console.log(cpuInfo().isa);
  for (const fixture of loadFixtures()) {
    const columns: string[] = [];
    for (const algorithm of algorithmChoices.filter((word) => word !== 'amx')) columns.push(`${algorithm}: ${await familiesThatRan(fixture, algorithm)}`);
    console.log(`${nameOf(fixture)}\t${columns.join('\t')}`);
  }
  console.log(`ran: ${[...seen].sort().join(' ')}`);
}

void main();
