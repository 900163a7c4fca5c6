/** Which transposed convolutions turn one size into another: all of them, or why there is none. */
import { argumentError, list, typeError } from '../errors';
import { readList, readOptions, readPadding, readPerDimension, toBoolean, toInteger } from '../options';
import { isEven } from './overlap';

/** Values that a parameter may take, both ends included. A bound left out is the default's. */
export interface SolveRange {
  readonly min?: number | undefined;
  readonly max?: number | undefined;
}

/** A parameter that is left free within a range (the same for all dimensions), or fixed: one number, or one per dimension. */
export type SolveParameter = number | readonly number[] | SolveRange;

/** A forward convolution: a number for all dimensions, or one per dimension. Semantics of torch.nn.Conv1d/2d/3d. */
export interface ForwardConvolution {
  readonly kernelSize: number | readonly number[];
  /** Default 1. */
  readonly stride?: number | readonly number[] | undefined;
  /** Rows of zeros around the input: as the option `padding` of a module. Default 0. */
  readonly padding?: number | readonly number[] | readonly (readonly [number, number])[] | undefined;
  /** Default 1. */
  readonly dilation?: number | readonly number[] | undefined;
}

/** What {@link solve} is asked for. */
export interface SolveQuery {
  /** Spatial sizes of the input, at least 1: a number for one dimension, or one per dimension. */
  readonly inputSize?: number | readonly number[] | undefined;
  /** Spatial sizes of the output that are wanted, at least 1. */
  readonly outputSize?: number | readonly number[] | undefined;
  /** Default `{ min: 1, max: 16 }`. */
  readonly kernelSize?: SolveParameter | undefined;
  /** Default `{ min: 1, max: 16 }`. */
  readonly stride?: SolveParameter | undefined;
  /** Default 1. */
  readonly dilation?: SolveParameter | undefined;
  /**
   * Default from 0 to `dilation * (kernelSize - 1)`: cropping more would throw away products of the first and last inputs with all of
   * the kernel.
   */
  readonly padding?: SolveParameter | undefined;
  /** Default from 0 to `max(stride, dilation) - 1`, which is what is legal. */
  readonly outputPadding?: SolveParameter | undefined;
  /** Also paddings that differ between both ends; `padding` bounds each end. Default false. */
  readonly asymmetric?: boolean | undefined;
  /**
   * A convolution to invert, instead of the six options above: finds the transposed convolution of the same kernel, stride, padding
   * and dilation that leads back. `outputSize` is then the size before that convolution, `inputSize` the size after it; one of them
   * is enough.
   */
  readonly convolution?: ForwardConvolution | undefined;
}

/** One legal choice for one dimension. */
export interface DimensionSolution {
  readonly kernelSize: number;
  readonly stride: number;
  readonly dilation: number;
  /** Rows cropped at both ends; [begin, end] where they differ. */
  readonly padding: number | readonly [number, number];
  readonly outputPadding: number;
  /** The sizes that it connects. */
  readonly inputSize: number;
  readonly outputSize: number;
  /** True if it multiplies every size by the stride, not just this one. */
  readonly scales: boolean;
  /** True if all outputs far from the borders are reached by the same number of products (see {@link checkerboard}). */
  readonly even: boolean;
}

/** All legal choices for one dimension. */
export interface SolveDimension {
  /** Best first: those that multiply every size, even ones, little output padding, small dilations, kernels, strides and paddings. */
  readonly solutions: readonly DimensionSolution[];
  /** Why there is none; null if there is one. */
  readonly reason: string | null;
  /** The sizes next to the one that is wanted that can be had, if that one cannot: at most one below, at most one above. */
  readonly nearest: readonly DimensionSolution[];
}

