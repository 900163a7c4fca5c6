/**
 * Sizes: what a transposed convolution gives for an input, and which combinations are legal. Pure arithmetic with every product
 * checked against 2^53; nothing is allocated.
 */
import { argumentError, list } from './errors';
import { memoryFormats, sizeLimit, type Padding } from './options';

/** Where the outputs of one call lie. All lists have one entry per spatial dimension. */
export interface OutputWindow {
  /** Rows cropped before the first output; negative: rows added there. */
  readonly begin: readonly number[];
  /** Output sizes. */
  readonly output: readonly number[];
}

/**
 * The rule of a reference other than PyTorch for where outputs lie.
 *
 * @param input spatial sizes of the input
 * @param natural output sizes without any padding: (in - 1)*stride + dilation*(kernel - 1) + 1
 * @param outputSize the sizes that the caller of this one call asks for
 * @throws its own errors, in the words of the reference; output sizes are at least 0
 */
export type OutputRule = (
  input: readonly number[], natural: readonly number[], outputSize: readonly number[] | undefined,
) => OutputWindow;

/** A transposed convolution apart from the sizes of its input. All lists have one entry per spatial dimension. */
export interface Geometry {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly groups: number;
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  readonly padding: Padding;
  /** Used when no output size is asked for. */
  readonly outputPadding: readonly number[];
  /** Decides instead of padding and outputPadding, which are then 0. */
  readonly outputRule?: OutputRule | undefined;
}

/** Where one call reads and writes. */
export interface CallSizes {
  readonly batch: number;
  /** Spatial sizes of the input. */
  readonly input: readonly number[];
  /** Spatial sizes of the output. */
  readonly output: readonly number[];
  /** Rows cropped before the first output, per dimension; negative: rows added there. */
  readonly padBegin: readonly number[];
  /** Shape of the result as the caller sees it: layout and batch dimension as in the input. */
  readonly outputShape: readonly number[];
  readonly inputCount: number;
  readonly outputCount: number;
}

/** Most elements of one tensor: their bytes stay below 2^53. */
const maxElements = sizeLimit / 4;

/**
 * The number of elements of a shape. Throws ERR_CONVTRANSPOSE_TOO_LARGE before any product, also one that a later 0 would hide,
 * reaches 2^53 bytes.
 */
export function elementCount(shape: readonly number[], argument: string): number {
  let count = 1;
  for (const size of shape) {
    count *= size;
    if (count >= maxElements) {
      throw argumentError('ERR_CONVTRANSPOSE_TOO_LARGE', argument, 'fewer than 2^53 bytes', `sizes ${list(shape)}`);
    }
  }
  return count;
}

function at(values: readonly number[], i: number): number {
  const value = values[i];
  if (value === undefined) throw new Error(`no dimension ${i} in ${list(values)}`);
  return value;
}

function tooLarge(argument: string, expected: string, dimension: number, got: number): Error {
  return argumentError('ERR_CONVTRANSPOSE_TOO_LARGE', argument, `${expected} below 2^53 in dimension ${dimension}`, String(got));
}

/** Largest outputPadding of a dimension: PyTorch wants it below the stride or below the dilation. */
function maxOutputPadding(geometry: Geometry, i: number): number {
  return Math.max(at(geometry.stride, i), at(geometry.dilation, i)) - 1;
}

/** The shape that weights must have: [in, out/groups, ...kernel]. */
export function weightShape(geometry: Geometry): number[] {
  return [geometry.inChannels, geometry.outChannels / geometry.groups, ...geometry.kernel];
}

/** Refuses combinations that are wrong for every input. */
export function checkGeometry(geometry: Geometry): void {
  const { inChannels, outChannels, groups, kernel, dilation, outputPadding } = geometry;
  for (const [name, channels] of [['inChannels', inChannels], ['outChannels', outChannels]] as const) {
    if (channels >= sizeLimit) throw argumentError('ERR_CONVTRANSPOSE_TOO_LARGE', 'groups', `${name} below 2^53`, String(groups));
    if (channels % groups !== 0) {
      throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'groups', `a divisor of ${name} (${channels})`, String(groups));
    }
  }
  kernel.forEach((size, i) => {
    if (at(dilation, i) * size >= sizeLimit) throw tooLarge('dilation', 'dilation * kernel size', i, at(dilation, i));
    const most = maxOutputPadding(geometry, i);
    const padding = at(outputPadding, i);
    if (padding > most) {
      throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', 'outputPadding',
        `less than stride or dilation (0 to ${most} in dimension ${i})`, String(padding));
    }
  });
  elementCount(weightShape(geometry), 'weight');
}

