/**
 * Checkerboard patterns: where the stride does not divide the kernel, neighbouring outputs are sums of different numbers of
 * products, and a flat input gives a picture with a pattern that repeats with the stride.
 */
import { argumentError, list, typeError } from '../errors';
import { readGeometryOptions } from '../functional';
import { readList, readOptions, readPerDimension, type RawOptions } from '../options';
import { checkGeometry, elementCount, resolveSizes, type Geometry } from '../shape';
import { checkLength, readTensor, Tensor, type TensorLike, type TensorView } from '../tensor';
import { greatestCommonDivisor, isEven, overlapAlong, tapsOfPhases, type Axis } from './overlap';

/** What {@link checkerboard} is asked about. */
export interface CheckerboardQuery {
  /** At least 1: a number for all dimensions, or one per dimension. Needed unless there is a `weight`. */
  readonly kernelSize?: number | readonly number[] | undefined;
  /** As the options of a module. */
  readonly stride?: number | readonly number[] | undefined;
  readonly padding?: number | readonly number[] | readonly (readonly [number, number])[] | undefined;
  readonly outputPadding?: number | readonly number[] | undefined;
  readonly dilation?: number | readonly number[] | undefined;
  readonly groups?: number | undefined;
  /** Spatial sizes of an input, for the map of a whole output. */
  readonly inputSize?: number | readonly number[] | undefined;
  /** Weights [in, out/groups, ...kernel] to measure. */
  readonly weight?: TensorLike | undefined;
}

