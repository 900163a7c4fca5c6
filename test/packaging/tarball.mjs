// What the tests of the published package share: packing it, installing it in empty folders, and the programs that use it there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
/** A folder that exists until the tests of the file have ended. */
export const scratch = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-package-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

export const bin = (name) => path.join(root, 'node_modules', '.bin', name);

/** Runs a program and returns how it ended. */
export function tryRun(command, args, options = {}) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  return { status: status ?? signal, stdout, stderr: `${error?.message ?? ''}${stderr}` };
}

/** Runs a program that must succeed and returns what it printed. */
export function run(command, args, options) {
  const { status, stdout, stderr } = tryRun(command, args, options);
  assert.equal(status, 0, `${[path.basename(command), ...args].join(' ')} failed\n${stdout}${stderr}`);
  return stdout;
}

export function write(folder, files) {
  for (const [name, content] of Object.entries(files)) writeFileSync(path.join(folder, name), content);
}

/** 'linux-x64' -> where its binaries are and what they are called; on Linux one per libc. */
function binaries(arch) {
  const tuple = `${process.platform}-${arch}`;
  const built = path.join(root, arch === process.arch ? 'build' : `build-${arch}`, 'Release', 'convtranspose.node');
  const names = process.platform === 'linux' ? ['convtranspose.glibc.node', 'convtranspose.musl.node'] : ['convtranspose.node'];
  const prebuilt = names.map((name) => ({ file: path.join(root, 'prebuilds', tuple, name), name })).filter(({ file }) => existsSync(file));
  if (prebuilt.some(({ name }) => name === names[0])) return { tuple, files: prebuilt };
  assert.ok(existsSync(built), `there is no binary for ${tuple}: neither in prebuilds/ nor ${path.relative(root, built)}`);
  return { tuple, files: [{ file: built, name: names[0] }, ...prebuilt] };
}

/**
 * Packs what would be published, with the binaries for `arch`: the prebuilt ones (`npm run prebuild`), or else the one that this
 * working tree compiled. Returns the tarball and what npm says about it.
 */
export function pack(arch) {
  run('npm', ['run', '--silent', 'prepare']);
  const staging = path.join(scratch, 'staging');
  const { files } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const parts = files.filter((pattern) => !/^!|\*/.test(pattern));
  for (const part of [...parts, 'package.json', 'README.md', 'LICENSE']) cpSync(path.join(root, part), path.join(staging, part), { recursive: true });
  const { tuple, files: found } = binaries(arch);
  mkdirSync(path.join(staging, 'prebuilds', tuple), { recursive: true });
  for (const { file, name } of found) cpSync(file, path.join(staging, 'prebuilds', tuple, name));
  const [summary] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], { cwd: staging }));
  rmSync(staging, { recursive: true });
  return { tarball: path.join(scratch, summary.filename), summary, binaries: found.map(({ file }) => path.relative(root, file)) };
}

/** An environment whose PATH leads to Node, npm and a shell, and to nothing that compiles. */
export function bareEnvironment() {
  const tools = path.join(scratch, 'bin');
  if (!existsSync(tools)) {
    mkdirSync(tools);
    symlinkSync(process.execPath, path.join(tools, 'node'));
    for (const name of ['sh', 'env', 'npm']) symlinkSync(run('sh', ['-c', `command -v ${name}`]).trim(), path.join(tools, name));
  }
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  return { ...env, PATH: tools };
}

let projects = 0;
/** Installs a tarball in an empty folder and returns that. */
export function install(tarball, flags = []) {
  const project = path.join(scratch, `project-${(projects += 1)}`);
  mkdirSync(project);
  write(project, { 'package.json': '{ "private": true }\n' });
  run('npm', ['install', '--no-audit', '--no-fund', '--foreground-scripts', ...flags, tarball], { cwd: project, env: bareEnvironment() });
  return project;
}

const useIt = `
const weight = { data: new Float32Array([1, 2, 3, 4]), shape: [1, 1, 2, 2] };
const input = { data: new Float32Array([1, 10]), shape: [1, 1, 1, 2] };
const names = (module) => Object.keys(module).filter((name) => name !== '__esModule' && name !== 'default' && name !== 'module.exports').sort();
const layer = new index.ConvTranspose2d(1, 1, 2, { stride: 2, weight });
layer.forwardAsync(input).then(({ data }) => console.log(JSON.stringify({
  index: names(index), io: names(io), compat: names(compat), onnx: names(compat.onnx), sync: [...index.convTranspose2d(input, weight, null, { stride: 2 }).data], async: [...data],
  npy: io.decodeNpy(io.encodeNpy(input)).shape, arch: process.arch,
})));
`;
/** Programs that print what the package offers and computes, in both module formats. */
const users = {
  'a.cjs': `const index = require('convtranspose'), io = require('convtranspose/io'), compat = require('convtranspose/compat');${useIt}`,
  'b.mjs': `import * as index from 'convtranspose'; import * as io from 'convtranspose/io'; import * as compat from 'convtranspose/compat';${useIt}`,
};

/** Both module formats offer the same and compute what the definition says. `runFile` runs a file of the project, and returns its output. */
export function checkUse(project, arch, runFile) {
  write(project, users);
  const [required, imported] = Object.keys(users).map((file) => JSON.parse(runFile(file)));
  assert.deepEqual(required, imported);
  assert.deepEqual(required.sync, [1, 2, 10, 20, 3, 4, 30, 40]);
  assert.deepEqual(required.async, required.sync);
  assert.deepEqual(required.npy, [1, 1, 1, 2]);
  assert.equal(required.arch, arch);
  assert.ok(required.index.includes('ConvTranspose3d'));
}
