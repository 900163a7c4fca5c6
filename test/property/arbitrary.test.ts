import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { compare } from '../support/bound';
import { winogradAllowance } from '../support/winograd-bound';
import { define } from '../support/definition';
import { forms, makeModule, runForm } from '../support/forms';
import { inputShape, memoryFormats, outputShape, outputSize, problemText, product, weightShape } from '../support/problem';
import type { Problem } from '../support/problem';

/** Small problems of any parameters, which fast-check shrinks to the smallest that fails. */
const problems: fc.Arbitrary<Problem> = fc.integer({ min: 1, max: 3 }).chain((rank) => {
  const each = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: rank, maxLength: rank });
  return fc.record({
    rank: fc.constant(rank),
    batch: fc.option(fc.integer({ min: 0, max: 3 }), { nil: null }),
    groups: fc.integer({ min: 1, max: 4 }),
    inPerGroup: fc.integer({ min: 0, max: 6 }),
    outPerGroup: fc.integer({ min: 1, max: 9 }),
    in: each(fc.integer({ min: 0, max: rank === 1 ? 40 : rank === 2 ? 9 : 4 })),
    kernel: each(fc.integer({ min: 1, max: rank === 3 ? 3 : 5 })),
    stride: each(fc.integer({ min: 1, max: 4 })),
    dilation: each(fc.integer({ min: 1, max: 3 })),
    padding: each(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: -3, max: 5 }))),
    extra: each(fc.nat({ max: 3 })),
    bias: fc.boolean(),
  });
}).map(({ inPerGroup, outPerGroup, extra, ...rest }) => ({
  ...rest,
  inChannels: inPerGroup * rest.groups,
  outChannels: outPerGroup * rest.groups,
  outputPadding: extra.map((o, d) => o % Math.max(rest.stride[d] as number, rest.dilation[d] as number)),
})).filter((p) => outputSize(p).every((size) => size >= 0));

const float = fc.float({ noNaN: true, noDefaultInfinity: true, min: -100, max: 100 });

function dataFor(p: Problem): fc.Arbitrary<{ input: Float32Array; weight: Float32Array; bias: Float32Array | null }> {
  const array = (length: number) => fc.infiniteStream(float).map((stream) => Float32Array.from({ length }, () => stream.next().value as number));
  return fc.record({
    input: array(product(inputShape(p))),
    weight: array(product(weightShape(p))),
    bias: p.bias ? array(p.outChannels) : fc.constant(null),
  });
}

describe('arbitrary problems and values', () => {
  test('every form agrees with the definition', async () => {
    await fc.assert(fc.asyncProperty(
      problems.chain((p) => fc.tuple(fc.constant(p), dataFor(p))), fc.constantFrom(...forms), fc.constantFrom(...memoryFormats),
      fc.constantFrom('auto' as const, 'direct' as const, 'reference' as const),
      async ([p, data], form, memoryFormat, algorithm) => {
        const actual = await runForm(form, p, data, { memoryFormat, algorithm });
        // Values of any sign: only the classical bound is certain.
        const expected = define(p, data.input, data.weight, data.bias);
        const winograd = algorithm === 'auto' ? winogradAllowance(p, data.input, data.weight, expected, false) : null;
        const { failure } = compare(actual, expected, false, false, null, winograd);
        if (failure !== null) throw new Error(`${failure}: ${problemText(p)}`);
      },
    ), { numRuns: 500 });
  }, 120_000);

  test('outputShape and outputSize agree with the result', () => {
    fc.assert(fc.property(problems, fc.constantFrom(...memoryFormats), (p, memoryFormat) => {
      const data = { weight: new Float32Array(product(weightShape(p))), bias: null };
      const layer = makeModule(p, data, { memoryFormat });
      expect(layer.outputShape(inputShape(p, memoryFormat))).toEqual(outputShape(p, memoryFormat));
      // The same sizes asked for by name, from a module without output padding.
      const plain = makeModule({ ...p, outputPadding: p.outputPadding.map(() => 0) }, data, { memoryFormat });
      expect(plain.outputShape(inputShape(p, memoryFormat), { outputSize: outputSize(p) })).toEqual(outputShape(p, memoryFormat));
      const x = { data: new Float32Array(product(inputShape(p))), shape: inputShape(p, memoryFormat) };
      expect(plain.forward(x, { outputSize: outputSize(p) }).shape).toEqual(outputShape(p, memoryFormat));
    }), { numRuns: 300 });
  }, 120_000);

  test('a scaled input gives a scaled output', async () => {
    // Powers of two scale without rounding, so this holds to the bit, if no sum on the way loses bits because it is subnormal:
    // from 2^-50 on, all products are multiples of 2^-149.
    const withoutTiny = (values: Float32Array) => values.map((v) => (Math.abs(v) < 2 ** -50 ? 0 : v));
    await fc.assert(fc.asyncProperty(problems.chain((p) => fc.tuple(fc.constant(p), dataFor(p))), async ([p, data]) => {
      const [input, weight] = [withoutTiny(data.input), withoutTiny(data.weight)];
      const once = await runForm('module', p, { ...data, input, weight, bias: null });
      const scaled = await runForm('module', p, { ...data, input: input.map((v) => 4 * v), weight, bias: null });
      once.forEach((value, i) => {
        if (value !== 0) expect(scaled[i]).toBe(4 * value);
      });
    }), { numRuns: 200 });
  }, 120_000);
});
