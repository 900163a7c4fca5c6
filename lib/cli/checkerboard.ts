/** `convtranspose checkerboard`: how evenly a layer spreads its products, in numbers and as a picture. */
import path from 'node:path';

import { checkerboard, type Checkerboard, type CheckerboardQuery, type Period } from '../index';
import { writeAtomically } from '../io/files';
import { parsePerDimension, UsageError, type Arguments, type CommandSpec, type OptionSpec } from './command-line';
import { drawGrid, printGrid, type Grid } from './heatmap';
import { convertOption, layerOptions, parseLayerOptions, readWeights, weightOptions } from './layer';
import { encodePng } from './picture';
import { printRows, type Streams } from './report';

const shapeNames = ['stride', 'padding', 'output-padding', 'dilation', 'groups'];
const shapeOptions: readonly OptionSpec[] = layerOptions.filter(({ name }) => shapeNames.includes(name));

export const checkerboardCommand: CommandSpec = {
  name: 'checkerboard',
  usage: '(--kernel-size SIZES | --weights FILE) [options]',
  summary: 'Shows the checkerboard pattern of a layer, measures it, and says what to do about it.',
  description: [
    'Counts how many products reach each output (the overlap), from the parameters alone, and, with --weights, measures what inputs',
    'that are flat in every channel become under these weights.',
    '',
    'Unevenness is the root mean square of the pattern divided by that of the whole output: 0 is flat, 1 is nothing but pattern.',
    'With --weights the picture shows what the pair of channels with the strongest pattern makes of a flat input, without them the',
    'overlap: of a whole output if --input-size is given, else of some periods. Bright is more.',
  ],
  options: [
    { name: 'kernel-size', value: 'N[,N...]', help: 'One number, or one per dimension; without lists there are two dimensions.' },
    ...weightOptions,
    convertOption,
    ...shapeOptions,
    { name: 'input-size', value: 'N[,N...]', help: 'Spatial sizes of an input, for a map of the whole output with its borders.' },
    { name: 'picture', value: 'FILE', help: 'Write the picture to a PNG file (needs sharp) instead of the terminal.' },
    { name: 'json', value: null, help: 'Print what checkerboard() of the API returns, as JSON.' },
  ],
  examples: [
    'convtranspose checkerboard --kernel-size 3 --stride 2 --padding 1 --output-padding 1',
    'convtranspose checkerboard --kernel-size 5 --stride 3 --input-size 12,12 --picture overlap.png',
    'convtranspose checkerboard --weights generator.safetensors --weight-name up1.weight --stride 2 --padding 1',
  ],
};

async function readQuery(args: Arguments): Promise<CheckerboardQuery> {
  const perDimension = (name: string): number | number[] | undefined => {
    const text = args.values.get(name);
    return text === undefined ? undefined : parsePerDimension(text, name);
  };
  const { stride, padding, outputPadding, dilation, groups } = parseLayerOptions(args);
  const file = args.values.get('weights');
  const kernelSize = perDimension('kernel-size');
  if (file === undefined && kernelSize === undefined) throw new UsageError('one of --kernel-size and --weights is needed');
  const weight = file === undefined ? undefined : (await readWeights(args, file)).weight;
  return { kernelSize, stride, padding, outputPadding, dilation, groups, inputSize: perDimension('input-size'), weight };
}

/** Entries of a picture of repeated periods along each side, at least. */
const shownEntries = 24;

/** Several periods of a map; of three dimensions the slices of one period, side by side. */
function tile({ data, shape }: Period): Grid {
  const [depth, rows, columns] = [...new Array<number>(3 - shape.length).fill(1), ...shape] as [number, number, number];
  const repeated = (size: number): number => size * Math.max(1, Math.ceil(shownEntries / size));
  // A single row would be a line: it is drawn as a band.
  const height = shape.length === 1 ? 4 : repeated(rows);
  const sliceWidth = repeated(columns);
  const width = sliceWidth * depth;
  const values = Array.from({ length: width * height }, (_, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    const slice = Math.floor(x / sliceWidth);
    return data[(slice * rows + (y % rows)) * columns + (x % columns)] as number;
  });
  return { width, height, values };
}

