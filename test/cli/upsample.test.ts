import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterEach, describe, expect, jest, test } from '@jest/globals';
import sharp from 'sharp';

import type { Picture } from '../../lib/cli/picture';
import { upsample } from '../../lib/cli/upsample';
import { readSafetensors } from '../../lib/io/index';
import type { Tensor } from '../../lib/index';
import { convtranspose, temporaryFolder } from './support';

const root = path.join(__dirname, '..', '..');
const chart = path.join(root, 'assets', 'chart.png');
const folder = temporaryFolder();

// Global names are slow to look up under jest, and these are needed for every sample.
const { abs, floor, max, min } = Math;

/** The largest difference between `doubled` and the bilinear interpolation of `source` between the centres of its pixels, in double. */
function largestError(source: Picture, doubled: Picture): number {
  const { width, height, channels, samples } = source;
  expect([doubled.width, doubled.height, doubled.channels]).toEqual([2 * width, 2 * height, channels]);
  expect(doubled.samples.length).toBe(4 * samples.length);
  const nearest = (x: number, y: number, c: number) => {
    const column = min(width - 1, max(0, x));
    const row = min(height - 1, max(0, y));
    return samples[(row * width + column) * channels + c] as number;
  };
  let largest = 0;
  for (let y = 0; y < 2 * height; y++) {
    for (let x = 0; x < 2 * width; x++) {
      const sourceX = (x + 0.5) / 2 - 0.5;
      const sourceY = (y + 0.5) / 2 - 0.5;
      const left = floor(sourceX);
      const top = floor(sourceY);
      const right = sourceX - left;
      const bottom = sourceY - top;
      for (let c = 0; c < channels; c++) {
        const upper = nearest(left, top, c) * (1 - right) + nearest(left + 1, top, c) * right;
        const lower = nearest(left, top + 1, c) * (1 - right) + nearest(left + 1, top + 1, c) * right;
        const exact = upper * (1 - bottom) + lower * bottom;
        const got = doubled.samples[(y * doubled.width + x) * channels + c] as number;
        largest = max(largest, abs(got - exact));
      }
    }
  }
  return largest;
}

/** A file decoded by sharp, independently of the reader under test. */
async function decode(file: string, space: 'srgb' | 'b-w' | 'rgb16' | 'grey16' = 'srgb'): Promise<Picture> {
  const isDeep = space.endsWith('16');
  const { data, info } = await sharp(file).toColourspace(space).raw({ depth: isDeep ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true });
  const samples = isDeep ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2) : data;
  return { width: info.width, height: info.height, channels: info.channels, samples };
}

/** Grey samples as colours: three times each, then alpha if there is one. */
function asColours({ width, height, channels, samples }: Picture): Picture {
  const pixels = Array.from({ length: width * height }, (_, i) => [...samples.subarray(i * channels, (i + 1) * channels)]);
  const colours = Uint8Array.from(pixels.flatMap(([grey, ...alpha]) => [grey, grey, grey, ...alpha] as number[]));
  return { width, height, channels: channels + 2, samples: colours };
}

/** Noise with the extremes in it. */
function noise(count: number, isDeep: boolean): Uint8Array | Uint16Array {
  let state = 12345;
  return (isDeep ? new Uint16Array(count) : new Uint8Array(count)).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const level = (state >>> 8) % 11;
    if (level === 0) return 0;
    return level === 1 ? 65535 : state >>> 16;
  });
}

/** Rounding alone: the sums are exact in float32. */
const rounding = 0.5;

