// @ts-check
/** What a bench found, as lines of a terminal, as JSON and as a table of a document. */
import { geometricMean } from './statistics.mjs';

/**
 * @typedef {object} LayerResult
 * @property {string} name
 * @property {string} problem
 * @property {number} flops effective
 * @property {number} peakGflops of the multiply-adds, measured between the timings of this layer
 * @property {Record<string, import('./statistics.mjs').Times>} times milliseconds by side: ours (an output of its own at each
 *   call), oursOut (a preallocated one) and onnxruntime
 * @property {string} algorithm
 * @property {string[]} kernels
 * @property {string} precision that really ran
 * @property {number} workspaceBytes per thread
 * @property {number} packedBytes
 * @property {import('./agreement.mjs').Agreement} [agreement] with onnxruntime
 * @property {Record<string, number>} [extraBytes] peak memory beyond input, weights and output, by side
 */

/**
 * @typedef {object} Report
 * @property {string} date
 * @property {{ cpu: string, isa: string, node: string, platform: string }} machine
 * @property {Record<string, string>} versions
 * @property {Record<string, unknown>} options
 * @property {LayerResult[]} layers
 */

/** How often ours is faster than onnxruntime, minimum against minimum, both with an output of their own. @param {LayerResult} layer */
export function ratio({ times: { ours, onnxruntime } }) {
  return ours && onnxruntime ? onnxruntime.min / ours.min : undefined;
}

/** Effective GFLOP/s of the fastest call of ours, with or without a preallocated output. @param {LayerResult} layer */
export function gflops({ flops, times: { ours, oursOut } }) {
  return flops / Math.min(ours?.min ?? Infinity, oursOut?.min ?? Infinity) / 1e6;
}

/** @param {LayerResult} layer */
const peakPercent = (layer) => (100 * gflops(layer)) / layer.peakGflops;

/** @param {number | undefined} value milliseconds */
const time = (value) => (value === undefined ? '-' : value.toFixed(value < 1 ? 4 : value < 100 ? 2 : 1));

/** @param {number | undefined} bytes */
const mebibytes = (bytes) => (bytes === undefined ? '-' : (bytes / 2 ** 20).toFixed(1));

/**
 * "direct-wide/avx512/4x6 direct-wide/avx512/4x3" -> "direct-wide 4x6 4x3": the instruction set stands above the table.
 * @param {LayerResult} layer
 */
function kernelNames({ algorithm, kernels }) {
  return [algorithm, ...kernels.map((name) => (name.startsWith(`${algorithm}/`) ? name.replace(/^.*\//, '') : name))].join(' ');
}

/** @type {{ title: string, width: number, left?: boolean, text: (layer: LayerResult) => string }[]} */
const COLUMNS = [
  { title: 'layer', width: 18, left: true, text: ({ name }) => name },
  { title: 'ours min', width: 9, text: ({ times }) => time(times['ours']?.min) },
  { title: 'median', width: 8, text: ({ times }) => time(times['ours']?.median) },
  { title: 'with out', width: 8, text: ({ times }) => time(times['oursOut']?.min) },
  { title: 'ORT min', width: 8, text: ({ times }) => time(times['onnxruntime']?.min) },
  { title: 'median', width: 8, text: ({ times }) => time(times['onnxruntime']?.median) },
  { title: 'ratio', width: 6, text: (layer) => ratio(layer)?.toFixed(2) ?? '-' },
  { title: 'GFLOP/s', width: 7, text: (layer) => gflops(layer).toFixed(1) },
  { title: '% peak', width: 6, text: (layer) => peakPercent(layer).toFixed(0) },
  { title: 'MiB', width: 6, text: ({ extraBytes }) => mebibytes(extraBytes?.['convtranspose']) },
  { title: 'ORT', width: 6, text: ({ extraBytes }) => mebibytes(extraBytes?.['onnxruntime']) },
  { title: 'error', width: 7, text: ({ agreement }) => (agreement ? agreement.rms.toExponential(0) : '-') },
  { title: 'algorithm and kernels', width: 0, left: true, text: kernelNames },
];

/** @param {(column: typeof COLUMNS[number]) => string} text */
const line = (text) =>
  COLUMNS.map((column) => (column.left ? text(column).padEnd(column.width) : text(column).padStart(column.width)))
    .join('  ')
    .trimEnd();

export const header = () => line(({ title }) => title);

/** @param {LayerResult} layer */
export function row(layer) {
  const { agreement } = layer;
  const complaint = agreement && !agreement.agrees ? `  DISAGREES (${agreement.worst.toPrecision(3)} of the bound)` : '';
  return line(({ text }) => text(layer)) + complaint;
}

export const legend = [
  'Milliseconds; "ours" and ORT allocate their output, "with out" is given one. ratio: ORT min / ours min. % peak: of the',
  'multiply-adds, measured between the timings. MiB: peak memory of the first call beyond input, weights and output. error:',
  'RMS difference from ORT relative to the RMS of the values.',
].join('\n');

/** @param {readonly LayerResult[]} layers @returns {string[]} */
export function summary(layers) {
  const compared = layers.flatMap((layer) => {
    const value = ratio(layer);
    return value === undefined ? [] : [{ name: layer.name, value }];
  });
  if (compared.length === 0) return [];
  const worst = compared.reduce((least, item) => (item.value < least.value ? item : least));
  const slower = compared.filter(({ value }) => value < 1);
  return [
    `ratio to onnxruntime-node: geometric mean ${geometricMean(compared.map(({ value }) => value)).toFixed(2)}, ` +
      `worst ${worst.value.toFixed(2)} (${worst.name})`,
    ...(slower.length > 0 ? [`slower than it: ${slower.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(', ')}`] : []),
  ];
}

/** The results as a table of a Markdown document. @param {Report} report */
export function markdown({ layers }) {
  const titles = ['layer', 'ours ms', 'with `out` ms', 'ORT ms', 'ratio', 'GFLOP/s', '% of peak', 'extra MiB', 'ORT extra MiB', 'algorithm'];
  const rows = layers.map((layer) => [
    layer.name,
    time(layer.times['ours']?.min),
    time(layer.times['oursOut']?.min),
    time(layer.times['onnxruntime']?.min),
    ratio(layer)?.toFixed(2) ?? '-',
    gflops(layer).toFixed(1),
    peakPercent(layer).toFixed(0),
    mebibytes(layer.extraBytes?.['convtranspose']),
    mebibytes(layer.extraBytes?.['onnxruntime']),
    layer.algorithm,
  ]);
  const alignment = titles.map((_, i) => (i === 0 || i === titles.length - 1 ? '---' : '--:'));
  return [titles, alignment, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n') + '\n';
}
