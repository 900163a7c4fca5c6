// Holds the one-way dependencies of ARCHITECTURE.md against the sources, and the compiled instruction-set units against the
// rule that they leak no weak symbol: an inline function compiled for AVX-512 may be the copy that the linker keeps, and
// would then crash an older processor.
//
//   node scripts/check-layers.mjs [--build DIR]      check; DIR holds a compiled core (default: build)
//   node scripts/check-layers.mjs --self-test        seed one violation of every rule in a copy, and expect each to be reported
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const projectRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Folders of native/, lowest first: each may include itself and what stands before it. */
const nativeLayers = ['problem', 'runtime', 'kernels', 'pack', 'algorithms', 'plan', 'layer', 'binding'];
/** Folders that stand outside the layers: they may include any of them but the binding. */
const nativeOutsiders = ['include', 'test'];

/** Parts of lib/, lowest first; the parts of one row do not know each other unless `together` says so. */
const libLayers = [
  { parts: ['typed-array', 'disposable', 'stream-window', 'text'] },
  { parts: ['errors', 'native'], together: true },
  { parts: ['tensor', 'shape', 'options', 'init'], together: true },
  { parts: ['activation', 'batch-norm'] },
  { parts: ['call'] },
  { parts: ['stream-adapters', 'explanation'] },
  { parts: ['functional', 'info', 'streaming'] },
  { parts: ['modules', 'tools'] },
  { parts: ['sequential', 'io'] },
  { parts: ['compat'] },
  { parts: ['index'] },
  { parts: ['cli'] },
];

const instructionSets = ['baseline', 'avx2', 'avx512', 'amx', 'neon'];

function filesUnder(dir, pattern) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true }).filter((file) => pattern.test(file)).sort();
}

function includesOf(source) {
  return [...source.matchAll(/^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]/gm)].map((match) => ({
    local: match[1] === '"',
    name: match[2],
  }));
}

/** Sources that are compiled with the flags of one instruction set: the units and all that only they include. */
function isInstructionSetSource(file) {
  return /^kernels\/simd\//.test(file) || /^kernels\/[^/]+\.inl\.h$/.test(file) ||
    instructionSets.some((isa) => file === `kernels/${isa}.cc`) || file === 'kernels/kernel.h' || file === 'kernels/tables.h';
}

function checkNative(root) {
  const violations = [];
  const dir = path.join(root, 'native');
  for (const file of filesUnder(dir, /\.(cc|h)$/)) {
    const report = (rule) => violations.push(`native/${file}: ${rule}`);
    const layer = file.split('/')[0];
    const rank = nativeLayers.indexOf(layer);
    const isOutsider = nativeOutsiders.includes(layer);
    if (rank < 0 && !isOutsider) report(`folder '${layer}' has no place among the layers`);
    for (const { local, name } of includesOf(readFileSync(path.join(dir, file), 'utf8'))) {
      if (/^(napi(-inl)?|node|node_api|js_native_api|uv|v8)\.h$/.test(name) && layer !== 'binding') report(`includes <${name}>: only native/binding knows Node`);
      if (isInstructionSetSource(file)) {
        if (local && !isInstructionSetSource(name)) report(`includes "${name}": instruction-set units see only kernel.h, tables.h, simd/ and *.inl.h`);
        if (!local && !name.endsWith('.h')) report(`includes <${name}>: instruction-set units see only C headers`);
      }
      if (!local) continue;
      const target = name.split('/')[0];
      if (name === 'convtranspose.h' || target === 'include') {
        if (!isOutsider) report(`includes "${name}": the umbrella header is for outsiders`);
        continue;
      }
      const targetRank = nativeLayers.indexOf(target);
      if (targetRank < 0) {
        // Tests may also use what reads the suite of the benches.
        const places = [path.join(dir, path.dirname(file)), ...(layer === 'test' ? [path.join(root, 'bench', 'native')] : [])];
        const isOwnFile = isOutsider && places.some((place) => existsSync(path.join(place, name)));
        if (!isOwnFile && layer !== target) report(`includes "${name}", which is in no layer`);
      } else if (isOutsider) {
        if (target === 'binding') report(`includes "${name}": nothing but Node uses the binding`);
      } else if (targetRank > rank) {
        report(`includes "${name}": ${layer} may not know ${target}`);
      }
    }
  }
  return violations;
}

