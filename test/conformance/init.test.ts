/** Default initialisation: the bits of PyTorch, from the seed alone. */
import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Tensor, type ModuleOptions } from '../../lib/index';

interface Parameter {
  shape: number[];
  /** The bits of the first values. */
  first: number[];
  /** Of all bytes. */
  crc32: number;
}

interface Layer {
  inChannels: number;
  outChannels: number;
  kernel: number[];
  groups: number;
  seed: number;
  weight: Parameter;
  bias: Parameter | null;
}

const layers = JSON.parse(readFileSync(path.join(__dirname, 'init.json'), 'utf8')) as Layer[];

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function describeTensor(tensor: Tensor | undefined): Parameter | null {
  if (tensor === undefined) return null;
  const { buffer, byteOffset, byteLength, length } = tensor.data;
  return {
    shape: [...tensor.shape],
    first: [...new Int32Array(buffer, byteOffset, Math.min(length, 24))],
    crc32: crc32(new Uint8Array(buffer, byteOffset, byteLength)),
  };
}

function make(layer: Layer, options: ModuleOptions): ConvTranspose2d {
  const Kind = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d][layer.kernel.length - 1] as typeof ConvTranspose2d;
  return new Kind(layer.inChannels, layer.outChannels, layer.kernel, { groups: layer.groups, ...options });
}

describe('seed', () => {
  it.each(layers.map((layer) => [`${layer.inChannels} -> ${layer.outChannels}, kernel ${layer.kernel.join('x')}, groups ${layer.groups}, seed ${layer.seed}`, layer] as const))(
    'gives the bits of PyTorch: %s', (_, layer) => {
      const state = make(layer, { seed: layer.seed, bias: layer.bias !== null }).stateDict();
      expect(describeTensor(state.weight)).toEqual(layer.weight);
      expect(describeTensor(state.bias)).toEqual(layer.bias);
    });

  it('gives the bias of PyTorch also where the weight is given', () => {
    const layer = layers.find((row) => row.seed === 7) as Layer;
    const weight = Tensor.zeros([3, 5, 2, 3]);
    expect(describeTensor(make(layer, { seed: 7, weight, bias: true }).stateDict().bias)).toEqual(layer.bias);
  });

  it('left out gives other weights each time, in the range that PyTorch has', () => {
    const [a, b] = [0, 1].map(() => new ConvTranspose2d(2, 3, 3).stateDict().weight.data) as [Float32Array, Float32Array];
    expect([...a]).not.toEqual([...b]);
    const bound = 1 / Math.sqrt(3 * 9);
    expect(a.every((value) => value >= -bound && value < bound)).toBe(true);
  });
});

describe('bias', () => {
  const weight = Tensor.zeros([2, 3, 3, 3]);
  const given = new Tensor(Float32Array.of(1, 2, 3), [3]);

  it.each([
    ['left out without weight', {}, true], ['left out with weight', { weight }, false], ['true with weight', { weight, bias: true }, true],
    ['false', { bias: false }, false], ['null', { bias: null }, false], ['a tensor', { bias: given }, true], ['undefined with weight', { weight, bias: undefined }, false],
  ])('%s', (_, options, present) => {
    expect(new ConvTranspose2d(2, 3, 3, options).stateDict().bias !== undefined).toBe(present);
  });

  it('is copied, as the weight is', () => {
    const bias = new Tensor(Float32Array.of(1, 2, 3), [3]);
    const own = new Tensor(new Float32Array(54).fill(5), [2, 3, 3, 3]);
    const layer = new ConvTranspose2d(2, 3, 3, { weight: own, bias });
    bias.data.fill(9);
    own.data.fill(9);
    expect([...(layer.stateDict().bias as Tensor).data]).toEqual([1, 2, 3]);
    expect(layer.stateDict().weight.data[0]).toBe(5);
  });
});
