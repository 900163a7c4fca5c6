/**
 * Layers in PyTorch's state dictionaries: the weights of one transposed convolution by its prefix, with weight normalisation and a
 * batch normalisation behind it folded in. All arithmetic is in float64, rounded to float32 once.
 */
import { foldBatchNorm, toEps, type BatchNormView, type FoldedWeight } from '../batch-norm';
import { argumentError, list, typeError } from '../errors';
import { readOptions, toWord, type RawOptions } from '../options';
import { elementCount } from '../shape';
import { Tensor, type TensorLike, type TensorView } from '../tensor';
import { readName, readReadOptions, readWholeTensor, type ReadOptions } from './arguments';
import { quote } from './format-error';
import { SafetensorsFile } from './safetensors';

/** Options of {@link layerFromStateDict}. */
export interface StateDictOptions {
  /** Prefix of the BatchNorm that follows, to be folded in; none, if left out. */
  readonly batchNorm?: string | undefined;
  /** The BatchNorm's `eps`, which state dictionaries do not hold. Default 1e-5, as PyTorch's. */
  readonly eps?: number | undefined;
  /**
   * What the layer is: a transposed convolution, or a convolution with a kernel of 1 in each dimension, whose weights [out, in, ...1] are
   * those of a transposed convolution with the channels exchanged. Default `'convTranspose'`.
   */
  readonly layer?: 'convTranspose' | 'pointwiseConv' | undefined;
}

/** Options of {@link readLayer}. */
export interface ReadLayerOptions extends StateDictOptions, ReadOptions {}

/** The parameters of a layer: what the modules take as `weight` and `bias`. */
export interface LayerParameters {
  /** [in, out/groups, ...kernel] */
  readonly weight: Tensor;
  /** [out]; null if there is none. */
  readonly bias: Tensor | null;
}

/** PyTorch's names below a layer's prefix. */
const weightNorms = [
  { magnitude: 'weight_g', direction: 'weight_v' },
  { magnitude: 'parametrizations.weight.original0', direction: 'parametrizations.weight.original1' },
] as const;
const layerNames = ['weight', 'bias', ...weightNorms.flatMap(({ magnitude, direction }) => [magnitude, direction])];
const batchNormNames = ['weight', 'bias', 'running_mean', 'running_var'];

export const stateOptionNames = ['batchNorm', 'eps', 'layer'] as const;
const layerKinds = ['convTranspose', 'pointwiseConv'] as const;

interface Folding {
  readonly batchNorm: string | undefined;
  readonly eps: number;
  readonly layer: (typeof layerKinds)[number];
}

function readFolding(raw: RawOptions<(typeof stateOptionNames)[number]>): Folding {
  const eps = toEps(raw.eps, 'eps');
  const layer = raw.layer === undefined ? 'convTranspose' : toWord(raw.layer, 'layer', layerKinds);
  return { batchNorm: raw.batchNorm === undefined ? undefined : readName(raw.batchNorm, 'batchNorm'), eps, layer };
}

/** The name of a parameter: PyTorch's, behind the prefix and a dot. */
function nameOf(prefix: string, parameter: string): string {
  return prefix === '' ? parameter : `${prefix}.${parameter}`;
}

/** Finds tensors by name; undefined for those that are not there. */
type Lookup = (name: string) => TensorView | undefined;

/** The tensor of a name. `argument` says which prefix is wrong if it is not there. */
function find(lookup: Lookup, name: string, argument: string): TensorView {
  const view = lookup(name);
  if (view === undefined) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, `the prefix of a layer with ${quote(name)}`, 'a state without it');
  }
  return view;
}

/** The weights below a prefix, weight normalisation folded in; in float64, since more may be folded in. */
function findWeight(lookup: Lookup, prefix: string): FoldedWeight {
  const plain = lookup(nameOf(prefix, 'weight'));
  const folded = weightNorms.flatMap(({ magnitude, direction }) => {
    const g = lookup(nameOf(prefix, magnitude));
    const v = lookup(nameOf(prefix, direction));
    if (g === undefined && v === undefined) return [];
    return [{ g: find(lookup, nameOf(prefix, magnitude), 'prefix'), v: find(lookup, nameOf(prefix, direction), 'prefix'), magnitude }];
  });
  if (folded.length + (plain === undefined ? 0 : 1) > 1) {
    throw argumentError('ERR_CONVTRANSPOSE_CONFLICT', 'prefix', 'one of weight, weight_g and parametrizations.weight', `several below ${quote(prefix)}`);
  }
  const [norm] = folded;
  if (norm !== undefined) return { data: foldWeightNorm(norm.g, norm.v, nameOf(prefix, norm.magnitude)), shape: norm.v.shape };
  const { data, shape } = plain ?? find(lookup, nameOf(prefix, 'weight'), 'prefix');
  return { data: Float64Array.from(data), shape };
}

