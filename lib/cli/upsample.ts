/** `convtranspose upsample`: a picture at twice its size, by the transposed convolution that interpolates bilinearly. */
import path from 'node:path';
import { performance } from 'node:perf_hooks';

import { ConvTranspose2d, getNumThreads, Tensor, type Explanation } from '../index';
import { readSafetensors } from '../io/index';
import { writeAtomically } from '../io/files';
import type { Algorithm } from '../options';
import { parseInteger, UsageError, type Arguments, type CommandSpec } from './command-line';
import { describePicture, encodePng, readPicture, type Picture } from './picture';
import { describeChoice, describeLayer, describeSpeed, formatShape, printRows, type Streams } from './report';

/** The root of the package, seen from lib/cli/ as well as from dist/cli/. */
const assets = path.join(__dirname, '..', '..', 'assets');
const chart = path.join(assets, 'chart.png');
const weightsFile = path.join(assets, 'bilinear-x2.safetensors');

const scale = 2;
const kernel = 4;
/** Pixels by which the picture is continued at every border, by repeating it. */
const border = 1;
/** Cropped from the output: 1 by the layer's own padding, and what the repeated border became. */
const padding = 1 + border * scale;
/** A picture is computed in strips of about this many pixels, whose input and output stay in the caches. */
const stripPixels = 1 << 16;

export const upsampleCommand: CommandSpec = {
  name: 'upsample',
  usage: '[image] [options]',
  summary: 'Doubles the size of a picture; without one, that of the test chart in this package.',
  description: [
    'Doubles the size of a picture with ConvTranspose2d(C, C, 4, { stride: 2, padding: 1, groups: C }) and the bilinear weights that this',
    'package brings along. The border is repeated before and cropped after, so that the whole result is what bilinear interpolation',
    'between the centres of pixels gives. Writes a PNG file; prints shapes, kernels, time and speed.',
    '',
    'All formats that sharp reads (JPEG, PNG, WebP, AVIF, TIFF, GIF, SVG). Grey pictures stay grey, colours become sRGB, alpha is',
    'interpolated like a colour, 16-bit pictures keep 16 bits, the orientation that a camera noted is applied.',
  ],
  operands: { name: '[image]', help: 'A picture that sharp reads. Default: the test chart in this package.' },
  options: [
    { name: 'output', value: 'FILE', help: 'The PNG file to write; it is replaced if it is there. Default: <name>-x2.png in the current folder.' },
    { name: 'algorithm', value: 'A', help: 'auto, direct or reference. Default auto.' },
    { name: 'num-threads', alias: 'threads', value: 'N', help: 'Threads of the computation. Default: all that the process may use.' },
  ],
  examples: ['convtranspose upsample', 'convtranspose upsample photo.jpg', 'convtranspose upsample photo.jpg --output large.png --threads 1'],
};

export interface UpsampleOptions {
  readonly algorithm?: Algorithm | undefined;
  readonly numThreads?: number | undefined;
  /** Called with the part that is done, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

export interface Upsampled {
  readonly picture: Picture;
  readonly layer: string;
  /** Shapes of one strip; there are `strips`. */
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
  readonly strips: number;
  readonly explanation: Explanation;
  /** Time of the layer alone, and its operations. */
  readonly seconds: number;
  readonly flops: number;
}

/** Rows `first - 1` to `first + rows` of a picture as [1, C, rows + 2, width + 2]; beyond its borders the nearest pixels. */
function padStrip({ width, height, channels, samples }: Picture, first: number, rows: number, out: Float32Array): void {
  let to = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = first - border; y < first + rows + border; y++) {
      const row = Math.min(height - 1, Math.max(0, y)) * width * channels + channel;
      out[to++] = samples[row] as number;
      for (let x = 0; x < width; x++) out[to++] = samples[row + x * channels] as number;
      out[to++] = samples[row + (width - 1) * channels] as number;
    }
  }
}

/** Rounds planes [1, C, rows, width] into the rows of a picture from `first` on. The values lie in the range of the samples. */
function storeStrip(planes: Float32Array, { width, channels, samples }: Picture, first: number, rows: number): void {
  let from = 0;
  for (let channel = 0; channel < channels; channel++) {
    const begin = first * width * channels + channel;
    const end = begin + rows * width * channels;
    for (let to = begin; to < end; to += channels) samples[to] = (planes[from++] as number) + 0.5;
  }
}

