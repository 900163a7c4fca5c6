// Looks at the machine code of the kernels, all that the tables point to, with every compiler at hand. A kernel whose sums
// go through the stack still gives the right answer, at a third of the speed, so no other test notices.
//
// - A loop that is dense with products (every inner loop of a tile kernel, and any with a product in four instructions) keeps
//   every vector in a register.
// - Other loops over vectors (transforms, interleaving stores) handle more values at a time than there may be registers; at
//   most one instruction in eight may go to the stack, where the loads and stores of their work leave room for it.
// - The loop of a term kernel loads each matrix no more often than its order of products needs.
// - No loop calls a function.
//
//   node scripts/check-codegen.mjs [--verbose]   checks all kernels; prints a line per unit, or per kernel
//   node scripts/check-codegen.mjs --zig         also with the compiler of the prebuilt binaries, for all processors (see zig.mjs)
//   node scripts/check-codegen.mjs --seed-spill  compiles a kernel that cannot fit the registers: succeeds if it is flagged
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { available, compile, families, hotLoops, isaFlags, kernelFunctions, loopsByFlow, root, seededUnit, toolchains, zigToolchains } from './machine-code.mjs';
import { findZig } from './zig.mjs';

const DENSE = 4; // instructions for one product
const LOOSE = 8; // instructions for one access to the stack

/**
 * What a term kernel does for one tap and block of channels. Each matrix is loaded once; with three terms one of weights
 * twice, unless there is a single column of four rows, a single row of four columns or the kernel splits: then terms stay in
 * registers, or, with five rows, two terms of the weights, and the first terms of inputs are loaded twice.
 */
const matrixWork = ({ count, rows, columns, splits = false }) => ({
  products: count * (count + 1) / 2 * rows * columns,
  loads: count * (rows + columns) + (rows === 5 ? rows : count === 3 && rows < 4 && columns < 4 && !splits ? columns : 0)
});

/** Whether a term kernel splits inputs between its products, where it is told to. */
const splitsAhead = ({ rows, columns }) => rows * columns === 4 && rows < 4;

function inspect(family, kernel) {
  const framed = kernel.instructions.some(({ text }) => family.frame.test(text));
  const onStack = text => family.stackPointer.test(text) || (framed && family.framePointer.test(text));
  const isProduct = text => family.product.test(text) && (!kernel.terms || /%tmm/.test(text)); // of a term kernel those of matrices
  const isSpill = text => onStack(text) && family.vectorRegister.test(text);
  // What a term kernel does between its products lies about in its code.
  const ways = kernel.terms ? kernel.parts.flatMap(part => loopsByFlow(family, part, isProduct)) : [];
  const all = kernel.terms ? ways.map(({ texts }) => texts) : hotLoops(family, kernel);
  // The loops of a tile kernel that only add to the tile come once per call.
  const loops = kernel.tile ? all.filter(loop => loop.some(isProduct)) : all;
  const count = matches => loops.map(loop => loop.filter(matches).length).join('/');
  const report = {
    kernel: kernel.name,
    loops: loops.length,
    instructions: count(() => true),
    products: count(isProduct),
    pointersOnStack: count(text => onStack(text) && !family.vectorRegister.test(text)),
    vectorsOnStack: count(isSpill),
    faults: []
  };
  // One loop for a single tap and one for several, or one over steps; the compiler may split them further, but not lose one.
  const innerLoops = kernel.tile?.bySteps ? 1 : 2;
  if (kernel.tile && loops.length < innerLoops) report.faults.push(`${loops.length} inner loops found, expected ${innerLoops}`);
  // One that does nothing else, and one each that splits planes, pixels and rows ahead; likewise.
  const wantedLoops = kernel.terms && splitsAhead(kernel.terms) ? 4 : 1;
  if (kernel.terms && (wantedLoops === 1 ? loops.length !== 1 : loops.length < wantedLoops)) report.faults.push(`${loops.length} loops over matrices found, expected ${wantedLoops}`);
  for (const { range } of ways) {
    const wanted = matrixWork(kernel.terms);
    const check = (what, [least, most], expected) => {
      if (least !== expected || most !== expected) report.faults.push(`${least} to ${most} ${what} of matrices in a step, expected ${expected}`);
    };
    check('products', range(isProduct), wanted.products);
    check('loads', range(text => family.matrixLoad.test(text)), wanted.loads);
  }
  for (const loop of loops) {
    const products = loop.filter(isProduct).length;
    const accumulators = kernel.tile ? kernel.tile.rows * kernel.tile.vectors : 1;
    if (kernel.tile && products % accumulators !== 0) report.faults.push(`${products} products in a loop of ${accumulators} accumulators`);
    const spills = loop.filter(isSpill);
    const dense = kernel.tile || kernel.terms || products >= loop.length / DENSE;
    if (spills.length > (dense ? 0 : loop.length / LOOSE)) report.faults.push(`${spills.length} vectors on the stack in a loop of ${loop.length} instructions, such as: ${spills[0]}`);
    const call = loop.find(text => family.call.test(text));
    if (call !== undefined) report.faults.push(`a call within a loop: ${call}`);
  }
  return report;
}

