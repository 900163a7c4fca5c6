/** docs/errors.md lists the error codes that there are. */
import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';

function codesIn(file: string, pattern: RegExp): string[] {
  const text = readFileSync(path.join(__dirname, '..', '..', file), 'utf8');
  return [...text.matchAll(pattern)].map((match) => match[1] as string).sort();
}

test('docs/errors.md lists every code once, and no other', () => {
  const codes = codesIn('lib/errors.ts', /^ {2}\| '(ERR_CONVTRANSPOSE_\w+)'/gm);
  expect(codes.length).toBeGreaterThan(10);
  expect(codesIn('docs/errors.md', /^\| `(ERR_CONVTRANSPOSE_\w+)`/gm)).toEqual(codes);
});
