// `npm run test:native`: builds the native unit tests in build-tests/ and runs them. What follows `--` goes to the tests
// (doctest's options, for instance -tc=phases*).
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const build = path.join(root, 'build-tests');

function run(command, args, remedy) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status === 0) return;
  console.error(`test:native: ${error ? `${command} was not found` : `${command} failed`}; ${remedy}`);
  process.exit(status ?? 1);
}

const remedy = 'it needs cmake, a C++20 compiler and doctest (Debian: apt-get install cmake g++ doctest-dev)';
run('cmake', ['-S', root, '-B', build, '-DCMAKE_BUILD_TYPE=Release', '-DCONVTRANSPOSE_TESTS=ON'], remedy);
run('cmake', ['--build', build, '--parallel', String(os.cpus().length)], remedy);
run(path.join(build, 'native', 'test', 'convtranspose_tests'), process.argv.slice(2), 'see the messages above');
