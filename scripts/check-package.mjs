// `npm run check:package`: what npm would publish, judged from outside. publint and attw check the manifest and the types;
// then the tarball is installed in an empty project that has no compiler, and both module formats must offer the same names
// and compute the same numbers there.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const scratch = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-package-'));
let failures = 0;

function step(name, action) {
  try {
    action();
    console.log(`check:package: ${name}: ok`);
  } catch (error) {
    failures += 1;
    console.error(`check:package: ${name}: ${error.message}`);
  }
}

function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  if (status !== 0) throw new Error(`${path.basename(command)} failed: ${error?.message ?? `\n${stdout}${stderr}`}`);
  return stdout;
}

/** Packs the working tree with the local binary as its prebuilt one, so that nothing needs compiling. */
function pack() {
  const staging = path.join(scratch, 'staging');
  const skipped = new Set(['node_modules', '.git']);
  const isPart = (source) => !skipped.has(path.relative(root, source)) && !/^build/.test(path.relative(root, source));
  cpSync(root, staging, { recursive: true, filter: isPart });
  const addon = createRequire(import.meta.url)('node-gyp-build').path(root);
  const target = path.join(staging, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(target, { recursive: true });
  cpSync(addon, path.join(target, 'convtranspose.node'));
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', scratch], { cwd: staging });
  rmSync(staging, { recursive: true });
  return path.join(scratch, readdirSync(scratch).find((file) => file.endsWith('.tgz')));
}

const useIt = `
  const weight = { data: new Float32Array([1, 2, 3, 4]), shape: [1, 1, 2, 2] }
  const input = { data: new Float32Array([1, 10]), shape: [1, 1, 1, 2] }
  const { data } = index.convTranspose2d(input, weight, null, { stride: 2 })
  console.log(JSON.stringify({ index: names(index), io: names(io), compat: names(compat), onnx: names(compat.onnx), data: Array.from(data) }))`;
const namesOf = "const names = (module) => Object.keys(module).filter((name) => name !== '__esModule').sort();\n";

try {
  const bin = (name) => path.join(root, 'node_modules', '.bin', name);
  const tarball = pack();
  step('publint', () => run(bin('publint'), ['run', tarball, '--strict']));
  step('types of both module formats (attw)', () => run(bin('attw'), [tarball, '--profile', 'node16']));
  step('install without a compiler, require and import', () => {
    const project = path.join(scratch, 'project');
    mkdirSync(project);
    writeFileSync(path.join(project, 'package.json'), '{ "private": true }\n');
    const tools = path.join(scratch, 'bin');
    mkdirSync(tools);
    for (const name of ['sh', 'env']) execFileSync('ln', ['-s', path.join('/usr/bin', name), tools]);
    const env = { ...process.env, PATH: `${tools}:${path.dirname(process.execPath)}` };
    delete env.npm_config_build_from_source;
    const npm = run('sh', ['-c', 'command -v npm']).trim();
    const bare = process.execPath.startsWith('/usr/bin') ? { ...env, PATH: tools } : env;
    execFileSync('ln', ['-s', process.execPath, path.join(tools, 'node')]);
    run(npm, ['install', '--no-save', '--omit=optional', tarball], { cwd: project, env: bare });
    writeFileSync(path.join(project, 'a.cjs'),
      `${namesOf}const index = require('convtranspose'), io = require('convtranspose/io'), compat = require('convtranspose/compat');${useIt}`);
    writeFileSync(path.join(project, 'b.mjs'),
      `${namesOf}import * as index from 'convtranspose'; import * as io from 'convtranspose/io'; import * as compat from 'convtranspose/compat';${useIt}`);
    const outputs = ['a.cjs', 'b.mjs'].map((file) => run(process.execPath, [file], { cwd: project }).trim());
    if (outputs[0] !== outputs[1]) throw new Error(`require and import differ:\n${outputs.join('\n')}`);
    const { data } = JSON.parse(outputs[0]);
    if (data.join() !== '1,2,10,20,3,4,30,40') throw new Error(`wrong result: ${data.join()}`);
  });
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;
