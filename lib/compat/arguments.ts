/** Reading of the arguments that all references share: lists of one number per dimension, tensors of a rank, options of a call. */
import { argumentError, list, typeError } from '../errors';
import type { ConvTransposeOptions, FunctionalAsyncOptions, FunctionalOptions } from '../functional';
import { readList, readOptions, readPerDimension, toInteger, type RawOptions } from '../options';
import { readTensor, type TensorLike, type TensorView } from '../tensor';

/** Options of a layer of this folder: how it runs; what it computes is said in the words of the reference. */
export type LayerOptions = Pick<
  ConvTransposeOptions, 'precision' | 'activation' | 'algorithm' | 'numThreads' | 'invariant' | 'workspaceLimit'
>;

/** Options of one call of a function of this folder. */
export type CallOptions = LayerOptions & Pick<FunctionalOptions, 'out'>;

/** Options of one asynchronous call. */
export type CallAsyncOptions = CallOptions & Pick<FunctionalAsyncOptions, 'signal'>;

export const layerOptionNames = ['precision', 'activation', 'algorithm', 'numThreads', 'invariant', 'workspaceLimit'] as const;
export const callOptionNames = [...layerOptionNames, 'out'] as const;
export const callAsyncOptionNames = [...callOptionNames, 'signal'] as const;

/** Reads options once: those of a set of names, and no other. */
export function readNamed<Name extends string>(value: unknown, argument: string, names: readonly Name[]): RawOptions<Name> {
  return { ...readOptions(value, argument, names) };
}

/** Exactly `count` integers of at least `min`, as an array. */
export function readIntegerList(value: unknown, argument: string, count: number, min: number): number[] {
  if (typeof value === 'number') throw typeError(argument, `an array of ${count} integers`, value);
  return readPerDimension(value, argument, count, min);
}

/**
 * An integer for all spatial dimensions or one per dimension, or, as TensorFlow has it, also one for each dimension of the tensor:
 * those of the batch and the channels must then be 1.
 *
 * @param channelsLast where the channels stand in a list for all dimensions
 */
export function readTensorFlowList(value: unknown, argument: string, dims: number, channelsLast: boolean): number[] {
  if (typeof value === 'number') return readPerDimension(value, argument, dims, 1);
  const expected = `an integer of at least 1, or an array of 1, ${dims} or ${dims + 2}`;
  const items = readList(value, argument, expected).map((item, i) => toInteger(item, argument, 1, undefined, i));
  if (items.length === 1) return new Array<number>(dims).fill(items[0] as number);
  if (items.length === dims) return items;
  const begin = channelsLast ? 1 : 2;
  const spatial = items.slice(begin, begin + dims);
  if (items.length !== dims + 2) throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, expected, `${items.length} entries`);
  if (items[0] !== 1 || items[channelsLast ? dims + 1 : 1] !== 1) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, '1 for the batch and the channels', list(items));
  }
  return spatial;
}

/** A tensor of one of the ranks. `pattern` says what its dimensions mean. */
export function readRanked(value: unknown, argument: string, ranks: readonly number[], pattern: string): TensorView {
  const view = readTensor(value, argument);
  checkRank(view.shape, argument, ranks, pattern);
  return view;
}

export function checkRank(shape: readonly number[], argument: string, ranks: readonly number[], pattern: string): void {
  if (!ranks.includes(shape.length)) throw argumentError('ERR_CONVTRANSPOSE_SHAPE', argument, `shape ${pattern}`, list(shape));
}

/** A tensor, or nothing. */
export function readOptional(value: unknown, argument: string): TensorView | undefined {
  return value === undefined || value === null ? undefined : readTensor(value, argument);
}

/** Bias in the API of a reference: a tensor [out], or none. */
export type OptionalTensor = TensorLike | null | undefined;

const letters = ['D', 'H', 'W'];

/** `[N, H, W, C]` or `[N, C, H, W]`. */
export function inputPattern(dims: number, channelsLast: boolean): string {
  const spatial = dims === 1 ? ['W'] : letters.slice(3 - dims);
  return `[${(channelsLast ? ['N', ...spatial, 'C'] : ['N', 'C', ...spatial]).join(', ')}]`;
}
