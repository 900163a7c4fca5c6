/** `convtranspose run` over many files. */
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import sharp from 'sharp';

import { convTranspose1d, convTranspose2d, Tensor, type FunctionalOptions } from '../../lib/index';
import { encodeNpy, readNpy, readNpz, readSafetensors, writeNpy, writeSafetensors } from '../../lib/io/index';
import { convtranspose, temporaryFolder } from './support';

const folder = temporaryFolder();
const at = (...names: string[]) => path.join(folder, ...names);
const options: FunctionalOptions = { stride: 2, padding: 1 };
const layerArgs = ['--weights', at('layer.safetensors'), '--stride', '2', '--padding', '1'];
const sizes = [1, 2, 4, 4];

function ramp(shape: number[], seed: number): Tensor {
  const tensor = Tensor.empty(shape);
  tensor.data.forEach((_, i) => { tensor.data[i] = (((i + seed) * 7) % 23 - 11) / 8; });
  return tensor;
}
const weight = ramp([2, 3, 4, 4], 5);
const bias = ramp([3], 1);
const expected = (seed: number): Uint8Array => encodeNpy(convTranspose2d(ramp(sizes, seed), weight, bias, options));

/** All files below a folder, hidden ones too, in order. */
function listing(root: string): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(path.join(root, name)).isFile()).sort();
}

beforeAll(() => writeSafetensors(at('layer.safetensors'), { weight, bias }));
beforeEach(() => {
  for (const name of ['in', 'out']) rmSync(at(name), { recursive: true, force: true });
  mkdirSync(at('in'));
});

async function writeInputs(names: readonly string[]): Promise<void> {
  for (const [seed, name] of names.entries()) {
    mkdirSync(path.dirname(at('in', name)), { recursive: true });
    await writeNpy(at('in', name), ramp(sizes, seed));
  }
}

interface Summary {
  total: number;
  done: number;
  skipped: number;
  failed: number;
  left: number;
  interrupted: boolean;
  filesPerSecond: number;
  failures: { input: string; output: string; code: string; message: string }[];
}
const summaryOf = (text: string): Summary => JSON.parse(text) as Summary;
const batch = (...args: string[]) => convtranspose(['run', ...layerArgs, '--output-dir', at('out'), '--summary', '-', ...args]);

/** The program in a process of its own. Ends it with `signal` once `isTime`. */
function runProcess(args: readonly string[], signal?: NodeJS.Signals, isTime?: () => boolean): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const root = path.join(__dirname, '..', '..');
    const child = spawn(process.execPath, ['--require', path.join(root, 'test', 'support', 'register.cjs'), path.join(root, 'lib', 'cli', 'main.ts'), ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] });
    const watch = setInterval(() => {
      if (signal === undefined || isTime?.() !== true) return;
      clearInterval(watch);
      child.kill(signal);
    }, 2);
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (status) => {
      clearInterval(watch);
      resolve({ status, stdout, stderr });
    });
  });
}

