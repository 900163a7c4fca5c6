'use strict';
// Runs when the package is installed. Uses a prebuilt binary where one loads; otherwise compiles, with cmake-js in a
// development tree and with plain cmake anywhere else; otherwise says in one sentence what is missing and what to type.
const { spawnSync } = require('node:child_process');
const { existsSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const root = path.resolve(__dirname, '..');
const cmakeJs = path.join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js');

/** Loads the binary in a process of its own, so that one that crashes or is for another system counts as absent. */
function binaryLoads() {
  const script = `require('node-gyp-build')(${JSON.stringify(root)})`;
  return spawnSync(process.execPath, ['-e', script], { cwd: root, stdio: 'ignore' }).status === 0;
}

function run(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;
}

function isInstalled(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function fail(reason, remedy) {
  console.error(`convtranspose: ${reason}; ${remedy}.`);
  process.exit(1);
}

/** Compiles without cmake-js: all that cmake needs from it is where the headers of Node-API are, and the package brings those. */
function compileWithCmake() {
  const configure = [
    '-S', root, '-B', path.join(root, 'build'), '-DCMAKE_BUILD_TYPE=Release',
    `-DCMAKE_JS_INC=${path.join(root, 'headers')}`,
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.join(root, 'build', 'Release')}`,
  ];
  if (process.platform === 'darwin') configure.push('-DCMAKE_SHARED_LINKER_FLAGS=-undefined dynamic_lookup');
  const jobs = String(Math.max(1, os.cpus().length));
  return run('cmake', configure) && run('cmake', ['--build', path.join(root, 'build'), '--parallel', jobs]);
}

function main() {
  const target = `${process.platform}-${process.arch}`;
  const isDevelopmentTree = existsSync(cmakeJs);
  const isForced = process.env.npm_config_build_from_source === 'true';
  if (!isDevelopmentTree && !isForced && binaryLoads()) return;

  const remedy = isDevelopmentTree
    ? 'install cmake and a C++20 compiler (Debian: apt-get install cmake g++), then run npm install again'
    : 'install cmake and a C++20 compiler (Debian: apt-get install cmake g++), then run npm rebuild convtranspose';
  if (process.platform === 'win32' && !isDevelopmentTree) {
    fail(`there is no prebuilt binary for ${target}`, 'on Windows compile it in a clone of the repository with npm install');
  }
  if (!isInstalled('cmake')) fail(`there is no prebuilt binary for ${target}, and compiling one needs cmake`, remedy);

  const jobs = String(Math.max(1, os.cpus().length));
  const toolset = process.platform === 'win32' ? ['--toolset', 'ClangCL'] : [];
  const compiled = isDevelopmentTree
    ? run(process.execPath, [cmakeJs, 'compile', '--config', 'Release', '--parallel', jobs, ...toolset])
    : compileWithCmake();
  if (!compiled) fail(`compiling the binary for ${target} failed (see the messages above)`, remedy);
  if (!binaryLoads()) {
    fail(`the binary compiled for ${target} does not load`, "run node -e \"require('node-gyp-build')('.')\" to see why");
  }
}

main();
