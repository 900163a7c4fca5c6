#!/usr/bin/env node
// Stands in for node-gyp under prebuildify (`--node-gyp`): takes the arguments meant for node-gyp and drives cmake-js.
// CONVTRANSPOSE_CMAKE_OPTIONS may hold further CMake settings, as 'NAME=value' separated by semicolons.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const args = process.argv.slice(2);
const value = (name) => args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);

const cmakeJs = path.join(path.dirname(createRequire(import.meta.url).resolve('cmake-js/package.json')), 'bin', 'cmake-js');
const command = [cmakeJs, 'rebuild', '--config', args.includes('--debug') ? 'Debug' : 'Release',
  '--parallel', String(os.availableParallelism())];
const arch = value('arch');
if (arch !== undefined) command.push('--arch', arch);
// The kernels are written for g++ and clang.
if (process.platform === 'win32') command.push('--toolset', 'ClangCL');
const settings = (process.env.CONVTRANSPOSE_CMAKE_OPTIONS ?? '').split(';').filter((setting) => setting !== '');
for (const setting of settings) command.push(`--CD${setting}`);

const { status } = spawnSync(process.execPath, command, { stdio: 'inherit' });
process.exitCode = status ?? 1;
