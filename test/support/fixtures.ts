/** The stored PyTorch results (fixtures/generate.py). */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';

import { values } from './data';
import type { DataKind } from './data';
import { product, weightShape, inputShape } from './problem';
import type { Problem } from './problem';

export interface Fixture extends Problem {
  number: number;
  family: string;
  name: string;
  data: DataKind;
  outputShape: number[];
  input: Float32Array;
  weight: Float32Array;
  biasData: Float32Array | null;
  expected: Float64Array;
}

export function loadFixtures(): Fixture[] {
  const folder = path.join(__dirname, '..', 'fixtures');
  const cases = JSON.parse(readFileSync(path.join(folder, 'cases.json'), 'utf8')) as (Fixture & { offset: number })[];
  const bytes = gunzipSync(readFileSync(path.join(folder, 'expected.bin.gz')));
  const expected = new Float64Array(bytes.length / 8);
  for (let i = 0; i < expected.length; i++) expected[i] = bytes.readDoubleLE(8 * i);
  return cases.map((c, number) => ({
    ...c,
    number,
    input: values(c.data, 3 * number, product(inputShape(c))),
    weight: values(c.data, 3 * number + 1, product(weightShape(c))),
    biasData: c.bias ? values(c.data, 3 * number + 2, c.outChannels) : null,
    expected: expected.subarray(c.offset, c.offset + product(c.outputShape)),
  }));
}

export function nameOf(f: Fixture): string {
  return `fixture ${f.number} (${f.family}${f.name === '' ? '' : `: ${f.name}`})`;
}
