/**
 * Electron refuses ArrayBuffers over memory that V8 did not allocate. Here Node does too: in a copy of the binary the function that
 * makes them is renamed, to one of a preloaded library that always refuses.
 */
import { afterAll, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import loadBinary from 'node-gyp-build';

import { runChild } from '../support/child';

const folder = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-refuse-'));
afterAll(() => rmSync(folder, { recursive: true }));

const refusingLibrary = `
#include <stdio.h>
/* napi_no_external_buffers_allowed */
int napi_refuse_external_arraybuffer(void) { fputs("refused\\n", stderr); return 22; }
`;

function makeRefusingBinary(): { CONVTRANSPOSE_PREBUILD: string; LD_PRELOAD: string } {
  const library = path.join(folder, 'refuse.so');
  writeFileSync(path.join(folder, 'refuse.c'), refusingLibrary);
  const { status, stderr } = spawnSync('cc', ['-shared', '-fPIC', path.join(folder, 'refuse.c'), '-o', library], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });

  const binary = readFileSync(loadBinary.path(path.join(__dirname, '..', '..')));
  const name = binary.indexOf('napi_create_external_arraybuffer\0');
  expect(name).toBeGreaterThan(0);
  binary.write('napi_refuse', name, 'latin1');
  mkdirSync(path.join(folder, 'build', 'Release'), { recursive: true });
  writeFileSync(path.join(folder, 'build', 'Release', 'convtranspose.node'), binary);
  return { CONVTRANSPOSE_PREBUILD: folder, LD_PRELOAD: [process.env['LD_PRELOAD'], library].filter(Boolean).join(':') };
}

// Renaming works where symbols are looked up by name alone, across all libraries.
(process.platform === 'linux' ? test : test.skip)('results are copied where external buffers are refused, and are the same', async () => {
  const usual = await runChild('lifecycle/no-external-buffers.child');
  expect({ status: usual.status, stderr: usual.stderr }).toEqual({ status: 0, stderr: '' });
  const refused = await runChild('lifecycle/no-external-buffers.child', makeRefusingBinary());
  expect({ status: refused.status, stderr: refused.stderr.replace(/(refused\n)+/, 'refused\n') }).toEqual({ status: 0, stderr: 'refused\n' });
  const results = JSON.parse(refused.stdout) as string[];
  expect(results).toHaveLength(10);
  expect(new Set(results).size).toBe(1);
  expect(refused.stdout).toBe(usual.stdout);
}, 120_000);