function printTable(rows) {
  const columns = ['kernel', 'loops', 'instructions', 'products', 'pointersOnStack', 'vectorsOnStack'];
  const cells = [columns, ...rows.map(row => columns.map(column => String(row[column])))];
  const widths = columns.map((_, i) => Math.max(...cells.map(line => line[i].length)));
  for (const line of cells) console.log('  ' + line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '));
}

const seeded = process.argv.includes('--seed-spill');
const verbose = process.argv.includes('--verbose') || seeded;
const flags = isaFlags();
const directory = mkdtempSync(join(tmpdir(), 'check-codegen-'));
let faults = 0;
let checked = 0;
let unflagged = 0;
try {
  const present = toolchains.filter(({ compiler, family }) => family !== undefined && available(compiler));
  if (process.argv.includes('--zig')) present.push(...zigToolchains(findZig()));
  const sourceOf = isa => (seeded ? seededUnit(directory, isa) : join(root, 'native', 'kernels', `${isa}.cc`));
  const isas = new Set(present.flatMap(({ family }) => families[family].isas));
  const sources = Object.fromEntries([...isas].map(isa => [isa, sourceOf(isa)]));
  const units = present.flatMap(toolchain => families[toolchain.family].isas.map(isa => ({ toolchain, isa })));
  units.forEach((unit, i) => (unit.object = join(directory, `${i}.o`)));
  // Compiling takes most of the time: on all processors.
  const waiting = [...units];
  await Promise.all(Array.from({ length: availableParallelism() }, async () => {
    for (let unit = waiting.shift(); unit !== undefined; unit = waiting.shift()) {
      await compile(unit.toolchain, flags[unit.isa], sources[unit.isa], unit.object);
    }
  }));
  for (const { toolchain, isa, object } of units) {
    const family = families[toolchain.family];
    const reports = kernelFunctions(toolchain, object).map(kernel => inspect(family, kernel));
    const bad = reports.filter(report => report.faults.length > 0);
    console.log(`${toolchain.name ?? toolchain.compiler} ${isa}: ${reports.length} kernels, ${bad.length} faulty`);
    if (verbose) printTable(reports);
    for (const report of bad) for (const fault of report.faults) console.log(`  ${report.kernel}: ${fault}`);
    if (reports.length === 0) console.log('  no kernel found in the data of the object');
    faults += bad.length + (reports.length === 0 ? 1 : 0);
    checked += reports.length;
    if (bad.length === 0) unflagged += 1;
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (checked === 0) {
  console.error('check-codegen: no compiler found for this machine');
  process.exitCode = 1;
} else if (seeded) {
  console.log(unflagged === 0 ? 'check-codegen: every seeded spill was flagged' : `check-codegen: ${unflagged} seeded spills went unnoticed`);
  process.exitCode = unflagged === 0 ? 0 : 1;
} else {
  console.log(`check-codegen: ${checked} kernels checked, ${faults} faults`);
  process.exitCode = faults === 0 ? 0 : 1;
}