/** The output size of one dimension without output padding; may be negative. */
function naturalSize(geometry: Geometry, i: number, input: number, argument: string): number {
  const stride = at(geometry.stride, i);
  const dilation = at(geometry.dilation, i);
  const kernel = at(geometry.kernel, i);
  if (input * stride >= sizeLimit) throw tooLarge('stride', `stride * input size (${input})`, i, stride);
  if (input * stride + dilation * kernel >= sizeLimit) throw tooLarge(argument, 'every position', i, input);
  return (input - 1) * stride + dilation * (kernel - 1) + 1 - at(geometry.padding.begin, i) - at(geometry.padding.end, i);
}

const axisNames = ['D', 'H', 'W'];

/** The shape that an input must have, in letters: '[N, 3, H, W] or [3, H, W]'. */
function inputPattern(geometry: Geometry, format: number): string {
  const dims = geometry.kernel.length;
  const axes = dims === 1 ? ['L'] : axisNames.slice(3 - dims);
  const unbatched = format === 0 ? [geometry.inChannels, ...axes] : [...axes, geometry.inChannels];
  return `[N, ${unbatched.join(', ')}] or [${unbatched.join(', ')}] (${memoryFormats[format] ?? ''})`;
}

/** PyTorch's rule: the output sizes for the one that the caller asks for, or for the geometry's output padding. */
function outputSizes(
  geometry: Geometry, input: readonly number[], natural: readonly number[], outputSize: readonly number[] | undefined, argument: string,
): readonly number[] {
  const output = outputSize ?? natural.map((size, i) => size + at(geometry.outputPadding, i));
  const largest = natural.map((size, i) => size + maxOutputPadding(geometry, i));
  const tooSmall = outputSize === undefined ? output : largest;
  tooSmall.forEach((size, i) => {
    if (size >= 0) return;
    const padded = at(geometry.padding.begin, i) > 0 || at(geometry.padding.end, i) > 0;
    throw argumentError('ERR_CONVTRANSPOSE_OUTPUT_SIZE', padded ? 'padding' : argument,
      `an output size of at least 0 (for input sizes ${list(input)})`, `${size} in dimension ${i}`);
  });
  if (outputSize !== undefined) {
    const smallest = natural.map((size) => Math.max(size, 0));
    if (outputSize.some((size, i) => size < at(smallest, i) || size > at(largest, i))) {
      throw argumentError('ERR_CONVTRANSPOSE_OUTPUT_SIZE', 'outputSize',
        `sizes from ${list(smallest)} to ${list(largest)} (for input sizes ${list(input)})`, list(outputSize));
    }
  }
  return output;
}

/** Where the outputs lie, with every position below 2^53. */
function outputWindow(
  geometry: Geometry, input: readonly number[], outputSize: readonly number[] | undefined, argument: string,
): OutputWindow {
  const natural = input.map((size, i) => naturalSize(geometry, i, size, argument));
  const window = geometry.outputRule === undefined
    ? { begin: geometry.padding.begin, output: outputSizes(geometry, input, natural, outputSize, argument) }
    : geometry.outputRule(input, natural, outputSize);
  window.output.forEach((size, i) => {
    if (size + Math.abs(at(window.begin, i)) + at(geometry.stride, i) >= sizeLimit) {
      throw tooLarge(argument, 'every output position', i, size);
    }
  });
  return window;
}

/**
 * Resolves the sizes of one call.
 *
 * @param format index into memoryFormats: how `inputShape` and the result are stored
 * @param inputShape sizes of at least 0, with or without the batch dimension
 * @param outputSize spatial sizes to give instead of those of the geometry's output padding
 * @param argument public name of what `inputShape` comes from, for messages
 */
export function resolveSizes(
  geometry: Geometry, format: number, inputShape: readonly number[], outputSize: readonly number[] | undefined, argument: string,
): CallSizes {
  const dims = geometry.kernel.length;
  const batched = inputShape.length === dims + 2;
  const sizes = batched ? inputShape.slice(1) : inputShape;
  const channels = sizes[format === 0 ? 0 : dims];
  if (sizes.length !== dims + 1 || channels !== geometry.inChannels) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', argument, `shape ${inputPattern(geometry, format)}`, list(inputShape));
  }
  const input = format === 0 ? sizes.slice(1) : sizes.slice(0, dims);
  const { begin, output } = outputWindow(geometry, input, outputSize, argument);
  const stored = format === 0 ? [geometry.outChannels, ...output] : [...output, geometry.outChannels];
  const outputShape = Object.freeze(batched ? [at(inputShape, 0), ...stored] : stored);
  // The planes are checked apart: an empty batch must not hide a product that is too large.
  elementCount(input, argument);
  elementCount(output, argument);
  return {
    batch: batched ? at(inputShape, 0) : 1,
    input,
    output,
    padBegin: begin,
    outputShape,
    inputCount: elementCount(inputShape, argument),
    outputCount: elementCount(outputShape, argument),
  };
}