/** The map of a whole output; of three dimensions the slice in the middle, of one dimension a band. */
function whole({ shape, data }: NonNullable<Checkerboard['map']>): Grid {
  const [depth, rows, columns] = [...new Array<number>(3 - shape.length).fill(1), ...shape] as [number, number, number];
  const slice = data.subarray(Math.floor(depth / 2) * rows * columns).subarray(0, rows * columns);
  if (shape.length > 1) return { width: columns, height: rows, values: slice };
  return { width: columns, height: 4, values: Float32Array.from({ length: 4 * columns }, (_, i) => slice[i % columns] as number) };
}

/** One period in figures: a line per row, a blank line between slices. */
function figures({ data, shape }: Period): string {
  const columns = shape.at(-1) ?? 1;
  const rows = shape.at(-2) ?? 1;
  const texts = Array.from(data, (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4)));
  const width = Math.max(...texts.map(({ length }) => length));
  const lines: string[] = [];
  for (let i = 0; i < texts.length; i += columns) {
    if (i > 0 && i % (rows * columns) === 0) lines.push('');
    lines.push(`    ${texts.slice(i, i + columns).map((text) => text.padStart(width)).join('  ')}`);
  }
  return lines.join('\n');
}

/** Figures are printed of periods of at most this many entries. */
const mostFigures = 256;

function describeMeasure(unevenness: number): string {
  return `${unevenness.toFixed(4)} (${unevenness === 0 ? 'flat' : `${(unevenness * 100).toFixed(1)} % of the output is pattern`})`;
}

function report(found: Checkerboard, streams: Streams): void {
  const { overlap, unevenness, borders, weight, advice } = found;
  const rows: [string, string][] = [
    ['overlap', `${Math.min(...overlap.data)} to ${Math.max(...overlap.data)} products reach an output`],
    ['unevenness', describeMeasure(unevenness)],
  ];
  if (borders !== null) rows.push(['borders', `${borders.map(([begin, end]) => `${begin} and ${end}`).join(', ')} rows at the ends of each dimension are reached by fewer`]);
  if (weight !== null) {
    const sorted = [...weight.channels].sort((a, b) => a - b);
    rows.push(
      ['weights', describeMeasure(weight.unevenness)],
      ['channels', `${(sorted[0] as number).toFixed(4)} to ${(sorted.at(-1) as number).toFixed(4)}, median ${(sorted[sorted.length >> 1] as number).toFixed(4)}`],
      ['strongest', `input channel ${weight.worst.inputChannel} in output channel ${weight.worst.outputChannel}`],
    );
  }
  printRows(streams, rows);
  const period = weight?.worst.response ?? overlap;
  if (period.data.length <= mostFigures) {
    streams.stdout.write(`\n  ${weight === null ? 'One period of the overlap' : 'One period of the strongest answer to a flat input'}:\n${figures(period)}\n`);
  }
  for (const sentence of advice) streams.stdout.write(`\n  Advice: ${sentence}.\n`);
}

/** Typed arrays as plain lists. */
function toJson(found: Checkerboard): string {
  return JSON.stringify(found, (_key, value: unknown) => (ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value), 2);
}

export async function showCheckerboard(args: Arguments, streams: Streams): Promise<void> {
  const file = args.values.get('picture');
  if (file !== undefined && path.extname(file).toLowerCase() !== '.png') {
    throw new UsageError(`--picture needs a name that ends in .png, not ${JSON.stringify(file)}`);
  }
  const found = checkerboard(await readQuery(args));
  const grid = found.weight !== null ? tile(found.weight.worst.response) : found.map !== null ? whole(found.map) : tile(found.overlap);
  if (file !== undefined) await writeAtomically({ argument: 'picture', file }, file, [await encodePng(drawGrid(grid))]);
  if (args.values.has('json')) {
    streams.stdout.write(`${toJson({ ...found, map: found.map === null ? null : found.map })}\n`);
    return;
  }
  report(found, streams);
  if (file !== undefined) {
    streams.stdout.write(`\n  picture: ${file}\n`);
  } else {
    const { isTTY = false, columns = 80, rows = 24 } = streams.stdout;
    streams.stdout.write(`\n${printGrid(grid, { columns: Math.min(columns, 80), lines: Math.min(rows, 24), colours: isTTY && !process.env['NO_COLOR'] })}\n`);
  }
}
