// Second part of `npm run build:ts`: packages that lib/ imports are bundled into dist/bundled/, one file each, and what tsc wrote
// is made to import those files. So whoever installs this package installs none of them, and they stay devDependencies.
//
//   node scripts/bundle.mjs [--root DIR]      works on DIR/dist, where tsc has been; DIR is this project if it is not given
//
// An import statement gets a CommonJS file, import() an ES module, as each would from the package itself.
import { mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import ts from 'typescript';

export const projectRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** What every file may import: Node's own modules, the one dependency, and an optional peer. */
const kept = new Set([...builtinModules, 'node-gyp-build', 'sharp']);
const isKept = (name) => /^(\.|node:)/.test(name) || kept.has(name);

/** Imports of packages that are not kept: { name, pos, end, isDynamic }, with the place of the name between its quotes. */
function packageImports(source) {
  return ts.preProcessFile(source, true, true).importedFiles
    .filter(({ fileName }) => !isKept(fileName))
    .map(({ fileName, pos }) => {
      const start = source.indexOf(fileName, pos);
      return { name: fileName, start, end: start + fileName.length, isDynamic: /\bimport\s*\(\s*.$/.test(source.slice(0, start)) };
    });
}

/** '@scope/name/part' -> 'scope-name-part.js' */
const bundledName = ({ name, isDynamic }) => `${name.replace(/^@/, '').replace(/[^\w.-]/g, '-')}.${isDynamic ? 'mjs' : 'js'}`;

/** Bundles what `imports` name. Returns the files, and the folders of the packages that are in them. */
function bundlePackages(root, imports) {
  const files = [];
  const folders = new Set();
  for (const [fileName, { name, isDynamic }] of new Map(imports.map((one) => [bundledName(one), one]))) {
    // An ES module has no `require`, which bundled CommonJS code calls for Node's own modules.
    const requireForModules = "import { createRequire as bundleCreateRequire } from 'node:module'; const require = bundleCreateRequire(import.meta.url);";
    const { outputFiles, metafile } = esbuild.buildSync({
      stdin: { contents: isDynamic ? `export * from '${name}'; import * as all from '${name}'; export default all.default;` : `module.exports = require('${name}');`, resolveDir: root },
      outfile: path.join(root, 'dist', 'bundled', fileName),
      absWorkingDir: root,
      bundle: true,
      write: false,
      metafile: true,
      format: isDynamic ? 'esm' : 'cjs',
      banner: isDynamic ? { js: requireForModules } : {},
      platform: 'node',
      target: 'node18',
      external: [...kept],
      logLevel: 'error',
    });
    files.push(...outputFiles);
    for (const output of Object.values(metafile.outputs)) {
      for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
        if (bytesInOutput > 0 && input.includes('node_modules/')) folders.add(packageFolder(root, input));
      }
    }
  }
  return { files, folders: [...folders].sort() };
}

/** 'node_modules/a/node_modules/@b/c/lib/x.js' -> '.../node_modules/a/node_modules/@b/c' */
function packageFolder(root, file) {
  const at = file.lastIndexOf('node_modules/') + 'node_modules/'.length;
  const name = file.slice(at).split('/', file[at] === '@' ? 2 : 1).join('/');
  return path.resolve(root, file.slice(0, at) + name);
}

/** The folders of the packages that the sources under `root` would have bundled, without writing anything. */
export function bundledPackages(root) {
  const lib = path.join(root, 'lib');
  const options = { module: ts.ModuleKind.Node16, target: ts.ScriptTarget.ES2022, esModuleInterop: true };
  const imports = filesUnder(lib, /(?<!\.d)\.ts$/).flatMap((file) =>
    packageImports(ts.transpileModule(readFileSync(file, 'utf8'), { compilerOptions: options, fileName: file }).outputText));
  return bundlePackages(root, imports).folders;
}

function filesUnder(folder, pattern) {
  return readdirSync(folder, { recursive: true }).filter((file) => pattern.test(file)).map((file) => path.join(folder, file)).sort();
}

function main(root) {
  const dist = path.join(root, 'dist');
  const imports = [];
  for (const file of filesUnder(dist, /\.js$/)) {
    let source = readFileSync(file, 'utf8');
    const found = packageImports(source);
    if (found.length === 0) continue;
    for (const one of found.toReversed()) {
      const target = path.relative(path.dirname(file), path.join(dist, 'bundled', bundledName(one))).split(path.sep).join('/');
      source = source.slice(0, one.start) + (target.startsWith('.') ? target : `./${target}`) + source.slice(one.end);
    }
    writeFileSync(file, source);
    imports.push(...found);
  }
  if (imports.length > 0) mkdirSync(path.join(dist, 'bundled'));
  for (const { path: file, contents } of bundlePackages(root, imports).files) writeFileSync(file, contents);

  // Types are not bundled: whoever installs this package would not find those of a package.
  for (const file of filesUnder(dist, /\.d\.ts$/)) {
    for (const { name } of packageImports(readFileSync(file, 'utf8'))) {
      if (file.startsWith(path.join(dist, 'cli') + path.sep)) continue; // not public
      console.error(`bundle: ${path.relative(root, file)} shows a type of the package ${name}, which is not installed with this one`);
      process.exitCode = 1;
    }
  }
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const at = process.argv.indexOf('--root');
  main(at < 0 ? projectRoot : path.resolve(process.argv[at + 1]));
}
