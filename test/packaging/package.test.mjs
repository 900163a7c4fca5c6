// `npm run test:package`: what npm would publish, judged from outside. It is packed, installed in empty folders where neither
// compiler nor cmake is to be found, and used there. CONVTRANSPOSE_TEST_ARCH=arm64 does it with Node for that processor, under
// emulation where this machine has another.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { nodeForArch } from './runtimes.mjs';
import { bareEnvironment, bin, checkUse, install as installTarball, pack, root, run, tryRun, write } from './tarball.mjs';

const arch = process.env.CONVTRANSPOSE_TEST_ARCH ?? process.arch;
const isForeign = arch !== process.arch;
const { tarball, summary, binaries } = pack(arch);
const node = nodeForArch(arch);
const runNode = (args, cwd) => run(node.command, [...node.args, ...args], { cwd, env: bareEnvironment() });
// npm for this machine cannot run the scripts of a package for another.
const install = (...flags) => installTarball(tarball, [...flags, ...(isForeign ? ['--cpu', arch, '--ignore-scripts'] : [])]);

test('the manifest (publint)', { skip: isForeign }, () => {
  run(bin('publint'), ['run', tarball, '--strict']);
});

test('types of both module formats (attw)', { skip: isForeign }, () => {
  run(bin('attw'), [tarball, '--profile', 'node16']);
});

test('the files of the package', () => {
  const expected = /^(dist|headers|prebuilds|native\/(binding|include|problem|runtime|kernels|pack|algorithms|plan|layer)|assets)\/|^(CMakeLists\.txt|scripts\/install\.js|package\.json|LICENSE|[A-Z-]+\.md)$/;
  assert.deepEqual(summary.files.map((file) => file.path).filter((file) => !expected.test(file)), []);
  for (const file of ['README.md', 'LICENSE', 'THIRD-PARTY.md', 'CHANGELOG.md', 'SECURITY.md', 'headers/napi.h', 'dist/index.d.mts', 'dist/io/index.mjs']) {
    assert.ok(summary.files.some((one) => one.path === file), `${file} is missing`);
  }
  console.log(`# ${summary.files.length} files, ${(summary.size / 1024).toFixed(0)} KiB packed, ${(summary.unpackedSize / 1024).toFixed(0)} KiB unpacked, with ${binaries.join(' and ')}`);
});

for (const flags of isForeign ? [['--ignore-scripts']] : [[], ['--ignore-scripts']]) {
  test(`installed without a compiler${flags.map((flag) => ` and with ${flag}`).join('')}: node-gyp-build alone comes with it, require and import work`, () => {
    const project = install(...flags);
    assert.deepEqual(readdirSync(path.join(project, 'node_modules')).filter((name) => !name.startsWith('.')), ['convtranspose', 'node-gyp-build']);
    assert.ok(!existsSync(path.join(project, 'node_modules', 'convtranspose', 'build')), 'something was compiled');
    checkUse(project, arch, (file) => runNode([file], project));
    const explain = ['explain', '--input-shape', '1,4,8,8', '--weight-shape', '4,4,3,3'];
    assert.match(runNode([path.join('node_modules', 'convtranspose', 'dist', 'cli', 'main.js'), ...explain], project), /^ConvTranspose2d\(4, 4, 3\)$/m);
  });
}

