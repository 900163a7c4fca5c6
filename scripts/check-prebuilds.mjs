// What is asked of a prebuilt binary: small, stripped, for the right processor, no library but libc's own, no symbol of a newer
// glibc, and nothing shown but what Node looks up.
//
// Needs readelf (binutils) for Linux, and llvm-readobj, llvm-nm and llvm-objdump for the others.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Argument, Command } from 'commander';

import { prebuilds, root as projectRoot } from './prebuild-targets.mjs';

const maxBytes = 3 * 1024 * 1024;

/** Libraries that a system always has: its libc, and what belongs to that. */
const systemLibraries = {
  glibc: /^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2|ld-linux-[\w-]+\.so\.\d)$/,
  musl: /^(libc\.so|libc\.musl-\w+\.so\.1)$/,
  darwin: /^\/usr\/lib\/(libSystem\.B|libc\+\+\.1)\.dylib$/,
  win32: /^(kernel32|ntdll|api-ms-win-[\w-]+|node)\.(dll|exe)$/i,
};
/** What zig's linker for macOS shows besides, whatever list it is given. */
const shownByZig = /^(_Zn|_Zd|__dso_handle$|_mh_dylib_header$)/;
const shownFunctions = new Set(['napi_register_module_v1', 'node_api_module_get_api_version_v1']);

/** First bytes that tell format and processor: at 0 and, for ELF, the machine at 18. */
const machines = {
  'linux-x64': (bytes) => bytes.toString('latin1', 0, 4) === '\x7fELF' && bytes.readUInt16LE(18) === 62,
  'linux-arm64': (bytes) => bytes.toString('latin1', 0, 4) === '\x7fELF' && bytes.readUInt16LE(18) === 183,
  'darwin-x64': (bytes) => bytes.readUInt32LE(0) === 0xfeedfacf && bytes.readUInt32LE(4) === 0x01000007,
  'darwin-arm64': (bytes) => bytes.readUInt32LE(0) === 0xfeedfacf && bytes.readUInt32LE(4) === 0x0100000c,
  'win32-x64': (bytes) => bytes.toString('latin1', 0, 2) === 'MZ' && bytes.readUInt16LE(bytes.readUInt32LE(60) + 4) === 0x8664,
};

