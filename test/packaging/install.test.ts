/** scripts/install.js as npm runs it in a project that uses the package: no cmake-js, perhaps no cmake. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import loadBinary from 'node-gyp-build';

const root = path.join(__dirname, '..', '..');
let scratch: string;
let installed: string;
let tools: string;

beforeEach(() => {
  scratch = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-install-'));
  installed = path.join(scratch, 'node_modules', 'convtranspose');
  tools = path.join(scratch, 'bin');
  for (const folder of [path.join(installed, 'scripts'), path.join(installed, 'node_modules'), tools]) mkdirSync(folder, { recursive: true });
  cpSync(path.join(root, 'package.json'), path.join(installed, 'package.json'));
  cpSync(path.join(root, 'scripts', 'install.js'), path.join(installed, 'scripts', 'install.js'));
  symlinkSync(path.join(root, 'node_modules', 'node-gyp-build'), path.join(installed, 'node_modules', 'node-gyp-build'));
});
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function install(env: Record<string, string> = {}): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ['scripts/install.js'], { cwd: installed, encoding: 'utf8', env: { PATH: tools, ...env } });
}

/** A prebuilt binary that loads here. */
function addPrebuilt(content?: string): void {
  const folder = path.join(installed, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, 'convtranspose.node');
  if (content === undefined) cpSync(loadBinary.path(root), file);
  else writeFileSync(file, content);
}

/** A cmake that writes down how it was called, and "builds" by copying a binary that is there. */
function addCmake(builds: boolean): void {
  const script = `#!/bin/sh
echo "$@" >> '${path.join(scratch, 'calls')}'
if [ "$1" = --build ]; then
  ${builds ? `/bin/mkdir -p "$2/Release" && /bin/cp '${loadBinary.path(root)}' "$2/Release/convtranspose.node"` : 'exit 1'}
fi
`;
  writeFileSync(path.join(tools, 'cmake'), script, { mode: 0o755 });
}

const calls = (): string[] => readFileSync(path.join(scratch, 'calls'), 'utf8').trim().split('\n').filter((call) => call !== '--version');

test('a prebuilt binary that loads is all that is needed', () => {
  addPrebuilt();
  expect(install()).toMatchObject({ status: 0, stdout: '', stderr: '' });
});

test.each([
  ['no binary', undefined],
  ['a binary that does not load', 'not a binary'],
])('with %s and no cmake, one sentence says what is missing and what to type', (_, content) => {
  if (content !== undefined) addPrebuilt(content);
  const { status, stderr } = install();
  expect(status).toBe(1);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).toMatch(/^convtranspose: there is no prebuilt binary for \S+, and compiling one needs cmake; install .*npm rebuild convtranspose\.$/m);
});

test('without a prebuilt binary, cmake compiles with the headers that the package brings', () => {
  addCmake(true);
  expect(install()).toMatchObject({ status: 0, stderr: '' });
  const [configure, build] = calls();
  expect(configure).toContain('-DCMAKE_BUILD_TYPE=Release');
  expect(configure).toContain(`-DCMAKE_JS_INC=${path.join(installed, 'headers')} `);
  expect(build).toMatch(/^--build \S+ --parallel \d+$/);
});

test('npm_config_build_from_source compiles although there is a prebuilt binary', () => {
  addPrebuilt();
  addCmake(true);
  expect(install({ npm_config_build_from_source: 'true' }).status).toBe(0);
  expect(calls()).toHaveLength(2);
});

test('a compile that fails is reported with a command to type', () => {
  addCmake(false);
  const { status, stderr } = install();
  expect(status).toBe(1);
  expect(stderr).toMatch(/^convtranspose: compiling the binary for \S+ failed .*; install cmake .*npm rebuild convtranspose\.$/m);
});