test('TypeScript: node16 in both formats, and bundlers', { skip: isForeign }, () => {
  const project = install('--ignore-scripts');
  for (const name of ['@types/node', 'undici-types']) {
    const target = path.join(project, 'node_modules', name);
    mkdirSync(path.dirname(target), { recursive: true });
    symlinkSync(path.join(root, 'node_modules', name), target);
  }
  const source = `
import { Readable } from 'node:stream';
import {
  ConvTranspose1d, ConvTranspose2d, convTranspose2d, Tensor, type ConvTranspose1dStream, type ConvTransposeOptions, type Explanation,
} from 'convtranspose';
import { onnx } from 'convtranspose/compat';
import { readNpy, type SafetensorsEntry } from 'convtranspose/io';
const options: ConvTransposeOptions = { stride: 2, padding: [[1, 0], [0, 1]], activation: 'relu' };
export const y: Float32Array = convTranspose2d(Tensor.zeros([1, 1, 2, 2]), Tensor.zeros([1, 1, 2, 2]), null, options).data;
export const why: Explanation = new ConvTranspose2d(1, 2, 3).explain([1, 1, 2, 2]);
export const tensor: Promise<Tensor> = readNpy('x.npy');
export const convert: unknown = onnx;
export type Entry = SafetensorsEntry;
const stream: ConvTranspose1dStream = new ConvTranspose1d(4, 2, 8).stream({ batch: 1 });
export const samples = new ReadableStream<Tensor>().pipeThrough(stream.toWeb());
Readable.from([Tensor.zeros([1, 4, 3])]).pipe(stream.toNode());
// @ts-expect-error
new ConvTranspose2d(1, 2, 3, { strides: 2 });
`;
  write(project, { 'a.cts': source, 'b.mts': source, 'c.ts': source });
  const tsc = (module, moduleResolution, files, lib) => run(bin('tsc'), ['--noEmit', '--strict', '--target', 'es2022', '--lib', lib, '--types', 'node', '--module', module,
    '--moduleResolution', moduleResolution, ...files], { cwd: project });
  tsc('node16', 'node16', ['a.cts', 'b.mts'], 'es2022');
  tsc('esnext', 'bundler', ['b.mts', 'c.ts'], 'es2022,dom');
});

test('bundled by esbuild as docs/install.md says', { skip: isForeign }, () => {
  const project = install('--ignore-scripts');
  const [line] = /esbuild main\.js .*/.exec(readFileSync(path.join(root, 'docs', 'install.md'), 'utf8'));
  const flags = line.split(' ').slice(2);
  checkUse(project, arch, (file) => {
    const format = file.endsWith('.mjs') ? ['--format=esm'] : [];
    run(bin('esbuild'), [file, ...flags, ...format, `--outfile=bundled-${file}`], { cwd: project });
    return runNode([`bundled-${file}`], project);
  });
});

test('without a binary for this system: one sentence says what is missing and what to type', { skip: isForeign }, () => {
  const project = install('--ignore-scripts');
  const installed = path.join(project, 'node_modules', 'convtranspose');
  rmSync(path.join(installed, 'prebuilds'), { recursive: true });
  const { status, stderr } = tryRun('node', ['scripts/install.js'], { cwd: installed, env: bareEnvironment() });
  assert.equal(status, 1);
  assert.match(stderr, /^convtranspose: [^\n]* needs cmake; install cmake [^\n]*, then run npm rebuild convtranspose\.\n$/);
  const used = tryRun(node.command, [...node.args, '-e', "require('convtranspose').version()"], { cwd: project });
  assert.notEqual(used.status, 0);
  assert.match(used.stderr, /ERR_CONVTRANSPOSE_NO_BINARY/);
  assert.match(used.stderr, /npm rebuild convtranspose/);
});

test('without a binary for this system, but with cmake and a compiler: npm rebuild compiles one', { skip: isForeign || process.platform === 'win32' }, () => {
  const project = install('--ignore-scripts');
  rmSync(path.join(project, 'node_modules', 'convtranspose', 'prebuilds'), { recursive: true });
  // Not optimised, to be quick.
  write(project, { 'quick.cmake': 'set(CMAKE_CXX_FLAGS_RELEASE "-O0" CACHE STRING "" FORCE)\n' });
  const env = { ...bareEnvironment(), PATH: process.env.PATH, CMAKE_TOOLCHAIN_FILE: path.join(project, 'quick.cmake') };
  run('npm', ['rebuild', '--foreground-scripts', 'convtranspose'], { cwd: project, env });
  assert.ok(existsSync(path.join(project, 'node_modules', 'convtranspose', 'build', 'Release', 'convtranspose.node')));
  checkUse(project, arch, (file) => runNode([file], project));
});