/** A layer that does it, as the constructor of a module takes it. */
export interface Solution {
  /** For all dimensions, or one per dimension where they differ. */
  readonly kernelSize: number | readonly number[];
  readonly options: {
    readonly stride: number | readonly number[];
    readonly padding: number | readonly number[] | readonly (readonly [number, number])[];
    readonly outputPadding: number | readonly number[];
    readonly dilation: number | readonly number[];
  };
  readonly inputSize: readonly number[];
  readonly outputSize: readonly number[];
  /** True if it multiplies every size by its stride. */
  readonly scales: boolean;
  /** True if all outputs far from the borders are reached by the same number of products. */
  readonly even: boolean;
}

/** What {@link solve} finds. */
export interface Solutions {
  /**
   * Layers with the same numbers in every dimension, best first. If there are none of that kind, the best choices of the dimensions
   * put together, which is one layer. Empty if some dimension has no solution.
   */
  readonly solutions: readonly Solution[];
  /** Each dimension by itself: every combination of one solution of each is a layer that does it. */
  readonly dimensions: readonly SolveDimension[];
  /** Why there is no layer; null if there is one. */
  readonly reason: string | null;
}

interface Range {
  readonly min: number;
  readonly max: number;
}

/** The search in one dimension. */
interface Search {
  readonly inputSize: number;
  readonly outputSize: number;
  readonly kernelSize: Range;
  readonly stride: Range;
  readonly dilation: Range;
  /** null: from 0 to dilation * (kernelSize - 1) */
  readonly padding: Range | null;
  readonly outputPadding: Range;
  readonly asymmetric: boolean;
}

type ParameterName = 'kernelSize' | 'stride' | 'dilation' | 'padding' | 'outputPadding';
const parameterNames: readonly ParameterName[] = ['kernelSize', 'stride', 'dilation', 'padding', 'outputPadding'];
const queryNames = ['inputSize', 'outputSize', ...parameterNames, 'asymmetric', 'convolution'] as const;
const convolutionNames = ['kernelSize', 'stride', 'padding', 'dilation'] as const;
const rangeNames = ['min', 'max'] as const;

const defaultLimit = 16;
/** Most triples of kernel, stride and dilation that are tried, and most solutions that are listed, for one dimension. */
const maxTriples = 1e6;
const maxSolutions = 1e5;
/** Larger sizes and parameters than anybody's, whose products are exact all the same. */
const maxParameter = 2 ** 24;

/**
 * All transposed convolutions that give `outputSize` for `inputSize`, or why there is none.
 *
 * The size of the output is, per dimension,
 * `(inputSize - 1) * stride - begin - end + dilation * (kernelSize - 1) + outputPadding + 1` with
 * `outputPadding < max(stride, dilation)`, as PyTorch has it. The search is exhaustive within the ranges of the parameters.
 *
 * ```js
 * import { ConvTranspose2d, solve } from 'convtranspose';
 *
 * const { solutions } = solve({ inputSize: [32, 32], outputSize: [64, 64], kernelSize: { min: 3, max: 4 } });
 * console.log(solutions.map(({ kernelSize, options }) => [kernelSize, options.padding, options.outputPadding])); // [ [ 4, 1, 0 ], [ 3, 1, 1 ] ]
 * const up = new ConvTranspose2d(8, 8, solutions[0].kernelSize, solutions[0].options);
 * console.log(up.outputShape([8, 32, 32])); // [ 8, 64, 64 ]
 *
 * // What leads back from Conv2d(kernel 3, stride 2, padding 1), which made 33 of 65?
 * const back = solve({ outputSize: 65, convolution: { kernelSize: 3, stride: 2, padding: 1 } });
 * console.log(back.solutions[0].inputSize, back.solutions[0].options.outputPadding); // [ 33 ] 0
 *
 * console.log(solve({ inputSize: 32, outputSize: 64, kernelSize: 3, stride: 2, outputPadding: 0 }).solutions); // []
 * ```
 *
 * @throws TypeError for wrong types, unknown and conflicting options, RangeError for values outside their limits and
 * `ERR_CONVTRANSPOSE_TOO_LARGE` where more than 1e6 triples of kernel, stride and dilation would have to be tried, or more than 1e5
 * solutions listed
 */
