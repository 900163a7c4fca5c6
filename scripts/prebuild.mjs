// `npm run prebuild`: makes prebuilds/<platform>-<arch>/convtranspose[.<libc>].node through prebuildify and cmake-js.
//
// For Linux, zig compiles: its target names the oldest glibc that the binary has to run with, whatever glibc this machine has. For
// macOS and Windows it compiles where this machine is neither; on them the system's own compiler does.
import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';

import { Argument, Command } from 'commander';

import { checkPrebuild, describePrebuild } from './check-prebuilds.mjs';
import { prebuilds, root } from './prebuild-targets.mjs';
import { findZig } from './zig.mjs';

function run(command, args, env) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${path.basename(command)} failed${error === undefined ? '' : `: ${error.message}`}`);
}

const compiledByZig = ({ platform }) => platform === 'linux' || platform !== process.platform;

function build(one) {
  const { platform, arch, libc, zig, cmake = {} } = one;
  const usesZig = compiledByZig(one);
  const settings = !usesZig ? cmake : {
    CMAKE_TOOLCHAIN_FILE: path.join(root, 'cmake', 'zig.cmake'), CONVTRANSPOSE_ZIG: findZig(), CONVTRANSPOSE_ZIG_TARGET: zig,
    CMAKE_RUNTIME_OUTPUT_DIRECTORY: path.join(root, 'build', 'Release'), // where Windows' libraries go
    ...cmake,
  };
  const prebuildify = path.join(root, 'node_modules', 'prebuildify', 'bin.js');
  const shim = process.platform === 'win32' ? 'node scripts/cmake-js-shim.mjs' : path.join(root, 'scripts', 'cmake-js-shim.mjs');
  // What zig links is stripped by its linker, for macOS in part: the strip of this machine may not know the target, LLVM's does.
  const strip = !usesZig || platform === 'darwin' ? ['--strip'] : [];
  const args = ['--napi', '--node-gyp', shim, ...(libc === undefined ? [] : ['--tag-libc', libc]), ...strip];
  run(process.execPath, [prebuildify, ...args], {
    PREBUILD_PLATFORM: platform, PREBUILD_ARCH: arch, ...(usesZig && { PREBUILD_STRIP_BIN: 'llvm-strip' }),
    CONVTRANSPOSE_CMAKE_OPTIONS: Object.entries(settings).map(([name, value]) => `${name}=${value}`).join(';'),
  });
}

/** prebuildify works in build/, where the binary of this working tree is; that comes back. */
function keepingOwnBuild(action) {
  const own = path.join(root, 'build');
  const aside = path.join(root, 'build-aside');
  if (existsSync(own)) renameSync(own, aside);
  try {
    action();
  } finally {
    rmSync(own, { recursive: true, force: true });
    if (existsSync(aside)) renameSync(aside, own);
  }
}

const { args: wanted } = new Command('npm run prebuild --')
  .description('Makes prebuilds/<platform>-<arch>/convtranspose[.<libc>].node and checks them.')
  .addArgument(new Argument('[names...]', 'default: all that are made on this operating system').choices(prebuilds.map(({ name }) => name)))
  .parse();
const chosen = prebuilds.filter(({ name, platform, madeHere }) => (wanted.length > 0 ? wanted.includes(name) : platform === process.platform && madeHere));
keepingOwnBuild(() => chosen.forEach(build));
// Elsewhere there may be no tools to look into a binary with; all are checked together before they are published.
for (const one of chosen.filter(() => process.platform === 'linux')) {
  console.log(`prebuild: ${describePrebuild(one)}`);
  for (const fault of checkPrebuild(one, root, { linkedByZig: compiledByZig(one) })) {
    console.error(`prebuild: ${one.name}: ${fault}`);
    process.exitCode = 1;
  }
}
