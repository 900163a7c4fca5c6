/** Folding of a BatchNorm in evaluation mode into the convolution before it, in float64. */
import { argumentError, list, typeError, valueError } from './errors';
import { readOptions } from './options';
import { elementCount } from './shape';
import { checkLength, readTensor, type TensorLike, type TensorView } from './tensor';

/** The parameters of a BatchNorm layer in evaluation mode, each [out]. */
export interface BatchNorm {
  /** Default: ones. */
  readonly weight?: TensorLike | null | undefined;
  /** Default: zeros. */
  readonly bias?: TensorLike | null | undefined;
  readonly runningMean: TensorLike;
  readonly runningVar: TensorLike;
  /** Added to the variance. Default 1e-5, as PyTorch's. */
  readonly eps?: number | undefined;
}

/** The same, read. */
export interface BatchNormView {
  readonly weight: TensorView | undefined;
  readonly bias: TensorView | undefined;
  readonly mean: TensorView;
  readonly variance: TensorView;
  readonly eps: number;
}

/** Weights [in, out/groups, ...kernel] while something is folded into them. */
export interface FoldedWeight {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

/** Checks `eps`; left out it is PyTorch's default. */
export function toEps(value: unknown, argument: string): number {
  if (value === undefined) return 1e-5;
  if (typeof value !== 'number') throw typeError(argument, 'a number', value);
  if (!(value >= 0 && value < Infinity)) throw valueError(argument, 'a number of at least 0', value);
  return value;
}

const names = ['weight', 'bias', 'runningMean', 'runningVar', 'eps'] as const;

/** Reads the option `batchNorm`. */
export function readBatchNorm(value: unknown): BatchNormView {
  const raw = readOptions(value, 'batchNorm', names);
  const optional = (given: unknown, name: string) => (given === undefined || given === null ? undefined : readTensor(given, name));
  return {
    weight: optional(raw.weight, 'batchNorm.weight'),
    bias: optional(raw.bias, 'batchNorm.bias'),
    mean: readTensor(raw.runningMean, 'batchNorm.runningMean'),
    variance: readTensor(raw.runningVar, 'batchNorm.runningVar'),
    eps: toEps(raw.eps, 'batchNorm.eps'),
  };
}

/** Refuses parameters that do not have one entry for each of `channels` outputs. To be called when no code of the user can run. */
export function checkBatchNorm(norm: BatchNormView, channels: number): void {
  const { weight, bias, mean, variance } = norm;
  for (const [name, view] of [['weight', weight], ['bias', bias], ['runningMean', mean], ['runningVar', variance]] as const) {
    if (view === undefined) continue;
    const argument = `batchNorm.${name}`;
    if (view.shape.length !== 1 || view.shape[0] !== channels) {
      throw argumentError('ERR_CONVTRANSPOSE_SHAPE', argument, `shape [${channels}]`, list(view.shape));
    }
    checkLength(view, elementCount(view.shape, argument), argument);
  }
}

/**
 * Folds a checked BatchNorm into weights, in place.
 *
 * @param groups divides the channels on both sides
 * @returns the bias that the layer then has
 */
export function foldBatchNorm(norm: BatchNormView, weight: FoldedWeight, bias: Float32Array | undefined, groups: number): Float64Array {
  const gamma = norm.weight?.data;
  const beta = norm.bias?.data;
  const [inChannels = 0, outPerGroup = 0] = weight.shape;
  const scale = Float64Array.from(norm.variance.data, (value, o) => (gamma === undefined ? 1 : (gamma[o] as number)) / Math.sqrt(value + norm.eps));
  const inPerGroup = inChannels / groups;
  const taps = weight.data.length / (inChannels * outPerGroup);
  for (let i = 0; i < weight.data.length; i++) {
    const row = Math.floor(i / taps);
    const group = Math.floor(row / outPerGroup / inPerGroup);
    weight.data[i] = (weight.data[i] as number) * (scale[group * outPerGroup + (row % outPerGroup)] as number);
  }
  return Float64Array.from(scale, (factor, o) => {
    const centred = (bias === undefined ? 0 : (bias[o] as number)) - (norm.mean.data[o] as number);
    return centred * factor + (beta === undefined ? 0 : (beta[o] as number));
  });
}