/** The filters of the file, one per channel of the picture; a fourth channel takes the first filter again. */
function filtersFor(channels: number, filters: Tensor): Tensor {
  const weight = Tensor.empty([channels, 1, kernel, kernel]);
  const size = kernel * kernel;
  const count = filters.data.length / size;
  for (let i = 0; i < channels; i++) weight.data.set(filters.data.subarray((i % count) * size, ((i % count) + 1) * size), i * size);
  return weight;
}

/** Doubles a picture. `filters` is [c, 1, 4, 4]. */
export async function upsample(picture: Picture, filters: Tensor, options: UpsampleOptions = {}): Promise<Upsampled> {
  const { width, height, channels, samples } = picture;
  const maximum = samples.BYTES_PER_ELEMENT === 2 ? 65535 : 255;
  const { algorithm, numThreads, onProgress } = options;
  const layer = new ConvTranspose2d(channels, channels, kernel, {
    stride: scale, padding, groups: channels, weight: filtersFor(channels, filters), activation: { type: 'clamp', min: 0, max: maximum },
    algorithm, numThreads,
  });
  try {
    // All strips have the same height: the last one begins early enough, and computes some rows again.
    const strips = Math.ceil(height / Math.max(1, Math.floor(stripPixels / width)));
    const rows = Math.ceil(height / strips);
    const input = Tensor.empty([1, channels, rows + 2 * border, width + 2 * border]);
    const output = Tensor.empty([1, channels, rows * scale, width * scale]);
    const Samples = maximum === 255 ? Uint8Array : Uint16Array;
    const result: Picture = { width: width * scale, height: height * scale, channels, samples: new Samples(samples.length * scale ** 2) };
    await layer.prepareAsync(input.shape);
    let milliseconds = 0;
    for (let strip = 0; strip < strips; strip++) {
      const first = Math.min(strip * rows, height - rows);
      padStrip(picture, first, rows, input.data);
      const begin = performance.now();
      await layer.forwardAsync(input, { out: output });
      milliseconds += performance.now() - begin;
      storeStrip(output.data, result, first * scale, rows * scale);
      onProgress?.((strip + 1) / strips);
    }
    const explanation = layer.explain(input.shape);
    return {
      picture: result, layer: describeLayer(layer), inputShape: input.shape, outputShape: output.shape, strips, explanation,
      seconds: milliseconds / 1e3, flops: explanation.flops * strips,
    };
  } finally {
    layer.dispose();
  }
}

/** Shows progress on a line of a terminal that is wiped at the end; nothing elsewhere. */
function progressOf({ stderr }: Streams): (done: number) => void {
  if (stderr.isTTY !== true) return () => undefined;
  return (done) => stderr.write(done < 1 ? `\rupsampling ${Math.floor(done * 100)}%` : '\r\x1b[K');
}

export async function upsampleFile(args: Arguments, streams: Streams): Promise<void> {
  const file = args.operands[0] ?? chart;
  const output = args.values.get('output') ?? `${path.parse(file).name}-x2.png`;
  if (path.extname(output).toLowerCase() !== '.png') throw new UsageError(`--output needs a name that ends in .png, not ${JSON.stringify(output)}`);
  const threads = args.values.get('num-threads');
  const numThreads = threads === undefined ? undefined : parseInteger(threads, 'num-threads');
  const { weight } = await readSafetensors(weightsFile, { names: ['weight'] });
  const picture = await readPicture(file);
  const upsampled = await upsample(picture, weight as Tensor, {
    algorithm: args.values.get('algorithm') as Algorithm | undefined, numThreads, onProgress: progressOf(streams),
  });
  await writeAtomically({ argument: 'output', file: output }, output, [await encodePng(upsampled.picture)]);
  const { inputShape, outputShape, strips, explanation, seconds, flops } = upsampled;
  const times = strips === 1 ? '' : ` in ${strips} strips`;
  printRows(streams, [
    ['picture', `${describePicture(picture)}, ${file}`],
    ['weights', `${formatShape((weight as Tensor).shape)}, ${weightsFile}`],
    ['layer', upsampled.layer],
    ['input', `${formatShape(inputShape)}${times}: the picture with its border repeated`],
    ['output', `${formatShape(outputShape)}${times}`],
    ['choice', describeChoice(explanation)],
    ['time', describeSpeed(seconds, flops, numThreads ?? getNumThreads())],
    ['result', `${describePicture(upsampled.picture)}, ${output}`],
  ]);
}
