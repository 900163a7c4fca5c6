/**
 * Reading of user values. Each one is read exactly once, into plain data, before anything is computed or any memory is touched: a
 * getter or proxy that answers differently the second time has nothing to answer, and what it throws passes through unchanged.
 */
import { argumentError, describe, typeError, valueError } from './errors';
import { typedArrayKind, typedArrayLength } from './typed-array';

/** Sizes, counts and steps stay below this, so that they are exact. */
export const sizeLimit = 2 ** 53;

/** Longest list that is read: more than any rank, few enough to read in no time. */
const maxListLength = 64;

/** Options of the user by name, each read once; those left out are absent. */
export type RawOptions<Name extends string> = { [name in Name]?: unknown };

/** Number of single-character edits between two short words. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitute, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}

/** Letters only, lower case: `output_padding` and `OutputPadding` are both near `outputPadding`. */
function plainWord(word: string): string {
  return word.replace(/[^A-Za-z0-9]/g, '').toLowerCase();
}

/** The known word that a misspelt one probably means. */
export function nearestName(word: string, known: readonly string[]): string | undefined {
  if (word.length > 40) return undefined;
  const plain = plainWord(word);
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.ceil(plain.length / 3)) + 1;
  for (const candidate of known) {
    const target = plainWord(candidate);
    const isPrefix = plain.length >= 3 && (target.startsWith(plain) || plain.startsWith(target));
    const distance = plain !== target && isPrefix ? 1 : editDistance(plain, target);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function unknownOption(key: string, known: readonly string[]): Error {
  const near = nearestName(key, known);
  const hint = near === undefined ? `one of ${known.join(', ')}` : `a known option (did you mean ${near}?)`;
  return argumentError('ERR_CONVTRANSPOSE_UNKNOWN_OPTION', key, hint, `the unknown option ${describe(key)}`);
}

/** True for what has properties to read as options: not null, not a primitive, not a function, not an array. */
export function isOptionsObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const noOptions = Object.freeze({});

/**
 * Reads an options object: every known option once, after refusing enumerable own names that are not known. `undefined` (also as
 * the value of an option) means left out.
 */
export function readOptions<Name extends string>(
  value: unknown, argument: string, known: readonly Name[],
): RawOptions<Name> {
  if (value === undefined) return noOptions;
  if (!isOptionsObject(value)) throw typeError(argument, 'an object or undefined', value);
  const raw: RawOptions<Name> = {};
  for (const key of Object.keys(value)) {
    if (!known.includes(key as Name)) throw unknownOption(key, known);
  }
  for (const name of known) {
    const option = value[name];
    if (option !== undefined) raw[name] = option;
  }
  return raw;
}

/** Reads an array (or a typed array) of anything once. Its length counts as it was when reading began. */
export function readList(value: unknown, argument: string, expected: string): unknown[] {
  const kind = typedArrayKind(value);
  if (kind === undefined && !Array.isArray(value)) throw typeError(argument, expected, value);
  const source = value as ArrayLike<unknown>;
  const length: unknown = kind === undefined ? source.length : typedArrayLength(value);
  if (typeof length !== 'number' || !(length >= 0 && length <= maxListLength)) {
    throw valueError(argument, `${expected}, with a length from 0 to ${maxListLength}`, length);
  }
  const items: unknown[] = [];
  for (let i = 0; i < length; i++) items.push(source[i]);
  return items;
}

function wrongCount(argument: string, expected: string, count: number): Error {
  return argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, expected, count === 1 ? '1 entry' : `${count} entries`);
}

/** An integer from `min` to `max` inclusive; -0 becomes 0. `dimension` is for the message. */
export function toInteger(value: unknown, argument: string, min: number, max = sizeLimit - 1, dimension?: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value + 0;
  const error = typeof value === 'number' ? valueError : typeError;
  const limit = typeof value === 'number' && value >= sizeLimit ? ' and below 2^53' : '';
  const where = dimension === undefined ? '' : ` in dimension ${dimension}`;
  throw error(argument, (max === sizeLimit - 1 ? `an integer of at least ${min}${limit}` : `an integer from ${min} to ${max}`) + where, value);
}

/** Sizes of a tensor: integers of at least 0, read once. */
export function readShape(value: unknown, argument: string): number[] {
  return readIntegers(value, argument, 'an array of sizes', 0);
}

/** A list of integers of at least `min`, read once. */
function readIntegers(value: unknown, argument: string, expected: string, min: number): number[] {
  const items = readList(value, argument, expected);
  for (let i = 0; i < items.length; i++) items[i] = toInteger(items[i], argument, min, sizeLimit - 1, i);
  return items as number[];
}

/** A number for all dimensions, or one per dimension; read once. */
export function readPerDimension(value: unknown, argument: string, dims: number, min: number): number[] {
  if (typeof value === 'number') return new Array<number>(dims).fill(toInteger(value, argument, min));
  const expected = `an integer of at least ${min}, or an array of ${dims} (one per dimension)`;
  const items = readIntegers(value, argument, expected, min);
  if (items.length !== dims) throw wrongCount(argument, expected, items.length);
  return items;
}

/** Rows cropped at both ends of each dimension. */
export interface Padding {
  readonly begin: readonly number[];
  readonly end: readonly number[];
}

/**
 * Reads `padding`: a number, one per dimension, or one [begin, end] per dimension. Only an `end` may be negative: it adds rows.
 */