export function solve(query: SolveQuery): Solutions {
  const raw = readOptions(query, 'query', queryNames);
  const dims = dimensionsOf([raw.inputSize, raw.outputSize, ...parameterNames.map((name) => raw[name])]);
  if (raw.convolution !== undefined) {
    const other = [...parameterNames, 'asymmetric' as const].find((name) => raw[name] !== undefined);
    if (other !== undefined) throw argumentError('ERR_CONVTRANSPOSE_CONFLICT', other, 'either it or convolution', 'both');
    return gather(invert(raw.convolution, raw.inputSize, raw.outputSize));
  }
  const inputSize = readSizes(raw.inputSize, 'inputSize', dims);
  const outputSize = readSizes(raw.outputSize, 'outputSize', dims);
  const free: Range = { min: 1, max: defaultLimit };
  const kernelSize = readParameter(raw.kernelSize, 'kernelSize', dims, 1, free);
  const stride = readParameter(raw.stride, 'stride', dims, 1, free);
  const dilation = readParameter(raw.dilation, 'dilation', dims, 1, { min: 1, max: 1 });
  const padding = raw.padding === undefined ? null : readParameter(raw.padding, 'padding', dims, 0, { min: 0, max: maxParameter });
  const outputPadding = readParameter(raw.outputPadding, 'outputPadding', dims, 0, { min: 0, max: maxParameter });
  const asymmetric = raw.asymmetric !== undefined && toBoolean(raw.asymmetric, 'asymmetric');
  const searches = inputSize.map((size, i): Search => ({
    inputSize: size, outputSize: outputSize[i] as number, kernelSize: kernelSize[i] as Range, stride: stride[i] as Range,
    dilation: dilation[i] as Range, padding: padding?.[i] ?? null, outputPadding: outputPadding[i] as Range, asymmetric,
  }));
  searches.forEach(checkEffort);
  return gather(searches.map((search) => {
    const solutions = allSolutions(search);
    return solutions.length > 0 ? { solutions, reason: null, nearest: [] } : { solutions, ...whyNone(search) };
  }));
}

/** The number of dimensions: that of the first list, 1 if there is none. */
function dimensionsOf(values: readonly unknown[]): number {
  for (const value of values) {
    if (!Array.isArray(value) && !ArrayBuffer.isView(value)) continue;
    const { length } = readList(value, 'query', 'lists of one entry per dimension');
    if (length > 0) return length;
  }
  return 1;
}

function readSizes(value: unknown, argument: string, dims: number): number[] {
  const sizes = readPerDimension(value, argument, dims, 1);
  sizes.forEach((size, i) => toInteger(size, argument, 1, maxParameter, i));
  return sizes;
}

/** A parameter as one range per dimension; -1 is no legal value of any. */
function readParameter(value: unknown, argument: ParameterName, dims: number, least: number, standard: Range): Range[] {
  if (value === undefined) return new Array<Range>(dims).fill(standard);
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)) {
    const raw = readOptions(value, argument, rangeNames);
    const min = raw.min === undefined ? standard.min : toInteger(raw.min, `${argument}.min`, least, maxParameter);
    const max = raw.max === undefined ? Math.max(min, standard.max) : toInteger(raw.max, `${argument}.max`, min, maxParameter);
    return new Array<Range>(dims).fill({ min, max });
  }
  return readPerDimension(value, argument, dims, least).map((fixed, i) => {
    const checked = toInteger(fixed, argument, least, maxParameter, i);
    return { min: checked, max: checked };
  });
}

const count = ({ min, max }: Range): number => max - min + 1;

function checkEffort({ kernelSize, stride, dilation }: Search): void {
  const triples = count(kernelSize) * count(stride) * count(dilation);
  if (triples > maxTriples) {
    throw argumentError('ERR_CONVTRANSPOSE_TOO_LARGE', 'kernelSize',
      `ranges of kernelSize, stride and dilation with at most ${maxTriples} combinations`, String(triples));
  }
}