describe('the main job', () => {
  test('doubles the shipped chart, and says what it did', async () => {
    const output = path.join(folder, 'chart-x2.png');
    const { code, stdout, stderr } = await convtranspose(['upsample', '--output', output]);
    expect([code, stderr]).toEqual([0, '']);
    expect(largestError(await decode(chart), await decode(output))).toBeLessThanOrEqual(rounding);
    expect(stdout).toMatch(/picture +480 x 320, RGB, 8 bits, .*chart\.png/);
    expect(stdout).toMatch(/weights +\[3, 1, 4, 4\], .*bilinear-x2\.safetensors/);
    expect(stdout).toMatch(/layer +ConvTranspose2d\(3, 3, 4, \{ stride: 2, padding: 3, groups: 3 \}\)/);
    expect(stdout).toMatch(/input +\[1, 3, 109, 482\] in 3 strips/);
    expect(stdout).toMatch(/output +\[1, 3, 214, 960\] in 3 strips/);
    expect(stdout).toMatch(/choice +depthwise on \w+, .*; kernels? depthwise\//);
    expect(stdout).toMatch(/time +[\d.]+ (µs|ms|s) with \d+ threads?, [\d.]+ [kMGT]FLOP\/s/);
    expect(stdout).toMatch(/result +960 x 640, RGB, 8 bits, .*chart-x2\.png/);
  });

  test('writes <name>-x2.png in the current folder', async () => {
    const before = process.cwd();
    process.chdir(folder);
    try {
      writeFileSync('photo.final.jpg', await sharp(chart).resize(40, 30).jpeg().toBuffer());
      expect((await convtranspose(['upsample', path.join(folder, 'photo.final.jpg')])).stderr).toBe('');
      const source = await decode('photo.final.jpg');
      expect(largestError(source, await decode('photo.final-x2.png'))).toBeLessThanOrEqual(rounding);
    } finally {
      process.chdir(before);
    }
  });

  test('the chart is what its script draws', async () => {
    const drawn = path.join(folder, 'drawn.png');
    execFileSync(process.execPath, [path.join(root, 'scripts', 'draw-chart.mjs'), drawn]);
    const [shipped, fresh] = await Promise.all([decode(chart), decode(drawn)]);
    expect([shipped.width, shipped.height, shipped.channels]).toEqual([480, 320, 3]);
    expect(fresh.samples).toEqual(shipped.samples);
  });

  test('the weights are bilinear', async () => {
    const { weight } = await readSafetensors(path.join(root, 'assets', 'bilinear-x2.safetensors'));
    expect(weight?.shape).toEqual([3, 1, 4, 4]);
    const line = [0.25, 0.75, 0.75, 0.25];
    const filter = line.flatMap((a) => line.map((b) => a * b));
    expect([...weight?.data as Float32Array]).toEqual([...filter, ...filter, ...filter]);
  });
});

describe('pictures of all kinds', () => {
  test.each([
    ['grey', 1, false, 'b-w'], ['grey with alpha', 2, false, 'b-w'], ['colours', 3, false, 'srgb'], ['colours with alpha', 4, false, 'srgb'],
    ['16-bit grey', 1, true, 'grey16'], ['16-bit grey with alpha', 2, true, 'grey16'],
    ['16-bit colours', 3, true, 'rgb16'], ['16-bit colours with alpha', 4, true, 'rgb16'],
  ] as const)('%s, through files', async (_what, channels, isDeep, space) => {
    const width = 23;
    const height = 17;
    const samples = noise(width * height * channels, isDeep);
    const input = path.join(folder, `kind-${space}-${channels}.png`);
    const output = path.join(folder, `kind-${space}-${channels}-x2.png`);
    await sharp(samples, { raw: { width, height, channels } }).toColourspace(space).png().toFile(input);
    const { code, stderr } = await convtranspose(['upsample', input, '--output', output]);
    expect([code, stderr]).toEqual([0, '']);
    const metadata = await sharp(output).metadata();
    expect([metadata.channels, metadata.depth]).toEqual([channels, isDeep ? 'ushort' : 'uchar']);
    const source: Picture = { width, height, channels, samples };
    const error = space === 'b-w' ? largestError(asColours(source), await decode(output)) : largestError(source, await decode(output, space));
    expect(error).toBeLessThanOrEqual(rounding);
  });

  test.each([[1, 1], [1, 5], [5, 1], [2, 2], [300, 703], [70000, 2]])('%d x %d, with strips or without', async (width, height) => {
    const { weight } = await readSafetensors(path.join(root, 'assets', 'bilinear-x2.safetensors'));
    for (const channels of [1, 4]) {
      const source: Picture = { width, height, channels, samples: noise(width * height * channels, false) };
      const done: number[] = [];
      const { picture, strips } = await upsample(source, weight as Tensor, { onProgress: (part) => done.push(part) });
      expect(strips).toBe(width * height < 65536 ? 1 : width === 300 ? 4 : 2);
      expect(done).toEqual(Array.from({ length: strips }, (_, i) => (i + 1) / strips));
      expect(largestError(source, picture)).toBeLessThanOrEqual(rounding);
    }
  });

  test('the orientation of a camera is applied', async () => {
    const input = path.join(folder, 'turned.jpg');
    const output = path.join(folder, 'turned-x2.png');
    await sharp(chart).resize(40, 30).withMetadata({ orientation: 6 }).jpeg().toFile(input);
    expect((await convtranspose(['upsample', input, '--output', output])).code).toBe(0);
    const { data, info } = await sharp(input).rotate().raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([30, 40]);
    expect(largestError({ ...info, samples: data }, await decode(output))).toBeLessThanOrEqual(rounding);
  });

  test.each(['direct', 'reference'])('--algorithm %s gives the same picture with any number of threads', async (algorithm) => {
    const output = path.join(folder, `${algorithm}.png`);
    const { code, stdout } = await convtranspose(['upsample', '--algorithm', algorithm, '--threads', '1', '--output', output]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`choice +${algorithm}`));
    expect(stdout).toContain('with 1 thread,');
    expect(largestError(await decode(chart), await decode(output))).toBeLessThanOrEqual(rounding);
  });
});