/**
 * v * g / |v|, with the norm over all dimensions in which g has one entry. torch.nn.utils.weight_norm keeps dimension 0, the input
 * channels of a transposed convolution, unless it is told otherwise.
 */
function foldWeightNorm(g: TensorView, v: TensorView, name: string): Float64Array {
  const { shape } = v;
  const isScalar = g.shape.length === 0;
  if (!isScalar && (g.shape.length !== shape.length || g.shape.some((size, i) => size !== 1 && size !== shape[i]))) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'state', `${quote(name)} with one entry per row of ${list(shape)}`, list(g.shape));
  }
  // The entry of g that belongs to each element of v.
  const owner = new Uint32Array(v.data.length);
  let step = 1;
  let ownStep = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number;
    if (!isScalar && g.shape[axis] !== 1) {
      for (let i = 0; i < owner.length; i++) owner[i] = (owner[i] as number) + (Math.floor(i / step) % size) * ownStep;
      ownStep *= size;
    }
    step *= size;
  }
  const squares = new Float64Array(g.data.length);
  v.data.forEach((value, i) => {
    const at = owner[i] as number;
    squares[at] = (squares[at] as number) + value * value;
  });
  return Float64Array.from(v.data, (value, i) => {
    const at = owner[i] as number;
    return value * ((g.data[at] as number) / Math.sqrt(squares[at] as number));
  });
}

/** The BatchNorm below a prefix, and the number of groups of the layer before it: that follows from its number of channels. */
function findBatchNorm(
  lookup: Lookup, prefix: string, eps: number, weight: FoldedWeight, bias: TensorView | undefined,
): { norm: BatchNormView; groups: number } {
  const norm = {
    weight: lookup(nameOf(prefix, 'weight')),
    bias: lookup(nameOf(prefix, 'bias')),
    mean: find(lookup, nameOf(prefix, 'running_mean'), 'batchNorm'),
    variance: find(lookup, nameOf(prefix, 'running_var'), 'batchNorm'),
    eps,
  };
  const channels = elementCount(norm.mean.shape, 'state');
  const [inChannels = 0, outPerGroup = 0] = weight.shape;
  const groups = outPerGroup === 0 ? 0 : channels / outPerGroup;
  if (norm.mean.shape.length !== 1 || !Number.isInteger(groups) || groups === 0 || inChannels % groups !== 0) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'batchNorm', `a BatchNorm of the layer's outputs (weights ${list(weight.shape)})`,
      `one of ${list(norm.mean.shape)}`);
  }
  for (const [name, view] of [['running_var', norm.variance], ['weight', norm.weight], ['bias', norm.bias]] as const) {
    if (view !== undefined && (view.shape.length !== 1 || view.shape[0] !== channels)) {
      throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'batchNorm', `${quote(nameOf(prefix, name))} of shape [${channels}]`, list(view.shape));
    }
  }
  if (bias !== undefined && bias.data.length !== channels) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'batchNorm', `a BatchNorm of ${bias.data.length} channels, as the bias`, `one of ${channels}`);
  }
  return { norm, groups };
}

/** Weights [out, in, ...1] of a convolution as [in, out, ...1]. */
function exchangeChannels({ data, shape }: FoldedWeight): FoldedWeight {
  const [outChannels = 0, inChannels = 0, ...kernel] = shape;
  if (kernel.some((size) => size !== 1)) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'layer', 'weights [out, in, ...kernel] with a kernel of 1', list(shape));
  }
  const exchanged = new Float64Array(data.length);
  for (let o = 0; o < outChannels; o++) {
    for (let i = 0; i < inChannels; i++) exchanged[i * outChannels + o] = data[o * inChannels + i] as number;
  }
  return { data: exchanged, shape: [inChannels, outChannels, ...kernel] };
}

function toTensor(data: ArrayLike<number>, shape: readonly number[]): Tensor {
  const tensor = Tensor.empty(shape);
  tensor.data.set(data);
  return tensor;
}