function output(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${command} failed: ${error?.message ?? stderr}`);
  return stdout;
}

const newer = (a, b) => a.localeCompare(b, 'en', { numeric: true }) > 0;

function readElf(file) {
  const symbols = output('readelf', ['--dyn-syms', '--wide', file]).split('\n')
    .map((line) => /^\s*\d+: [0-9a-f]+\s+\S+\s+\S+\s+\S+\s+\S+\s+(UND|\d+|ABS)\s+([^\s@]+)(?:@+(\S+))?/.exec(line))
    .filter((match) => match !== null)
    .map(([, section, name, version]) => ({ name, version, isNeeded: section === 'UND' }));
  return {
    libraries: [...output('readelf', ['--dynamic', '--wide', file]).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1]),
    versions: symbols.filter(({ isNeeded, version }) => isNeeded && version?.startsWith('GLIBC_')).map(({ name, version }) => ({ name, version: version.slice(6) })),
    shown: symbols.filter(({ isNeeded, name }) => !isNeeded && name !== '').map(({ name }) => name),
    isStripped: !/\]\s+\.(symtab|debug_info)\s/.test(output('readelf', ['--sections', '--wide', file])),
  };
}

function neededLibraries(file) {
  const list = /NeededLibraries \[([^\]]*)\]/.exec(output('llvm-readobj', ['--needed-libs', file]))?.[1] ?? '';
  return list.split('\n').map((line) => line.trim()).filter((line) => line !== '');
}

function readPe(file) {
  const text = output('llvm-readobj', ['--file-headers', '--coff-exports', file]);
  return {
    libraries: neededLibraries(file), versions: [],
    shown: [...text.matchAll(/^ +Name: (\S+)$/gm)].map((match) => match[1]),
    isStripped: /SymbolCount: 0$/m.test(text),
  };
}

function readMachO(file) {
  const names = (...args) => output('llvm-nm', [...args, '--defined-only', '--format=just-symbols', file]).split('\n').filter((name) => name !== '');
  const shown = names('--extern-only').map((name) => name.replace(/^_/, ''));
  const own = output('llvm-objdump', ['--macho', '--dylib-id', file]).trim().split('\n').at(-1); // among the needed ones
  const libraries = neededLibraries(file).filter((name) => name !== own || path.isAbsolute(name));
  return { libraries, versions: [], shown, isStripped: names().length === shown.length };
}

const readers = { linux: readElf, win32: readPe, darwin: readMachO };
const read = (one, root) => readers[one.platform](path.join(root, one.file));
const newestVersion = (versions) => versions.map(({ version }) => version).reduce((a, b) => (newer(b, a) ? b : a), '0');

/** What is wrong with the binary of this row, in sentences. */
export function checkPrebuild(one, root = projectRoot, { linkedByZig = false } = {}) {
  const file = path.join(root, one.file);
  if (!existsSync(file)) return [`${one.file} is not there`];
  const { size } = statSync(file);
  if (size < 4096 || !machines[`${one.platform}-${one.arch}`](readFileSync(file))) return [`it is no library for ${one.platform}-${one.arch}`];
  const { libraries, versions, shown, isStripped } = read(one, root);
  // Of symbols that are hidden, but not local, no strip frees what zig links for macOS.
  const zigForMacOS = linkedByZig && one.platform === 'darwin';
  const allowed = systemLibraries[one.libc ?? one.platform];
  return [
    ...(size > maxBytes ? [`it has ${size} bytes, more than ${maxBytes}`] : []),
    ...(isStripped || zigForMacOS ? [] : ['it is not stripped']),
    ...libraries.filter((name) => !allowed.test(name)).map((name) => `it needs the library ${name}`),
    ...(one.libc === 'musl' ? versions : versions.filter(({ version }) => newer(version, one.glibc)))
      .map(({ name, version }) => `it needs ${name} of glibc ${version}`),
    ...shown.filter((name) => !shownFunctions.has(name) && !(zigForMacOS && shownByZig.test(name))).map((name) => `it shows the symbol ${name}`),
  ];
}

/** One line: size, glibc, libraries. */
export function describePrebuild(one, root = projectRoot) {
  const { libraries, versions } = read(one, root);
  const kibibytes = (statSync(path.join(root, one.file)).size / 1024).toFixed(0);
  return [one.name.padEnd(18), `${kibibytes} KiB`, ...(versions.length > 0 ? [`glibc ${newestVersion(versions)}`] : []), libraries.join(' ')].join('  ');
}

function main() {
  const command = new Command('npm run check:prebuilds --')
    .description('What is asked of prebuilt binaries: small, stripped, for the right processor, no library but libc\'s own, no newer glibc.')
    .addArgument(new Argument('[names...]', 'default: all that are there').choices(prebuilds.map(({ name }) => name)))
    .option('--all', 'every one there should be')
    .option('--zig', 'zig has linked those for macOS, as npm run prebuild does elsewhere: it shows symbols that Xcode hides')
    .option('--root <dir>', 'the project that holds prebuilds/', projectRoot)
    .parse();
  const { all, zig: linkedByZig, root } = command.opts();
  const names = all ? prebuilds.map(({ name }) => name) : command.args;
  const chosen = prebuilds.filter((one) => (names.length > 0 ? names.includes(one.name) : existsSync(path.join(root, one.file))));
  let faults = chosen.length === 0 || chosen.length < names.length ? 1 : 0;
  if (faults > 0) console.error('check-prebuilds: there is no such binary; npm run prebuild makes them');
  for (const one of chosen) {
    const found = checkPrebuild(one, root, { linkedByZig });
    faults += found.length;
    if (found.length === 0) console.log(`check-prebuilds: ${describePrebuild(one, root)}`);
    for (const fault of found) console.error(`check-prebuilds: ${one.name}: ${fault}`);
  }
  process.exitCode = faults > 0 ? 1 : 0;
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) main();
