// How busy the NEON tile kernels keep the multiply-add units, as llvm-mca predicts it: no arm64 machine is needed. The inner
// loops come from the object that the cross compiler makes; the prediction assumes data in the first-level cache.
//
// Occupancy is the cycles that the products of a loop need at the rate of independent products (predicted for the same
// processor) as a share of the cycles that the loop needs. The tiles that the planner prefers (native/test/choices.txt: the
// main tiles of at least one plan in twenty for the suite) must reach 85% in the loop for several taps and in that for one.
// Others are for small layers and remainders, and may be less busy.
//
// What the prediction is worth depends on the models of the installed LLVM: version 14 has older cores of the same makers for
// both processors (cortex-a57 with one product a cycle, cyclone with three), so the shares tell whether loads and address
// arithmetic get in the way, not how many cycles these processors take.
//
//   node scripts/check-neon-occupancy.mjs [--verbose]   prints all main tiles, or all tile kernels; fails below 85%
//   node scripts/check-neon-occupancy.mjs --seed-spill  compiles a kernel that cannot fit the registers: succeeds if it fails
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { available, compile, families, hotLoops, isaFlags, kernelFunctions, root, run, seededUnit, toolchains } from './machine-code.mjs';

const PROCESSORS = ['neoverse-n1', 'apple-m1'];
const LEAST_PERCENT = 85;
const PREFERRED_SHARE = 1 / 20; // of the plans
const ITERATIONS = 300;

/** "wide 8x3" -> its share of the plans, for every main tile of neon. */
function mainTiles() {
  const lines = readFileSync(join(root, 'native', 'test', 'choices.txt'), 'utf8').split('\n');
  const tiles = lines.slice(lines.indexOf('[main tiles]')).flatMap(line => {
    const match = /^neon (\S+ \S+) (\d+)$/.exec(line);
    return match === null ? [] : [[match[1], Number(match[2])]];
  });
  const plans = tiles.reduce((total, [, count]) => total + count, 0);
  return new Map(tiles.map(([name, count]) => [name, count / plans]));
}

/** Assembly of one loop: targets of branches do not matter to a loop that always goes on. */
const assembly = loop => loop.map(text => text.replace(/\s*(\/\/|<).*$/, '').replace(/^(cbn?z|tbn?z|b\.\w+|b)(\s.*?)\b[0-9a-f]+$/, '$1$2.')).join('\n');

/**
 * Predicted cycles for one pass through each loop.
 * @param processor a name that llvm-mca knows
 * @param loops texts of assembly
 */
function predictCycles(processor, loops, directory) {
  const file = join(directory, 'loops.s');
  writeFileSync(file, loops.map((text, i) => `# LLVM-MCA-BEGIN loop${i}\n${text}\n# LLVM-MCA-END\n`).join(''));
  const report = run('llvm-mca', ['-mtriple=aarch64-linux-gnu', `-mcpu=${processor}`, `-iterations=${ITERATIONS}`, '-resource-pressure=0', '-instruction-info=0', file]);
  const cycles = [...report.matchAll(/^Total Cycles:\s+(\d+)$/gm)].map(match => Number(match[1]) / ITERATIONS);
  if (cycles.length !== loops.length) throw new Error(`llvm-mca: ${cycles.length} predictions for ${loops.length} loops:\n${report.slice(0, 400)}`);
  return cycles;
}

const seeded = process.argv.includes('--seed-spill');
const verbose = process.argv.includes('--verbose');
const toolchain = toolchains.find(({ family, compiler }) => family === 'arm64' && available(compiler));
if (toolchain === undefined || !available('llvm-mca')) {
  console.error('check-neon-occupancy: it needs a compiler for arm64 and llvm-mca (Debian: apt-get install g++-aarch64-linux-gnu llvm)');
  process.exit(1);
}
const directory = mkdtempSync(join(tmpdir(), 'check-neon-'));
let failures = 0;
let checked = 0;
try {
  const object = join(directory, 'neon.o');
  const source = seeded ? seededUnit(directory, 'neon') : join(root, 'native', 'kernels', 'neon.cc');
  await compile(toolchain, isaFlags().neon, source, object);
  const family = families.arm64;
  const isProduct = text => family.product.test(text);
  const main = mainTiles();
  const kernels = kernelFunctions(toolchain, object)
    .filter(({ tile }) => tile && !tile.bySteps)
    .map(kernel => {
      const name = `${/wide/.test(kernel.name) ? 'wide' : 'channels'} ${kernel.tile.rows}x${kernel.tile.vectors}`;
      return { name, share: seeded ? 1 : main.get(name) ?? 0, loops: hotLoops(family, kernel).filter(loop => loop.some(isProduct)) };
    });
  const unknown = seeded ? [] : [...main.keys()].filter(name => !kernels.some(kernel => kernel.name === name));
  if (unknown.length > 0) throw new Error(`no kernel found for the main tiles ${unknown.join(', ')}`);
  const independent = Array.from({ length: 24 }, (_, i) => `fmla v${i}.4s, v30.4s, v31.s[0]`);
  const loops = kernels.flatMap(kernel => kernel.loops);
  const percents = PROCESSORS.map(processor => {
    const [peak, ...cycles] = predictCycles(processor, [independent, ...loops].map(assembly), directory);
    return cycles.map((value, i) => (100 * loops[i].filter(isProduct).length * (peak / independent.length)) / value);
  });
  console.log(`FMA occupancy in per cent, each inner loop${' '.repeat(6)}${PROCESSORS.map(name => name.padStart(16)).join('')}`);
  let first = 0;
  for (const { name, share, loops: own } of kernels) {
    const values = percents.map(all => all.slice(first, first + own.length));
    first += own.length;
    const low = own.length === 0 || values.flat().some(value => !(value >= LEAST_PERCENT));
    const preferred = share >= PREFERRED_SHARE;
    if (preferred) checked += 1;
    if (preferred && low) failures += 1;
    if (share > 0 || verbose) {
      const cells = values.map(shares => shares.map(value => value.toFixed(0)).join('/').padStart(16));
      const use = preferred ? '' : share > 0 ? ' (seldom)' : ' (remainders)';
      console.log(`  ${(name + use).padEnd(45)}${cells.join('')}${preferred && low ? '  BELOW ' + LEAST_PERCENT : ''}`);
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(`check-neon-occupancy: ${checked} ${seeded ? 'seeded kernels' : 'preferred tiles'}, ${failures} below ${LEAST_PERCENT}%`);
process.exitCode = (seeded ? failures === checked && checked > 0 : failures === 0 && checked > 0) ? 0 : 1;