/** A map of one period: its shape has the stride of each dimension; its first entry stands for output 0. */
export interface Period {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

/** How unevenly given weights answer a flat input. */
export interface WeightUnevenness {
  /** Of all outputs together: see {@link checkerboard}. */
  readonly unevenness: number;
  /** Of each output channel. */
  readonly channels: Float64Array;
  /** The pair of channels whose pattern has the largest amplitude. */
  readonly worst: {
    readonly inputChannel: number;
    readonly outputChannel: number;
    /** What an input that is 1 in this channel and 0 in all others gives in the output channel, without bias, far from borders. */
    readonly response: Period;
  };
}

/** What {@link checkerboard} finds. */
export interface Checkerboard {
  /** Products that reach each output far from the borders. */
  readonly overlap: Period;
  /** From 0 (flat) to 1 (nothing but pattern): the share of the pattern in the overlap. */
  readonly unevenness: number;
  /** Products that reach each output of an input of `inputSize`, [...spatial]; null without one. */
  readonly map: Tensor | null;
  /** Rows at the beginning and at the end of each dimension among which some are reached by fewer products than the period says, because
   * the input ends there; null without `inputSize`. */
  readonly borders: readonly (readonly [number, number])[] | null;
  /** Null without `weight`. */
  readonly weight: WeightUnevenness | null;
  /** What to do about it, in sentences. */
  readonly advice: readonly string[];
}

type QueryName = 'kernelSize' | 'stride' | 'padding' | 'outputPadding' | 'dilation' | 'groups' | 'inputSize' | 'weight';
const queryNames: readonly QueryName[] =
  ['kernelSize', 'stride', 'padding', 'outputPadding', 'dilation', 'groups', 'inputSize', 'weight'];

/** Weights whose unevenness is above this are worth a word. */
const noticeable = 0.1;

/**
 * How evenly the products of a transposed convolution are spread over its outputs, and what a flat input becomes under given weights.
 *
 * **Unevenness.** A flat input gives an output that repeats with the stride. Split it into its mean and the rest, the pattern: the
 * unevenness is the root mean square of the pattern divided by that of the whole, from 0 (flat) to 1 (nothing but pattern). On
 * parameters all weights are taken as 1, so that the output is the number of products. On weights the squares are summed over all
 * pairs of channels, which is what inputs that are flat in each channel, with independent levels of mean 0 and equal variance,
 * give on average; biases do not matter. Outputs that are 0 everywhere count as flat.
 *
 * ```js
 * import { checkerboard } from 'convtranspose';
 *
 * const uneven = checkerboard({ kernelSize: 3, stride: 2, padding: 1, outputPadding: 1 });
 * console.log([...uneven.overlap.data], uneven.unevenness.toFixed(3)); // [ 1, 2, 2, 4 ] 0.436
 * console.log(uneven.advice[0]); // kernelSize 4 with padding 1 gives the same sizes, and the stride divides it: every output is then a sum of as many products
 * console.log(checkerboard({ kernelSize: 4, stride: 2, padding: 1 }).unevenness); // 0
 * ```
 *
 * The number of dimensions is that of the weight, else of the first list among the options, else 2.
 *
 * @throws TypeError and RangeError as the constructors of modules do; `ERR_CONVTRANSPOSE_INVALID_VALUE` for weights that are not finite
 */
export function checkerboard(query: CheckerboardQuery): Checkerboard {
  const raw = readOptions(query, 'query', queryNames);
  const weight = raw.weight === undefined ? null : readTensor(raw.weight, 'weight');
  const geometry = readGeometry(raw, weight);
  const inputSize = raw.inputSize === undefined ? null : readPerDimension(raw.inputSize, 'inputSize', geometry.kernel.length, 0);
  const { kernel, stride, dilation, padding } = geometry;
  const taps = kernel.map((size, i) => turn(tapsOfPhases(size, stride[i] as number, dilation[i] as number), padding.begin[i] as number));
  const overlap: Period = { data: outerProduct(taps), shape: [...stride] };
  const whole = inputSize === null ? null : wholeMap(geometry, inputSize, taps);
  const measured = weight === null ? null : measureWeight(geometry, weight.data);
  return {
    overlap,
    unevenness: share(variance(overlap.data), meanSquare(overlap.data)),
    map: whole?.map ?? null,
    borders: whole?.borders ?? null,
    weight: measured,
    advice: advise(geometry, measured),
  };
}

/** The layer that is asked about; its channels are those of the weight, or one of each. */
function readGeometry(raw: RawOptions<QueryName>, weight: TensorView | null): Geometry {
  let dims = 2;
  for (const value of [raw.kernelSize, raw.stride, raw.padding, raw.outputPadding, raw.dilation, raw.inputSize]) {
    if (typeof value !== 'object' || value === null) continue;
    dims = readList(value, 'query', 'lists of one entry per dimension').length;
    break;
  }
  if (weight !== null) dims = weight.shape.length - 2;
  if (dims < 1 || dims > 3) {
    if (weight !== null) throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'weight', '[in, out/groups, ...kernel] with 1 to 3 sizes of the kernel', list(weight.shape));
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'query', 'lists of 1 to 3 dimensions', String(dims));
  }
  if (weight === null && raw.kernelSize === undefined) throw typeError('kernelSize', 'an integer of at least 1, or a weight', undefined);
  const options = readGeometryOptions(raw, dims);
  const given = raw.kernelSize === undefined ? null : readPerDimension(raw.kernelSize, 'kernelSize', dims, 1);
  const [inChannels = options.groups, outPerGroup = 1, ...sizes] = weight?.shape ?? [];
  const kernel = weight === null ? (given as number[]) : sizes;
  if (weight !== null) {
    if (weight.shape.includes(0) || (given !== null && given.some((size, i) => size !== kernel[i]))) {
      throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'weight',
        `[in, out/groups, ${(given ?? new Array<string>(dims).fill('kernel')).join(', ')}] with sizes of at least 1`, list(weight.shape));
    }
    checkLength(weight, elementCount(weight.shape, 'weight'), 'weight');
  }
  const geometry = { inChannels, outChannels: outPerGroup * options.groups, kernel, ...options };
  checkGeometry(geometry);
  // One map of a period is made.
  elementCount(geometry.stride, 'stride');
  return geometry;
}

/** The values from `begin` on, around the end. */
function turn<T>(values: readonly T[], begin: number): T[] {
  return values.map((_, i) => values[(i + begin) % values.length] as T);
}

/** All products of one value of each list, the last list running fastest. */
function outerProduct(lists: readonly ArrayLike<number>[]): Float64Array {
  let product = Float64Array.of(1);
  for (const values of lists) {
    const next = new Float64Array(product.length * values.length);
    let to = 0;
    for (const factor of product) for (let i = 0; i < values.length; i++) next[to++] = factor * (values[i] as number);
    product = next;
  }
  return product;
}

