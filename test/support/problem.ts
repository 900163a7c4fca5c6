/** One transposed convolution as the tests describe it, and its translation into shapes and options of the public API. */

export type MemoryFormat = 'contiguous' | 'channelsLast';
export const memoryFormats: readonly MemoryFormat[] = ['contiguous', 'channelsLast'];

export interface Problem {
  /** Spatial dimensions, 1 to 3: the length of every array below. */
  rank: number;
  /** null: the input has no batch dimension. */
  batch: number | null;
  inChannels: number;
  outChannels: number;
  groups: number;
  in: number[];
  kernel: number[];
  stride: number[];
  /** [begin, end] for each dimension. */
  padding: [number, number][];
  outputPadding: number[];
  dilation: number[];
  bias: boolean;
}

/** The fields of a problem that the API takes as options, as the API spells them. */
export interface ProblemOptions {
  stride: number | number[];
  padding: number | number[] | [number, number][];
  outputPadding: number | number[];
  dilation: number | number[];
  groups: number;
}

export function product(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a * b, 1);
}

export function at(numbers: readonly number[], index: number): number {
  const value = numbers[index];
  if (value === undefined) throw new RangeError(`no element ${index} in [${numbers.join(', ')}]`);
  return value;
}

export function outputSize(p: Problem): number[] {
  return p.in.map((size, d) => {
    const [begin, end] = p.padding[d] as [number, number];
    return (size - 1) * at(p.stride, d) - begin - end + at(p.dilation, d) * (at(p.kernel, d) - 1) + at(p.outputPadding, d) + 1;
  });
}

function shapeOf(batch: number | null, channels: number, spatial: readonly number[], format: MemoryFormat): number[] {
  const image = format === 'contiguous' ? [channels, ...spatial] : [...spatial, channels];
  return batch === null ? image : [batch, ...image];
}

export function inputShape(p: Problem, format: MemoryFormat = 'contiguous'): number[] {
  return shapeOf(p.batch, p.inChannels, p.in, format);
}

export function outputShape(p: Problem, format: MemoryFormat = 'contiguous'): number[] {
  return shapeOf(p.batch, p.outChannels, outputSize(p), format);
}

export function weightShape(p: Problem): number[] {
  return [p.inChannels, p.outChannels / p.groups, ...p.kernel];
}

/** One number where all dimensions agree, as users write it; one per dimension otherwise. */
function short(numbers: number[]): number | number[] {
  return numbers.every((n) => n === numbers[0]) ? at(numbers, 0) : numbers;
}

export function problemOptions(p: Problem): ProblemOptions {
  const symmetric = p.padding.every(([begin, end]) => begin === end);
  return {
    stride: short(p.stride),
    padding: symmetric ? short(p.padding.map(([begin]) => begin)) : p.padding,
    outputPadding: short(p.outputPadding),
    dilation: short(p.dilation),
    groups: p.groups,
  };
}

/** The data of a tensor in the other memory format. `points`: positions per image. */
export function toChannelsLast(data: Float32Array, images: number, channels: number, points: number): Float32Array {
  return transposeImages(data, images, channels, points);
}

export function toContiguous(data: Float32Array, images: number, channels: number, points: number): Float32Array {
  return transposeImages(data, images, points, channels);
}

/** Every image is a [rows, columns] matrix; the result holds their transposes. */
function transposeImages(data: Float32Array, images: number, rows: number, columns: number): Float32Array {
  const result = new Float32Array(data.length);
  for (let n = 0; n < images; n++) {
    const base = n * rows * columns;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) result[base + c * rows + r] = data[base + r * columns + c] as number;
    }
  }
  return result;
}

export function problemText(p: Problem): string {
  return JSON.stringify(p);
}
