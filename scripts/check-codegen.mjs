// Looks at the machine code of the tile kernels: every accumulator must stay in a register through the inner loops, with
// every compiler at hand. A kernel whose sums go through the stack still gives the right answer, at a third of the speed,
// so no other test notices.
//
//   node scripts/check-codegen.mjs [--verbose]   checks all kernels; prints a line per unit, or per kernel
//   node scripts/check-codegen.mjs --seed-spill  compiles a kernel that cannot fit the registers: succeeds if it is flagged
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const families = {
  x64: {
    isas: ['baseline', 'avx2', 'avx512'],
    vectorRegister: /%[xyz]mm\d/,
    // A frame pointer names the stack only in functions that set one up; elsewhere it is a register like any other.
    frame: /^mov\s+%rsp,%rbp/,
    stackPointer: /\(%rsp[,)]/,
    framePointer: /\(%rbp[,)]/,
    product: /^v?(fn?m(add|sub)\d*[ps]s|mulps)\b/,
    jump: /^j\w+\s+([0-9a-f]+)/
  },
  arm64: {
    isas: ['baseline', 'neon'],
    vectorRegister: /\b([vqds]\d+)\b/,
    frame: /^mov\s+x29, sp/,
    stackPointer: /\[sp\b/,
    framePointer: /\[x29\b/,
    product: /^(fmla|fmls|fmul|fmadd)\b/,
    jump: /^(?:b\.\w+|b|cbn?z|tbn?z)\s+(?:[wx]\d+, )?(?:#\d+, )?([0-9a-f]+)/
  }
};
const host = { x64: 'x64', arm64: 'arm64' }[process.arch];
const toolchains = [
  { compiler: 'g++', prefix: '', family: host },
  { compiler: 'clang++', prefix: '', family: host },
  { compiler: 'aarch64-linux-gnu-g++', prefix: 'aarch64-linux-gnu-', family: 'arm64' }
];

function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, LC_ALL: 'C' } });
  if (error !== undefined || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}
const available = command => spawnSync(command, ['--version']).error === undefined;

/** The flags of each instruction set, as the build has them. */
function isaFlags() {
  const flags = { baseline: [] };
  const build = readFileSync(join(root, 'CMakeLists.txt'), 'utf8');
  for (const [, isa, list] of build.matchAll(/add_isa\((\w+) "([^"]*)"\)/g)) flags[isa] = list.split(';').filter(flag => flag !== '');
  return flags;
}

function compile(toolchain, flags, source, object) {
  run(toolchain.compiler, ['-std=c++20', '-O3', '-DNDEBUG', '-fPIC', '-fvisibility=hidden', '-ffp-contract=off', '-fno-exceptions', ...flags,
    `-I${join(root, 'native')}`, '-c', source, '-o', object]);
}

/** [{name, instructions: [{address, text}]}] of the functions whose name contains `tile_`. */
function tileFunctions(toolchain, object) {
  const functions = [];
  let current;
  for (const line of run(`${toolchain.prefix}objdump`, ['-d', '-C', '--no-show-raw-insn', object]).split('\n')) {
    const header = /^[0-9a-f]+ <(.*)>:$/.exec(line);
    if (header !== null) {
      const kernel = /::(tile_(?:wide|channels))<(\d+), (\d+)>/.exec(header[1]);
      current = kernel === null ? undefined : { name: kernel[1], rows: +kernel[2], vectors: +kernel[3], instructions: [] };
      if (current !== undefined) functions.push(current);
      continue;
    }
    const instruction = /^\s*([0-9a-f]+):\s*(.*?)\s*$/.exec(line);
    if (current !== undefined && instruction !== null) current.instructions.push({ address: parseInt(instruction[1], 16), text: instruction[2] });
  }
  return functions;
}

/** The innermost loops of a function that multiply, as lists of instruction texts. */
function hotLoops(family, { instructions }) {
  const loops = [];
  for (const { address, text } of instructions) {
    const jump = family.jump.exec(text);
    const target = jump === null ? undefined : parseInt(jump[1], 16);
    if (target !== undefined && target <= address && target >= instructions[0].address) loops.push({ from: target, to: address });
  }
  const innermost = loops.filter(loop => !loops.some(other => other !== loop && other.from >= loop.from && other.to <= loop.to));
  return innermost
    .map(({ from, to }) => instructions.filter(({ address }) => address >= from && address <= to).map(({ text }) => text))
    .filter(texts => texts.some(text => family.product.test(text)));
}

function inspect(family, kernel) {
  const framed = kernel.instructions.some(({ text }) => family.frame.test(text));
  const onStack = text => family.stackPointer.test(text) || (framed && family.framePointer.test(text));
  const loops = hotLoops(family, kernel);
  const accumulators = kernel.rows * kernel.vectors;
  const report = {
    kernel: `${kernel.name}<${kernel.rows}, ${kernel.vectors}>`,
    loops: loops.length,
    instructions: loops.map(loop => loop.length).join('/'),
    products: loops.map(loop => loop.filter(text => family.product.test(text)).length).join('/'),
    pointersOnStack: loops.map(loop => loop.filter(text => onStack(text) && !family.vectorRegister.test(text)).length).join('/'),
    vectorsOnStack: loops.map(loop => loop.filter(text => onStack(text) && family.vectorRegister.test(text)).length).join('/'),
    faults: []
  };
  // One loop for a single tap and one for several; the compiler may split them further, but not lose one.
  if (loops.length < 2) report.faults.push(`${loops.length} inner loops found, expected 2`);
  for (const loop of loops) {
    const products = loop.filter(text => family.product.test(text)).length;
    if (products === 0 || products % accumulators !== 0) report.faults.push(`${products} products in a loop of ${accumulators} accumulators`);
    const spills = loop.filter(text => onStack(text) && family.vectorRegister.test(text));
    if (spills.length > 0) report.faults.push(`${spills.length} vectors on the stack in a loop, such as: ${spills[0]}`);
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
  for (const toolchain of toolchains.filter(({ compiler, family }) => family !== undefined && available(compiler))) {
    const family = families[toolchain.family];
    for (const isa of family.isas) {
      let source = join(root, 'native', 'kernels', `${isa}.cc`);
      if (seeded) {
        source = join(directory, `${isa}.cc`);
        writeFileSync(source, `#include "kernels/simd/${isa}.h"\n#include "kernels/kernel.h"\nnamespace convtranspose::${isa} {\nnamespace {\n` +
          `#include "kernels/tile.inl.h"\n}\nextern const TileKernel kSeeded;\nconst TileKernel kSeeded = wide<12, 4>();\n}\n`);
      }
      const object = join(directory, `${isa}.o`);
      compile(toolchain, flags[isa], source, object);
      const reports = tileFunctions(toolchain, object).map(kernel => inspect(family, kernel));
      const bad = reports.filter(report => report.faults.length > 0);
      console.log(`${toolchain.compiler} ${isa}: ${reports.length} kernels, ${bad.length} faulty`);
      if (verbose) printTable(reports);
      for (const report of bad) for (const fault of report.faults) console.log(`  ${report.kernel}: ${fault}`);
      if (reports.length === 0) console.log('  no tile kernel found in the disassembly');
      faults += bad.length + (reports.length === 0 ? 1 : 0);
      checked += reports.length;
      if (bad.length === 0) unflagged += 1;
    }
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
