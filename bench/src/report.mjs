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
 * @property {import('./agreement.mjs').Agreement} [agreement] with onnxruntime, of the side that differs most
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

/** How often ours is faster than the faster one of PyTorch's two. @param {LayerResult} layer */
export function torchRatio({ times: { ours, torch, torchGradient } }) {
  return ours && torchGradient ? Math.min(torch?.min ?? Infinity, torchGradient.min) / ours.min : undefined;
}

/** How often channels-last is faster than contiguous, both ours, with an output of their own. @param {LayerResult} layer */
export function channelsLastRatio({ times: { ours, oursLast } }) {
  return ours && oursLast ? ours.min / oursLast.min : undefined;
}

/** Effective GFLOP/s of the fastest call of ours, with an output of its own. @param {LayerResult} layer */
export const gflops = ({ flops, times: { ours } }) => flops / (ours?.min ?? NaN) / 1e6;

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

/** @param {number | undefined} value */
const ratioText = (value) => value?.toFixed(2) ?? '-';

/** @typedef {{ torch?: boolean, channelsLast?: boolean }} Sides which of the columns that are not always there are shown */

/**
 * Columns on the terminal, of `width` characters, and those with a `heading` also in documents.
 * @type {{ title: string, heading?: string, width: number, left?: boolean, needs?: keyof Sides, text: (layer: LayerResult) => string }[]}
 */
const COLUMNS = [
  { title: 'layer', heading: 'layer', width: 18, left: true, text: ({ name }) => name },
  { title: 'ours min', heading: 'ours ms', width: 8, text: ({ times }) => time(times['ours']?.min) },
  { title: 'median', width: 7, text: ({ times }) => time(times['ours']?.median) },
  { title: 'with out', heading: 'with `out` ms', width: 8, text: ({ times }) => time(times['oursOut']?.min) },
  { title: 'ORT min', heading: 'ORT ms', width: 7, text: ({ times }) => time(times['onnxruntime']?.min) },
  { title: 'median', width: 7, text: ({ times }) => time(times['onnxruntime']?.median) },
  { title: 'ratio', heading: 'ratio', width: 5, text: (layer) => ratioText(ratio(layer)) },
  { title: 'torch', heading: 'PyTorch ms', width: 7, needs: 'torch', text: ({ times }) => time(times['torch']?.min) },
  { title: 'gradient', heading: 'as gradient ms', width: 8, needs: 'torch', text: ({ times }) => time(times['torchGradient']?.min) },
  { title: 'ratio', heading: 'ratio to the faster', width: 6, needs: 'torch', text: (layer) => ratioText(torchRatio(layer)) },
  { title: 'NHWC', heading: 'channels-last ms', width: 7, needs: 'channelsLast', text: ({ times }) => time(times['oursLast']?.min) },
  { title: 'ratio', heading: 'ours / channels-last', width: 5, needs: 'channelsLast', text: (layer) => ratioText(channelsLastRatio(layer)) },
  { title: 'GFLOP/s', heading: 'GFLOP/s', width: 7, text: (layer) => gflops(layer).toFixed(1) },
  { title: '% peak', heading: '% of peak', width: 6, text: (layer) => peakPercent(layer).toFixed(0) },
  { title: 'MiB', heading: 'extra MiB', width: 6, text: ({ extraBytes }) => mebibytes(extraBytes?.['convtranspose']) },
  { title: 'ORT', heading: 'ORT extra MiB', width: 6, text: ({ extraBytes }) => mebibytes(extraBytes?.['onnxruntime']) },
  { title: 'error', width: 5, text: ({ agreement }) => (agreement ? agreement.rms.toExponential(0) : '-') },
  { title: 'algorithm and kernels', width: 0, left: true, text: kernelNames },
];
const ALGORITHM = { heading: 'algorithm', left: true, text: (/** @type {LayerResult} */ { algorithm }) => algorithm };

/** @param {Sides} sides */
const columnsOf = (sides) => COLUMNS.filter(({ needs }) => needs === undefined || sides[needs]);

