/** Fused activations and residuals: PyTorch's values, and the bits of the same work done in two steps. */
import fs from 'node:fs';
import path from 'node:path';

import { describe, expect, jest, test } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, Tensor, convTranspose2d, type Activation } from '../../lib/index';
import { detach } from '../support/buffers';
import { values } from '../support/data';
import { attempt } from '../support/expect-error';
import { contiguousOutput, functional, functionalAsync, inputTensor, makeModule, mayDecline, tensor, type AlgorithmChoice } from '../support/forms';
import { memoryFormats, outputShape, outputSize, problemOptions, problemText, product, toChannelsLast, weightShape, type MemoryFormat, type Problem } from '../support/problem';

interface Case {
  activation: Activation | 'prelu';
  slopes?: number[];
  y: (number | string)[];
}
const fixture = JSON.parse(fs.readFileSync(path.join(__dirname, 'activations.json'), 'utf8')) as { x: (number | string)[]; cases: Case[] };

/** JSON has no infinities; PyTorch's nan, inf and -inf are JavaScript's NaN, Infinity and -Infinity. */
const toNumbers = (list: (number | string)[]) => list.map((value) => Number(String(value).replace('inf', 'Infinity')));

/** Most units in the last place: docs/fused.md. */
const ulps: Record<string, number> = {
  relu: 0, clamp: 0, leakyRelu: 0.5, prelu: 0.5, tanh: 3, sigmoid: 3, gelu: 8, silu: 3, elu: 3,
};

/** Results smaller than that may be 0. */
const tiny: Record<string, number> = { sigmoid: 2 ** -118, gelu: 2 ** -118, silu: 2 ** -118 };

function ulp(value: number): number {
  return 2 ** Math.max(Math.floor(Math.log2(Math.abs(value))) - 23, -149);
}

/** A layer that changes nothing but what it fuses. */
function identity(channels: number, activation: Activation): ConvTranspose1d {
  return new ConvTranspose1d(channels, channels, 1, { groups: channels, weight: tensor(new Float32Array(channels).fill(1), [channels, 1, 1]), activation });
}

// Machines may be busy.
jest.setTimeout(120_000);

describe('values', () => {
  const x = Float32Array.from(toNumbers(fixture.x));

  test.each(fixture.cases.map((each) => [JSON.stringify(each.activation), each] as const))('%s', (_, { activation, slopes, y }) => {
    const channels = slopes?.length ?? 1;
    const option: Activation = activation === 'prelu' ? { type: 'prelu', weight: tensor(Float32Array.from(slopes as number[]), [channels]) } : activation;
    const layer = identity(channels, option);
    const input = new Float32Array(channels * x.length);
    for (let c = 0; c < channels; c++) input.set(x, c * x.length);
    const output = layer.forward(tensor(input, [channels, x.length])).data;
    const type = typeof activation === 'string' ? activation : activation.type;
    const wanted = toNumbers(y);
    const wrong = wanted.flatMap((value, i) => {
      const got = output[i] as number;
      const right = Number.isFinite(value) && Math.abs(value) < 2 ** 128
        ? Math.abs(got - value) <= Math.max((ulps[type] as number) * ulp(value), tiny[type] ?? 0) : Object.is(got, Math.fround(value));
      return right ? [] : [{ x: input[i], got, value }];
    });
    expect(wrong).toEqual([]);
  });
});

const activations: readonly (Activation | null)[] = [
  null, 'relu', { type: 'clamp', min: -0.5, max: 0.75 }, { type: 'leakyRelu', negativeSlope: 0.2 }, 'tanh', 'sigmoid', 'gelu',
  { type: 'gelu', approximate: 'tanh' }, 'silu', { type: 'elu', alpha: 0.5 },
];

function problem(change: Partial<Problem>): Problem {
  return {
    rank: 2, batch: 2, inChannels: 8, outChannels: 8, groups: 1, in: [9, 11], kernel: [4, 4], stride: [2, 2], padding: [[1, 1], [1, 1]],
    outputPadding: [0, 0], dilation: [1, 1], bias: true, ...change,
  };
}