describe('a thousand files, three of them broken', () => {
  const name = (i: number) => `${String(i).padStart(4, '0')}.npy`;
  const broken = [17, 500, 999];
  const args = ['run', ...layerArgs, '--output-dir', at('out'), '--resume', '--jobs', '3', '--summary', '-', at('in')];

  function writeInputFiles(count: number): void {
    for (let i = 0; i < count; i++) writeFileSync(at('in', name(i)), encodeNpy(ramp(sizes, i)));
  }

  /** Names alone: other files come and go while the program runs. */
  const complete = () => (existsSync(at('out')) ? readdirSync(at('out')) : []).filter((file) => /^\d{4}\.npy$/.test(file));

  /** The outputs that are there are right; nothing else is but the record and, after a kill, files without a name. */
  function checkOutputs(mayRemain: boolean): number {
    let right = 0;
    for (const file of listing(at('out'))) {
      if (file === '.convtranspose-run.json') continue;
      if (mayRemain && /^\.\d{4}\.npy\.[0-9a-f]{12}\.tmp$/.test(file)) continue;
      expect(file).toMatch(/^\d{4}\.npy$/);
      expect(Buffer.compare(readFileSync(at('out', file)), expected(Number(file.slice(0, 4))))).toBe(0);
      right += 1;
    }
    return right;
  }

  test('killed in the middle and resumed: all others are right, three are reported, nothing is half written', async () => {
    writeInputFiles(1000);
    writeFileSync(at('in', name(17)), 'no array');
    writeFileSync(at('in', name(500)), readFileSync(at('in', name(500))).subarray(0, 150));
    writeFileSync(at('in', name(999)), encodeNpy(ramp([1, 5, 4, 4], 0)));
    const killed = await runProcess(args, 'SIGKILL', () => complete().length >= 300);
    expect(killed.status).toBeNull();
    const first = checkOutputs(true);
    expect(first).toBeGreaterThanOrEqual(300);
    expect(first).toBeLessThan(990);
    // What a kill may leave, wherever it came.
    writeFileSync(at('out', '.0998.npy.0123456789ab.tmp'), 'half');

    const resumed = await runProcess(args);
    expect(resumed.status).toBe(3);
    expect(checkOutputs(false)).toBe(997);
    const summary = summaryOf(resumed.stdout);
    const failedBefore = broken.filter((i) => killed.stderr.includes(name(i))).length;
    expect(failedBefore).toBeLessThanOrEqual(3);
    expect(summary).toMatchObject({ total: 1000, skipped: first, done: 997 - first, failed: 3, left: 0, interrupted: false });
    expect(summary.failures.map(({ input }) => path.basename(input)).sort()).toEqual(broken.map(name));
    expect(new Set(summary.failures.map(({ code }) => code))).toEqual(new Set(['ERR_CONVTRANSPOSE_FORMAT', 'ERR_CONVTRANSPOSE_SHAPE']));
    expect(resumed.stderr.trimEnd().split('\n').sort()).toEqual(broken.map((i) => expect.stringMatching(`^convtranspose: .*${name(i)}: .* \\(ERR_CONVTRANSPOSE_\\w+\\)$`)));
    expect(resumed.stderr).not.toContain('\r');

    const again = await convtranspose(args);
    expect(again.code).toBe(3);
    expect(summaryOf(again.stdout)).toMatchObject({ skipped: 997, done: 0, failed: 3 });
  }, 120_000);

  test.each([['SIGINT', 130], ['SIGTERM', 143]] as const)('%s: what is in hand is given up, the rest is left, exit code %d', async (signal, code) => {
    writeInputFiles(400);
    const { status, stdout } = await runProcess(args, signal, () => complete().length >= 20);
    expect(status).toBe(code);
    const done = checkOutputs(false);
    const summary = summaryOf(stdout);
    expect(summary).toMatchObject({ done, interrupted: true });
    expect(summary.left).toBe(400 - done);
    expect(summary.left).toBeGreaterThan(0);
  }, 60_000);
});

