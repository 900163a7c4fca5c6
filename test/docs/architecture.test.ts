/** ARCHITECTURE.md names files that exist, and every folder of the source. */
import { expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.join(__dirname, '..', '..');
const text = readFileSync(path.join(root, 'ARCHITECTURE.md'), 'utf8');
const quoted = [...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] as string);

test('every path that it names exists', () => {
  const paths = quoted.filter((word) => /^(?:native|lib|test|bench|scripts|docs|assets|cmake|prebuilds)\//.test(word));
  expect(paths.length).toBeGreaterThan(30);
  expect(paths.filter((name) => !existsSync(path.join(root, name)))).toEqual([]);
});

test('every folder of native/ and lib/ has its line', () => {
  const folders = ['native', 'lib'].flatMap((parent) =>
    readdirSync(path.join(root, parent), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && readdirSync(path.join(root, parent, entry.name)).length > 0)
      .map((entry) => `${parent}/${entry.name}/`));
  expect(folders.filter((folder) => !text.includes(`| \`${folder}\` |`))).toEqual([]);
});