/** One for each family of kernels, and the ways in which outputs get to memory. */
const problems: readonly Problem[] = [
  problem({}),
  problem({ kernel: [2, 2], padding: [[0, 0], [0, 0]] }), // gemm
  problem({ inChannels: 20, outChannels: 3, kernel: [3, 5], outputPadding: [1, 0] }), // few outputs
  problem({ inChannels: 40, outChannels: 67, in: [3, 2], kernel: [5, 3], stride: [3, 2] }), // channels
  problem({ inChannels: 24, outChannels: 24, groups: 24, kernel: [3, 3] }), // depthwise
  problem({ inChannels: 4, outChannels: 4, groups: 4, batch: 1, in: [330, 512], kernel: [2, 2], padding: [[0, 0], [0, 0]] }), // past the caches
  problem({ inChannels: 16, outChannels: 16, groups: 16, batch: 1, in: [160, 169], kernel: [3, 3] }), // the same, lines that are not whole
  problem({ rank: 1, in: [37], kernel: [7], stride: [3], padding: [[2, 1]], outputPadding: [1], dilation: [1] }),
  problem({ rank: 3, in: [3, 4, 5], kernel: [3, 3, 3], stride: [2, 2, 2], padding: [[1, 1], [0, 1], [1, 0]], outputPadding: [0, 1, 0], dilation: [1, 1, 1] }),
  problem({ dilation: [2, 3], kernel: [3, 3], stride: [4, 1] }), // some outputs are the bias alone
];

/** What the two steps give: the outputs without activation, the residual added in float32, then the activation alone. */
function inTwoSteps(plain: Float32Array, residual: Float32Array | null, activation: Activation | null): Float32Array {
  const sums = residual === null ? plain : plain.map((value, i) => value + (residual[i] as number));
  return activation === null ? sums : identity(1, activation).forward(tensor(sums, [1, sums.length])).data;
}

/** The same bits, but for the sign of a zero: the second step's products lose that. */
function expectSame(got: Float32Array, wanted: Float32Array): void {
  expect(got.length).toBe(wanted.length);
  const [a, b] = [got, wanted].map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)) as [Buffer, Buffer];
  if (a.equals(b)) return;
  const { is } = Object; // looking up a global for every output would take most of the time
  const at = got.findIndex((value, i) => !is(value, wanted[i]) && !(value === 0 && wanted[i] === 0));
  expect({ at, got: got[at] }).toEqual({ at: -1, got: undefined });
}

describe.each(problems.map((p) => [problemText(p), p] as const))('%s', (_, p) => {
  const data = {
    input: values('mixed', 1, (p.batch ?? 1) * p.inChannels * product(p.in)), weight: values('mixed', 2, product(weightShape(p))),
    bias: values('mixed', 3, p.outChannels),
  };
  const residual = values('mixed', 4, product(outputShape(p)));
  const residualTensor = (format: MemoryFormat) =>
    tensor(format === 'contiguous' ? residual : toChannelsLast(residual, p.batch ?? 1, p.outChannels, product(outputSize(p))), outputShape(p, format));

  test.each(memoryFormats)('activations and residual in one step and in two give the same bits, %s', async (memoryFormat) => {
    const input = inputTensor(p, data.input, memoryFormat);
    const added = residualTensor(memoryFormat);
    for (const algorithm of ['auto', 'direct', 'winograd', 'amx', 'depthwise', 'gemm'] satisfies AlgorithmChoice[]) {
      const plainLayer = makeModule(p, data, { algorithm, memoryFormat });
      const outcome = await attempt(() => plainLayer.prepare(input.shape));
      if (outcome.code === 'ERR_CONVTRANSPOSE_UNSUPPORTED' && mayDecline(algorithm)) continue;
      expect(outcome.code).toBeUndefined();
      const plain = plainLayer.forward(input).data;
      const some = plain.length > 100_000 ? activations.slice(0, 5) : activations;
      for (const [i, activation] of some.entries()) {
        const layer = makeModule(p, data, { algorithm, memoryFormat, ...(activation === null ? {} : { activation: activation as 'relu' }) });
        expectSame(layer.forward(input).data, inTwoSteps(plain, null, activation));
        const wanted = inTwoSteps(plain, added.data, activation);
        expectSame(layer.forward(input, { residual: added, numThreads: 1 + (i % 2) }).data, wanted);
        if (i === 4) expectSame((await layer.forwardAsync(input, { residual: added })).data, wanted);
        layer.dispose();
      }
    }
  });

  test.each(memoryFormats)('prelu, and the functional forms, %s', async (memoryFormat) => {
    const input = inputTensor(p, data.input, memoryFormat);
    const slopes = values('mixed', 5, p.outChannels);
    const activation: Activation = { type: 'prelu', weight: tensor(slopes, [p.outChannels]) };
    const options = { ...problemOptions(p), memoryFormat, numThreads: 2 };
    const weight = tensor(data.weight, weightShape(p));
    const bias = tensor(data.bias, [p.outChannels]);
    const call = functional[p.rank - 1] as typeof convTranspose2d;
    const plain = contiguousOutput(p, call(input, weight, bias, options).data, memoryFormat);
    const points = product(outputSize(p));
    const { floor, fround } = Math;
    const wanted = plain.map((value, i) => {
      const sum = fround(value + (residual[i] as number));
      return sum > 0 ? sum : fround(sum * (slopes[floor(i / points) % p.outChannels] as number));
    });
    const added = residualTensor(memoryFormat);
    expectSame(contiguousOutput(p, call(input, weight, bias, { ...options, activation, residual: added }).data, memoryFormat), wanted);
    const callAsync = functionalAsync[p.rank - 1] as typeof functionalAsync[1];
    // In place from shared memory, staged from foreign memory.
    const shared = tensor(new Float32Array(new SharedArrayBuffer(added.data.byteLength)), added.shape);
    shared.data.set(added.data);
    for (const each of [added, shared]) {
      const result = await callAsync(input, weight, bias, { ...options, activation, residual: each });
      expectSame(contiguousOutput(p, result.data, memoryFormat), wanted);
    }
  });

  test('the reference differs by rounding alone', () => {
    if (product(outputShape(p)) > 100_000) return;
    for (const activation of activations) {
      const run = activation === null ? {} : { activation: activation as 'relu' };
      const [fast, exact] = ([{}, { algorithm: 'reference' }] as const).map((choice) =>
        makeModule(p, data, { ...run, ...choice }).forward(inputTensor(p, data.input, 'contiguous'), { residual: residualTensor('contiguous') }).data);
      fast?.forEach((value, i) => {
        if (!(Math.abs(value - (exact?.[i] as number)) <= 1e-3)) throw new Error(`output ${i}: ${value} instead of ${exact?.[i]}`);
      });
    }
  });
});

