/** What the workflows and .ci/run call must be there. */
import { expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.join(__dirname, '..', '..');
const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
const workflows = path.join('.github', 'workflows');

test.each([...readdirSync(path.join(root, workflows)).map((file) => path.join(workflows, file)), path.join('.ci', 'run')])('%s', (file) => {
  const text = readFileSync(path.join(root, file), 'utf8');
  const called = [...text.matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map((match) => match[1] as string);
  expect(called.length).toBeGreaterThan(0);
  expect(called.filter((name) => !(name in scripts))).toEqual([]);
  const files = [...text.matchAll(/\b(scripts\/[\w./-]+)/g)].map((match) => match[1] as string);
  expect(files.filter((name) => !existsSync(path.join(root, name)))).toEqual([]);
});

test('every script of package.json names files that are there', () => {
  const files = Object.values(scripts).flatMap((command) => [...command.matchAll(/\b((?:scripts|test|bench)\/[\w./-]*)/g)].map((match) => match[1] as string));
  expect(files.length).toBeGreaterThan(5);
  expect(files.filter((name) => !existsSync(path.join(root, name)))).toEqual([]);
});