/** @param {Sides} sides @param {(column: typeof COLUMNS[number]) => string} text */
const line = (sides, text) =>
  columnsOf(sides)
    .map((column) => (column.left ? text(column).padEnd(column.width) : text(column).padStart(column.width)))
    .join('  ')
    .trimEnd();

/** @param {Sides} sides */
export const header = (sides) => line(sides, ({ title }) => title);

/** @param {LayerResult} layer @param {Sides} sides */
export function row(layer, sides) {
  const { agreement } = layer;
  const complaint = agreement && !agreement.agrees ? `  DISAGREES (${agreement.worst.toPrecision(3)} of the bound)` : '';
  return line(sides, ({ text }) => text(layer)) + complaint;
}

/** @param {Sides} sides */
export const legend = ({ torch, channelsLast }) =>
  [
    'Milliseconds; "ours" and the peers allocate their output, "with out" is given one. ratio: ORT min / ours min. % peak: of the',
    'multiply-adds, measured between the timings. MiB: peak memory of the first call beyond input, weights and output. error:',
    'RMS difference from ORT relative to the RMS of the values.',
    ...(torch ? ['torch: conv_transpose; gradient: the gradient of conv, plus the bias; ratio: the faster of both / ours.'] : []),
    ...(channelsLast ? ['NHWC: ours with channels-last tensors; ratio: contiguous / channels-last.'] : []),
  ].join('\n');

/** @param {readonly LayerResult[]} layers @param {string} what @param {(layer: LayerResult) => number | undefined} ratioOf */
function ratioSummary(layers, what, ratioOf) {
  const compared = layers.flatMap((layer) => {
    const value = ratioOf(layer);
    return value === undefined ? [] : [{ name: layer.name, value }];
  });
  if (compared.length === 0) return [];
  const worst = compared.reduce((least, item) => (item.value < least.value ? item : least));
  const slower = compared.filter(({ value }) => value < 1);
  return [
    `${what}: geometric mean ${geometricMean(compared.map(({ value }) => value)).toFixed(2)}, ` +
      `worst ${worst.value.toFixed(2)} (${worst.name})`,
    ...(slower.length > 0 ? [`  below 1: ${slower.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(', ')}`] : []),
  ];
}

/** @param {readonly LayerResult[]} layers @returns {string[]} */
export const summary = (layers) => [
  ...ratioSummary(layers, 'onnxruntime-node / ours', ratio),
  ...ratioSummary(layers, 'the faster of PyTorch / ours', torchRatio),
  ...ratioSummary(layers, 'contiguous / channels-last, ours', channelsLastRatio),
];

/** What ran where, when and how. @param {Report} report */
export function machineLine({ date, machine, versions, options }) {
  const { threads, precision, algorithm, bias } = options;
  const how = [
    `${threads} thread${threads === 1 ? '' : 's'}`,
    ...(precision === 'highest' ? [] : [`precision '${precision}'`]),
    ...(algorithm === 'auto' ? [] : [`algorithm '${algorithm}'`]),
    ...(bias ? ['with a bias'] : []),
  ];
  const against = Object.entries(versions).map((words) => words.join(' '));
  return `**${machine.isa}, ${how.join(', ')}.** ${machine.cpu}, ${machine.platform}, Node ${machine.node}, ${date.slice(0, 10)}; ${against.join(', ')}.`;
}

/** The results as a table of a Markdown document. @param {Report} report */
export function markdown({ layers }) {
  const sides = { torch: layers.some(({ times }) => times['torchGradient']), channelsLast: layers.some(({ times }) => times['oursLast']) };
  const columns = [...columnsOf(sides).filter(({ heading }) => heading), ALGORITHM];
  const titles = columns.map(({ heading }) => heading);
  const alignment = columns.map(({ left }) => (left ? '---' : '--:'));
  const rows = layers.map((layer) => columns.map(({ text }) => text(layer)));
  return [titles, alignment, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n') + '\n';
}
