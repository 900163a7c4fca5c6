// Writes the ES module side of the package next to what tsc made: for every entry point of package.json's `exports`, an
// .mjs and a .d.mts that re-export the CommonJS module by name. The names come from the compiler's view of the .d.ts, so
// types are covered and no code is run.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const entries = Object.values(manifest.exports).filter((entry) => typeof entry === 'object');

const declarations = entries.map((entry) => path.join(root, entry.require.types));
for (const file of declarations) {
  if (!existsSync(file)) throw new Error(`${path.relative(root, file)} is missing: package.json exports it`);
}
const program = ts.createProgram(declarations, {
  module: ts.ModuleKind.Node16,
  moduleResolution: ts.ModuleResolutionKind.Node16,
  target: ts.ScriptTarget.ES2022,
  types: ['node'],
  skipLibCheck: true,
});
const checker = program.getTypeChecker();

for (const [index, entry] of entries.entries()) {
  const symbol = checker.getSymbolAtLocation(program.getSourceFile(declarations[index]));
  if (symbol === undefined) throw new Error(`${entry.require.types} exports nothing`);
  const names = { values: [], types: [] };
  for (const exported of checker.getExportsOfModule(symbol)) {
    const target = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    const isValue = (target.flags & ts.SymbolFlags.Value) !== 0 && !isTypeOnly(exported);
    names[isValue ? 'values' : 'types'].push(exported.name);
  }
  names.values.sort();
  names.types.sort();
  const from = `'./${path.basename(entry.require.default)}'`;
  const values = `export { ${names.values.join(', ')} } from ${from}\n`;
  const types = names.types.length > 0 ? `export type { ${names.types.join(', ')} } from ${from}\n` : '';
  writeFileSync(path.join(root, entry.import.default), values);
  writeFileSync(path.join(root, entry.import.types), values + types);
}

/** True for `export type { Name }`, whose target may be a class or another value. */
function isTypeOnly(symbol) {
  return (symbol.declarations ?? []).some((node) => ts.isTypeOnlyImportOrExportDeclaration(node));
}