describe('inputs', () => {
  const names = ['a.npy', 'b.npy', 'deep/a.npy', 'deep/er/c.npy', 'odd[1].npy'];
  beforeEach(() => writeInputs(names));

  test.each([
    ['a folder', () => [at('in')], names],
    ['a pattern', () => [at('in', '**', '*.npy')], names],
    ['part of a pattern', () => [at('in', 'deep', '**', '{a,c}.npy')], ['a.npy', 'er/c.npy']],
    ['files by name, each once', () => [at('in', 'deep', 'a.npy'), at('in', 'b.npy'), at('in', 'b.npy')], ['a.npy', 'b.npy']],
    ['a name that looks like a pattern', () => [at('in', 'odd[1].npy')], ['odd[1].npy']],
  ])('%s', async (_what, words, outputs) => {
    const { code, stdout, stderr } = await batch(...words());
    expect([code, stderr]).toEqual([0, '']);
    expect(listing(at('out'))).toEqual(['.convtranspose-run.json', ...outputs].sort());
    expect(summaryOf(stdout)).toMatchObject({ total: outputs.length, done: outputs.length, failed: 0 });
  });

  test.each([
    ['two inputs for one output', () => [at('in', 'a.npy'), at('in', 'deep', 'a.npy')], /a\.npy and .*deep\/a\.npy would both become .*out\/a\.npy/],
    ['a pattern for nothing', () => [at('in', '*.png')], /no file matches ".*\*\.png"/],
    ['an empty folder', () => { mkdirSync(at('in', 'empty')); return [at('in', 'empty')]; }, /there is no file to read below .*empty/],
    ['no inputs', () => [], /inputs are missing/],
  ])('%s is a usage error', async (_what, words, message) => {
    const outcome = await batch(...words());
    expect(outcome.stderr).toMatch(message);
    expect([outcome.code, outcome.stdout]).toEqual([2, '']);
    expect(listing(at('out'))).toEqual([]);
  });

  test('an output never takes the place of an input', async () => {
    const outcome = await convtranspose(['run', ...layerArgs, '--output-dir', at('in'), at('in', 'a.npy')]);
    expect(outcome).toMatchObject({ code: 2, stderr: expect.stringMatching(/would take the place of the input/) as unknown });
  });

  test('a file that is not there fails like one that is broken', async () => {
    const { code, stdout, stderr } = await batch(at('in', 'none.npy'), at('in', 'a.npy'), at('layer.safetensors').replace('layer', 'nothing'));
    expect(code).toBe(3);
    expect(summaryOf(stdout).failures).toMatchObject([{ code: 'ENOENT' }, { code: 'ENOENT' }]);
    expect(stderr.split('\n').length).toBe(3);
    expect(listing(at('out'))).toEqual(['.convtranspose-run.json', 'a.npy']);
  });

  test('shards: every file in exactly one, also by the environment', async () => {
    const seen: string[] = [];
    for (let i = 1; i <= 3; i++) {
      const before = listing(at('out'));
      if (i === 2) process.env['CONVTRANSPOSE_SHARD'] = '2/3';
      const { code, stdout } = await batch('--resume', ...(i === 2 ? [] : ['--shard', `${i}/3`]), at('in'));
      delete process.env['CONVTRANSPOSE_SHARD'];
      expect(code).toBe(0);
      const added = listing(at('out')).filter((file) => !before.includes(file) && !file.startsWith('.'));
      expect(summaryOf(stdout)).toMatchObject({ total: added.length, done: added.length, shard: `${i}/3` });
      expect(Math.abs(added.length - names.length / 3)).toBeLessThan(1);
      seen.push(...added);
    }
    expect(seen.sort()).toEqual([...names].sort());
  });

  test.each(['0/3', '4/3', '1', '1/0', 'a/b'])('--shard %s is a usage error', async (shard) => {
    expect((await batch('--shard', shard, at('in'))).stderr).toMatch(/--shard needs I\/N with I from 1 to N/);
  });
});

describe('resume', () => {
  beforeEach(() => writeInputs(['a.npy', 'b.npy', 'c.npy']));
  const counts = ({ stdout }: { stdout: string }) => {
    const { done, skipped } = summaryOf(stdout);
    return [done, skipped];
  };

  test('does what is missing or older than its input', async () => {
    expect(counts(await batch('--resume', at('in')))).toEqual([3, 0]);
    expect(counts(await batch('--resume', at('in')))).toEqual([0, 3]);
    rmSync(at('out', 'a.npy'));
    await writeNpy(at('in', 'b.npy'), ramp(sizes, 77));
    const later = new Date(Date.now() + 5000);
    utimesSync(at('in', 'b.npy'), later, later);
    expect(counts(await batch('--resume', at('in')))).toEqual([2, 1]);
    expect(Buffer.compare(readFileSync(at('out', 'b.npy')), expected(77))).toBe(0);
    expect(counts(await batch(at('in')))).toEqual([3, 0]); // without --resume all are done again
  });

  test('refuses results of other weights, options or formats', async () => {
    expect((await batch(at('in'))).code).toBe(0);
    const before = listing(at('out')).map((file) => statSync(at('out', file)).mtimeMs);
    await writeSafetensors(at('other.safetensors'), { weight, bias: ramp([3], 2) });
    for (const args of [['--activation', 'relu'], ['--format', 'npy'], ['--algorithm', 'reference']]) {
      const outcome = await batch('--resume', ...args, at('in'));
      expect(outcome.stderr).toMatch(/^convtranspose: .*out holds results of ConvTranspose2d\(2, 3, 4, \{ stride: 2, padding: 1 \}\) with other .* \(ERR_CONVTRANSPOSE_RESUME\)\n$/);
      expect([outcome.code, outcome.stdout]).toEqual([1, '']);
    }
    const other = await convtranspose(['run', '--weights', at('other.safetensors'), '--stride', '2', '--padding', '1', '--output-dir', at('out'), '--resume', at('in')]);
    expect([other.code, other.stderr]).toEqual([1, expect.stringMatching(/ERR_CONVTRANSPOSE_RESUME/)]);
    expect(listing(at('out')).map((file) => statSync(at('out', file)).mtimeMs)).toEqual(before);
    // How fast it runs does not matter.
    expect(counts(await batch('--resume', '--threads', '1', '--jobs', '1', at('in')))).toEqual([0, 3]);
  });

  test('refuses files that no record explains', async () => {
    mkdirSync(at('out'));
    writeFileSync(at('out', 'c.npy'), 'mine');
    const outcome = await batch('--resume', '--shard', '1/3', at('in'));
    expect([outcome.code, outcome.stderr]).toEqual([1, expect.stringMatching(/c\.npy is there, but nothing in .*out says which layer it comes from/)]);
    expect(readFileSync(at('out', 'c.npy'), 'utf8')).toBe('mine');
  });

  test('a start afresh leaves no result of before, not even of an input that fails now', async () => {
    expect((await batch(at('in'))).code).toBe(0);
    writeFileSync(at('in', 'b.npy'), 'broken');
    expect((await batch('--activation', 'relu', at('in'))).code).toBe(3);
    expect(listing(at('out'))).toEqual(['.convtranspose-run.json', 'a.npy', 'c.npy']);
  });
});