describe('what goes wrong', () => {
  afterEach(() => {
    jest.resetModules();
    jest.restoreAllMocks();
  });

  test.each([
    [['upsample', path.join(folder, 'none.png')], 1, /^convtranspose: no such file or directory, .*none\.png' \(ENOENT\)\n$/],
    [['upsample', __filename, '--output', path.join(folder, 'no.png')], 1, /^convtranspose: image: expected a picture that sharp can read in .* \(ERR_CONVTRANSPOSE_FORMAT\)\n$/],
    [['upsample', '--output', 'x.jpg'], 2, /--output needs a name that ends in \.png, not "x\.jpg" \(ERR_CONVTRANSPOSE_USAGE\)\n$/],
    [['upsample', '--output', path.join(folder, 'none', 'x.png')], 1, /\(ENOENT\)\n$/],
    [['upsample', '--threads', '0', '--output', path.join(folder, 'no.png')], 1, /numThreads: expected an integer from 1 to 1024, got 0 \(ERR_CONVTRANSPOSE_INVALID_VALUE\)\n$/],
    [['upsample', '--threads', 'two'], 2, /--num-threads needs an integer, not "two"/],
    [['upsample', 'a.png', 'b.png'], 2, /too many arguments for 'upsample'/],
  ])('%j', async (args, code, message) => {
    const outcome = await convtranspose(args);
    expect(outcome.stderr).toMatch(message);
    expect(outcome.stderr.split('\n').length).toBe(2);
    expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    expect(readdirSync(folder)).not.toContain('no.png');
  });

  test('without sharp the message says what to type', async () => {
    jest.doMock('sharp', () => {
      throw Object.assign(new Error("Cannot find module 'sharp'"), { code: 'MODULE_NOT_FOUND' });
    });
    jest.resetModules();
    const { readPicture } = jest.requireActual<typeof import('../../lib/cli/picture')>('../../lib/cli/picture');
    await expect(readPicture(chart)).rejects.toMatchObject({
      code: 'ERR_CONVTRANSPOSE_NO_SHARP', message: expect.stringMatching(/sharp, which is not installed; type: npm install sharp$/),
    });
    jest.dontMock('sharp');
  });

  test('a terminal sees progress, and a clean line at the end', async () => {
    const output = path.join(folder, 'progress.png');
    const { stderr } = await convtranspose(['upsample', '--output', output], true);
    expect(stderr).toBe('\rupsampling 33%\rupsampling 66%\r\x1b[K');
    expect(readFileSync(output).length).toBeGreaterThan(0);
  });
});