/** Calls `visit` for every kernel, stride and dilation of a search. */
function forEachTriple({ kernelSize, stride, dilation }: Search, visit: (kernel: number, stride: number, dilation: number) => void): void {
  for (let s = stride.min; s <= stride.max; s++) {
    for (let d = dilation.min; d <= dilation.max; d++) {
      for (let k = kernelSize.min; k <= kernelSize.max; k++) visit(k, s, d);
    }
  }
}

/** What a search allows beside one triple. */
function allowed(search: Search, kernel: number, stride: number, dilation: number): { padding: Range; outputPadding: Range } {
  const { min, max } = search.outputPadding;
  return {
    padding: search.padding ?? { min: 0, max: dilation * (kernel - 1) },
    outputPadding: { min, max: Math.min(max, Math.max(stride, dilation) - 1) },
  };
}

/** The size without padding of any kind. */
function fullSize(inputSize: number, kernel: number, stride: number, dilation: number): number {
  return (inputSize - 1) * stride + dilation * (kernel - 1) + 1;
}

function makeSolution(
  inputSize: number, kernelSize: number, stride: number, dilation: number, begin: number, end: number, outputPadding: number,
): DimensionSolution {
  const outputSize = fullSize(inputSize, kernelSize, stride, dilation) - begin - end + outputPadding;
  return {
    kernelSize, stride, dilation, padding: begin === end ? begin : [begin, end], outputPadding, inputSize, outputSize,
    scales: outputSize === inputSize * stride, even: isEven(kernelSize, stride, dilation),
  };
}

function allSolutions(search: Search): DimensionSolution[] {
  const { inputSize, outputSize, asymmetric } = search;
  const solutions: DimensionSolution[] = [];
  forEachTriple(search, (kernel, stride, dilation) => {
    const { padding, outputPadding } = allowed(search, kernel, stride, dilation);
    // What both ends together must crop, less the output padding.
    const excess = fullSize(inputSize, kernel, stride, dilation) - outputSize;
    const last = Math.min(outputPadding.max, 2 * padding.max - excess);
    for (let extra = Math.max(outputPadding.min, 2 * padding.min - excess); extra <= last; extra++) {
      const total = excess + extra;
      for (const begin of beginnings(total, padding, asymmetric)) {
        if (solutions.length === maxSolutions) {
          throw argumentError('ERR_CONVTRANSPOSE_TOO_LARGE', 'query', `at most ${maxSolutions} solutions`, 'more; narrow the ranges');
        }
        solutions.push(makeSolution(inputSize, kernel, stride, dilation, begin, total - begin, extra));
      }
    }
  });
  return solutions.sort(compareSolutions);
}

/** The paddings at the beginning that leave a legal one for the end. */
function beginnings(total: number, { min, max }: Range, asymmetric: boolean): number[] {
  if (!asymmetric) return total % 2 === 0 ? [total / 2] : [];
  const first = Math.max(min, total - max);
  return Array.from({ length: Math.max(0, Math.min(max, total - min) - first + 1) }, (_, i) => first + i);
}

const ends = ({ padding }: DimensionSolution): readonly [number, number] => (typeof padding === 'number' ? [padding, padding] : padding);

function compareSolutions(a: DimensionSolution, b: DimensionSolution): number {
  const [beginA, endA] = ends(a);
  const [beginB, endB] = ends(b);
  return Number(b.scales) - Number(a.scales) || Number(b.even) - Number(a.even) ||
    Number(beginA !== endA) - Number(beginB !== endB) || a.outputPadding - b.outputPadding || a.dilation - b.dilation ||
    a.kernelSize - b.kernelSize || a.stride - b.stride || Math.abs(beginA - endA) - Math.abs(beginB - endB) || beginA - beginB;
}

