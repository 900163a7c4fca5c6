/** scripts/bundle.mjs and scripts/third-party.mjs: what the published package holds from elsewhere, and that it says so. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.join(__dirname, '..', '..');
let project: string;

beforeEach(() => {
  project = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-bundle-'));
  mkdirSync(path.join(project, 'node_modules'));
  for (const name of ['node-addon-api', 'node-api-headers']) {
    symlinkSync(path.join(root, 'node_modules', name), path.join(project, 'node_modules', name));
  }
});
afterEach(() => {
  rmSync(project, { recursive: true, force: true });
});

function write(files: Record<string, string>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(project, name)), { recursive: true });
    writeFileSync(path.join(project, name), content);
  }
}

function run(script: string, args: readonly string[] = []): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [path.join(root, 'scripts', script), ...args, '--root', project], { encoding: 'utf8' });
}

/** The output of a program in the project after its packages have gone. */
function runWithoutPackages(file: string): string {
  rmSync(path.join(project, 'node_modules'), { recursive: true });
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(project, file)], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

const greeter = {
  'node_modules/greeter/package.json': '{ "name": "greeter", "version": "1.2.3", "license": "MIT", "main": "index.js" }',
  'node_modules/greeter/LICENSE': 'Do with greeter what you like.\n',
  'node_modules/greeter/index.js': "const os = require('os'); module.exports = (name) => `${require('@deep/word').word} ${name}${os.EOL}`.trim();",
  'node_modules/greeter/node_modules/@deep/word/package.json': '{ "name": "@deep/word", "version": "0.0.7", "license": "ISC", "type": "module", "exports": "./index.js" }',
  'node_modules/greeter/node_modules/@deep/word/license.md': 'Do with the word what you like.\n',
  'node_modules/greeter/node_modules/@deep/word/index.js': "export const word = 'hello';",
};

test('packages are bundled, also those of packages, and loaded from every folder', () => {
  write({
    ...greeter,
    'dist/main.js': "const fs = require('node:fs'); console.log(require('./cli/deep/part.js')('you'), typeof fs.readFileSync);",
    'dist/cli/deep/part.js': "const greeter = require('greeter');\nmodule.exports = greeter;",
    'dist/cli/deep/part.d.ts': 'declare const text: string;\nexport = text;\n',
  });
  expect(run('bundle.mjs')).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect(readFileSync(path.join(project, 'dist/cli/deep/part.js'), 'utf8')).toContain("require('../../bundled/greeter.js');\n");
  expect(runWithoutPackages('dist/main.js')).toBe('hello you function\n');
});

test('import() of a package gets an ES module', () => {
  write({
    'node_modules/late/package.json': '{ "name": "late", "version": "1.0.0", "license": "MIT", "type": "module", "exports": { ".": "./index.js" } }',
    'node_modules/late/index.js': "import os from 'node:os'; export default (text) => text + os.EOL; export const named = 2;",
    'dist/main.js': "import('late').then(({ default: line, named }) => process.stdout.write(line('late ' + named)));",
  });
  expect(run('bundle.mjs')).toMatchObject({ status: 0, stderr: '' });
  expect(existsSync(path.join(project, 'dist/bundled/late.mjs'))).toBe(true);
  expect(runWithoutPackages('dist/main.js')).toBe('late 2\n');
});

test('a name in a comment or a text is no import', () => {
  const source = "// require('greeter')\nconsole.log(\"import('greeter')\");\n";
  write({ 'dist/main.js': source });
  expect(run('bundle.mjs').status).toBe(0);
  expect(readFileSync(path.join(project, 'dist/main.js'), 'utf8')).toBe(source);
  expect(existsSync(path.join(project, 'dist/bundled'))).toBe(false);
});

test('a public type of a package is refused, as users could not resolve it', () => {
  write({ ...greeter, 'dist/main.js': '', 'dist/main.d.ts': "import type { Options } from 'greeter';\nexport declare const options: Options;\n" });
  const { status, stderr } = run('bundle.mjs');
  expect(status).toBe(1);
  expect(stderr).toBe('bundle: dist/main.d.ts shows a type of the package greeter, which is not installed with this one\n');
});

test('THIRD-PARTY.md holds the licences of what is bundled, and a stale one is found', () => {
  write({ ...greeter, 'lib/cli/part.ts': "import greeter from 'greeter';\nimport type { A } from 'types-alone';\nexport const a: A = greeter('you');\n" });
  expect(run('third-party.mjs', ['--check']).status).toBe(1);
  expect(run('third-party.mjs')).toMatchObject({ status: 0, stderr: '' });
  const text = readFileSync(path.join(project, 'THIRD-PARTY.md'), 'utf8');
  expect(text).toMatch(/^## greeter 1\.2\.3\n\nMIT, bundled\n\n {4}Do with greeter what you like\.$/m);
  expect(text).toMatch(/^## @deep\/word 0\.0\.7\n\nISC, bundled\n\n {4}Do with the word what you like\.$/m);
  expect(text.indexOf('## @deep/word')).toBeLessThan(text.indexOf('## greeter'));
  expect(run('third-party.mjs', ['--check'])).toMatchObject({ status: 0, stderr: '' });
  write({ 'node_modules/greeter/LICENSE': 'Do nothing with greeter.\n' });
  expect(run('third-party.mjs', ['--check'])).toMatchObject({ status: 1, stderr: 'third-party: THIRD-PARTY.md is not up to date; type: npm run third-party\n' });
});

test.each([
  ['a licence that binds more', { 'node_modules/greeter/package.json': '{ "name": "greeter", "version": "1.2.3", "license": "GPL-3.0", "main": "index.js" }' }, /greeter 1\.2\.3 is under "GPL-3\.0"/],
  ['no licence text', { 'node_modules/greeter/node_modules/@deep/word/license.md': undefined }, /@deep\/word 0\.0\.7 has no file with its licence/],
])('a package with %s is refused', (_, change, message) => {
  write({ ...greeter, 'lib/part.ts': "import greeter from 'greeter';\nconsole.log(greeter);\n" });
  for (const [file, content] of Object.entries(change)) {
    if (content === undefined) rmSync(path.join(project, file));
    else write({ [file]: content });
  }
  const { status, stderr } = run('third-party.mjs');
  expect(status).toBe(1);
  expect(stderr).toMatch(message);
});

test('the THIRD-PARTY.md of this project is up to date', () => {
  const { status, stderr } = spawnSync(process.execPath, [path.join(root, 'scripts/third-party.mjs'), '--check'], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
