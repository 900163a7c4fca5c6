import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Tensor } from '../../lib/index';
import { decodeSafetensors, layerFromStateDict, readLayer, SafetensorsFile, type LayerParameters, type StateDictOptions } from '../../lib/io/index';
import { tolerance } from '../support/bound';
import { define } from '../support/definition';
import type { Problem } from '../support/problem';
import { doubles, failure, fixture, fixturePath, temporaryFolder } from './support';

const folder = temporaryFolder();

const state = decodeSafetensors(fixture('layers.safetensors'), {
  names: [...SafetensorsNames()],
});

/** All names but the counters of the BatchNorms, which are integers. */
function SafetensorsNames(): string[] {
  const text = Buffer.from(fixture('layers.safetensors'));
  const header = JSON.parse(text.toString('utf8', 8, 8 + Number(text.readBigUInt64LE()))) as Record<string, { dtype: string }>;
  return Object.keys(header).filter((name) => header[name]?.dtype === 'F32');
}

const expected = doubles('layers-expected.safetensors');

interface Case { prefix: string; options?: StateDictOptions; key: string; geometry: Pick<Problem, 'stride' | 'padding' | 'groups'> }
const none: [number, number] = [0, 0];
const cases: Case[] = [
  { prefix: 'main.0', key: 'main.0', geometry: { stride: [2, 2], padding: [none, none], groups: 2 } },
  { prefix: 'main.0', options: { batchNorm: 'main.1' }, key: 'main.0+main.1', geometry: { stride: [2, 2], padding: [none, none], groups: 2 } },
  { prefix: 'main.2', options: { batchNorm: 'main.3', eps: 1e-3 }, key: 'main.2+main.3', geometry: { stride: [2, 2], padding: [none, none], groups: 1 } },
  { prefix: 'ups.0', key: 'ups.0', geometry: { stride: [4], padding: [[2, 2]], groups: 1 } },
  { prefix: 'new', key: 'ups.0', geometry: { stride: [4], padding: [[2, 2]], groups: 1 } },
  { prefix: 'ups.0', options: { batchNorm: 'bns.0' }, key: 'ups.0+bns.0', geometry: { stride: [4], padding: [[2, 2]], groups: 1 } },
  { prefix: 'ups.1', key: 'ups.1', geometry: { stride: [1], padding: [none], groups: 2 } },
  { prefix: 'ups.2', key: 'ups.2', geometry: { stride: [1], padding: [none], groups: 1 } },
  { prefix: 'ups.3', key: 'ups.3', geometry: { stride: [1, 1, 1], padding: [none, none, none], groups: 1 } },
];
const modules = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d];

/** The layer computes what PyTorch computed in float64, up to the rounding of the parameters and the promised error. */
function check({ key, geometry }: Case, { weight, bias }: LayerParameters): void {
  const x = expected[`${key}.x`] as { data: Float64Array; shape: number[] };
  const y = expected[`${key}.y`] as { data: Float64Array; shape: number[] };
  const [batch, inChannels, ...input] = x.shape as [number, number, ...number[]];
  const [, outPerGroup, ...kernel] = weight.shape as [number, number, ...number[]];
  const outChannels = outPerGroup * geometry.groups;
  const problem: Problem = {
    rank: kernel.length, batch, inChannels, outChannels, in: input, kernel, ...geometry,
    outputPadding: kernel.map(() => 0), dilation: kernel.map(() => 1), bias: bias !== null,
  };
  const { magnitude, terms } = define(problem, Float32Array.from(x.data), weight.data, bias?.data ?? null);
  const Module = modules[kernel.length - 1] as typeof ConvTranspose2d;
  const module = new Module(inChannels, outChannels, kernel, { stride: geometry.stride, padding: geometry.padding, groups: geometry.groups, weight, bias });
  const got = module.forward({ data: Float32Array.from(x.data), shape: x.shape });
  expect(got.shape).toEqual(y.shape);
  got.data.forEach((value, i) => {
    // Each parameter was rounded once: at most 2^-24 of its size, and so of every product.
    const size = magnitude[i] as number;
    const allowed = tolerance(terms[i % terms.length] as number, size, true) + 2 ** -24 * (1 + 2 ** -20) * size;
    if (!(Math.abs(value - (y.data[i] as number)) <= allowed)) throw new Error(`${key}: output ${i} is ${value} instead of ${y.data[i]}`);
  });
}

