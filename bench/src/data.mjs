// @ts-check
/** The same random data for every side of a comparison. */
import { inputShape, product, weightShape } from './problem.mjs';

/**
 * Values of both signs, evenly spread in [-1, 1), the same for the same seed.
 * @param {number} count
 * @param {number} seed
 */
export function randomValues(count, seed) {
  const values = new Float32Array(count);
  let state = (seed * 0x9e3779b9) >>> 0 || 1;
  for (let i = 0; i < count; i++) {
    // xorshift32: period 2^32 - 1, and no multiplication
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = (state | 0) / 2 ** 31;
  }
  return values;
}

/**
 * @typedef {object} LayerData
 * @property {Float32Array} input contiguous
 * @property {Float32Array} weight
 * @property {Float32Array | null} bias
 */

/**
 * @param {import('./problem.mjs').Problem} problem
 * @param {boolean} withBias
 * @returns {LayerData}
 */
export function randomData(problem, withBias) {
  return {
    input: randomValues(product(inputShape(problem)), 1),
    weight: randomValues(product(weightShape(problem)), 2),
    bias: withBias ? randomValues(problem.outChannels, 3) : null,
  };
}

/**
 * [batch, channels, points] -> [batch, points, channels], or back when the two sizes are swapped.
 * @param {Float32Array} source
 * @param {number} batch
 * @param {number} rows
 * @param {number} columns
 */
export function transposed(source, batch, rows, columns) {
  const result = new Float32Array(source.length);
  for (let n = 0; n < batch; n++) {
    const first = n * rows * columns;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        result[first + j * rows + i] = /** @type {number} */ (source[first + i * columns + j]);
      }
    }
  }
  return result;
}
