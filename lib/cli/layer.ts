/** Layers of the command line: their options, and the weights that they are made of. */
import { argumentError } from '../errors';
import {
  ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, type ConvTransposeModule, type ModuleOptions, type Tensor,
} from '../index';
import { SafetensorsFile } from '../io/index';
import type { Algorithm, MemoryFormat, Precision } from '../options';
import type { Activation } from '../activation';
import { parseInteger, parsePadding, parsePerDimension, UsageError, type Arguments, type OptionSpec } from './command-line';

/** The options that describe a layer: the words of the API. */
export const layerOptions: readonly OptionSpec[] = [
  { name: 'stride', value: 'N[,N...]', help: 'Step between the outputs of neighbouring inputs; one number, or one per dimension. Default 1.' },
  {
    name: 'padding', value: 'P[,P...]',
    help: 'Rows cropped from the output: a number, one per dimension, or a pair begin:end for each dimension (1:2,0:1). An end may be ' +
      'negative: it adds rows. Default 0.',
  },
  { name: 'output-padding', value: 'N[,N...]', help: 'Rows added at the end, less than stride or dilation. Default 0.' },
  { name: 'output-size', value: 'N[,N...]', help: 'Spatial sizes of the output, instead of --output-padding.' },
  { name: 'dilation', value: 'N[,N...]', help: 'Step between the weights. Default 1.' },
  { name: 'groups', value: 'N', help: 'Groups of channels that do not see each other. Default 1.' },
  {
    name: 'memory-format', value: 'FORMAT',
    help: 'contiguous: input and output are [N, C, ...spatial]; channelsLast: [N, ...spatial, C]. Default contiguous.',
  },
  {
    name: 'activation', value: 'A',
    help: 'relu, leakyRelu (leakyRelu:0.2), tanh, sigmoid, gelu (gelu:tanh), silu, elu (elu:0.5), or clamp:min:max, of which either bound ' +
      'may be left empty (clamp::6). Default none.',
  },
  { name: 'precision', value: 'P', help: 'highest, high or medium. Default highest.' },
  { name: 'algorithm', value: 'A', help: 'auto, direct, gemm, winograd, amx, depthwise or reference. Default auto.' },
  { name: 'invariant', value: null, help: 'The bits of an output depend on the values that reach it alone, not on batch or sizes.' },
  { name: 'workspace-limit', value: 'BYTES', help: 'Most bytes of scratch memory per thread.' },
  { name: 'num-threads', alias: 'threads', value: 'N', help: 'Threads of the computation. Default: all that the process may use.' },
];

/** The options that say where weights are. */
export const weightOptions: readonly OptionSpec[] = [
  { name: 'weights', value: 'FILE', help: 'A .safetensors file with the weight [in, out/groups, ...kernel] and perhaps a bias [out].' },
  { name: 'weight-name', value: 'NAME', help: 'The name of the weight in the file. Default weight.' },
  {
    name: 'bias-name', value: 'NAME',
    help: 'The name of the bias in the file. Default: the name of the weight with its last "weight" replaced by "bias"; no bias if there ' +
      'is none of that name.',
  },
];

export const convertOption: OptionSpec =
  { name: 'convert', value: 'float32', help: 'Convert files of other number types, which are refused otherwise.' };

/** A word of the API, or one with parameters: `clamp:min:max`, `leakyRelu:0.2`, `elu:2`, `gelu:tanh`. The API refuses what it does not know. */
function parseActivation(text: string): Activation {
  const [type, ...parameters] = text.split(':');
  const numbers = parameters.map((bound) => {
    if (bound === '') return undefined;
    if (type !== 'gelu' && !Number.isFinite(Number(bound))) throw new UsageError(`--activation needs numbers as parameters, not ${JSON.stringify(bound)}`);
    return Number(bound);
  });
  const given = (name: string, value: unknown) => (value === undefined ? {} : { [name]: value });
  if (type === 'clamp' && parameters.length === 2) return { type, ...given('min', numbers[0]), ...given('max', numbers[1]) };
  if (type === 'leakyRelu' && parameters.length === 1) return { type, ...given('negativeSlope', numbers[0]) };
  if (type === 'elu' && parameters.length === 1) return { type, ...given('alpha', numbers[0]) };
  if (type === 'gelu' && parameters.length === 1) return { type, ...given('approximate', parameters[0]) };
  return text as Activation;
}

/** The options of a module, as the command line gives them. Words are passed on as they are: the API refuses those it does not know. */
export function parseLayerOptions({ values }: Arguments): ModuleOptions {
  const parse = <T>(name: string, parser: (text: string, option: string) => T): T | undefined => {
    const text = values.get(name);
    return text === undefined ? undefined : parser(text, name);
  };
  return {
    stride: parse('stride', parsePerDimension),
    padding: parse('padding', parsePadding),
    outputPadding: parse('output-padding', parsePerDimension),
    dilation: parse('dilation', parsePerDimension),
    groups: parse('groups', parseInteger),
    memoryFormat: values.get('memory-format') as MemoryFormat | undefined,
    activation: parse('activation', parseActivation),
    precision: values.get('precision') as Precision | undefined,
    algorithm: values.get('algorithm') as Algorithm | undefined,
    invariant: values.has('invariant') ? true : undefined,
    workspaceLimit: parse('workspace-limit', parseInteger),
    numThreads: parse('num-threads', parseInteger),
  };
}

/** `--output-size` for the calls that take it. */
export function parseOutputSize({ values }: Arguments): { outputSize?: number | number[] } {
  const text = values.get('output-size');
  return text === undefined ? {} : { outputSize: parsePerDimension(text, 'output-size') };
}

/** `--convert` for the readers. The API refuses other words. */
export function parseConvert({ values }: Arguments): { convert?: 'float32' } {
  const text = values.get('convert');
  return text === undefined ? {} : { convert: text as 'float32' };
}

/** Weights of a layer, with the names that they have in their file. */
export interface Weights {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

/** Reads the weights that the options name; nothing else of the file is read. */
export async function readWeights(args: Arguments, file: string): Promise<Weights> {
  const weightName = args.values.get('weight-name') ?? 'weight';
  const biasName = args.values.get('bias-name') ?? weightName.replace(/weight(?!.*weight)/s, 'bias');
  const opened = await SafetensorsFile.open(file);
  try {
    const hasBias = args.values.has('bias-name') || (biasName !== weightName && opened.entries.has(biasName));
    const names = hasBias ? [weightName, biasName] : [weightName];
    const tensors = await opened.read({ names, ...parseConvert(args) });
    return { weight: tensors[weightName] as Tensor, bias: hasBias ? (tensors[biasName] as Tensor) : null };
  } finally {
    await opened.close();
  }
}

const modules = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d];

/** A layer with the sizes of its weight: 1-D, 2-D or 3-D by the number of its dimensions. */
export function makeLayer(weightShape: readonly number[], options: ModuleOptions): ConvTransposeModule {
  const [inChannels, outPerGroup, ...kernel] = weightShape;
  const Module = modules[kernel.length - 1];
  if (Module === undefined || inChannels === undefined || outPerGroup === undefined) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'weight', '[in, out/groups, ...kernel] with 1 to 3 sizes of the kernel', `[${weightShape.join(', ')}]`);
  }
  return new Module(inChannels, outPerGroup * (options.groups ?? 1), kernel, options);
}