describe('layers of a PyTorch network', () => {
  test.each(cases.map((c) => ({ ...c, name: `${c.prefix} ${JSON.stringify(c.options ?? {})}` })))('$name', async (c) => {
    const parameters = layerFromStateDict(state, c.prefix, c.options);
    check(c, parameters);
    const fromFile = await readLayer(fixturePath('layers.safetensors'), c.prefix, c.options);
    expect([...fromFile.weight.data]).toEqual([...parameters.weight.data]);
    expect(fromFile.bias === null).toBe(parameters.bias === null);
    expect([...(fromFile.bias?.data ?? [])]).toEqual([...(parameters.bias?.data ?? [])]);
  });

  test('weight normalisation as PyTorch folds it in float64, rounded once', () => {
    for (const prefix of ['ups.0', 'ups.1', 'ups.2', 'ups.3', 'main.0']) {
      const { weight } = layerFromStateDict(state, prefix);
      const wanted = expected[`${prefix}.weight`] as { data: Float64Array; shape: number[] };
      expect(weight.shape).toEqual(wanted.shape);
      // float64 sums in another order may fall on the other side of a tie of float32.
      weight.data.forEach((value, i) => {
        const exact = wanted.data[i] as number;
        expect(Math.abs(value - exact)).toBeLessThanOrEqual(Math.abs(exact) * 2 ** -24 * (1 + 2 ** -20));
      });
    }
  });

  test('an open file, a layer without prefix', async () => {
    const file = await SafetensorsFile.open(fixturePath('layers.safetensors'));
    const first = await readLayer(file, 'ups.0');
    expect((await readLayer(file, 'ups.3')).bias).toBeNull();
    await file.close();
    const bare = layerFromStateDict({ weight: first.weight, bias: first.bias as Tensor }, '');
    expect([...bare.weight.data]).toEqual([...first.weight.data]);
    expect(bare.weight.data).not.toBe(first.weight.data);
  });

  test('other number types are converted when asked, and only then; other tensors are not read', async () => {
    const header = JSON.stringify({
      'up.weight_g': { dtype: 'F16', shape: [1, 1, 1], data_offsets: [0, 2] }, 'up.weight_v': { dtype: 'BF16', shape: [1, 1, 2], data_offsets: [2, 6] },
      'up.bias': { dtype: 'F64', shape: [1], data_offsets: [6, 14] }, 'up.steps': { dtype: 'BOOL', shape: [1], data_offsets: [14, 15] },
    });
    const bytes = Buffer.alloc(8 + header.length + 15);
    bytes.writeBigUInt64LE(BigInt(header.length));
    bytes.write(header, 8);
    const data = bytes.subarray(8 + header.length);
    [0x4500, 0x4040, 0x4080].forEach((bits, i) => data.writeUInt16LE(bits, 2 * i)); // 5 as F16; 3 and 4 as BF16
    data.writeDoubleLE(0.1, 6);
    const name = path.join(folder, 'half.safetensors');
    writeFileSync(name, bytes);
    const { weight, bias } = await readLayer(name, 'up', { convert: 'float32' });
    expect([...weight.data, ...(bias as Tensor).data]).toEqual([3, 4, Math.fround(0.1)]);
    expect((await failure(() => readLayer(name, 'up'))).code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
  });
});

describe('by hand', () => {
  const tensor = (values: number[], shape: number[]) => new Tensor(Float32Array.from(values), shape);

  test('weight normalisation keeps the input channels', () => {
    const { weight } = layerFromStateDict({ weight_g: tensor([10, 1], [2, 1, 1]), weight_v: tensor([3, 4, 0, 2], [2, 1, 2]) }, '');
    expect([...weight.data]).toEqual([6, 8, 0, 1]);
  });

  test('BatchNorm scales the output channels of each group', () => {
    const bn = { 'bn.running_mean': tensor([1, 2, 3, 4], [4]), 'bn.running_var': tensor([4, 1, 0.25, 16], [4]), 'bn.bias': tensor([0, 0, 0, 1], [4]) };
    const weight = tensor([1, 1, 1, 1], [2, 2, 1]);
    const { weight: w, bias } = layerFromStateDict({ ...bn, weight }, '', { batchNorm: 'bn', eps: 0 });
    expect([...w.data]).toEqual([0.5, 1, 2, 0.25]);
    expect([...(bias as Tensor).data]).toEqual([-0.5, -2, -6, 0]);
    const one = layerFromStateDict({ ...bn, weight: tensor([1, 1, 1, 1], [1, 4, 1]), bias: tensor([1, 1, 1, 1], [4]) }, '', { batchNorm: 'bn', eps: 0 });
    expect([...one.weight.data]).toEqual([0.5, 1, 2, 0.25]);
    expect([...(one.bias as Tensor).data]).toEqual([0, -1, -4, 0.25]);
  });
});

describe('errors', () => {
  const bn = (channels: number) => ({ 'bn.running_mean': Tensor.zeros([channels]), 'bn.running_var': Tensor.zeros([channels]) });
  const weight = Tensor.zeros([2, 3, 4]);
  const g = Tensor.zeros([2, 1, 1]);
  const wrong: [() => unknown, string, string, RegExp?][] = [
    [() => layerFromStateDict(null as never, 'x'), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'state'],
    [() => layerFromStateDict({}, 7 as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'prefix'],
    [() => layerFromStateDict({}, 'main.3'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'prefix', /a layer with "main\.3\.weight"/],
    [() => layerFromStateDict({ weight }, 'main.3'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'prefix'],
    [() => layerFromStateDict({ weight: 1 } as never, ''), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'state["weight"]'],
    [() => layerFromStateDict({ weight: { data: new Float32Array(3), shape: [2, 3, 4] } }, ''), 'ERR_CONVTRANSPOSE_SHAPE', 'state["weight"]'],
    [() => layerFromStateDict({ weight: Tensor.zeros([2, 3]) }, ''), 'ERR_CONVTRANSPOSE_SHAPE', 'prefix'],
    [() => layerFromStateDict({ weight, bias: Tensor.zeros([1, 3]) }, ''), 'ERR_CONVTRANSPOSE_SHAPE', 'prefix'],
    [() => layerFromStateDict({ weight_g: g }, ''), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'prefix', /weight_v/],
    [() => layerFromStateDict({ weight_v: weight }, ''), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'prefix', /weight_g/],
    [() => layerFromStateDict({ weight, weight_g: g, weight_v: weight }, ''), 'ERR_CONVTRANSPOSE_CONFLICT', 'prefix'],
    [() => layerFromStateDict({ weight_g: Tensor.zeros([3, 1, 1]), weight_v: weight }, ''), 'ERR_CONVTRANSPOSE_SHAPE', 'state'],
    [() => layerFromStateDict({ weight_g: Tensor.zeros([2]), weight_v: weight }, ''), 'ERR_CONVTRANSPOSE_SHAPE', 'state'],
    [() => layerFromStateDict({ weight }, '', { batchNorm: 'bn' }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'batchNorm', /bn\.running_mean/],
    [() => layerFromStateDict({ weight, ...bn(4) }, '', { batchNorm: 'bn' }), 'ERR_CONVTRANSPOSE_SHAPE', 'batchNorm'],
    [() => layerFromStateDict({ weight, ...bn(9) }, '', { batchNorm: 'bn' }), 'ERR_CONVTRANSPOSE_SHAPE', 'batchNorm'],
    [() => layerFromStateDict({ weight, ...bn(3), 'bn.weight': Tensor.zeros([4]) }, '', { batchNorm: 'bn' }), 'ERR_CONVTRANSPOSE_SHAPE', 'batchNorm'],
    [() => layerFromStateDict({ weight, ...bn(6), bias: Tensor.zeros([3]) }, '', { batchNorm: 'bn' }), 'ERR_CONVTRANSPOSE_SHAPE', 'batchNorm'],
    [() => layerFromStateDict({ weight }, '', { batchnorm: 'bn' } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'batchnorm'],
    [() => layerFromStateDict({ weight }, '', { eps: '1' } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'eps'],
    [() => layerFromStateDict({ weight }, '', { eps: NaN }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'eps'],
    [() => layerFromStateDict({ weight }, '', { eps: -1 }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'eps'],
    [() => readLayer(fixturePath('layers.safetensors'), 'main.9'), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'prefix'],
    [() => readLayer(fixturePath('none.safetensors'), 'main.0'), 'ENOENT', undefined as never],
    [() => readLayer(3 as never, 'main.0'), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'file'],
  ];
  test.each(wrong.map(([run, code, argument, message], i) => ({ i, run, code, argument, message })))('$i: $code $argument', async ({ run, code, argument, message }) => {
    const error = await failure(run);
    expect([error.code, error.argument]).toEqual([code, argument]);
    if (message !== undefined) expect(error.message).toMatch(message);
  });
});