export function readPadding(value: unknown, dims: number): Padding {
  const argument = 'padding';
  if (typeof value === 'number') {
    const both = new Array<number>(dims).fill(toInteger(value, argument, 0));
    return { begin: both, end: both };
  }
  const expected = `an integer of at least 0, an array of ${dims} integers, or an array of ${dims} [begin, end] pairs`;
  const items = readList(value, argument, expected);
  if (items.length !== dims) throw wrongCount(argument, expected, items.length);
  if (items.some((item) => typeof item === 'object') && items.some((item) => typeof item === 'number')) {
    throw argumentError('ERR_CONVTRANSPOSE_INVALID_TYPE', argument, expected, 'a mixture of integers and pairs');
  }
  if (typeof items[0] !== 'object') {
    const both = items.map((item, i) => toInteger(item, argument, 0, sizeLimit - 1, i));
    return { begin: both, end: both };
  }
  const begin: number[] = [];
  const end: number[] = [];
  for (const [i, item] of items.entries()) {
    const wanted = `a pair [begin, end] in dimension ${i}`;
    const pair = readList(item, argument, wanted);
    if (pair.length !== 2) throw wrongCount(argument, wanted, pair.length);
    begin.push(toInteger(pair[0], argument, 0, sizeLimit - 1, i));
    end.push(toInteger(pair[1], argument, 1 - sizeLimit, sizeLimit - 1, i));
  }
  return { begin, end };
}

/** One of a few words. */
export function toWord<Word extends string>(value: unknown, argument: string, words: readonly Word[]): Word {
  if ((words as readonly unknown[]).includes(value)) return value as Word;
  const choice = words.map((word) => `'${word}'`).join(', ');
  if (typeof value !== 'string') throw typeError(argument, `one of ${choice}`, value);
  const near = nearestName(value, words);
  throw valueError(argument, `one of ${choice}${near === undefined ? '' : ` (did you mean '${near}'?)`}`, value);
}

export function toBoolean(value: unknown, argument: string): boolean {
  if (typeof value !== 'boolean') throw typeError(argument, 'true or false', value);
  return value;
}

/** Layout of inputs and outputs: channels before the spatial dimensions, or after them. */
export type MemoryFormat = 'contiguous' | 'channelsLast';
/** PyTorch's float32_matmul_precision: how much accuracy may be given up for speed. */
export type Precision = 'highest' | 'high' | 'medium';
/**
 * The family of kernels: the planner's choice, or a forced one. `'amx'` multiplies floats that are split into terms of bfloat16, on
 * processors that have a unit for it.
 */
export type Algorithm = 'auto' | 'direct' | 'gemm' | 'winograd' | 'amx' | 'depthwise' | 'reference';
// The order is that of the enumerations in the addon's descriptors.
export const memoryFormats: readonly MemoryFormat[] = ['contiguous', 'channelsLast'];
export const precisions: readonly Precision[] = ['highest', 'high', 'medium'];
export const algorithms: readonly Algorithm[] = ['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference'];

/** Upper limit of `numThreads`: far above any machine, far below what would exhaust one. */
const maxThreads = 1024;

/** Checks `numThreads`. */
export function toThreads(value: unknown): number {
  return toInteger(value, 'numThreads', 1, maxThreads);
}

/** Options about how a call runs, the same for modules and functions. */
export interface RunOptions {
  readonly format: number;
  readonly precision: number;
  readonly algorithm: number;
  readonly invariant: boolean;
  readonly workspaceLimit: number;
  /** 0: the default */
  readonly threads: number;
}

let environmentAlgorithm: number | undefined;

/** The algorithm that CONVTRANSPOSE_ALGORITHM names; the variable is read once, and a wrong word throws at every use. */
function defaultAlgorithm(): number {
  if (environmentAlgorithm === undefined) {
    const word = process.env['CONVTRANSPOSE_ALGORITHM'];
    const isSet = word !== undefined && word !== '';
    environmentAlgorithm = isSet ? algorithms.indexOf(toWord(word, 'CONVTRANSPOSE_ALGORITHM', algorithms)) : 0;
  }
  return environmentAlgorithm;
}

export type RunOptionName =
  'memoryFormat' | 'precision' | 'algorithm' | 'invariant' | 'workspaceLimit' | 'activation' | 'numThreads';

export const runOptionNames: readonly RunOptionName[] =
  ['memoryFormat', 'precision', 'algorithm', 'invariant', 'workspaceLimit', 'activation', 'numThreads'];

/** Checks the options that `runOptionNames` lists but `activation`; left out ones take their defaults. */
export function parseRunOptions(raw: RawOptions<RunOptionName>): RunOptions {
  const { memoryFormat, precision, algorithm, invariant, workspaceLimit, numThreads } = raw;
  return {
    format: memoryFormat === undefined ? 0 : memoryFormats.indexOf(toWord(memoryFormat, 'memoryFormat', memoryFormats)),
    precision: precision === undefined ? 0 : precisions.indexOf(toWord(precision, 'precision', precisions)),
    algorithm: algorithm === undefined ? defaultAlgorithm() : algorithms.indexOf(toWord(algorithm, 'algorithm', algorithms)),
    invariant: invariant !== undefined && toBoolean(invariant, 'invariant'),
    workspaceLimit: workspaceLimit === undefined ? 0 : toInteger(workspaceLimit, 'workspaceLimit', 1),
    threads: numThreads === undefined ? 0 : toThreads(numThreads),
  };
}

/** Reads `signal`: any object with the interface of an AbortSignal, so that those of other realms and polyfills work. */
export function readSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  const isSignal = typeof value === 'object' && value !== null && typeof (value as AbortSignal).aborted === 'boolean' &&
    typeof (value as AbortSignal).addEventListener === 'function';
  if (!isSignal) throw typeError('signal', 'an AbortSignal', value);
  return value as AbortSignal;
}
