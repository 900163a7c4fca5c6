/** Runs a problem through the public API in each of its forms. */
import {
  ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, convTranspose1d, convTranspose1dAsync, convTranspose2d, convTranspose2dAsync,
  convTranspose3d, convTranspose3dAsync, type Activation,
} from '../../lib/index';
import { inputShape, outputShape, outputSize, problemOptions, product, toChannelsLast, toContiguous, weightShape } from './problem';
import type { MemoryFormat, Problem } from './problem';

export type Form = 'functional' | 'functionalAsync' | 'module' | 'moduleAsync';
export const forms: readonly Form[] = ['functional', 'functionalAsync', 'module', 'moduleAsync'];

/** The words of the `algorithm` option. */
export const algorithmChoices = ['auto', 'direct', 'gemm', 'reference', 'winograd', 'amx', 'depthwise'] as const;

/** Those that are made for some layers or processors only, and refuse the others. */
export function mayDecline(algorithm: AlgorithmChoice | undefined): boolean {
  return algorithm === 'gemm' || algorithm === 'winograd' || algorithm === 'amx' || algorithm === 'depthwise';
}
export type AlgorithmChoice = (typeof algorithmChoices)[number];

export const functional = [convTranspose1d, convTranspose2d, convTranspose3d] as const;
export const functionalAsync = [convTranspose1dAsync, convTranspose2dAsync, convTranspose3dAsync] as const;
export const modules = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d] as const;

/** Options about how to run, beside those that describe the problem. */
export interface RunOptions {
  algorithm?: AlgorithmChoice;
  memoryFormat?: MemoryFormat;
  numThreads?: number;
  invariant?: boolean;
  activation?: Activation;
  precision?: 'highest' | 'high' | 'medium';
  workspaceLimit?: number;
}

/** Tensors of a problem, contiguous. */
export interface Data {
  input: Float32Array;
  weight: Float32Array;
  bias: Float32Array | null;
}

export function tensor(data: Float32Array, shape: number[]): { data: Float32Array; shape: number[] } {
  return { data, shape };
}

export function inputTensor(p: Problem, input: Float32Array, format: MemoryFormat): { data: Float32Array; shape: number[] } {
  const shape = inputShape(p, format);
  return tensor(format === 'contiguous' ? input : toChannelsLast(input, p.batch ?? 1, p.inChannels, product(p.in)), shape);
}

/** Contiguous values of an output in either memory format. */
export function contiguousOutput(p: Problem, data: Float32Array, format: MemoryFormat): Float32Array {
  return format === 'contiguous' ? data : toContiguous(data, p.batch ?? 1, p.outChannels, product(outputSize(p)));
}

/** A module of the problem that holds the data's weights. The caller disposes of it. */
export function makeModule(p: Problem, data: Pick<Data, 'weight' | 'bias'>, run: RunOptions = {}): InstanceType<(typeof modules)[number]> {
  const Module = modules[p.rank - 1] as (typeof modules)[number];
  return new Module(p.inChannels, p.outChannels, p.kernel, {
    ...problemOptions(p),
    weight: tensor(data.weight, weightShape(p)),
    bias: data.bias === null ? false : tensor(data.bias, [p.outChannels]),
    ...run,
  });
}

export function callFunctional(p: Problem, data: Data, run: RunOptions = {}): { data: Float32Array; shape: readonly number[] } {
  const call = functional[p.rank - 1] as typeof convTranspose2d;
  const bias = data.bias === null ? null : tensor(data.bias, [p.outChannels]);
  return call(inputTensor(p, data.input, run.memoryFormat ?? 'contiguous'), tensor(data.weight, weightShape(p)), bias,
    { ...problemOptions(p), ...run });
}

/** Runs one form and checks the shape it gives; resolves to the values, contiguous whatever the memory format. */
export async function runForm(form: Form, p: Problem, data: Data, run: RunOptions = {}): Promise<Float32Array> {
  const format = run.memoryFormat ?? 'contiguous';
  const input = inputTensor(p, data.input, format);
  let result: { data: Float32Array; shape: readonly number[] };
  if (form === 'functional') {
    result = callFunctional(p, data, run);
  } else if (form === 'functionalAsync') {
    const call = functionalAsync[p.rank - 1] as typeof convTranspose2dAsync;
    const bias = data.bias === null ? null : tensor(data.bias, [p.outChannels]);
    result = await call(input, tensor(data.weight, weightShape(p)), bias, { ...problemOptions(p), ...run });
  } else {
    const layer = makeModule(p, data, run);
    try {
      result = form === 'module' ? layer.forward(input) : await layer.forwardAsync(input);
    } finally {
      layer.dispose();
    }
  }
  const wanted = outputShape(p, format);
  if (result.shape.join() !== wanted.join()) throw new Error(`shape [${result.shape.join()}] instead of [${wanted.join()}]`);
  return contiguousOutput(p, result.data, format);
}
