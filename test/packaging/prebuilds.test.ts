/** scripts/check-prebuilds.mjs, which judges every binary before it is published, must find what it is there to find. */
import { afterAll, beforeEach, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.join(__dirname, '..', '..');
const project = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-prebuilds-'));
const binary = path.join(project, 'prebuilds', `linux-${process.arch}`, 'convtranspose.glibc.node');
afterAll(() => rmSync(project, { recursive: true }));
beforeEach(() => {
  mkdirSync(path.dirname(binary), { recursive: true });
});

function check(...names: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [path.join(root, 'scripts', 'check-prebuilds.mjs'), '--root', project, ...names], { encoding: 'utf8' });
}

/** Compiles a library from C; without flags it is as a binary should be. */
function compile(source: string, flags: readonly string[] = ['-s']): void {
  const file = path.join(project, 'library.c');
  writeFileSync(file, `int napi_register_module_v1(void) { return 0; }\n${source}\n`);
  const { status, stderr } = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-nostartfiles', '-Wl,--no-as-needed', file, '-o', binary, ...flags], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
}

// The libraries are compiled for this machine, and read with its tools.
const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux('a binary that is as it should be passes, and is described', () => {
  compile('#include <stdlib.h>\nint node_api_module_get_api_version_v1(void) { return atoi("8"); }');
  const { status, stdout, stderr } = check();
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/^check-prebuilds: linux-\S+-glibc +\d+ KiB +glibc [\d.]+ +libc\.so\.6\n$/);
});

onLinux.each([
  ['a symbol of a newer glibc', '#include <stdlib.h>\nunsigned arc4random(void);\nstatic int use(void) { return (int)arc4random(); }\nint (*node_api_module_get_api_version_v1)(void) = use;', ['-s'], 'it needs arc4random of glibc 2.36'],
  ['another library', '', ['-s', '-lgcc_s'], 'it needs the library libgcc_s.so.1'],
  ['a symbol that others could replace', 'int helper(void) { return 1; }', ['-s'], 'it shows the symbol helper'],
  ['symbols for debugging', '', ['-g'], 'it is not stripped'],
  ['a size beyond all measure', 'static const char big[1 << 22] = {1};\nconst char* volatile use = big;\n#pragma GCC visibility push(hidden)', ['-s', '-Wl,--exclude-libs,ALL', '-fvisibility=hidden'], 'it has 4'],
])('%s is found', (_, source, flags, message) => {
  compile(source, flags);
  const { status, stderr } = check();
  expect(status).toBe(1);
  expect(stderr).toContain(`check-prebuilds: linux-${process.arch}-glibc: ${message}`);
});

onLinux('a library for another processor, or none at all, is found', () => {
  compile('');
  const content = readFileSync(binary);
  const other = process.arch === 'x64' ? 'arm64' : 'x64';
  rmSync(path.dirname(binary), { recursive: true });
  const file = path.join(project, 'prebuilds', `linux-${other}`, 'convtranspose.glibc.node');
  mkdirSync(path.dirname(file));
  for (const wrong of [content, Buffer.alloc(8192, 'text'), Buffer.alloc(0)]) {
    writeFileSync(file, wrong);
    expect(check()).toMatchObject({ status: 1, stderr: `check-prebuilds: linux-${other}-glibc: it is no library for linux-${other}\n` });
  }
  rmSync(path.dirname(file), { recursive: true });
});

test('a missing binary is found, be it named or any', () => {
  rmSync(path.join(project, 'prebuilds'), { recursive: true });
  expect(check().status).toBe(1);
  expect(check('darwin-arm64').stderr).toContain('darwin-arm64: prebuilds/darwin-arm64/convtranspose.node is not there');
  expect(check('--all').stderr.match(/is not there/g)).toHaveLength(7);
  expect(check('plan9-x64').status).toBe(1);
});
