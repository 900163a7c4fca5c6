// @ts-check
/** Do two implementations agree, as closely as their rounding errors allow? */
import { outputSize, product } from './problem.mjs';

/**
 * How many products reach each output position of one dimension.
 * @param {import('./problem.mjs').Problem} problem
 * @param {number} dimension
 */
function productCounts(problem, dimension) {
  const at = (/** @type {readonly number[]} */ sizes) => /** @type {number} */ (sizes[dimension]);
  const counts = new Array(at(outputSize(problem))).fill(0);
  for (let i = 0; i < at(problem.inputSize); i++) {
    for (let k = 0; k < at(problem.kernelSize); k++) {
      const o = i * at(problem.stride) - at(problem.padding) + k * at(problem.dilation);
      if (o >= 0 && o < counts.length) counts[o]++;
    }
  }
  return counts;
}

/**
 * n - 1 for every output point: products that reach it.
 * @param {import('./problem.mjs').Problem} problem
 */
export function productsReaching(problem) {
  const perGroup = problem.inChannels / problem.groups;
  let points = [perGroup];
  for (let d = 0; d < problem.spatialDims; d++) {
    const counts = productCounts(problem, d);
    points = points.flatMap((outer) => counts.map((count) => outer * count));
  }
  return points;
}

/**
 * @typedef {object} Agreement
 * @property {boolean} agrees
 * @property {number} worst largest difference, in parts of what two implementations within the bound may differ by
 * @property {number} rms root of the mean square difference, relative to that of the values
 */

/**
 * Compares contiguous results. Direct summation in any order keeps |error| <= 2^-22 sqrt(n) B + n 2^-126 on data of mixed
 * signs, with n = products reaching the output + 1 and B = |bias| + sum |x||w| at that output; two results may differ by
 * twice that. A method that sums transformed values (`elementwise` false) has no such bound: the RMS difference counts.
 * @param {import('./problem.mjs').Problem} problem
 * @param {Float32Array} actual
 * @param {Float32Array} expected
 * @param {Float32Array} magnitudes B
 * @param {boolean} elementwise
 * @param {number} rmsLimit
 * @returns {Agreement}
 */
export function compare(problem, actual, expected, magnitudes, elementwise, rmsLimit) {
  const count = product([problem.batch, problem.outChannels, ...outputSize(problem)]);
  if (actual.length !== count || expected.length !== count || magnitudes.length !== count) {
    throw new RangeError(`expected ${count} values, got ${actual.length}, ${expected.length}, ${magnitudes.length}`);
  }
  const limits = productsReaching(problem).map((products) => {
    const n = products + 1;
    return { scale: 2 * 2 ** -22 * Math.sqrt(n), floor: 2 * n * 2 ** -126 };
  });
  let worst = 0;
  let squares = 0;
  let errorSquares = 0;
  for (let first = 0; first < count; first += limits.length) {
    for (let point = 0; point < limits.length; point++) {
      const { scale, floor } = /** @type {{scale: number, floor: number}} */ (limits[point]);
      const value = /** @type {number} */ (expected[first + point]);
      const error = Math.abs(/** @type {number} */ (actual[first + point]) - value);
      const part = error / (scale * /** @type {number} */ (magnitudes[first + point]) + floor);
      worst = Math.max(worst, part); // NaN if any is
      squares += value * value;
      errorSquares += error * error;
    }
  }
  const rms = Math.sqrt(errorSquares / squares);
  return { agrees: (elementwise ? worst <= 1 : true) && rms <= rmsLimit, worst, rms };
}