describe('kinds of files', () => {
  test('every tensor of .safetensors, or one', async () => {
    const tensors = { x: ramp(sizes, 1), 'deep.y': ramp([2, 7, 5], 2) };
    await writeSafetensors(at('in', 'two.safetensors'), tensors);
    expect((await batch(at('in'))).code).toBe(0);
    const results = await readSafetensors(at('out', 'two.safetensors'));
    expect(Object.keys(results)).toEqual(['deep.y', 'x']);
    for (const [name, tensor] of Object.entries(tensors)) {
      expect([...(results[name] as Tensor).data]).toEqual([...convTranspose2d(tensor, weight, bias, options).data]);
    }
    expect((await batch('--tensor', 'x', '--format', 'npy', at('in'))).code).toBe(0);
    expect(Buffer.compare(readFileSync(at('out', 'two.npy')), expected(1))).toBe(0);
    const { stdout } = await batch('--format', 'npy', at('in'));
    expect(summaryOf(stdout).failures).toMatchObject([{ code: 'ERR_CONVTRANSPOSE_SHAPE', message: expect.stringMatching(/--tensor picks one/) as unknown }]);
  });

  test('.npz archives become .safetensors', async () => {
    await writeSafetensors(at('three.safetensors'), { weight: ramp([3, 2, 4], 1) });
    for (const kind of ['stored', 'deflated']) copyFileSync(path.join(__dirname, '..', 'io', 'fixtures', `${kind}.npz`), at('in', `${kind}.npz`));
    const args = ['run', '--weights', at('three.safetensors'), '--stride', '2', '--output-dir', at('out'), at('in')];
    expect((await convtranspose([...args, '--tensor', 'weight'])).code).toBe(0);
    expect(listing(at('out'))).toEqual(['.convtranspose-run.json', 'deflated.safetensors', 'stored.safetensors']);
    const { weight: input } = await readNpz(at('in', 'stored.npz'), { names: ['weight'] }) as { weight: Tensor };
    const wanted = convTranspose1d(input, ramp([3, 2, 4], 1), null, { stride: 2 });
    for (const kind of ['stored', 'deflated']) {
      const { weight: result } = await readSafetensors(at('out', `${kind}.safetensors`)) as { weight: Tensor };
      expect([result.shape, [...result.data]]).toEqual([wanted.shape, [...wanted.data]]);
    }
    expect((await convtranspose(args)).code).toBe(3); // the other arrays do not fit
  });

  /** Copies every pixel four times: one tap of 1 for each phase. */
  async function writeRepeat(channels: number): Promise<void> {
    const repeat = Tensor.zeros([channels, 1, 2, 2]);
    repeat.data.fill(1);
    await writeSafetensors(at('repeat.safetensors'), { weight: repeat });
  }
  const repeatArgs = (channels: number) => ['run', '--weights', at('repeat.safetensors'), '--stride', '2', '--groups', String(channels), '--output-dir', at('out')];

  test.each([
    ['grey', 1, 8, 'b-w', 'png'], ['colours', 3, 8, 'srgb', 'png'], ['colours and alpha', 4, 8, 'srgb', 'png'], ['16-bit colours', 3, 16, 'rgb16', 'png'],
    ['16-bit grey', 1, 16, 'grey16', 'png'], ['a TIFF file', 3, 8, 'srgb', 'tiff'],
  ] as const)('pictures: %s, to the level', async (_what, channels, depth, space, kind) => {
    await writeRepeat(channels);
    const [width, height] = [5, 4];
    const samples = (depth === 16 ? new Uint16Array(width * height * channels) : new Uint8Array(width * height * channels)).map((_, i) => (i * 7919) % 2 ** depth);
    const picture = sharp(samples, { raw: { width, height, channels } }).toColourspace(space);
    await (kind === 'png' ? picture.png() : picture.tiff({ compression: 'none' })).toFile(at('in', `p.${kind}`));
    for (const args of [[], ['--memory-format', 'channelsLast'], ['--pixel-range', '-1:1'], ['--pixel-range', '255:0']]) {
      const { code, stderr } = await convtranspose([...repeatArgs(channels), ...args, at('in')]);
      expect([code, stderr]).toEqual([0, '']);
      const { data, info } = await sharp(at('out', 'p.png')).toColourspace(space).raw({ depth: depth === 16 ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true });
      const got = depth === 16 ? new Uint16Array(Uint8Array.prototype.slice.call(data).buffer) : data;
      expect([info.width, info.height, info.channels]).toEqual([2 * width, 2 * height, channels]);
      const wanted = Array.from({ length: got.length }, (_, i) => {
        const [y, x, c] = [Math.floor(i / channels / (2 * width)), Math.floor(i / channels) % (2 * width), i % channels];
        return samples[((y >> 1) * width + (x >> 1)) * channels + c];
      });
      expect([...got]).toEqual(wanted);
    }
  });

  test('pictures: values beyond black and white are cut off, and as tensors they are kept', async () => {
    await sharp(Uint8Array.of(0, 100, 255), { raw: { width: 3, height: 1, channels: 1 } }).toColourspace('b-w').png().toFile(at('in', 'p.png'));
    const loud = Tensor.zeros([1, 1, 1, 1]);
    loud.data.fill(3);
    await writeSafetensors(at('loud.safetensors'), { weight: loud, bias: ramp([1], 0) });
    const args = ['run', '--weights', at('loud.safetensors'), '--output-dir', at('out'), at('in')];
    expect((await convtranspose(args)).code).toBe(0);
    const values = [0, 100, 255].map((level) => Math.fround(Math.fround(level / 255) * 3) - 1.375);
    const { data } = await sharp(at('out', 'p.png')).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true });
    expect([...data]).toEqual(values.map((value) => Math.round(255 * Math.min(1, Math.max(0, value)))));
    expect((await convtranspose([...args, '--format', 'npy'])).code).toBe(0);
    const tensor = await readNpy(at('out', 'p.npy'));
    expect(tensor.shape).toEqual([1, 1, 3]);
    tensor.data.forEach((value, i) => { expect(value).toBeCloseTo(values[i] as number, 5); });
  });

  test('pictures of another number of channels, results that are no picture, files of no known kind', async () => {
    await sharp(Buffer.alloc(12), { raw: { width: 2, height: 2, channels: 3 } }).png().toFile(at('in', 'colours.png'));
    copyFileSync(at('in', 'colours.png'), at('in', 'colours.txt'));
    await writeRepeat(1);
    const { stdout } = await convtranspose([...repeatArgs(1), '--summary', '-', at('in', 'colours.png'), at('in', 'colours.txt')]);
    expect(summaryOf(stdout).failures.map(({ code }) => code).sort()).toEqual(['ERR_CONVTRANSPOSE_SHAPE', 'ERR_CONVTRANSPOSE_UNSUPPORTED']);
    await writeNpy(at('in', 'x.npy'), ramp([2, 1, 3, 3], 0));
    const two = await convtranspose([...repeatArgs(1), '--format', 'png', '--summary', '-', at('in', 'x.npy')]);
    expect(summaryOf(two.stdout).failures).toMatchObject([{ code: 'ERR_CONVTRANSPOSE_SHAPE', message: expect.stringMatching(/--format npy/) as unknown }]);
    expect(listing(at('out'))).toEqual(['.convtranspose-run.json']);
  });

  test('one picture to one picture, without a batch', async () => {
    await writeRepeat(3);
    await sharp(Buffer.from([1, 2, 3, 4, 5, 6]), { raw: { width: 2, height: 1, channels: 3 } }).png().toFile(at('in', 'p.png'));
    const { code, stdout } = await convtranspose(['run', '--weights', at('repeat.safetensors'), '--stride', '2', '--groups', '3', '--output', at('in', 'y.png'), at('in', 'p.png')]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/input +\[3, 1, 2\].*\n +output +\[3, 2, 4\]/);
    expect((await sharp(at('in', 'y.png')).raw().toBuffer()).subarray(0, 12)).toEqual(Buffer.from([1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]));
  });
});

