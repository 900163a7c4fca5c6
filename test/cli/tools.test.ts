/** The commands that explain: solve and checkerboard. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, test } from '@jest/globals';
import sharp from 'sharp';

import { checkerboard, solve, Tensor } from '../../lib/index';
import { writeSafetensors } from '../../lib/io/index';
import { convtranspose, temporaryFolder } from './support';

const folder = temporaryFolder();
const at = (name: string) => path.join(folder, name);

describe('solve', () => {
  test('prints a table of layers', async () => {
    const { code, stdout, stderr } = await convtranspose(['solve', '--input-size', '7,7', '--output-size', '14,14', '--kernel-size', '2..4']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.split('\n').map((line) => line.trim().split(/\s{2,}/))).toEqual([
      ['kernel', 'stride', 'padding', 'output padding', 'dilation', 'sizes', 'scales', 'even'],
      ['2', '2', '0', '0', '1', '[7, 7] -> [14, 14]', 'yes', 'yes'],
      ['4', '2', '1', '0', '1', '[7, 7] -> [14, 14]', 'yes', 'yes'],
      ['3', '2', '1', '1', '1', '[7, 7] -> [14, 14]', 'yes'],
      [''],
    ]);
  });

  test.each([
    [['--input-size', '5', '--output-size', '12'], { inputSize: [5], outputSize: [12] }],
    [['--input-size', '5,6', '--output-size', '12,9', '--stride', '..4', '--kernel-size=3..', '--dilation', '1,2', '--padding', '0..2', '--asymmetric', '--output-padding', '0'],
      { inputSize: [5, 6], outputSize: [12, 9], stride: { max: 4 }, kernelSize: { min: 3 }, dilation: [1, 2], padding: { min: 0, max: 2 }, asymmetric: true, outputPadding: 0 }],
    [['--convolution', '--kernel-size', '3,5', '--stride', '2', '--padding', '1:1,0:2', '--output-size', '9,11'],
      { outputSize: [9, 11], convolution: { kernelSize: [3, 5], stride: 2, padding: [[1, 1], [0, 2]] as [number, number][] } }],
  ])('%j asks what the API answers', async (args, query) => {
    const { code, stdout } = await convtranspose(['solve', '--json', ...args]);
    const expected = solve(query);
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(expected)));
    expect(code).toBe(expected.reason === null ? 0 : 1);
  });

  test('says why there is none, with exit code 1', async () => {
    const { code, stdout, stderr } = await convtranspose(['solve', '--input-size', '32', '--output-size', '64', '--kernel-size', '3', '--output-padding', '0']);
    expect([code, stderr]).toEqual([1, '']);
    expect(stdout).toMatch(/^No .* makes 64 of 32\. The nearest .*63 .*65 .*It would work with .*\n$/);
  });

  test('--limit', async () => {
    const lines = async (limit: string) => (await convtranspose(['solve', '--input-size', '9', '--output-size', '9', '--asymmetric', '--limit', limit])).stdout.trimEnd().split('\n');
    const { length } = solve({ inputSize: 9, outputSize: 9, asymmetric: true }).solutions;
    expect(length).toBeGreaterThan(25);
    expect((await lines('0')).length).toBe(length + 1);
    expect((await lines('3')).at(-1)).toBe(`and ${length - 3} more; --limit 0 prints all`);
    expect((await lines('3')).length).toBe(5);
  });

  test.each([
    [['--input-size', '4'], /--output-size is missing/],
    [['--output-size', '4'], /--input-size is missing/],
    [['--input-size', '4', '--output-size', '8', '--stride', 'two'], /--stride needs a number, a list with commas, or MIN\.\.MAX, not "two"/],
    [['--input-size', '4', '--output-size', '8', '--limit', '-1'], /--limit needs a number, not "-1"/],
    [['--convolution', '--output-size', '8'], /--kernel-size is missing/],
    [['--convolution', '--output-size', '8', '--kernel-size', '3', '--output-padding', '1'], /--output-padding does not go with --convolution/],
  ])('%j is a usage error', async (args, message) => {
    const outcome = await convtranspose(['solve', ...args]);
    expect(outcome.stderr).toMatch(message);
    expect([outcome.code, outcome.stdout]).toEqual([2, '']);
  });
});

describe('checkerboard', () => {
  test('prints figures, advice, and a picture in half blocks', async () => {
    const { code, stdout, stderr } = await convtranspose(['checkerboard', '--kernel-size', '3', '--stride', '2', '--padding', '1', '--output-padding', '1']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/overlap +1 to 4 products reach an output\n +unevenness +0\.4359 \(43\.6 % of the output is pattern\)/);
    expect(stdout).toContain('    1  2\n    2  4\n');
    expect(stdout).toContain('Advice: kernelSize 4 with padding 1 gives the same sizes');
    expect(stdout.endsWith(`\n${`${' ▄'.repeat(12)}\n`.repeat(12)}`)).toBe(true);
  });

  test('a terminal sees colours, unless NO_COLOR is set', async () => {
    const args = ['checkerboard', '--kernel-size', '3', '--stride', '2'];
    const coloured = await convtranspose(args, true);
    // eslint-disable-next-line no-control-regex -- escape sequences are the point
    expect(coloured.stdout).toMatch(/\x1b\[38;2;\d+;\d+;\d+m\x1b\[48;2;\d+;\d+;\d+m▀/);
    process.env['NO_COLOR'] = '1';
    try {
      expect((await convtranspose(args, true)).stdout).toBe((await convtranspose(args)).stdout);
    } finally {
      delete process.env['NO_COLOR'];
    }
  });

  test.each([
    ['the overlap', ['--kernel-size', '3', '--stride', '2'], 24, 24],
    ['a whole output', ['--kernel-size', '5', '--stride', '3', '--input-size', '6,9'], 29, 20],
    ['three dimensions', ['--kernel-size', '3,3,3', '--stride', '2'], 48, 24],
  ])('a PNG file of %s', async (_what, args, columns, rows) => {
    const file = at('map.png');
    const { code, stdout } = await convtranspose(['checkerboard', ...args, '--picture', file]);
    expect(code).toBe(0);
    expect(stdout).toContain(`picture: ${file}`);
    expect(stdout).not.toMatch(/[▀▄█]/);
    const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
    const scale = Math.floor(512 / Math.max(columns, rows));
    expect([info.width, info.height]).toEqual([columns * scale, rows * scale]);
    // More products, brighter; as many products, the same colour.
    const brightness = new Map<number, number>();
    if (rows === columns) {
      const { overlap } = checkerboard({ kernelSize: 3, stride: 2 });
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const pixel = ((y * scale + scale - 1) * info.width + x * scale) * info.channels;
          const sum = (data[pixel] as number) + (data[pixel + 1] as number) + (data[pixel + 2] as number);
          const count = overlap.data[(y % 2) * 2 + (x % 2)] as number;
          expect(brightness.get(count) ?? sum).toBe(sum);
          brightness.set(count, sum);
        }
      }
      expect([...brightness].sort(([a], [b]) => a - b).map(([, sum]) => sum)).toEqual([...brightness.values()].sort((a, b) => a - b));
      expect(brightness.size).toBe(3);
    }
  });

  test('weights', async () => {
    const weight = Tensor.zeros([2, 3, 4, 4]);
    weight.data.forEach((_, i) => { weight.data[i] = ((i * 7) % 23) / 8 - 1; });
    await writeSafetensors(at('net.safetensors'), { 'up.weight': weight });
    const args = ['checkerboard', '--weights', at('net.safetensors'), '--weight-name', 'up.weight', '--stride', '2', '--padding', '1'];
    const expected = checkerboard({ weight, stride: 2, padding: 1 });
    const { stdout } = await convtranspose(args);
    expect(stdout).toMatch(new RegExp(`weights +${expected.weight?.unevenness.toFixed(4)} `));
    expect(stdout).toMatch(new RegExp(`strongest +input channel ${expected.weight?.worst.inputChannel} in output channel ${expected.weight?.worst.outputChannel}\n`));
    const json = JSON.parse((await convtranspose([...args, '--json'])).stdout) as { weight: { channels: number[] }; unevenness: number };
    expect(json.weight.channels).toEqual([...(expected.weight?.channels ?? [])]);
    expect(json.unevenness).toBe(0);
  });

  test('what goes wrong leaves no picture', async () => {
    for (const [args, code, message] of [
      [[], 2, /one of --kernel-size and --weights is needed/],
      [['--kernel-size', '3', '--picture', at('no.jpg')], 2, /--picture needs a name that ends in \.png/],
      [['--kernel-size', '0', '--picture', at('no.png')], 1, /kernelSize: expected .* \(ERR_CONVTRANSPOSE_INVALID_VALUE\)\n$/],
      [['--kernel-size', '3', '--padding', '9', '--input-size', '2', '--picture', at('no.png')], 1, /\(ERR_CONVTRANSPOSE_OUTPUT_SIZE\)\n$/],
      [['--weights', at('none.safetensors')], 1, /\(ENOENT\)\n$/],
      [['--kernel-size', '3', '--precision', 'high'], 2, /unknown option '--precision'/],
    ] as const) {
      const outcome = await convtranspose(['checkerboard', ...args]);
      expect(outcome.stderr).toMatch(message);
      expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    }
    expect(readdirSync(folder).filter((name) => name.startsWith('no.') || name.includes('.tmp'))).toEqual([]);
    expect(existsSync(at('no.png'))).toBe(false);
  });
});