/** The reachable sizes next to the wanted one, which is not reachable. */
function nearestSizes(search: Search): DimensionSolution[] {
  const { inputSize, outputSize: wanted } = search;
  let below: DimensionSolution | undefined;
  let above: DimensionSolution | undefined;
  forEachTriple(search, (kernel, stride, dilation) => {
    const { padding, outputPadding } = allowed(search, kernel, stride, dilation);
    if (outputPadding.min > outputPadding.max) return;
    const excess = fullSize(inputSize, kernel, stride, dilation) - wanted;
    const consider = (total: number, extra: number): void => {
      const begin = Math.floor(total / 2);
      const found = makeSolution(inputSize, kernel, stride, dilation, begin, total - begin, extra);
      if (found.outputSize < 1) return;
      if (found.outputSize < wanted && (below === undefined || found.outputSize > below.outputSize)) below = found;
      if (found.outputSize > wanted && (above === undefined || found.outputSize < above.outputSize)) above = found;
    };
    const step = search.asymmetric ? 1 : 2;
    const clamp = (total: number): number => Math.min(2 * padding.max, Math.max(2 * padding.min, total));
    // As the wanted size is missed, only the smallest and the largest output padding can come next to it, with the totals around it.
    for (const extra of new Set([outputPadding.min, outputPadding.max])) {
      const total = Math.floor((excess + extra) / step) * step;
      for (const near of [total - step, total, total + step]) consider(clamp(near), extra);
    }
  });
  return [below, above].filter((found) => found !== undefined);
}

/** A search that leaves one parameter free, or undefined if it is so already. */
function relaxed(search: Search, name: ParameterName | 'asymmetric'): Search | undefined {
  const { inputSize, outputSize } = search;
  switch (name) {
    case 'asymmetric':
      return search.asymmetric ? undefined : { ...search, asymmetric: true };
    case 'kernelSize':
      return { ...search, kernelSize: { min: 1, max: Math.max(search.kernelSize.max, Math.min(outputSize, 4096)) } };
    case 'stride':
      return { ...search, stride: { min: 1, max: Math.max(search.stride.max, Math.min(Math.ceil(outputSize / inputSize) + 1, 4096)) } };
    case 'dilation':
      return { ...search, dilation: { min: 1, max: Math.max(search.dilation.max, defaultLimit) } };
    case 'padding':
      return { ...search, padding: { min: 0, max: maxParameter } };
    case 'outputPadding':
      return { ...search, outputPadding: { min: 0, max: maxParameter } };
  }
}

const relaxations: readonly (readonly [ParameterName | 'asymmetric', string])[] = [
  ['outputPadding', 'another outputPadding'], ['padding', 'another padding'], ['asymmetric', 'padding that differs between both ends'],
  ['kernelSize', 'another kernelSize'], ['stride', 'another stride'], ['dilation', 'another dilation'],
];

function rangeText({ min, max }: Range): string {
  return min === max ? String(min) : `${min} to ${max}`;
}

function solutionText({ kernelSize, stride, dilation, padding, outputPadding }: DimensionSolution): string {
  const parts = [`kernelSize ${kernelSize}`, `stride ${stride}`, `padding ${typeof padding === 'number' ? padding : list(padding)}`];
  if (dilation !== 1) parts.push(`dilation ${dilation}`);
  if (outputPadding !== 0) parts.push(`outputPadding ${outputPadding}`);
  return parts.join(', ');
}

/** What was searched, in words. */
function searchText({ kernelSize, stride, dilation, padding, outputPadding, asymmetric }: Search): string {
  const most = Math.min(outputPadding.max, Math.max(stride.max, dilation.max) - 1);
  return [
    `kernelSize ${rangeText(kernelSize)}`, `stride ${rangeText(stride)}`, `dilation ${rangeText(dilation)}`,
    `padding ${padding === null ? 'up to dilation * (kernelSize - 1)' : rangeText(padding)}${asymmetric ? ' at each end' : ''}`,
    `outputPadding ${outputPadding.min > most ? rangeText(outputPadding) : rangeText({ min: outputPadding.min, max: most })}`,
  ].join(', ');
}

