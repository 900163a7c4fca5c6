// Reads the machine code of the kernels: compiles the units of the instruction sets as the build does, finds the functions
// that their tables point to, and the inner loops of those.
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { prebuilds } from './prebuild-targets.mjs';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

export const families = {
  x64: {
    isas: ['baseline', 'avx2', 'avx512', 'amx'],
    vectorRegister: /%[xyzt]mm\d/,
    // A frame pointer names the stack only in functions that set one up; elsewhere it is a register like any other.
    frame: /^mov\s+%rsp,%rbp/,
    stackPointer: /\(%rsp[,)]/,
    framePointer: /\(%rbp[,)]/,
    product: /^(v?(fn?m(add|sub)\d*[ps]s|mulps)|tdpbf16ps)\b/,
    matrixLoad: /^tileloaddt?1?\b/,
    jump: /^j\w+\s+([0-9a-f]+)/,
    leaves: /^(jmp|ret)/,
    call: /^call/
  },
  arm64: {
    isas: ['baseline', 'neon'],
    vectorRegister: /\b([vqds]\d+)\b/,
    frame: /^mov\s+x29, sp/,
    stackPointer: /\[sp\b/,
    framePointer: /\[x29\b/,
    product: /^(fmla|fmls|fmul|fmadd)\b/,
    jump: /^(?:b\.\w+|b|cbn?z|tbn?z)\s+(?:[wx]\d+, )?(?:#\d+, )?([0-9a-f]+)/,
    call: /^blr?\s/
  }
};
const host = { x64: 'x64', arm64: 'arm64' }[process.arch];
export const toolchains = [
  { compiler: 'g++', prefix: '', family: host },
  { compiler: 'clang++', prefix: '', family: host },
  { compiler: 'aarch64-linux-gnu-g++', prefix: 'aarch64-linux-gnu-', family: 'arm64' }
];
/** What compiles the prebuilt binaries. */
export const zigToolchains = zig => prebuilds.filter(({ platform, libc }) => platform === 'linux' && libc === 'glibc').map(({ arch, zig: target }) => ({
  compiler: zig, options: ['c++', '-target', target], name: `zig ${target}`, prefix: host === arch ? '' : 'aarch64-linux-gnu-', family: arch
}));

export function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, LC_ALL: 'C' } });
  if (error !== undefined || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}
export const available = command => spawnSync(command, ['--version']).error === undefined;