describe('memory', () => {
  const layer = new ConvTranspose2d(4, 2, 3, { seed: 1, activation: 'tanh' });
  const input = new Tensor(values('mixed', 1, 36), [1, 4, 3, 3]);
  const shape = [1, 2, 5, 5];

  test('a residual may be the input of another call, a result, and no neighbour of out', () => {
    const whole = Tensor.empty([2, ...shape]).data;
    const residual = tensor(whole.subarray(0, 50), shape);
    residual.data.set(values('mixed', 2, 50));
    const out = tensor(whole.subarray(50), shape);
    const wanted = layer.forward(input, { residual: { data: residual.data.slice(), shape } });
    expectSame(layer.forward(input, { residual, out }).data, wanted.data);
  });

  test('a residual that is detached while its call waits rejects the call', async () => {
    const long = new ConvTranspose2d(32, 32, 4, { stride: 2, seed: 1 });
    const busy = Array.from({ length: 12 }, () => long.forwardAsync(Tensor.zeros([1, 32, 32, 32])));
    const residual = tensor(new Float32Array(32 * 66 * 66), [1, 32, 66, 66]);
    const waiting = long.forwardAsync(Tensor.zeros([1, 32, 32, 32]), { residual });
    detach(residual.data);
    expect(await attempt(() => waiting)).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'residual' });
    await Promise.all(busy);
  });

  test('null is no residual', () => {
    expectSame(layer.forward(input, { residual: null }).data, layer.forward(input).data);
  });
});

test('explain names what is fused', () => {
  const channels = new Tensor(new Float32Array(2).fill(1), [2]);
  const layer = new ConvTranspose2d(1, 2, 3, {
    seed: 1, activation: { type: 'leakyRelu', negativeSlope: 0.25 }, batchNorm: { runningMean: channels, runningVar: channels },
  });
  const { fused, summary } = layer.explain([1, 1, 4, 4]);
  expect(fused).toEqual(['batchNorm', 'bias', 'leakyRelu 0.25']);
  expect(summary).toMatch(/fused +batchNorm, bias, leakyRelu 0\.25/);
  expect(new ConvTranspose2d(1, 2, 3, { bias: false }).explain([1, 1, 4, 4]).fused).toEqual([]);
});