function whyNone(search: Search): { reason: string; nearest: DimensionSolution[] } {
  const nearest = nearestSizes(search);
  const sentences = [`No ${searchText(search)} makes ${search.outputSize} of ${search.inputSize}.`];
  const most = Math.max(search.stride.max, search.dilation.max) - 1;
  if (search.outputPadding.min > most) {
    sentences.push(`outputPadding must be less than stride or dilation, here at most ${most}.`);
  } else if (nearest.length > 0) {
    sentences.push(`The nearest that can be had: ${nearest.map((near) => `${near.outputSize} (${solutionText(near)})`).join(' and ')}.`);
  } else {
    sentences.push('No size of at least 1 can be had.');
  }
  const others = relaxations.flatMap(([name, words]) => {
    const wider = relaxed(search, name);
    if (wider === undefined || count(wider.kernelSize) * count(wider.stride) * count(wider.dilation) > maxTriples) return [];
    const best = firstSolution(wider);
    return best === undefined ? [] : [`${words} (${solutionText(best)})`];
  });
  sentences.push(others.length > 0 ? `It would work with ${others.join(', or ')}.` : 'No change of a single parameter would help.');
  return { reason: sentences.join(' '), nearest };
}

/** The best solution; undefined if there is none, or so many that the search was given up. */
function firstSolution(search: Search): DimensionSolution | undefined {
  let best: DimensionSolution | undefined;
  forEachTriple(search, (kernel, stride, dilation) => {
    const { padding, outputPadding } = allowed(search, kernel, stride, dilation);
    const excess = fullSize(search.inputSize, kernel, stride, dilation) - search.outputSize;
    const least = Math.max(outputPadding.min, 2 * padding.min - excess);
    // Of each triple the two smallest output paddings are enough: one of them gives an even total.
    for (let extra = least; extra <= Math.min(least + 1, outputPadding.max, 2 * padding.max - excess); extra++) {
      const total = excess + extra;
      if (!search.asymmetric && total % 2 !== 0) continue;
      const begin = Math.floor(total / 2);
      const found = makeSolution(search.inputSize, kernel, stride, dilation, begin, total - begin, extra);
      if (best === undefined || compareSolutions(found, best) < 0) best = found;
    }
  });
  return best;
}

/** The transposed convolutions that lead back from a forward one. */
function invert(value: unknown, inputSize: unknown, outputSize: unknown): SolveDimension[] {
  if (value === undefined || value === null || typeof value !== 'object') throw typeError('convolution', 'an object', value);
  const raw = readOptions(value, 'convolution', convolutionNames);
  if (raw.kernelSize === undefined) throw typeError('convolution.kernelSize', 'an integer of at least 1', undefined);
  if (inputSize === undefined && outputSize === undefined) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_TYPE', 'outputSize', 'inputSize or outputSize beside convolution', 'neither');
  }
  const dims = dimensionsOf([inputSize, outputSize, raw.kernelSize, raw.stride, raw.dilation, raw.padding]);
  const parameter = (given: unknown, name: string): number[] =>
    readPerDimension(given ?? 1, name, dims, 1).map((checked, i) => toInteger(checked, name, 1, maxParameter, i));
  const kernel = parameter(raw.kernelSize, 'convolution.kernelSize');
  const stride = parameter(raw.stride, 'convolution.stride');
  const dilation = parameter(raw.dilation, 'convolution.dilation');
  const padding = readPadding(raw.padding ?? 0, dims);
  const after = inputSize === undefined ? undefined : readSizes(inputSize, 'inputSize', dims);
  const before = outputSize === undefined ? undefined : readSizes(outputSize, 'outputSize', dims);
  return kernel.map((size, i) => {
    const [begin, end] = [padding.begin[i] as number, padding.end[i] as number];
    for (const rows of [begin, Math.abs(end)]) toInteger(rows, 'convolution.padding', 0, maxParameter, i);
    return invertDimension(size, stride[i] as number, dilation[i] as number, begin, end, after?.[i], before?.[i]);
  });
}