function wholeMap(geometry: Geometry, inputSize: readonly number[], taps: readonly (readonly number[])[]): { map: Tensor; borders: [number, number][] } {
  const { input, output } = resolveSizes(geometry, 0, [geometry.inChannels, ...inputSize], undefined, 'inputSize');
  const axes = output.map((size, i) => ({
    input: input[i], output: size, kernel: geometry.kernel[i], stride: geometry.stride[i], dilation: geometry.dilation[i],
    begin: geometry.padding.begin[i],
  } as Axis));
  const counts = axes.map(overlapAlong);
  const map = Tensor.empty(output);
  map.data.set(outerProduct(counts));
  return { map, borders: axes.map((axis, i) => borderOf(axis, counts[i] as Float64Array, taps[i] as readonly number[])) };
}

/** Rows up to the last that products of inputs before the first are missing in, and from the first that those after the last are missing in. */
function borderOf(axis: Axis, counts: Float64Array, taps: readonly number[]): [number, number] {
  const { output, stride, begin } = axis;
  // As if the input went on for ever.
  const endless = overlapAlong({ ...axis, input: Math.ceil((output + begin) / stride) });
  const last = endless.findLastIndex((count, o) => count < (taps[o % stride] as number));
  const first = counts.findIndex((count, o) => count < (endless[o] as number));
  return [last + 1, first < 0 ? 0 : output - first];
}

function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function variance(values: Float64Array): number {
  const centre = mean(values);
  return mean(values.map((value) => (value - centre) ** 2));
}

function meanSquare(values: Float64Array): number {
  return mean(values.map((value) => value ** 2));
}

/** Root mean squares of a part and of the whole. */
function share(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.min(1, Math.sqrt(part / whole));
}

/** For each tap, the output of the period that it contributes to. */
function placesOfTaps({ kernel, stride, dilation, padding }: Geometry): Int32Array {
  let places = [0];
  kernel.forEach((size, i) => {
    const step = stride[i] as number;
    const begin = (padding.begin[i] as number) % step;
    const along = Array.from({ length: size }, (_, k) => (((k * (dilation[i] as number)) % step) - begin + step) % step);
    places = places.flatMap((place) => along.map((offset) => place * step + offset));
  });
  return Int32Array.from(places);
}

function measureWeight(geometry: Geometry, weight: Float32Array): WeightUnevenness {
  const { inChannels, outChannels, groups, stride } = geometry;
  const outPerGroup = outChannels / groups;
  const places = placesOfTaps(geometry);
  const pattern = new Float64Array(outChannels);
  const whole = new Float64Array(outChannels);
  const response = new Float64Array(elementCount(stride, 'stride'));
  let largest = -1;
  let worst = { inputChannel: 0, outputChannel: 0, response: { data: response, shape: [...stride] } };
  for (let pair = 0; pair < inChannels * outPerGroup; pair++) {
    response.fill(0);
    const base = pair * places.length;
    for (let tap = 0; tap < places.length; tap++) {
      const place = places[tap] as number;
      response[place] = (response[place] as number) + (weight[base + tap] as number);
    }
    const inputChannel = Math.floor(pair / outPerGroup);
    const outputChannel = Math.floor(inputChannel / (inChannels / groups)) * outPerGroup + (pair % outPerGroup);
    const amplitude = variance(response);
    if (!Number.isFinite(amplitude)) throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'weight', 'finite weights', `others for input channel ${inputChannel}`);
    pattern[outputChannel] = (pattern[outputChannel] as number) + amplitude;
    whole[outputChannel] = (whole[outputChannel] as number) + meanSquare(response);
    if (amplitude > largest) {
      largest = amplitude;
      worst = { inputChannel, outputChannel, response: { data: response.slice(), shape: [...stride] } };
    }
  }
  return {
    unevenness: share(mean(pattern), mean(whole)),
    channels: pattern.map((part, channel) => share(part, whole[channel] as number)),
    worst,
  };
}

