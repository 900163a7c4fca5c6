// `npm run test:sanitized`: tests with everything native compiled with sanitizers, and proof that these see what they are
// there to see: seeded faults, each of which has to be reported by the very run that is silent without it.
//
// address  AddressSanitizer and UndefinedBehaviorSanitizer (with conversions from float): native unit tests, among them the
//          inputs of the fuzzers, the conformance and the misuse suite
// thread   ThreadSanitizer: native tests of threads and layers, scenes of the life of a process, the soak
// long     (`npm run test:long`) all suites of tests, all scenes, ten minutes of the soak; the short form also leaves out the
//          AVX-512 kernels, which take a minute to compile, and with them the tests that want every instruction set
//
// Sources are copied to build-<name>/source, so that no fault ever stands in the tree; a second run compiles what changed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';

import { Command, Option } from 'commander';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const values = new Command('npm run test:sanitized --')
  .description('Tests with everything native compiled with sanitizers, and seeded faults that each of them has to report.')
  .addOption(new Option('--only <sanitizer>', 'AddressSanitizer and UndefinedBehaviorSanitizer, or ThreadSanitizer, alone').choices(['address', 'thread']))
  .option('--long', 'all suites, all scenes, ten minutes of the soak, all kernels: an hour')
  .parse().opts();

const register = path.join(root, 'test', 'support', 'register.cjs');
const script = (file, ...args) => ['--expose-gc', '--require', register, path.join(root, 'test', `${file}.ts`), ...args];
const jest = (...args) => [path.join(root, 'node_modules', 'jest', 'bin', 'jest.js'), '--runInBand', ...args];
const scenes = (...names) => names.map((name) => script('lifecycle/lifecycle.child', name));
const soak = (minutes) => script('soak/soak', '--minutes', String(minutes), '--ignore-memory');

const hasAmx = process.platform === 'linux' && readFileSync('/proc/cpuinfo', 'utf8').includes('amx_bf16');

/**
 * `native`: arguments of the unit tests; `node`: of Node with the sanitized addon. A fault is a text of a source and what
 * takes its place, the run that has to report it, and how. `long`: what the long form has beside.
 */
const sanitizers = {
  address: {
    flags: 'address,undefined,float-cast-overflow',
    runtime: 'libasan.so',
    environment: { ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1', UBSAN_OPTIONS: 'print_stacktrace=1' },
    nativeEnvironment: { ASAN_OPTIONS: 'detect_leaks=1:allocator_may_return_null=1' },
    native: [['-tc=fuzz*,no memory*,subnormal*,*validation*']],
    node: [jest('misuse'), script('conformance/fixtures.child')],
    long: {
      native: [[]], node: [jest('conformance', 'property', 'async', 'lifecycle/binding', 'unit')],
      faults: hasAmx ? [{
        what: 'a matrix of weights read beyond their end by AMX', file: 'native/algorithms/amx.cc',
        text: 'reinterpret_cast<const std::uint16_t*>(args.weights) + weights;',
        by: 'reinterpret_cast<const std::uint16_t*>(args.weights) + weights + kTermElements;',
        native: ['-tc=fuzz*'], report: /AddressSanitizer: heap-buffer-overflow/,
      }] : [],
    },
    faults: [
      {
        what: 'an input read one float beyond its end', file: 'native/algorithms/definition.cc',
        text: 'rw.i_first - e * rw.i_step) * pixel_step]', by: 'rw.i_first + 1 - e * rw.i_step) * pixel_step]',
        node: script('conformance/fixtures.child'), report: /AddressSanitizer: heap-buffer-overflow/,
      },
      {
        what: 'a plan that is lost', file: 'native/layer/plan_cache.h',
        text: 'entries_.emplace_front(call, std::move(value));', by: 'entries_.emplace_front(call, *new Value(std::move(value)));',
        native: ['-tc=a smaller workspace*'], report: /LeakSanitizer: detected memory leaks/,
      },
      {
        what: 'unchecked arithmetic in validation', file: 'native/problem/problem.cc',
        text: 'Checked(layer.in_channels) * (layer.out_channels / layer.groups)', by: 'layer.in_channels * (layer.out_channels / layer.groups)',
        native: ['-tc=fuzz*'], report: /runtime error: signed integer overflow/,
      },
    ],
  },
  thread: {
    flags: 'thread',
    runtime: 'libtsan.so',
    // Node itself is not instrumented: what it does to memory by itself says nothing.
    environment: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:report_signal_unsafe=0:halt_on_error=1:exitcode=66' },
    nativeEnvironment: { TSAN_OPTIONS: 'halt_on_error=1:exitcode=66' },
    native: [['-tc=run:*,submit*,a job*,caps*,fuzz*']],
    node: [...scenes('callback-throws', 'gc-with-calls-in-flight', 'terminate-several-at-once'), soak(0.2)],
    long: {
      native: [[]],
      node: [...scenes('stays-alive', 'aborted-while-copied', 'async-local-storage', 'copies-yield', 'detached-while-copied', 'gc-returns-all', 'terminate', 'exit-stages-in-workers',
        'only-workers-load', 'sixty-four-workers', 'exit-while-running', 'exit-with-workers-at-work'), soak(10)],
      faults: [],
    },
    faults: [
      {
        what: 'a cache of plans without its lock', file: 'native/layer/layer.cc',
        text: /const std::lock_guard<std::mutex> lock\(cache_mutex\);(?=\s+const std::shared_ptr<const Prepared>\* found = cache)/, by: '',
        native: ['-tc=fuzz*'], report: /ThreadSanitizer: data race/,
      },
      {
        what: 'a queue of finished calls without its lock', file: 'native/binding/async_queue.cc',
        text: /const std::lock_guard<std::mutex> lock\(mutex_\);(?=\s+call->status = status;)/, by: '',
        node: soak(0.2), report: /ThreadSanitizer: data race/,
      },
    ],
  },
};

const seconds = (since) => `${Math.round((Date.now() - since) / 1000)} s`;

/** { ok, text } of a command. */
function run(command, args, env = {}) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, ...env }, timeout: 40 * 60_000,
  });
  const end = error?.message ?? signal ?? `status ${status}`;
  return { ok: status === 0, text: `${stdout ?? ''}${stderr ?? ''}\n${command} ${args.join(' ')}: ${end}` };
}

