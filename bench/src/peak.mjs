// @ts-check
/** The peak of single-precision multiply-adds, measured by a small native program that is compiled at the first need. */
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const build = fileURLToPath(new URL('../../build-bench', import.meta.url));
const program = fileURLToPath(new URL('../../build-bench/bench/native/peak', import.meta.url));

/** Compiles the program, or brings it up to date. Throws when there is no cmake or compiler. */
export function buildPeak() {
  for (const args of [
    ['-S', root, '-B', build, '-DCMAKE_BUILD_TYPE=Release', '-DCONVTRANSPOSE_BENCH=ON'],
    ['--build', build, '--target', 'peak'],
  ]) {
    const { status, error, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
    if (error) throw new Error(`cmake cannot be run: ${error.message}`);
    if (status !== 0) throw new Error(`cmake ${args.join(' ')} failed:\n${stdout}${stderr}`);
  }
}

/**
 * GFLOP/s of all threads together, the best of a few milliseconds.
 * @param {string} isa as cpuInfo() names it
 * @param {number} threads
 * @param {number} seconds
 */
export function measurePeak(isa, threads, seconds = 0.01) {
  return Number(execFileSync(program, [isa, String(threads), String(seconds)], { encoding: 'utf8' }));
}
