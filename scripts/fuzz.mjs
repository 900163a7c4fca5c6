// `npm run fuzz`: builds the fuzzers of native/test/fuzz/ with clang, AddressSanitizer and UndefinedBehaviorSanitizer in
// build-fuzz/ and runs each of them. What they find reaching new code stays in build-fuzz/corpus/ for the next run; an input
// that fails is left there too, and belongs in native/test/fuzz/corpus/ once the fault is mended.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Command, Option } from 'commander';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const build = path.join(root, 'build-fuzz');
const kept = path.join(root, 'native', 'test', 'fuzz', 'corpus');
const targets = readdirSync(kept);

const values = new Command('npm run fuzz --')
  .description('Builds the fuzzers of native/test/fuzz/ with clang and sanitizers, and runs them. What they find stays in build-fuzz/corpus/.')
  .addOption(new Option('--target <name...>', 'run these alone').choices(targets))
  .option('--runs <n>', 'executions of each target', '20000')
  .option('--seconds <s>', 'at most so long for each target')
  .option('--coverage', "print too how much of native/ the inputs reach, function by function for what runs an algorithm (llvm's tools)")
  .parse().opts();
const chosen = values.target ?? targets;

/** What is printed of a command that failed. */
const lastLines = 80;

/** Runs a command to its end; returns what it printed. Throws if it fails. */
function run(command, args, options = {}) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  if (error !== undefined) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) {
    const lines = `${stdout ?? ''}${stderr ?? ''}`.split('\n').slice(-lastLines).join('\n');
    throw new Error(`${command} ended with ${signal ?? `status ${status}`}\n${lines}`);
  }
  return `${stdout ?? ''}${stderr ?? ''}`;
}

function compile(directory, options) {
  run('cmake', ['-S', root, '-B', directory, '-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DCONVTRANSPOSE_TESTS=ON', '-DCONVTRANSPOSE_FUZZ=ON', ...options],
    { env: { ...process.env, CXX: process.env.CXX ?? 'clang++' } });
  run('cmake', ['--build', directory, '--parallel', String(os.cpus().length), '--target', ...chosen.map((name) => `fuzz_${name}`)]);
}

/** Executions, and how often each algorithm ran. */
function fuzz(name) {
  const corpus = path.join(build, 'corpus', name);
  mkdirSync(corpus, { recursive: true });
  const args = [corpus, path.join(kept, name), '-max_len=160', '-len_control=0', '-entropic=0', '-timeout=30', '-rss_limit_mb=3000', `-artifact_prefix=${corpus}/found-`,
    `-runs=${values.runs}`, ...(values.seconds === undefined ? [] : [`-max_total_time=${values.seconds}`])];
  const text = run(path.join(build, 'native', 'test', `fuzz_${name}`), args);
  const executions = Number(/^Done (\d+) runs/m.exec(text)?.[1] ?? 0);
  const reached = Object.fromEntries([...text.matchAll(/^ran (\S+) (\d+)$/gm)].map((match) => [match[1], Number(match[2])]));
  return { executions, reached };
}

compile(build, ['-DCONVTRANSPOSE_SANITIZE=address,undefined,float-cast-overflow']);
let total = 0;
for (const name of chosen) {
  const { executions, reached } = fuzz(name);
  total += executions;
  console.log(`fuzz: ${name}: ${executions} executions, nothing found`);
  for (const [algorithm, count] of Object.entries(reached)) console.log(`fuzz:   ${algorithm} ran ${count} times`);
}
console.log(`fuzz: ${total} executions`);

if (values.coverage) {
  const directory = path.join(root, 'build-fuzz-coverage');
  compile(directory, ['-DCMAKE_CXX_FLAGS=-fprofile-instr-generate -fcoverage-mapping']);
  const binaries = chosen.map((name) => path.join(directory, 'native', 'test', `fuzz_${name}`));
  const profiles = chosen.map((name, i) => {
    const profile = path.join(directory, `${name}.profraw`);
    run(binaries[i], ['-runs=0', path.join(build, 'corpus', name), path.join(kept, name)], { env: { ...process.env, LLVM_PROFILE_FILE: profile } });
    return profile;
  });
  const merged = path.join(directory, 'all.profdata');
  run('llvm-profdata-14', ['merge', '-sparse', ...profiles, '-o', merged]);
  const objects = binaries.slice(1).flatMap((binary) => ['-object', binary]);
  const report = (args) => run('llvm-cov-14', ['report', binaries[0], ...objects, `-instr-profile=${merged}`, ...args]);
  console.log(report(['-ignore-filename-regex=native/test|/usr/']));
  const algorithms = path.join(root, 'native', 'algorithms');
  const functions = report(['-show-functions', '-Xdemangler=c++filt', ...readdirSync(algorithms).filter((file) => file.endsWith('.cc')).map((file) => path.join(algorithms, file))]);
  const runs = functions.split('\n').filter((line) => line.includes('run_task'));
  for (const line of runs) console.log(line);
  // Behind the name: regions, lines and branches, each their number, those missed, and the share; a function may have no branch.
  const missed = runs.filter((line) => /\s0\.00%(?:\s+\d+\s+\d+\s+[\d.]+%){2}\s*$/.test(line));
  if (runs.length === 0 || missed.length > 0) throw new Error('an algorithm\'s run was not reached');
}
