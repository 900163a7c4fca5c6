/**
 * Runs every example of the documentation: the ```js and ```ts blocks of README.md, docs/ and of the comments in lib/, and the
 * `npx convtranspose` lines of their ```sh blocks. A line `console.log(value); // text` must print that text.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { format } from 'node:util';

import * as esbuild from 'esbuild';
import sharp from 'sharp';

import * as compat from '../../lib/compat/index';
import * as index from '../../lib/index';
import * as io from '../../lib/io/index';

const root = path.join(__dirname, '..', '..');

interface Example {
  name: string;
  language: string;
  code: string;
}

/** The fenced blocks of a text, named by file and line. In comments, the leading asterisks are taken off. */
function examplesOf(file: string): Example[] {
  const examples: Example[] = [];
  let open: Example | undefined;
  readFileSync(path.join(root, file), 'utf8').split('\n').forEach((raw, number) => {
    const line = file.endsWith('.ts') ? raw.replace(/^\s*\* ?/, '') : raw;
    const fence = /^\s*```(\w*)/.exec(line);
    if (fence === null) {
      if (open !== undefined) open.code += `${line}\n`;
    } else if (open === undefined) {
      open = { name: `${file}:${number + 1}`, language: fence[1] ?? '', code: '' };
    } else {
      examples.push(open);
      open = undefined;
    }
  });
  if (open !== undefined) throw new Error(`${open.name}: the block does not end`);
  return examples;
}

function filesBelow(folder: string, extension: string): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(extension))
    .map((file) => path.join(folder, file))
    .sort();
}

const examples = ['README.md', ...filesBelow('docs', '.md'), ...filesBelow('lib', '.ts')].flatMap(examplesOf);
const programs = examples.filter(({ language }) => language === 'js' || language === 'ts');
const commands = examples.filter(({ language }) => language === 'sh').flatMap(({ name, code }) =>
  code.replaceAll('\\\n', ' ').split('\n')
    .filter((line) => line.startsWith('npx convtranspose '))
    .map((line) => ({ name: `${name} ${line}`, args: (line.replace(/\s+#.*$/, '').match(/\S+/g) ?? []).slice(2).map((word) => word.replace(/^'(.*)'$/, '$1')) })));

const nodeRequire = createRequire(__filename);
function requireFromExample(name: string): unknown {
  if (name === 'convtranspose') return index;
  if (name === 'convtranspose/compat') return compat;
  if (name === 'convtranspose/io') return io;
  return nodeRequire(name);
}

const oneLine = (text: string): string => text.replace(/\s+/g, ' ').trim();

/** Runs a program whose imports stand at its start; resolves to what it printed where it said so, beside what it said. */
async function run({ name, code }: Example): Promise<{ said: string; printed: string }[]> {
  const outputs: { said: string; printed: string }[] = [];
  const checked = code.replace(/^(\s*)console\.log\((.*)\);?\s*\/\/ (.*)$/gm, (_, indent: string, values: string, said: string) =>
    `${indent}__said(${JSON.stringify(said)}, ${values});`);
  const imports = /^(?:(?:import\b[^;]*?['"][^'"]+['"];?|\/\/.*)?\s*\n)*/.exec(checked)?.[0] ?? '';
  const source = `${imports}export default (async () => {\n${checked.slice(imports.length)}\n})();`;
  const { code: script } = esbuild.transformSync(source, { loader: 'ts', format: 'cjs', target: 'node20', sourcefile: name });
  const module = { exports: {} as { default?: Promise<void> } };
  const quiet = { ...console, log: () => undefined };
  const said = (text: string, ...values: unknown[]): void => {
    outputs.push({ said: oneLine(text), printed: oneLine(format(...values)) });
  };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- running the text is the point
  const start = new Function('require', 'module', 'exports', 'console', '__said', script) as (...args: unknown[]) => void;
  start(requireFromExample, module, module.exports, quiet, said);
  await module.exports.default;
  return outputs;
}

describe('examples', () => {
  const home = process.cwd();
  const sandbox = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-examples-'));

  // The files that examples read.
  beforeAll(async () => {
    process.chdir(sandbox);
    const pixels = Buffer.from(Array.from({ length: 8 * 6 * 3 }, (_, i) => (i * 37) % 256));
    await sharp(pixels, { raw: { width: 8, height: 6, channels: 3 } }).jpeg().toFile('photo.jpg');
    const weight = index.Tensor.zeros([3, 2, 4, 4]);
    weight.data.fill(0.5);
    await io.writeSafetensors('layer.safetensors', { weight, bias: index.Tensor.zeros([2]) });
    for (const [name, fixture] of [['net.onnx', 'exported.onnx'], ['arrays.npz', 'deflated.npz'], ['generator.safetensors', 'layers.safetensors']] as const) {
      copyFileSync(path.join(root, 'test', 'io', 'fixtures', fixture), name);
    }
    await io.writeNpy('x.npy', index.Tensor.zeros([1, 3, 16, 16]));
    mkdirSync(path.join('features', 'a'), { recursive: true });
    for (const name of ['one.npy', 'two.npy', 'a/one.npy']) await io.writeNpy(path.join('features', name), index.Tensor.zeros([3, 8, 8]));
  });
  afterAll(() => {
    process.chdir(home);
    rmSync(sandbox, { recursive: true, force: true });
  });

  test('there are examples in README.md, docs/ and lib/', () => {
    for (const place of ['README.md', 'docs/', 'lib/']) expect(programs.filter(({ name }) => name.startsWith(place)).length).toBeGreaterThan(0);
    expect(commands.length).toBeGreaterThan(1);
  });

  test.each(programs)('$name', async (example) => {
    for (const { said, printed } of await run(example)) expect(printed).toBe(said);
  });

  test.each(commands)('$name', ({ args }) => {
    const register = path.join(root, 'test', 'support', 'register.cjs');
    const cli = path.join(root, 'lib', 'cli', 'main.ts');
    const { status, stderr } = spawnSync(process.execPath, ['--require', register, cli, ...args], { encoding: 'utf8' });
    expect({ status, stderr }).toMatchObject({ status: 0 });
  });
});