/** The parameters of a layer, folded. */
function foldLayer(lookup: Lookup, prefix: string, { batchNorm, eps, layer }: Folding): LayerParameters {
  const found = findWeight(lookup, prefix);
  if (found.shape.length < 3 || found.shape.length > 5) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'prefix', 'a layer with weights [in, out/groups, ...kernel]', list(found.shape));
  }
  const weight = layer === 'pointwiseConv' ? exchangeChannels(found) : found;
  const bias = lookup(nameOf(prefix, 'bias'));
  if (bias !== undefined && bias.shape.length !== 1) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'prefix', `${quote(nameOf(prefix, 'bias'))} of one dimension`, list(bias.shape));
  }
  let folded: ArrayLike<number> | undefined = bias?.data;
  if (batchNorm !== undefined) {
    const { norm, groups } = findBatchNorm(lookup, batchNorm, eps, weight, bias);
    folded = foldBatchNorm(norm, weight, bias?.data, groups);
  }
  return {
    weight: toTensor(weight.data, weight.shape),
    bias: folded === undefined ? null : toTensor(folded, [folded.length]),
  };
}

/**
 * The parameters of one transposed convolution of a PyTorch state dictionary, ready for a module.
 *
 * Weight normalisation, in the old spelling (`weight_g`, `weight_v`) and the new (`parametrizations.weight.original0`, `original1`), is
 * folded in, and so is the BatchNorm of `batchNorm` in evaluation mode.
 *
 * ```js
 * import { ConvTranspose1d, Tensor } from 'convtranspose';
 * import { layerFromStateDict } from 'convtranspose/io';
 * const state = { 'ups.0.weight_g': Tensor.zeros([4, 1, 1]), 'ups.0.weight_v': Tensor.zeros([4, 2, 8]), 'ups.0.bias': Tensor.zeros([2]) };
 * const up = new ConvTranspose1d(4, 2, 8, { stride: 4, padding: 2, ...layerFromStateDict(state, 'ups.0') });
 * console.log(up.outputShape([4, 10])); // [ 2, 40 ]
 * ```
 *
 * @param state tensors by PyTorch's names, float32; others are not looked at
 * @param prefix of the layer, without the last dot: `'generator.main.3'`; `''` for a layer's own state dictionary
 * @throws RangeError `ERR_CONVTRANSPOSE_INVALID_VALUE` if there is no such layer, `ERR_CONVTRANSPOSE_SHAPE` if its tensors do not fit
 */
export function layerFromStateDict(
  state: Readonly<Record<string, TensorLike>>, prefix: string, options: StateDictOptions = {},
): LayerParameters {
  if (typeof state !== 'object' || state === null || Array.isArray(state)) throw typeError('state', 'an object of tensors by name', state);
  const layer = readName(prefix, 'prefix');
  const folding = readFolding(readOptions(options, 'options', stateOptionNames));
  const lookup = remembering((name) => {
    const value = Object.hasOwn(state, name) ? state[name] : undefined;
    return value === undefined ? undefined : readWholeTensor(value, `state[${quote(name)}]`);
  });
  return foldLayer(lookup, layer, folding);
}

/** Looks up every name once, so that no value of the user is read twice. */
function remembering(lookup: Lookup): Lookup {
  const known = new Map<string, TensorView | undefined>();
  return (name) => {
    if (!known.has(name)) known.set(name, lookup(name));
    return known.get(name);
  };
}

/**
 * {@link layerFromStateDict} of a .safetensors file; only the layer's tensors are read. Other number types than float32 are read with
 * `convert: 'float32'`.
 *
 * @param file path or URL of the file, or an open one
 */
export async function readLayer(
  file: string | URL | SafetensorsFile, prefix: string, options: ReadLayerOptions = {},
): Promise<LayerParameters> {
  const layer = readName(prefix, 'prefix');
  const { raw, convert } = readReadOptions(options, stateOptionNames);
  const folding = readFolding(raw);
  const opened = file instanceof SafetensorsFile ? file : await SafetensorsFile.open(file);
  try {
    const wanted = layerNames.map((name) => nameOf(layer, name));
    const { batchNorm } = folding;
    if (batchNorm !== undefined) wanted.push(...batchNormNames.map((name) => nameOf(batchNorm, name)));
    const names = wanted.filter((name) => opened.entries.has(name));
    const state = await opened.read({ names, convert });
    return foldLayer((name) => state[name], layer, folding);
  } finally {
    if (opened !== file) await opened.close();
  }
}
