// @ts-check

/**
 * @typedef {object} Times in milliseconds
 * @property {number} min
 * @property {number} median
 * @property {number} runs
 */

/**
 * @param {readonly number[]} milliseconds at least one
 * @returns {Times}
 */
export function summarize(milliseconds) {
  const sorted = Float64Array.from(milliseconds).sort();
  const half = sorted.length / 2;
  const median = (Number(sorted[Math.ceil(half) - 1]) + Number(sorted[Math.floor(half)])) / 2;
  return { min: Number(sorted[0]), median, runs: sorted.length };
}

/** @param {readonly number[]} values positive */
export function geometricMean(values) {
  return Math.exp(values.reduce((total, value) => total + Math.log(value), 0) / values.length);
}
