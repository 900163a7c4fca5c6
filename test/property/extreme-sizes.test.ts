import { describe, expect, test } from '@jest/globals';

import { compare } from '../support/bound';
import { values } from '../support/data';
import { define } from '../support/definition';
import { runForm } from '../support/forms';
import { inputShape, memoryFormats, product, weightShape } from '../support/problem';
import type { Problem } from '../support/problem';

function problem(fields: Pick<Problem, 'in' | 'kernel'> & Partial<Problem>): Problem {
  const each = (value: number) => fields.in.map(() => value);
  return {
    rank: fields.in.length, batch: 1, inChannels: 1, outChannels: 1, groups: 1, stride: each(1), padding: fields.in.map(() => [0, 0]),
    outputPadding: each(0), dilation: each(1), bias: true, ...fields,
  };
}

/** Sizes and parameters beyond 16 and 32 bits whose tensors are small. */
const cases: [string, Problem][] = [
  ['a batch above 2^16', problem({ batch: 70_001, in: [2], kernel: [3], stride: [2] })],
  ['a batch above 2^16 in two dimensions', problem({ batch: 66_000, in: [1, 1], kernel: [2, 2], stride: [2, 2] })],
  ['a long row', problem({ in: [150_003], kernel: [4], stride: [2], padding: [[1, 1]], outChannels: 2 })],
  ['many rows', problem({ in: [150_003, 1], kernel: [3, 1], stride: [1, 1] })],
  ['many planes', problem({ in: [70_003, 1, 2], kernel: [2, 1, 3], stride: [2, 1, 1] })],
  ['more groups than 2^16', problem({ inChannels: 65_539, outChannels: 65_539, groups: 65_539, in: [2], kernel: [3], stride: [2] })],
  ['more outputs per input than 2^16', problem({ outChannels: 65_539, in: [2], kernel: [2] })],
  ['more input channels than 2^16', problem({ inChannels: 65_539, outChannels: 3, in: [2], kernel: [2], stride: [2] })],
  ['a kernel of 4099 taps', problem({ in: [50], kernel: [4099], stride: [16] })],
  ['a kernel of 41 x 43 taps', problem({ in: [5, 4], kernel: [41, 43], stride: [3, 2], outChannels: 2 })],
  ['a stride of 100003', problem({ in: [3], kernel: [2], stride: [100_003] })],
  ['a dilation of 100003', problem({ in: [3], kernel: [2], dilation: [100_003] })],
  ['a stride of 2e9, one pixel', problem({ in: [1, 1], kernel: [3, 3], stride: [2e9, 2e9] })],
  ['a dilation of 3e9, one tap', problem({ in: [4, 4], kernel: [1, 1], dilation: [3e9, 3e9] })],
  ['a stride of 2^31, all but the middle cropped', problem({
    in: [3], kernel: [3], stride: [2 ** 31], padding: [[2 ** 31 - 2, 2 ** 31 - 2]] })],
  ['a stride of 2^40, all but the middle cropped', problem({
    in: [3, 2], kernel: [2, 1], stride: [2 ** 40, 1], padding: [[2 ** 40 - 3, 2 ** 40 - 2], [0, 0]] })],
  ['a dilation of 2^40, all but the middle tap cropped', problem({
    in: [4], kernel: [3], dilation: [2 ** 40], padding: [[2 ** 40 - 2, 2 ** 40 - 2]] })],
  ['everything cropped but rows that nothing reaches', problem({
    in: [2], kernel: [2], stride: [2 ** 45], padding: [[2 ** 44, 2 ** 44 - 2]] })],
  ['65536 rows of bias beyond the end', problem({ in: [2], kernel: [2], padding: [[0, -65_536]], outChannels: 2 })],
];

describe('sizes beyond 16 and 32 bits', () => {
  test.each(cases)('%s', async (_, p) => {
    const data = {
      input: values('mixed', 1, product(inputShape(p))), weight: values('mixed', 2, product(weightShape(p))),
      bias: values('mixed', 3, p.outChannels),
    };
    const expected = define(p, data.input, data.weight, data.bias);
    for (const memoryFormat of memoryFormats) {
      for (const algorithm of ['auto', 'reference', 'direct'] as const) {
        let actual: Float32Array;
        try {
          actual = await runForm('module', p, data, { memoryFormat, algorithm });
        } catch (error) {
          // Beyond their bounds on phases and memory, forced algorithms say so.
          if (algorithm === 'direct') {
            expect(error).toMatchObject({ code: 'ERR_CONVTRANSPOSE_UNSUPPORTED', argument: 'algorithm' });
            continue;
          }
          throw error;
        }
        expect([memoryFormat, algorithm, compare(actual, expected, true).failure]).toEqual([memoryFormat, algorithm, null]);
      }
    }
  }, 60_000);
});