/** One number if all are the same, else a list. */
function short(values: readonly (number | readonly [number, number])[]): string {
  const texts = values.map((value) => (typeof value === 'number' ? String(value) : list(value)));
  return texts.every((text) => text === texts[0]) ? (texts[0] as string) : `[${texts.join(', ')}]`;
}

/** What one dimension of a layer is made of, besides the stride. */
interface Choice {
  readonly kernel: number;
  readonly padding: number | readonly [number, number];
  readonly outputPadding: number;
  readonly dilation: number;
}

/** A dimension as it is, if its overlap is even; else the smallest even kernel from it on that gives the same size for every input. */
function evenChoice(geometry: Geometry, i: number): Choice {
  const [kernel, stride, dilation] = [geometry.kernel[i] as number, geometry.stride[i] as number, geometry.dilation[i] as number];
  const [begin, end] = [geometry.padding.begin[i] as number, geometry.padding.end[i] as number];
  const outputPadding = geometry.outputPadding[i] as number;
  if (isEven(kernel, stride, dilation)) return { kernel, padding: begin === end ? begin : [begin, end], outputPadding, dilation };
  // The rows that one input makes, after cropping.
  const rows = dilation * (kernel - 1) + 1 - begin - end + outputPadding;
  const multiple = Math.ceil(Math.max(kernel, rows) / stride) * stride;
  // Both ends crop the same; an odd row is made up for by output padding, which is legal as only strides above 1 are uneven.
  const extra = (multiple - rows) % 2;
  return { kernel: multiple, padding: (multiple - rows + extra) / 2, outputPadding: extra, dilation: 1 };
}

function describeChoice(choices: readonly Choice[], geometry: Geometry): string {
  const outputPadding = short(choices.map((choice) => choice.outputPadding));
  const paired = choices.some(({ padding }) => typeof padding !== 'number');
  const paddings = choices.map(({ padding }) => (paired && typeof padding === 'number' ? [padding, padding] as const : padding));
  const dilation = short(choices.map((choice) => choice.dilation));
  return [
    `kernelSize ${short(choices.map(({ kernel }) => kernel))} with padding ${short(paddings)}`,
    ...(outputPadding === '0' ? [] : [`outputPadding ${outputPadding}`]),
    ...(dilation === short(geometry.dilation) ? [] : [`dilation ${dilation}`]),
  ].join(' and ');
}

function advise(geometry: Geometry, weight: WeightUnevenness | null): string[] {
  const { kernel, stride, dilation } = geometry;
  const dims = kernel.map((_, i) => i);
  const isFlat = dims.every((i) => isEven(kernel[i] as number, stride[i] as number, dilation[i] as number));
  const isPatterned = weight !== null && weight.unevenness > noticeable;
  const advice: string[] = [];
  if (!isFlat) {
    advice.push(`${describeChoice(dims.map((i) => evenChoice(geometry, i)), geometry)} gives the same sizes, and the stride divides it: ` +
      'every output is then a sum of as many products');
  }
  const holes = dims.filter((i) => tapsOfPhases(kernel[i] as number, stride[i] as number, dilation[i] as number).includes(0));
  if (holes.length > 0) {
    const shared = holes.some((i) => greatestCommonDivisor(stride[i] as number, dilation[i] as number) > 1);
    advice.push('some outputs are reached by no product at all and hold the bias alone, because ' +
      (shared ? 'stride and dilation have a common factor' : 'the kernel is smaller than the stride'));
  }
  if (isFlat && isPatterned) {
    advice.push('the overlap is even, so the pattern is in the weights: start training from weights that are alike in every phase (ICNR), ' +
      'or train longer, which evens them out where the data has no such pattern');
  }
  if (!isFlat || isPatterned) {
    const smeared = short(dims.map((i) => (kernel[i] as number) + (stride[i] as number) - 1));
    advice.push('upsampling by repetition (nearest neighbour) followed by a convolution is flat on flat inputs whatever its weights; as one ' +
      `layer it is a transposed convolution of the same stride: a convolution of kernel ${short(kernel)} becomes one of kernelSize ${smeared}`);
  }
  return advice;
}
