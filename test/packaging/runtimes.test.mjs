// `npm run test:runtimes`: the published package in every runtime that it is said to work in, from their npm packages. Names of
// runtimes behind `--` choose among them.
// There is no Node for musl on npm: the release workflow tests that binary in Alpine.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';

import { programOf } from './runtimes.mjs';
import { bareEnvironment, install, pack, tryRun, write } from './tarball.mjs';

const { platform } = process; // 'linux' or 'darwin'
const bunArch = process.arch === 'arm64' ? 'aarch64' : process.arch;
const denoSystem = `${platform}-${process.arch}${platform === 'linux' ? '-glibc' : ''}`;

const runtimes = [
  ...['18.20.8', '20.20.2', '22.23.3', '24.19.0'].map((version) => ({
    name: `node ${version}`, specifier: `node-${platform}-${process.arch}@${version}`, program: path.join('bin', 'node'), args: [],
  })),
  { name: 'bun', specifier: `@oven/bun-${platform}-${bunArch}@1.4.5`, program: path.join('bin', 'bun'), args: [] },
  { name: 'deno', specifier: `@deno/${denoSystem}@2.9.6`, program: 'deno', args: ['run', '--no-prompt', '--no-lock', '--allow-ffi', '--allow-read', '--allow-env', '--allow-sys'] },
];

const useIt = `
const input = new Tensor(new Float32Array(3 * 9 * 9).map((_, i) => Math.sin(i)), [1, 3, 9, 9]);
const layer = new ConvTranspose2d(3, 5, 4, { stride: 2, padding: 1, seed: 7 });
const sync = layer.forward(input);
const later = await layer.forwardAsync(input);
if (sync.data.join() !== later.data.join()) throw new Error('the asynchronous result differs');
let code;
try { layer.forward(input, { out: new Tensor(new Float32Array(1), [1]) }); } catch (error) { code = error.code; }
const sum = sync.data.reduce((a, b) => a + b * b, 0);
const result = { shape: sync.shape, sum, code };
`;
/** The same in this thread, in a worker thread, and in CommonJS: all three must print the same. */
const program = {
  'package.json': '{ "private": true, "type": "module" }\n',
  'worker.mjs': `
import { parentPort } from 'node:worker_threads';
import { ConvTranspose2d, Tensor } from 'convtranspose';
${useIt}
parentPort.postMessage(JSON.stringify(result));
`,
  'main.mjs': `
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { ConvTranspose2d, Tensor, cpuInfo } from 'convtranspose';
import { decodeNpy, encodeNpy } from 'convtranspose/io';
${useIt}
const worker = new Worker(new URL('./worker.mjs', import.meta.url));
const fromWorker = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
await worker.terminate();
if (fromWorker !== JSON.stringify(result)) throw new Error('the worker thread differs: ' + fromWorker);
const required = createRequire(import.meta.url)('convtranspose');
if (required.ConvTranspose2d !== ConvTranspose2d) throw new Error('require and import have two classes');
if (decodeNpy(encodeNpy(sync)).data.join() !== sync.data.join()) throw new Error('.npy differs');
console.log(JSON.stringify({ ...result, isa: cpuInfo().isa }));
layer.dispose();
`,
};

const chosen = process.argv.slice(2);
const { tarball, binaries } = pack(process.arch);
console.log(`# with ${binaries.join(' and ')}`);
const project = install(tarball, ['--ignore-scripts']);
write(project, program);

let expected;
for (const { name, specifier, program: file, args } of runtimes) {
  const isLeftOut = chosen.length > 0 && !chosen.some((word) => name.startsWith(word));
  test(name, { skip: isLeftOut }, () => {
    const { status, stdout, stderr } = tryRun(programOf(specifier, file), [...args, 'main.mjs'], { cwd: project, env: bareEnvironment(), timeout: 120_000 });
    assert.deepEqual({ status, stderr: status === 0 ? '' : stderr }, { status: 0, stderr: '' });
    const { isa, ...result } = JSON.parse(stdout);
    assert.deepEqual(result.shape, [1, 5, 18, 18]);
    assert.equal(result.code, 'ERR_CONVTRANSPOSE_SHAPE');
    expected ??= result;
    assert.deepEqual(result, expected, 'runtimes differ');
    assert.notEqual(isa, '');
  });
}
