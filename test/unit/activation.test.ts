/** The option `activation`, as the addon is told of it and as modules show it. */
import './fake-addon';

import { describe, expect, it } from '@jest/globals';

import { makeSlopes, noActivation, publicActivation, readActivation } from '../../lib/activation';
import { ConvTranspose2d, Tensor, type Activation } from '../../lib/index';
import { failure } from '../support/failure';

const leaky = Math.fround(0.01);

describe('activation', () => {
  it.each([
    ['relu', { kind: 0, lower: 0 }, { type: 'relu' }],
    [{ type: 'clamp', min: -1, max: 0.1 }, { kind: 0, lower: -1, upper: Math.fround(0.1) }, { type: 'clamp', min: -1, max: Math.fround(0.1) }],
    [{ type: 'clamp', max: 6 }, { kind: 0, upper: 6 }, { type: 'clamp', min: -Infinity, max: 6 }],
    [{ type: 'clamp', min: 2, max: 2 }, { kind: 0, lower: 2, upper: 2 }, { type: 'clamp', min: 2, max: 2 }],
    [{ type: 'clamp' }, { kind: 0 }, null],
    ['leakyRelu', { kind: 1, alpha: leaky }, { type: 'leakyRelu', negativeSlope: leaky }],
    [{ type: 'leakyRelu', negativeSlope: -2 }, { kind: 1, alpha: -2 }, { type: 'leakyRelu', negativeSlope: -2 }],
    ['tanh', { kind: 3 }, { type: 'tanh' }],
    [{ type: 'sigmoid' }, { kind: 4 }, { type: 'sigmoid' }],
    ['gelu', { kind: 5 }, { type: 'gelu', approximate: 'none' }],
    [{ type: 'gelu', approximate: 'tanh' }, { kind: 6 }, { type: 'gelu', approximate: 'tanh' }],
    ['silu', { kind: 7 }, { type: 'silu' }],
    ['elu', { kind: 8, alpha: 1 }, { type: 'elu', alpha: 1 }],
    [{ type: 'elu', alpha: 0.5 }, { kind: 8, alpha: 0.5 }, { type: 'elu', alpha: 0.5 }],
  ] as const)('%j', (value, code, shown) => {
    const read = readActivation(value);
    expect(read).toEqual({ ...noActivation, ...code });
    expect(publicActivation(read, makeSlopes(read, 2))).toEqual(shown);
    expect(new ConvTranspose2d(1, 2, 3, { activation: value as Activation }).activation).toEqual(shown);
  });

  it('is none if left out', () => {
    expect(readActivation(undefined)).toBe(noActivation);
    expect(new ConvTranspose2d(1, 2, 3).activation).toBeNull();
  });

  it('prelu has a slope for each channel, or one for all, and copies them', () => {
    const data = Float32Array.of(0.25, -1);
    const layer = new ConvTranspose2d(1, 2, 3, { activation: { type: 'prelu', weight: new Tensor(data, [2]) } });
    data[0] = 9;
    expect(layer.activation).toMatchObject({ type: 'prelu', weight: { data: Float32Array.of(0.25, -1), shape: [2] } });
    for (const shape of [[], [1]]) {
      const code = readActivation({ type: 'prelu', weight: new Tensor(Float32Array.of(0.5), shape) });
      expect(makeSlopes(code, 3)).toEqual(Float32Array.of(0.5, 0.5, 0.5));
    }
  });

  it.each([
    ['relu6', 'activation', 'INVALID_VALUE'], ['prelu', 'activation', 'INVALID_VALUE'], [null, 'activation', 'INVALID_TYPE'],
    [{}, 'activation.type', 'INVALID_TYPE'], [{ type: 'Relu' }, 'activation.type', 'INVALID_VALUE'],
    [{ type: 'clamp', min: NaN }, 'activation.min', 'INVALID_VALUE'], [{ type: 'clamp', min: 1, max: 0 }, 'activation.max', 'INVALID_VALUE'],
    [{ type: 'clamp', max: '1' }, 'activation.max', 'INVALID_TYPE'], [{ type: 'clamp', low: 1 }, 'activation', 'UNKNOWN_OPTION'],
    [{ type: 'relu', min: 1 }, 'activation', 'UNKNOWN_OPTION'],
  ])('refuses %j', async (value, argument, code) => {
    expect(await failure(() => readActivation(value))).toMatchObject({ code: `ERR_CONVTRANSPOSE_${code}`, argument });
  });

  it('suggests the word that was meant', async () => {
    expect((await failure(() => readActivation('leaky_relu'))).message).toContain("(did you mean 'leakyRelu'?)");
  });
});