function must(result) {
  if (!result.ok) throw new Error(result.text);
  return result.text;
}

/** Makes `to` like `from`; files that are the same keep their times, so that nothing of them is compiled again. */
function mirror(from, to) {
  mkdirSync(to, { recursive: true });
  const wanted = readdirSync(from, { withFileTypes: true });
  for (const name of readdirSync(to)) {
    if (!wanted.some((entry) => entry.name === name)) rmSync(path.join(to, name), { recursive: true });
  }
  for (const entry of wanted) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) mirror(source, target);
    else copyIfChanged(source, target);
  }
}

function copyIfChanged(source, target) {
  const same = statSync(target, { throwIfNoEntry: false })?.isFile() && readFileSync(source).equals(readFileSync(target));
  if (!same) cpSync(source, target);
}

function build(directory, { flags }) {
  const source = path.join(directory, 'source');
  for (const folder of ['native', 'bench/native', 'bench/suite']) mirror(path.join(root, folder), path.join(source, folder));
  for (const file of ['CMakeLists.txt', 'package.json']) copyIfChanged(path.join(root, file), path.join(source, file));
  const includes = [require('node-api-headers').include_dir, path.resolve(root, require('node-addon-api').include_dir)];
  must(run('cmake', ['-S', source, '-B', directory, '-DCMAKE_BUILD_TYPE=Release', '-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG', '-DCONVTRANSPOSE_TESTS=ON',
    // What CMakeLists.txt would find out by itself.
    values.long ? '-UHAVE__mavx512f' : '-DHAVE__mavx512f=OFF', `-DCONVTRANSPOSE_SANITIZE=${flags}`, `-DCMAKE_JS_INC=${includes.join(';')}`, `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.join(directory, 'build', 'Release')}`],
  { CXX: process.env.CXX ?? 'g++' }));
  compile(directory);
}

function compile(directory) {
  must(run('cmake', ['--build', directory, '--parallel', String(os.cpus().length)]));
}

/** The unit tests, or Node with the sanitized addon. */
function runNative(directory, { environment, nativeEnvironment }, args) {
  return run(path.join(directory, 'native', 'test', 'convtranspose_tests'), args, { ...environment, ...nativeEnvironment });
}

function runNode(directory, { environment, runtime }, args) {
  const libraries = [runtime, 'libstdc++.so.6'].map((name) => run(process.env.CXX ?? 'g++', [`-print-file-name=${name}`]).text.split('\n')[0]);
  return run(process.execPath, args, { ...environment, LD_PRELOAD: libraries.join(' '), CONVTRANSPOSE_PREBUILD: directory });
}

function runSeeded(directory, sanitizer, fault) {
  const file = path.join(directory, 'source', fault.file);
  const original = readFileSync(file, 'utf8');
  const changed = original.replace(fault.text, fault.by);
  if (changed === original) throw new Error(`'${fault.text}' is not in ${fault.file} any more: seed '${fault.what}' elsewhere`);
  writeFileSync(file, changed);
  try {
    compile(directory);
    const { ok, text } = fault.native === undefined ? runNode(directory, sanitizer, fault.node) : runNative(directory, sanitizer, fault.native);
    if (ok || !fault.report.test(text)) throw new Error(`${text}\nseeded and not reported: ${fault.what}`);
  } finally {
    writeFileSync(file, original);
  }
}

function test(name) {
  const sanitizer = sanitizers[name];
  const directory = path.join(root, `build-${name}`);
  let start = Date.now();
  const done = (what) => {
    console.log(`${name}: ${what} (${seconds(start)})`);
    start = Date.now();
  };
  build(directory, sanitizer);
  done('compiled');
  const { long } = sanitizer;
  const plan = !values.long ? sanitizer : {
    native: [...sanitizer.native, ...long.native], node: [...sanitizer.node, ...long.node], faults: [...sanitizer.faults, ...long.faults],
  };
  for (const args of plan.native) {
    must(runNative(directory, sanitizer, args));
    done(`nothing reported by the unit tests ${args.join(' ')}`);
  }
  for (const args of plan.node) {
    must(runNode(directory, sanitizer, args));
    done(`nothing reported by ${args.slice(args[0] === '--expose-gc' ? 3 : 0).map((arg) => path.relative(root, arg) || arg).join(' ')}`);
  }
  for (const fault of plan.faults) {
    runSeeded(directory, sanitizer, fault);
    done(`reported, as it should be: ${fault.what}`);
  }
}

for (const name of values.only === undefined ? Object.keys(sanitizers) : [values.only]) test(name);