/**
 * The convolution makes floor((before + begin + end - extent) / stride) + 1 of `before`, so `stride` sizes give the same; the output
 * padding says which of them it was.
 */
function invertDimension(
  kernel: number, stride: number, dilation: number, begin: number, end: number, after: number | undefined, before: number | undefined,
): SolveDimension {
  const extent = dilation * (kernel - 1) + 1;
  const back = (size: number, extra: number): DimensionSolution => makeSolution(size, kernel, stride, dilation, begin, end, extra);
  if (before === undefined) {
    const solutions = Array.from({ length: stride }, (_, extra) => back(after as number, extra)).filter((found) => found.outputSize >= 1);
    const reason = solutions.length > 0 ? null : `No input of that convolution gives ${after}: its padding alone is larger.`;
    return { solutions, reason, nearest: [] };
  }
  const rest = before + begin + end - extent;
  if (rest < 0) {
    const reason = `The convolution cannot be applied to ${before}: with its padding that is ${before + begin + end}, and its kernel spans ${extent}.`;
    return { solutions: [], reason, nearest: [] };
  }
  const made = Math.floor(rest / stride) + 1;
  const solution = back(made, rest % stride);
  if (after === undefined || after === made) return { solutions: [solution], reason: null, nearest: [] };
  return { solutions: [], reason: `That convolution makes ${made} of ${before}, not ${after}.`, nearest: [solution] };
}

const keyOf = (solution: DimensionSolution): string =>
  [solution.kernelSize, solution.stride, solution.dilation, ...ends(solution), solution.outputPadding].join();

/** Layers of the solutions of all dimensions. */
function gather(dimensions: readonly SolveDimension[]): Solutions {
  const lost = dimensions.findIndex(({ solutions }) => solutions.length === 0);
  if (lost >= 0) {
    const { reason } = dimensions[lost] as SolveDimension;
    return { solutions: [], dimensions, reason: dimensions.length === 1 ? reason : `Dimension ${lost}: ${reason}` };
  }
  const [first, ...others] = dimensions as [SolveDimension, ...SolveDimension[]];
  const byKey = others.map(({ solutions }) => new Map(solutions.map((solution) => [keyOf(solution), solution])));
  const common = first.solutions.flatMap((solution) => {
    const same = byKey.map((found) => found.get(keyOf(solution)));
    return same.includes(undefined) ? [] : [[solution, ...(same as DimensionSolution[])]];
  });
  const choices = common.length > 0 ? common : [dimensions.map(({ solutions }) => solutions[0] as DimensionSolution)];
  return { solutions: choices.map(layerOf), dimensions, reason: null };
}

function layerOf(choice: readonly DimensionSolution[]): Solution {
  const each = <T>(values: readonly T[]): T | readonly T[] => (values.every((value) => value === values[0]) ? (values[0] as T) : values);
  const isSymmetric = choice.every(({ padding }) => typeof padding === 'number');
  return {
    kernelSize: each(choice.map(({ kernelSize }) => kernelSize)),
    options: {
      stride: each(choice.map(({ stride }) => stride)),
      padding: isSymmetric ? each(choice.map(({ padding }) => padding as number)) : choice.map(ends),
      outputPadding: each(choice.map(({ outputPadding }) => outputPadding)),
      dilation: each(choice.map(({ dilation }) => dilation)),
    },
    inputSize: choice.map(({ inputSize }) => inputSize),
    outputSize: choice.map(({ outputSize }) => outputSize),
    scales: choice.every(({ scales }) => scales),
    even: choice.every(({ even }) => even),
  };
}
