// Writes THIRD-PARTY.md: name, version and licence of everything from elsewhere that the published package holds, be it bundled
// into dist/, copied as headers, or compiled into the binaries.
//
//   npm run third-party               writes it
//   npm run third-party -- --check    fails if it is not what would be written
//   node scripts/third-party.mjs [--check] [--root DIR]
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { bundledPackages, projectRoot } from './bundle.mjs';

/** Licences that let a program under the MIT licence pass the code on, given that notices go with it. */
const accepted = new Set(['MIT', 'ISC', '0BSD', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', 'BlueOak-1.0.0', 'Unlicense', 'CC0-1.0', 'Zlib']);

/** The headers that the binaries are compiled with, and that scripts/copy-headers.mjs puts into the package. */
const headerPackages = ['node-addon-api', 'node-api-headers'];

/** What the package in `folder` says about itself. Throws if that is not enough to pass it on. */
function describe(folder, use) {
  const { name, version, license, homepage, repository } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  if (!accepted.has(license)) throw new Error(`${name} ${version} is under ${JSON.stringify(license)}; accepted are ${[...accepted].join(', ')}`);
  const texts = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)([.-].*)?$/i.test(file)).sort();
  if (texts.length === 0) throw new Error(`${name} ${version} has no file with its licence`);
  const address = homepage ?? (typeof repository === 'string' ? repository : repository?.url)?.replace(/^git\+/, '').replace(/\.git$/, '');
  return { name, version, license, address, use, text: texts.map((file) => readFileSync(path.join(folder, file), 'utf8').trim()).join('\n\n') };
}

function write(packages) {
  const sections = packages.map(({ name, version, license, address, use, text }) => [
    `## ${name} ${version}`, '',
    `${license}, ${use}${address === undefined ? '' : `, <${address}>`}`, '',
    ...text.split(/\r?\n/).map((line) => `    ${line}`.trimEnd()), '',
  ].join('\n'));
  return [
    '# Third-party software', '',
    'The published package holds the following besides code of this project. `npm run third-party` writes this file.', '',
    ...sections,
    '## The C++ runtime library', '',
    "The binaries for Linux contain parts of the compiler's C++ runtime: GCC's libstdc++ (GPL 3 with the GCC Runtime Library Exception) or",
    "LLVM's libc++ (Apache 2.0 with LLVM Exceptions). Both exceptions let compiled programs be passed on under terms of one's own choice.", '',
  ].join('\n');
}

const args = process.argv.slice(2);
const root = args.includes('--root') ? path.resolve(args[args.indexOf('--root') + 1]) : projectRoot;
const file = path.join(root, 'THIRD-PARTY.md');
try {
  const headers = headerPackages.map((name) => path.join(root, 'node_modules', name)).map((folder) => describe(folder, 'headers, and what they compile to'));
  const bundled = bundledPackages(root).map((folder) => describe(folder, 'bundled'));
  const content = write([...bundled, ...headers].sort((a, b) => (a.name < b.name ? -1 : 1)));
  if (!args.includes('--check')) {
    writeFileSync(file, content);
    console.log(`third-party: ${bundled.length} bundled packages, ${headers.length} of headers`);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== content) {
    throw new Error('THIRD-PARTY.md is not up to date; type: npm run third-party');
  }
} catch (error) {
  console.error(`third-party: ${error.message}`);
  process.exitCode = 1;
}