function importsOf(source) {
  const pattern = /\b(?:from|import|require)\s*\(?\s*(['"])([^'"]+)\1/g;
  return [...source.matchAll(pattern)].map((match) => match[2]);
}

function checkLib(root) {
  const violations = [];
  const dir = path.join(root, 'lib');
  const files = filesUnder(dir, /(?<!\.d)\.ts$/);
  const part = (file) => file.split('/')[0].replace(/\.ts$/, '');
  const rankOf = (name) => libLayers.findIndex((layer) => layer.parts.includes(name));
  const graph = new Map();
  for (const file of files) {
    const report = (rule) => violations.push(`lib/${file}: ${rule}`);
    const own = part(file);
    const rank = rankOf(own);
    if (rank < 0) report(`'${own}' has no place among the layers`);
    const source = readFileSync(path.join(dir, file), 'utf8');
    if (file !== 'native.ts' && /node-gyp-build|\.node\b['"`]/.test(source)) report('loads the binary: only lib/native.ts does');
    const targets = [];
    for (const specifier of importsOf(source)) {
      if (!specifier.startsWith('.')) continue;
      const resolved = path.posix.join(path.posix.dirname(file), specifier).replace(/\.js$/, '');
      if (resolved.startsWith('..')) {
        report(`imports '${specifier}' from outside lib/`);
        continue;
      }
      const target = [`${resolved}.ts`, `${resolved}/index.ts`].find((candidate) => files.includes(candidate));
      if (target === undefined) {
        report(`imports '${specifier}', which is not there`);
        continue;
      }
      targets.push(target);
      const other = part(target);
      const otherRank = rankOf(other);
      if (other === own) continue;
      if (otherRank > rank) report(`imports '${specifier}': ${own} may not know ${other}`);
      if (otherRank === rank && !libLayers[rank]?.together) report(`imports '${specifier}': ${own} and ${other} stand side by side`);
    }
    graph.set(file, targets);
  }
  return [...violations, ...cyclesOf(graph).map((cycle) => `lib/${cycle[0]}: import cycle ${cycle.join(' -> ')}`)];
}

/** One cycle for every back edge of a depth-first walk. */
function cyclesOf(graph) {
  const cycles = [];
  const state = new Map();
  const visit = (file, trail) => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...trail.slice(trail.indexOf(file)), file]);
      return;
    }
    state.set(file, 'open');
    for (const target of graph.get(file) ?? []) visit(target, [...trail, file]);
    state.set(file, 'done');
  };
  for (const file of graph.keys()) visit(file, []);
  return cycles;
}

/** Objects of the instruction-set units under a build directory. */
function instructionSetObjects(build) {
  return filesUnder(build, /\.o(bj)?$/)
    .filter((file) => instructionSets.some((isa) => file.endsWith(`native/kernels/${isa}.cc.o`)))
    .map((file) => path.join(build, file));
}

function checkObjects(build) {
  const objects = instructionSetObjects(build);
  if (objects.length < 2) {
    return [`${build}: holds fewer than two compiled instruction-set units; compile first (npm run build:native)`];
  }
  return objects.flatMap(weakSymbolsOf);
}

function weakSymbolsOf(object) {
  const { status, stdout, stderr } = spawnSync('nm', ['--demangle', object], { encoding: 'utf8' });
  if (status !== 0) return [`${object}: nm failed: ${stderr}`];
  return stdout
    .split('\n')
    .map((line) => /^[0-9a-f]*\s+([VvWwu]) (.+)$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => `${path.basename(object)}: leaks the weak symbol ${match[2]}`);
}

function check(root, build) {
  return [...checkNative(root), ...checkLib(root), ...checkObjects(build)];
}

/** Seeded violations: the text that is appended (or the file that is made) and what the report must say. */
const seeds = [
  { file: 'native/problem/phases.cc', text: '#include "kernels/kernel.h"', expect: 'problem may not know kernels' },
  { file: 'native/runtime/arena.cc', text: '#include "pack/weights.h"', expect: 'runtime may not know pack' },
  { file: 'native/kernels/registry.cc', text: '#include "plan/planner.h"', expect: 'kernels may not know plan' },
  { file: 'native/pack/weights.cc', text: '#include "algorithms/algorithm.h"', expect: 'pack may not know algorithms' },
  { file: 'native/algorithms/algorithm.h', text: '#include "layer/layer.h"', expect: 'algorithms may not know layer' },
  { file: 'native/layer/layer.h', text: '#include "binding/addon.h"', expect: 'layer may not know binding' },
  { file: 'native/pack/weights.h', text: '#include "convtranspose.h"', expect: 'umbrella header is for outsiders' },
  { file: 'native/layer/layer.h', text: '#include <napi.h>', expect: 'only native/binding knows Node' },
  { file: 'native/runtime/arena.cc', text: '  #  include <node_api.h>', expect: 'only native/binding knows Node' },
  { file: 'native/kernels/avx512.cc', text: '#include <algorithm>', expect: 'see only C headers' },
  { file: 'native/kernels/amx.cc', text: '#include <vector>', expect: 'kernels/amx.cc: includes <vector>: instruction-set units see only C headers' },
  { file: 'native/kernels/amx.cc', text: '#include "kernels/kernel_set.h"', expect: 'kernels/amx.cc: includes "kernels/kernel_set.h"' },
  { file: 'native/kernels/tile.inl.h', text: '#include <vector>', expect: 'see only C headers' },
  { file: 'native/kernels/kernel.h', text: '#include <cmath>', expect: 'see only C headers' },
  { file: 'native/kernels/simd/avx2.h', text: '#include "problem/problem.h"', expect: 'see only kernel.h' },
  { file: 'native/kernels/avx2.cc', text: '#include "kernels/registry.h"', expect: 'see only kernel.h' },
  { file: 'native/extra/thing.h', text: '#pragma once', expect: "folder 'extra' has no place" },
  { file: 'native/plan/planner.h', text: '#include "problem_text.h"', expect: 'which is in no layer' },
  { file: 'native/test/seed.cc', text: '#include "binding/addon.h"', expect: 'nothing but Node uses the binding' },
  { file: 'lib/errors.ts', text: "import { Tensor } from './tensor'", expect: 'errors may not know tensor' },
  { file: 'lib/tensor.ts', text: "export * from './functional'", expect: 'tensor may not know functional' },
  { file: 'lib/functional.ts', text: "import type { ConvTranspose2d } from './modules'", expect: 'functional may not know modules' },
  { file: 'lib/modules.ts', text: "const io = require('./io')", expect: 'modules may not know io' },
  { file: 'lib/io/seed.ts', text: "export const late = import('../cli/main')", expect: 'io may not know cli' },
  { file: 'lib/cli/seed.ts', text: "const addon = require('../../build/Release/convtranspose.node')", expect: 'only lib/native.ts does' },
  { file: 'lib/shape.ts', text: "import load from 'node-gyp-build'", expect: 'only lib/native.ts does' },
  { file: 'lib/stray.ts', text: 'export {}', expect: "'stray' has no place" },
  { file: 'lib/shape.ts', text: "import './seed-cycle'", extra: { 'lib/seed-cycle.ts': "import './shape'" }, expect: 'import cycle' },
];

function selfTest() {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-layers-'));
  let failures = 0;
  const judge = (name, violations, expected) => {
    const found = violations.some((violation) => violation.includes(expected));
    if (!found) {
      failures += 1;
      console.error(`self-test: ${name} was not reported ("${expected}")`);
    }
  };
  try {
    for (const seed of seeds) {
      rmSync(scratch, { recursive: true, force: true });
      for (const dir of ['native', 'lib']) cpSync(path.join(projectRoot, dir), path.join(scratch, dir), { recursive: true });
      for (const [file, text] of Object.entries({ [seed.file]: seed.text, ...seed.extra })) {
        mkdirSync(path.dirname(path.join(scratch, file)), { recursive: true });
        appendFileSync(path.join(scratch, file), `\n${text}\n`);
      }
      judge(`'${seed.text}' in ${seed.file}`, [...checkNative(scratch), ...checkLib(scratch)], seed.expect);
    }
    judge('a build directory without objects', checkObjects(path.join(scratch, 'lib')), 'compile first');
    judge('a weak symbol', weakSymbolsOf(compileWithWeakSymbol(scratch)), 'leaks the weak symbol convtranspose::leaked');
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return failures;
}

/** Compiles the baseline unit with an inline function added; returns the object. */
function compileWithWeakSymbol(scratch) {
  const source = path.join(scratch, 'native', 'kernels', 'baseline.cc');
  const object = path.join(scratch, 'baseline.cc.o');
  const leak = 'namespace convtranspose { inline float leaked(float x) { return x + 1; } float (*volatile leak)(float) = leaked; }';
  writeFileSync(source, `${readFileSync(source, 'utf8')}\n${leak}\n`);
  const args = ['-std=c++20', '-O2', '-I', path.join(scratch, 'native'), '-c', source, '-o', object];
  const { status, stderr } = spawnSync(process.env.CXX ?? 'c++', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the seeded unit does not compile: ${stderr}`);
  return object;
}

const args = process.argv.slice(2);
if (args.includes('--self-test')) {
  const failures = selfTest();
  console.log(`check-layers: ${seeds.length + 2} violations seeded, ${failures} missed`);
  process.exitCode = failures > 0 ? 1 : 0;
} else {
  const at = args.indexOf('--build');
  const violations = check(projectRoot, path.resolve(at >= 0 ? args[at + 1] : path.join(projectRoot, 'build')));
  for (const violation of violations) console.error(violation);
  console.log(`check-layers: ${violations.length} violations`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
