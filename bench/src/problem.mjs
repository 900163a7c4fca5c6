// @ts-check
/**
 * Problems as text, the same in the suite, on the command line, in reports and in the native benches:
 *
 *     n16 c512 o256 i4x4 k4x4 s2x2 p1x1 op0x0 d1x1 g1
 *
 * c, o, i and k are required: channels in and out (all groups together), input size, kernel size. n (batch) and g (groups)
 * default to 1, s (stride) and d (dilation) to 1, p (padding) and op (output padding) to 0. The number of sizes behind i is
 * the number of spatial dimensions; the other sizes have as many, or one for all. Order is free, each word once.
 *
 * This file needs nothing but Node.
 */
import { readFileSync } from 'node:fs';

/**
 * One transposed convolution; the arrays have one entry per spatial dimension.
 * @typedef {object} Problem
 * @property {string} name of the suite; the text itself for one's own
 * @property {number} spatialDims
 * @property {number} batch
 * @property {number} inChannels all groups together
 * @property {number} outChannels all groups together
 * @property {number} groups
 * @property {number[]} inputSize
 * @property {number[]} kernelSize
 * @property {number[]} stride
 * @property {number[]} padding
 * @property {number[]} outputPadding
 * @property {number[]} dilation
 * @property {string} [source] where the layer comes from
 */

/** Word -> field; a `fallback` of undefined means required; `perDimension` fields are arrays. */
const WORDS = /** @type {const} */ ({
  n: { field: 'batch', fallback: 1, perDimension: false, least: 1 },
  c: { field: 'inChannels', fallback: undefined, perDimension: false, least: 1 },
  o: { field: 'outChannels', fallback: undefined, perDimension: false, least: 1 },
  i: { field: 'inputSize', fallback: undefined, perDimension: true, least: 1 },
  k: { field: 'kernelSize', fallback: undefined, perDimension: true, least: 1 },
  s: { field: 'stride', fallback: 1, perDimension: true, least: 1 },
  p: { field: 'padding', fallback: 0, perDimension: true, least: 0 },
  op: { field: 'outputPadding', fallback: 0, perDimension: true, least: 0 },
  d: { field: 'dilation', fallback: 1, perDimension: true, least: 1 },
  g: { field: 'groups', fallback: 1, perDimension: false, least: 1 },
});

/**
 * @param {string} text
 * @param {string} [name]
 * @returns {Problem}
 * @throws {RangeError} that names the word that is wrong
 */
export function parseProblem(text, name = text) {
  /** @type {Map<string, number[]>} */
  const words = new Map();
  for (const word of text.trim().split(/\s+/)) {
    const match = /^([a-z]+)(\d+(?:x\d+)*)$/.exec(word);
    const key = match?.[1] ?? '';
    if (!match || !Object.hasOwn(WORDS, key)) {
      throw new RangeError(`"${word}": expected one of ${Object.keys(WORDS).join(' ')} with its sizes, such as i16x16`);
    }
    if (words.has(key)) throw new RangeError(`"${word}": given twice`);
    words.set(key, (match[2] ?? '').split('x').map(Number));
  }
  const rank = words.get('i')?.length ?? 0;
  if (rank > 3) throw new RangeError('i: at most 3 spatial dimensions');

  /** @type {Record<string, number | number[]>} */
  const fields = {};
  for (const [word, { field, fallback, perDimension, least }] of Object.entries(WORDS)) {
    const sizes = words.get(word) ?? (fallback === undefined ? undefined : [fallback]);
    if (!sizes) throw new RangeError(`"${word}" is missing`);
    if (sizes.length !== 1 && (!perDimension || sizes.length !== rank)) {
      throw new RangeError(`${word}: expected ${perDimension ? `1 or ${rank} sizes` : 'one number'}, got ${sizes.length}`);
    }
    if (sizes.some((size) => size < least)) throw new RangeError(`${word}: expected at least ${least}, got ${sizes.join('x')}`);
    const first = /** @type {number} */ (sizes[0]);
    fields[field] = !perDimension ? first : sizes.length === rank ? sizes : Array.from({ length: rank }, () => first);
  }
  const problem = /** @type {Problem} */ (/** @type {unknown} */ ({ name, spatialDims: rank, ...fields }));
  if (problem.inChannels % problem.groups !== 0 || problem.outChannels % problem.groups !== 0) {
    throw new RangeError(`g: expected a divisor of c and o, got ${problem.groups}`);
  }
  if (outputSize(problem).some((size) => size < 1)) {
    throw new RangeError(`"${text}": expected an output of at least one point, got ${outputSize(problem).join('x')}`);
  }
  return problem;
}

/**
 * The text of a problem, every word spelt out.
 * @param {Problem} problem
 */
export function formatProblem(problem) {
  return Object.entries(WORDS)
    .map(([word, { field }]) => word + [problem[field]].flat().join('x'))
    .join(' ');
}

/**
 * The layers of a suite file.
 * @param {string | URL} file
 * @returns {Problem[]}
 */
export function readSuite(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

/** The suite that the benches run by default. */
export const SUITE_FILE = new URL('../suite/layers.json', import.meta.url);

/**
 * Spatial size of the output.
 * @param {Problem} problem
 */
export function outputSize(problem) {
  const { stride, padding, kernelSize, dilation, outputPadding } = problem;
  return problem.inputSize.map((size, d) => {
    const [s, p, k, dil, op] = [stride, padding, kernelSize, dilation, outputPadding].map((sizes) => Number(sizes[d]));
    return (size - 1) * Number(s) - 2 * Number(p) + Number(dil) * (Number(k) - 1) + Number(op) + 1;
  });
}

/** @param {Problem} problem */
export const inputShape = (problem) => [problem.batch, problem.inChannels, ...problem.inputSize];

/** @param {Problem} problem */
export const outputShape = (problem) => [problem.batch, problem.outChannels, ...outputSize(problem)];

/** @param {Problem} problem */
export const weightShape = (problem) => [problem.inChannels, problem.outChannels / problem.groups, ...problem.kernelSize];

/** @param {readonly number[]} sizes */
export const product = (sizes) => sizes.reduce((total, size) => total * size, 1);

/**
 * Effective operations: 2 * batch * inChannels * outChannels/groups * points of the input * points of the kernel.
 * @param {Problem} problem
 */
export function flops(problem) {
  return 2 * product(inputShape(problem)) * (problem.outChannels / problem.groups) * product(problem.kernelSize);
}

/**
 * The problems of `suite` whose name matches a pattern (* and ? match), in the order of the suite.
 * @param {readonly Problem[]} suite
 * @param {readonly string[]} patterns
 * @throws {RangeError} for a pattern that matches nothing
 */
export function selectLayers(suite, patterns) {
  const expressions = patterns.map((pattern) => {
    const source = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
    const expression = new RegExp(`^${source}$`);
    if (!suite.some(({ name }) => expression.test(name))) {
      throw new RangeError(`--layer: no layer of the suite is called "${pattern}"`);
    }
    return expression;
  });
  return suite.filter(({ name }) => expressions.some((expression) => expression.test(name)));
}