/** The flags of each instruction set, as the build has them. */
export function isaFlags() {
  const flags = { baseline: [] };
  const build = readFileSync(join(root, 'CMakeLists.txt'), 'utf8');
  for (const [, isa, list] of build.matchAll(/add_isa\((\w+) "([^"]*)"\)/g)) flags[isa] = list.split(';').filter(flag => flag !== '');
  return flags;
}

export async function compile(toolchain, flags, source, object) {
  await promisify(execFile)(toolchain.compiler, [...(toolchain.options ?? []), '-std=c++20', '-O3', '-DNDEBUG', '-fPIC', '-fvisibility=hidden',
    '-ffp-contract=off', '-fno-tree-slp-vectorize', '-fno-exceptions', ...flags, `-I${join(root, 'native')}`, '-c', source, '-o', object]);
}

/** A unit with one kernel that cannot fit the registers of any instruction set, or that loads more than it should; gives its file. */
export function seededUnit(directory, isa) {
  const file = join(directory, `${isa}.cc`);
  if (isa === 'amx') {
    writeFileSync(file, `#include <immintrin.h>\n#include "kernels/kernel.h"\nnamespace convtranspose::amx {\nnamespace {\n` +
      `template <int kTerms, int kRows, int kColumns>\nvoid multiply(const TermArgs* args) {\n` +
      `  for (int64_t t = 0; t < args->taps; ++t) {\n    _tile_loadd(4, args->src[0] + args->tap_offset[t], 64);\n` +
      `    _tile_loadd(6, args->weights + t * 512, 64);\n    _tile_loadd(4, args->src[1] + args->tap_offset[t], 64);\n` +
      `    _tile_dpbf16ps(0, 4, 6);\n  }\n}\n}\nextern const TermKernel kSeeded;\n` +
      `const TermKernel kSeeded = {"bf16-1x1", 1, 1, 1, multiply<1, 1, 1>};\n}\n`);
    return file;
  }
  writeFileSync(file, `#include "kernels/simd/${isa}.h"\n#include "kernels/kernel.h"\nnamespace convtranspose::${isa} {\nnamespace {\n` +
    `#include "kernels/tile.inl.h"\n}\nextern const TileKernel kSeeded;\nconst TileKernel kSeeded = wide<12, 4>();\n}\n`);
  return file;
}

/**
 * The functions that the tables of an object point to, in the order of their addresses: [{name, tile?, terms?, parts?,
 * instructions}], with `tile` {rows, vectors} for the tile kernels and `terms` {count, rows, columns, splits?} for the term kernels,
 * whose parts are themselves and the functions that they call or end with. Whatever a table gets is found here by itself.
 */
export function kernelFunctions(toolchain, object) {
  const objdump = `${toolchain.prefix}objdump`;
  // "address flags section<tab>size name" -> where each symbol is; a section is a symbol too.
  const places = new Map();
  for (const line of run(objdump, ['-t', object]).split('\n')) {
    const symbol = /^([0-9a-f]+) .{7} (\S+)\t[0-9a-f]+ (?:\.hidden )?(\S+)$/.exec(line);
    if (symbol !== null) places.set(symbol[3], { section: symbol[2], address: parseInt(symbol[1], 16) });
  }
  // What relocations of data say: a pointer to code in data is a kernel of a table.
  const kernels = new Set();
  let inData = false;
  for (const line of run(objdump, ['-r', object]).split('\n')) {
    const header = /^RELOCATION RECORDS FOR \[(.*)\]:$/.exec(line);
    if (header !== null) inData = header[1].startsWith('.data') || header[1].startsWith('.init_array');
    const relocation = /^[0-9a-f]+ R_\S+\s+([^\s+]+)(?:\+0x([0-9a-f]+))?$/.exec(line);
    if (!inData || relocation === null) continue;
    const place = places.get(relocation[1]);
    if (place?.section.startsWith('.text')) kernels.add(`${place.section} ${place.address + parseInt(relocation[2] ?? '0', 16)}`);
  }
  const functions = [];
  const others = new Map(); // "section address" -> a function that no table points to
  let section = '';
  let current;
  for (const line of run(objdump, ['-d', '-C', '--no-show-raw-insn', object]).split('\n')) {
    const start = /^Disassembly of section (.*):$/.exec(line);
    if (start !== null) section = start[1];
    const header = /^([0-9a-f]+) <(.*)>:$/.exec(line);
    if (header !== null) {
      const wanted = kernels.delete(`${section} ${parseInt(header[1], 16)}`);
      const tile = /::tile_(?:wide|channels|steps)<(\d+), (\d+)>/.exec(header[2]);
      const terms = /::multiply<(\d+), (\d+), (\d+)>/.exec(header[2]);
      const split = /::multiply_split<(\d+)>/.exec(header[2]);
      current = {
        name: shortName(header[2]),
        tile: tile && { rows: +tile[1], vectors: +tile[2], bySteps: header[2].includes('::tile_steps<') },
        terms: split ? { count: 3, rows: +split[1], columns: 1, splits: true } : terms && { count: +terms[1], rows: +terms[2], columns: +terms[3] },
        section,
        instructions: []
      };
      if (wanted) functions.push(current);
      else others.set(`${section} ${parseInt(header[1], 16)}`, current);
      continue;
    }
    const instruction = /^\s*([0-9a-f]+):\s*(.*?)\s*$/.exec(line);
    if (current !== undefined && instruction !== null) current.instructions.push({ address: parseInt(instruction[1], 16), text: instruction[2] });
  }
  // What a term kernel hands its work to.
  for (const kernel of functions.filter(({ terms }) => terms !== null)) {
    kernel.parts = [kernel];
    for (const { text } of kernel.instructions) {
      const part = others.get(`${kernel.section} ${parseInt(/^(?:call|jmp)\s+([0-9a-f]+)/.exec(text)?.[1], 16)}`);
      if (part !== undefined && !kernel.parts.includes(part)) kernel.parts.push(part);
    }
  }
  if (kernels.size > 0) throw new Error(`${object}: no code found for the kernels at ${[...kernels].join(', ')}`);
  return functions;
}

/** "void convtranspose::avx2::(anonymous namespace)::tile_wide<6, 2>(convtranspose::TileArgs const*)" -> "tile_wide<6, 2>" */
const shortName = demangled => demangled.replace(/^.*\(anonymous namespace\)::/, '').replace(/\(.*$/, '');

/** Without those from which there is only one way, that out of the function: where they lie among a loop's, they are none of it. */
function staying(family, instructions) {
  let leaving = false;
  return instructions.toReversed().filter(({ text }) => {
    if (/^ret/.test(text)) leaving = true;
    else if (family.jump.test(text)) leaving = false;
    return !leaving;
  }).toReversed();
}

/** The innermost loops of a function that handle vectors, as lists of instruction texts. */
export function hotLoops(family, { instructions }) {
  const loops = [];
  for (const { address, text } of instructions) {
    const jump = family.jump.exec(text);
    const target = jump === null ? undefined : parseInt(jump[1], 16);
    if (target !== undefined && target <= address && target >= instructions[0].address) loops.push({ from: target, to: address });
  }
  const innermost = loops.filter(loop => !loops.some(other => other !== loop && other.from >= loop.from && other.to <= loop.to));
  return innermost
    .map(({ from, to }) => staying(family, instructions.filter(({ address }) => address >= from && address <= to)).map(({ text }) => text))
    .filter(texts => texts.some(text => family.vectorRegister.test(text)));
}

/**
 * The innermost loops of a function with an instruction that `has` is true for, by the flow of control, whatever the order of
 * the blocks in memory: [{texts, range(counts)}]. texts are the instructions of the loop, range gives the fewest and the most
 * of those that count on a way once around.
 */
export function loopsByFlow(family, { instructions }, has) {
  // Blocks, and where each goes on.
  const starts = new Set([instructions[0].address]);
  instructions.forEach(({ text }, i) => {
    const target = family.jump.exec(text)?.[1];
    if (target !== undefined) starts.add(parseInt(target, 16));
    if ((target !== undefined || family.leaves.test(text)) && i + 1 < instructions.length) starts.add(instructions[i + 1].address);
  });
  const blocks = [];
  const at = new Map();
  for (const { address, text } of instructions) {
    if (starts.has(address)) {
      at.set(address, blocks.length);
      blocks.push({ texts: [], next: [] });
    }
    blocks.at(-1).texts.push(text);
  }
  blocks.forEach((block, i) => {
    const last = block.texts.at(-1);
    const target = at.get(parseInt(family.jump.exec(last)?.[1], 16));
    if (target !== undefined) block.next.push(target);
    if (!family.leaves.test(last) && i + 1 < blocks.length) block.next.push(i + 1);
  });
  // What comes before a block, without what is never reached (padding), and the blocks that every way to it leads through.
  const all = [0];
  for (const i of all) all.push(...blocks[i].next.filter((next, n, list) => !all.includes(next) && list.indexOf(next) === n));
  const before = blocks.map(() => []);
  for (const i of all) for (const next of blocks[i].next) before[next].push(i);
  const through = blocks.map((_, i) => new Set(i === 0 ? [0] : all));
  for (let changed = true; changed;) {
    changed = false;
    for (const i of all.slice(1)) {
      const [first, ...others] = before[i].map(b => through[b]);
      const now = new Set([...first].filter(b => others.every(set => set.has(b)))).add(i);
      changed ||= now.size !== through[i].size;
      through[i] = now;
    }
  }
  const isBack = (from, to) => through[from].has(to);
  const loops = [];
  for (const head of all) {
    const body = new Set([head]);
    const reached = before[head].filter(from => isBack(from, head));
    if (reached.length === 0) continue;
    while (reached.length > 0) {
      const block = reached.pop();
      if (body.has(block)) continue;
      body.add(block);
      reached.push(...before[block]);
    }
    loops.push({ head, body });
  }
  const wanted = loops.filter(({ body }) => [...body].some(block => blocks[block].texts.some(has)));
  return wanted.filter(loop => !wanted.some(other => other !== loop && loop.body.has(other.head))).map(({ head, body }) => {
    const texts = [...body].sort((a, b) => a - b).flatMap(block => blocks[block].texts);
    const range = counts => {
      const known = new Map();
      const from = block => {
        if (!known.has(block)) {
          const here = blocks[block].texts.filter(counts).length;
          // Ways that leave the loop do not count.
          const ways = blocks[block].next
            .filter(next => body.has(next) && (next === head || !isBack(block, next))).map(next => (next === head ? [0, 0] : from(next)));
          const within = ways.filter(way => way !== null);
          known.set(block, within.length === 0 ? null : [here + Math.min(...within.map(([least]) => least)), here + Math.max(...within.map(([, most]) => most))]);
        }
        return known.get(block);
      };
      return from(head);
    };
    return { texts, range };
  });
}
