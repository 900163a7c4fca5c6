/** What the tests of this folder share. */
import { expect } from '@jest/globals';

import { Tensor } from '../../lib/index';
import { compare } from '../support/bound';
import { values } from '../support/data';
import { define } from '../support/definition';
import { winogradAllowance } from '../support/winograd-bound';
import { product, toChannelsLast, toContiguous, type Problem } from '../support/problem';

/** Where a reference puts its outputs, per dimension. */
export interface Window {
  begin: number[];
  size: number[];
}

/** The problem whose outputs are those of a window. */
export function windowed(p: Omit<Problem, 'padding' | 'outputPadding' | 'rank' | 'bias'>, window: Window, bias: boolean): Problem {
  const padding = p.in.map((size, d): [number, number] => {
    const natural = (size - 1) * (p.stride[d] as number) + (p.dilation[d] as number) * ((p.kernel[d] as number) - 1) + 1;
    const begin = window.begin[d] as number;
    return [begin, natural - begin - (window.size[d] as number)];
  });
  return { ...p, rank: p.in.length, padding, outputPadding: p.in.map(() => 0), bias };
}

/** Data of a problem: x and w contiguous, w [in, out/groups, ...k]. */
export interface Data {
  x: Float32Array;
  w: Float32Array;
  b: Float32Array | null;
}

export function dataOf(p: Problem, stream: number): Data {
  return {
    x: values('mixed', 3 * stream, product([p.batch ?? 1, p.inChannels, ...p.in])),
    w: values('mixed', 3 * stream + 1, product([p.inChannels, p.outChannels / p.groups, ...p.kernel])),
    b: p.bias ? values('mixed', 3 * stream + 2, p.outChannels) : null,
  };
}

/** Holds a contiguous result against the definition. */
export function expectDefined(p: Problem, data: Data, window: Window, y: Tensor): void {
  expect(y.shape).toEqual([p.batch ?? 1, p.outChannels, ...window.size]);
  const expected = define(p, data.x, data.w, data.b);
  const winograd = winogradAllowance(p, data.x, data.w, expected, true);
  expect(compare(y.data, expected, true, false, null, winograd).failure).toBeNull();
}

/** [in, out, ...k] -> [...k, out, in] */
export function toKeras(w: Float32Array, inChannels: number, outChannels: number, kernel: readonly number[]): Tensor {
  const taps = product(kernel);
  const data = new Float32Array(w.length);
  for (let i = 0; i < inChannels; i++) {
    for (let o = 0; o < outChannels; o++) {
      for (let k = 0; k < taps; k++) data[(k * outChannels + o) * inChannels + i] = w[(i * outChannels + o) * taps + k] as number;
    }
  }
  return new Tensor(data, [...kernel, outChannels, inChannels]);
}

/** A contiguous tensor with its channels last. */
export function channelsLast(data: Float32Array, batch: number, channels: number, spatial: readonly number[]): Tensor {
  return new Tensor(toChannelsLast(data, batch, channels, product(spatial)), [batch, ...spatial, channels]);
}

/** The other way round. */
export function channelsFirst(y: Tensor): Tensor {
  const [batch, ...rest] = y.shape as [number, ...number[]];
  const channels = rest.pop() as number;
  return new Tensor(toContiguous(y.data, batch, channels, product(rest)), [batch, channels, ...rest]);
}

export { failure, type CodedError } from '../support/failure';