describe('what is said', () => {
  beforeEach(() => writeInputs(['a.npy', 'b.npy', 'c.npy']));

  test('a text, or JSON in a file', async () => {
    const { code, stdout, stderr } = await convtranspose(['run', ...layerArgs, '--output-dir', at('out'), '--summary', at('in', 'summary.json'), at('in', '*.npy')]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/layer +ConvTranspose2d\(2, 3, 4, .*\n +files +3 inputs: 3 done, 0 skipped, 0 failed\n +time +\S+ m?s, \S+ files\/s\n +output +.*out\n$/);
    expect(summaryOf(readFileSync(at('in', 'summary.json'), 'utf8'))).toMatchObject({ total: 3, done: 3, failed: 0, failures: [], interrupted: false });
  });

  test('a terminal sees a bar that is wiped, and failures above it; nothing else does', async () => {
    writeFileSync(at('in', 'b.npy'), 'broken');
    const seen = await convtranspose(['run', ...layerArgs, '--output-dir', at('out'), at('in')], true);
    expect(seen.code).toBe(3);
    expect(seen.stderr).toMatch(/[█░]{24} \d+% \| \d of 3 files \| \S+ files\/s \| \S+ left/);
    expect(seen.stderr).toMatch(/b\.npy: .*\(ERR_CONVTRANSPOSE_FORMAT\)/);
    const plain = await convtranspose(['run', ...layerArgs, '--output-dir', at('out'), at('in')]);
    expect(plain.stderr).toMatch(/^convtranspose: .*b\.npy: .*\(ERR_CONVTRANSPOSE_FORMAT\)\n$/);
  });

  test.each([
    [['--output', 'x.npy', '--output-dir', 'out', 'x.npy'], /--output and --output-dir exclude each other/],
    [['--output', 'x.txt', 'x.npy'], /--output needs a name that ends in \.npy, \.safetensors, \.png, not "x\.txt"/],
    [['--output', 'x.npy', '--resume', 'x.npy'], /--resume goes with --output-dir/],
    [['--output-dir', 'out', '--jobs', '0', 'x.npy'], /--jobs needs a number from 1 to 1024, not 0/],
    [['--output-dir', 'out', '--format', 'bmp', 'x.npy'], /--format is one of npy, safetensors, png, not "bmp"/],
    [['--output-dir', 'out', '--pixel-range', '1', 'x.npy'], /--pixel-range needs two different numbers A:B, not "1"/],
    [['--output-dir', 'out', '--pixel-range', '1:1', 'x.npy'], /--pixel-range needs two different numbers/],
  ])('%j is a usage error', async (args, message) => {
    const outcome = await convtranspose(['run', ...layerArgs, ...args]);
    expect(outcome.stderr).toMatch(message);
    expect([outcome.code, outcome.stdout]).toEqual([2, '']);
  });
});
