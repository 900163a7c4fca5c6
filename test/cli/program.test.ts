import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { convTranspose1d, convTranspose2d, convTranspose3d, cpuInfo, Tensor, version, type FunctionalOptions } from '../../lib/index';
import { encodeNpy, readNpy, writeNpy, writeSafetensors } from '../../lib/io/index';
import { runChild } from '../support/child';
import { convtranspose, temporaryFolder } from './support';

const folder = temporaryFolder();
const at = (name: string) => path.join(folder, name);

/** A tensor of small different numbers. */
function ramp(shape: number[], step = 0.125): Tensor {
  const tensor = Tensor.empty(shape);
  tensor.data.forEach((_, i) => { tensor.data[i] = ((i * 7) % 23 - 11) * step; });
  return tensor;
}

function expectSame(got: Tensor, expected: Tensor): void {
  expect(got.shape).toEqual(expected.shape);
  expect(Buffer.compare(Buffer.from(got.data.buffer, got.data.byteOffset, got.data.byteLength),
    Buffer.from(expected.data.buffer, expected.data.byteOffset, expected.data.byteLength))).toBe(0);
}

describe('run', () => {
  const convolutions = { 1: convTranspose1d, 2: convTranspose2d, 3: convTranspose3d };
  const cases: [string, 1 | 2 | 3, number[], number[], string[], FunctionalOptions][] = [
    ['the example of the manual', 2, [1, 3, 8, 6], [3, 2, 4, 4], ['--stride', '2', '--padding', '1'], { stride: 2, padding: 1 }],
    ['lists', 2, [2, 3, 5, 6], [3, 4, 3, 2], ['--stride=3,2', '--padding', '1,0', '--output-padding', '2,1', '--dilation=1,2'],
      { stride: [3, 2], padding: [1, 0], outputPadding: [2, 1], dilation: [1, 2] }],
    ['pairs, an end below 0', 2, [1, 2, 5, 6], [2, 2, 3, 3], ['--stride', '2', '--padding', '1:0,0:-2'],
      { stride: 2, padding: [[1, 0], [0, -2]] }],
    ['one dimension, a pair', 1, [3, 20], [3, 2, 8], ['--stride', '4', '--padding', '2:1'], { stride: 4, padding: [[2, 1]] }],
    ['three dimensions, groups', 3, [1, 4, 3, 4, 2], [4, 3, 2, 3, 2], ['--groups', '2', '--stride', '2,1,2'], { groups: 2, stride: [2, 1, 2] }],
    ['an output size', 2, [1, 2, 5, 6], [2, 2, 3, 3], ['--stride', '2', '--output-size', '12,13'], { stride: 2, outputSize: [12, 13] }],
    ['channels last, relu', 2, [1, 5, 6, 2], [2, 3, 3, 3], ['--memory-format', 'channelsLast', '--activation', 'relu'],
      { memoryFormat: 'channelsLast', activation: 'relu' }],
    ['clamp with one bound', 2, [1, 2, 5, 6], [2, 3, 3, 3], ['--activation', 'clamp::0.5'], { activation: { type: 'clamp', max: 0.5 } }],
    ['clamp with both bounds', 2, [1, 2, 5, 6], [2, 3, 3, 3], ['--activation', 'clamp:-1e-1:0.5'],
      { activation: { type: 'clamp', min: -0.1, max: 0.5 } }],
    ['how it runs', 2, [1, 2, 5, 6], [2, 3, 3, 3], ['--algorithm', 'reference', '--precision', 'high', '--invariant', '--threads', '1',
      '--workspace-limit', '10000000'], { algorithm: 'reference', precision: 'high', invariant: true, numThreads: 1, workspaceLimit: 1e7 }],
  ];
  test.each(cases)('%s', async (_what, dims, inputShape, weightShape, args, options) => {
    const input = ramp(inputShape);
    const weight = ramp(weightShape, 0.25);
    const bias = ramp([(weightShape[1] as number) * (options.groups ?? 1)], 0.5);
    await writeNpy(at('x.npy'), input);
    await writeSafetensors(at('layer.safetensors'), { weight, bias, other: ramp([3]) });
    const outcome = await convtranspose(['run', '--weights', at('layer.safetensors'), '--input', at('x.npy'), '--output', at('y.npy'), ...args]);
    expect([outcome.code, outcome.stderr]).toEqual([0, '']);
    const expected = convolutions[dims](input, weight, bias, options);
    expectSame(await readNpy(at('y.npy')), expected);
    expect(outcome.stdout).toContain(`ConvTranspose${dims}d(`);
    for (const shape of [inputShape, weightShape, expected.shape]) expect(outcome.stdout).toContain(`[${shape.join(', ')}]`);
    expect(outcome.stdout).toMatch(/choice .*\n(.*\n)? +time +[\d.]+ (µs|ms|s) with \d+ threads?, \S+ [kMGT]FLOP\/s/);
  });

  test('names of weight and bias', async () => {
    const input = ramp([1, 2, 4, 4]);
    const weight = ramp([2, 2, 2, 2]);
    const bias = ramp([2]);
    const scale = ramp([2], 3);
    await writeNpy(at('x.npy'), input);
    await writeSafetensors(at('net.safetensors'), { 'weights.up.weight': weight, 'weights.up.bias': bias, scale, alone: weight });
    const run = async (...args: string[]) => {
      const outcome = await convtranspose(['run', '--weights', at('net.safetensors'), '--input', at('x.npy'), '--output', at('y.npy'), ...args]);
      expect(outcome.stderr).toBe('');
      return readNpy(at('y.npy'));
    };
    expectSame(await run('--weight-name', 'weights.up.weight'), convTranspose2d(input, weight, bias));
    expectSame(await run('--weight-name', 'weights.up.weight', '--bias-name', 'scale'), convTranspose2d(input, weight, scale));
    expectSame(await run('--weight-name', 'alone'), convTranspose2d(input, weight));
    const missing = await convtranspose(['run', '--weights', at('net.safetensors'), '--input', at('x.npy'), '--output', at('z.npy')]);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toMatch(/"alone", "scale", "weights\.up\.bias", "weights\.up\.weight".*, got "weight" \(ERR_CONVTRANSPOSE_INVALID_VALUE\)\n$/);
  });

  test('other number types when asked', async () => {
    const values = Float64Array.from({ length: 9 }, (_, i) => i / 3);
    const bytes = Buffer.from(encodeNpy(new Tensor(new Float32Array(18), [1, 1, 3, 3].concat(2))));
    const header = bytes.subarray(0, 128).toString('latin1').replace("'<f4'", "'<f8'").replace('3, 3, 2), }', '3, 3), }   ');
    writeFileSync(at('double.npy'), Buffer.concat([Buffer.from(header, 'latin1'), Buffer.from(values.buffer)]));
    const weight = ramp([1, 1, 2, 2]);
    await writeSafetensors(at('layer.safetensors'), { weight });
    const args = ['run', '--weights', at('layer.safetensors'), '--input', at('double.npy'), '--output', at('d.npy')];
    expect((await convtranspose(args)).stderr).toMatch(/got float64 \(ERR_CONVTRANSPOSE_UNSUPPORTED\)\n$/);
    expect((await convtranspose([...args, '--convert', 'float32'])).stderr).toBe('');
    expectSame(await readNpy(at('d.npy')), convTranspose2d({ data: Float32Array.from(values), shape: [1, 1, 3, 3] }, weight));
  });

  test('what goes wrong leaves no output and one line', async () => {
    await writeNpy(at('x.npy'), ramp([1, 2, 4, 4]));
    await writeNpy(at('flat.npy'), ramp([4]));
    await writeSafetensors(at('layer.safetensors'), { weight: ramp([2, 2, 2, 2]), bias: ramp([3]), flat: ramp([2, 2]), fine: ramp([2, 2, 2, 2]) });
    const files = ['--weights', at('layer.safetensors'), '--input', at('x.npy'), '--output', at('wrong.npy')];
    const fine = [...files, '--weight-name', 'fine'];
    const wrong: [string[], number, RegExp][] = [
      [files, 1, /^convtranspose: bias: expected shape \[2\], got \[3\] \(ERR_CONVTRANSPOSE_SHAPE\)\n$/],
      [[...files, '--weight-name', 'flat'], 1, /weight: expected .*, got \[2, 2\] \(ERR_CONVTRANSPOSE_SHAPE\)\n$/],
      [[...fine, '--input', at('flat.npy')], 2, /--input is given twice \(ERR_CONVTRANSPOSE_USAGE\)\n$/],
      [[...fine, '--stride', '0'], 1, /stride: expected an integer of at least 1, got 0 \(ERR_CONVTRANSPOSE_INVALID_VALUE\)\n$/],
      [[...fine, '--padding', '-1'], 1, /padding: .* got -1 \(ERR_CONVTRANSPOSE_INVALID_VALUE\)\n$/],
      [[...fine, '--padding', '1:1'], 1, /padding: .*\(ERR_CONVTRANSPOSE_INVALID_VALUE\)\n$/],
      [[...fine, '--padding', '1:1,2'], 2, /--padding needs integers or pairs begin:end with commas between them, not "1:1,2"/],
      [[...fine, '--padding', '9'], 1, /\(ERR_CONVTRANSPOSE_OUTPUT_SIZE\)\n$/],
      [[...fine, '--groups', '2.5'], 2, /--groups needs an integer, not "2\.5"/],
      [[...fine, '--stride', '2;2'], 2, /--stride needs integers with commas between them, not "2;2"/],
      [[...fine, '--activation', 'relu6'], 1, /activation: .*got "relu6"/],
      [[...fine, '--activation', 'clamp:a:1'], 2, /--activation needs numbers as parameters, not "a"/],
      [[...fine, '--memory-format', 'nhwc'], 1, /memoryFormat: .*got "nhwc"/],
      [[...fine, '--algorithm', 'fft'], 1, /algorithm: .*got "fft"/],
      [[...fine, '--strides', '2'], 2, /unknown option '--strides' \(Did you mean --stride\?\)/],
      [[...fine, '--output_padding', '1'], 2, /unknown option '--output_padding' \(Did you mean --output-padding\?\)/],
      [[...fine, '-x'], 2, /unknown option '-x'/],
      [[...fine, '--invariant=yes'], 2, /unknown option '--invariant=yes'/],
      [[...fine, '--stride'], 2, /option '--stride <N\[,N\.\.\.\]>' argument missing/],
      [[...fine, '--stride', '--padding', '1'], 2, /--stride needs a value: --stride N\[,N\.\.\.\]/],
      [[...fine, 'extra'], 2, /--output takes one input, not 2; --output-dir takes many/],
      [files.slice(2), 2, /--weights is missing/],
      [files.slice(0, 4), 2, /--output or --output-dir is missing/],
      [['--weights', at('none'), ...files.slice(2)], 1, /no such file or directory, .*none' \(ENOENT\)\n$/],
      [['--weights', at('x.npy'), ...files.slice(2)], 1, /x\.npy.*\(ERR_CONVTRANSPOSE_FORMAT\)\n$/],
    ];
    for (const [args, code, message] of wrong) {
      const outcome = await convtranspose(['run', ...args]);
      expect(outcome.stderr).toMatch(message);
      expect(outcome.stderr).toMatch(/^convtranspose: [^\n]* \([A-Z_]+\)\n$/);
      expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    }
    expect(readdirSync(folder).filter((name) => name.includes('wrong'))).toEqual([]);
  });
});

describe('explain', () => {
  test('prints the plan for shapes', async () => {
    const { code, stdout } = await convtranspose(['explain', '--input-shape', '1,64,16,16', '--weight-shape', '64,32,4,4', '--stride', '2', '--padding', '1']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ConvTranspose2d\(64, 32, 4, \{ stride: 2, padding: 1 \}\)\n/);
    expect(stdout).toMatch(/\[1, 64, 16, 16\] -> \[1, 32, 32, 32\]: (direct-\w+|winograd|amx(-overlap)?) \(\w+\)/);
    expect(stdout).toMatch(/^ {2}not reference +\S/m);
    expect(stdout).toMatch(/^ {2}memory +[\d.]+ [KM]iB of scratch/m);
  });

  test('prints JSON for machines', async () => {
    const { code, stdout } = await convtranspose(['explain', '--input-shape', '64,16', '--weight-shape', '64,32,4', '--stride', '2', '--padding', '1:0', '--algorithm', 'direct', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      layer: { inChannels: 64, outChannels: 32, kernelSize: [4], stride: [2], padding: [[1, 0]], groups: 1 }, inputShape: [64, 16],
      outputShape: [32, 33], choice: 'direct', phases: 2, flops: 2 * 64 * 32 * 16 * 4, packedWeights: expect.any(Object) as unknown,
    });
  });

  test('prints the plan for a file, with all that a layer may have', async () => {
    await writeSafetensors(at('vocoder.safetensors'), { 'ups.0.weight': ramp([4, 2, 16]), 'ups.0.bias': ramp([2]) });
    const { stdout, stderr } = await convtranspose([
      'explain', '--input-shape', '4,50', '--weights', at('vocoder.safetensors'), '--weight-name', 'ups.0.weight', '--stride', '8',
      '--padding', '4:5', '--output-size', '403', '--algorithm', 'reference',
    ]);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^ConvTranspose1d\(4, 2, 16, \{ stride: 8, padding: \[4, 5\] \}\)\n\n.*\[4, 50\] -> \[2, 403\]: reference/);
  });

  test('what goes wrong', async () => {
    for (const [args, code, message] of [
      [['--weight-shape', '1,1,2'], 2, /--input-shape is missing/],
      [['--input-shape', '1,4'], 2, /one of --weight-shape and --weights is needed/],
      [['--input-shape', '1,4', '--weight-shape', '1,1,2', '--weights', 'x'], 2, /one of --weight-shape and --weights is needed/],
      [['--input-shape', '2,4', '--weight-shape', '1,1,2'], 1, /inputShape: .*\(ERR_CONVTRANSPOSE_SHAPE\)/],
      [['--input-shape', '1,4', '--weight-shape', '1,1,2', '--algorithm', 'gemm'], 1, /\(ERR_CONVTRANSPOSE_UNSUPPORTED\)/],
    ] as const) {
      const outcome = await convtranspose(['explain', ...args]);
      expect(outcome.stderr).toMatch(message);
      expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    }
  });
});

describe('help', () => {
  test('of the program', async () => {
    const { code, stdout } = await convtranspose(['--help']);
    expect(code).toBe(0);
    for (const word of ['upsample', 'run', 'explain', 'solve', 'checkerboard', 'verify', 'info', '--version', 'Exit codes', 'CONVTRANSPOSE_ISA']) expect(stdout).toContain(word);
    expect((await convtranspose(['-h'])).stdout).toBe(stdout);
  });

  test.each(['upsample', 'run', 'explain', 'solve', 'checkerboard', 'verify', 'info'])('of %s, wherever it is asked for', async (name) => {
    const { code, stdout, stderr } = await convtranspose([name, '--wrong', '--help']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(new RegExp(`^Usage: convtranspose ${name}`));
    expect(stdout).toContain(`  convtranspose ${name}`);
    expect(stdout).not.toMatch(/undefined|NaN/);
  });

  test('of run names every option of a layer', async () => {
    const { stdout } = await convtranspose(['run', '--help']);
    for (const option of ['stride', 'padding', 'output-padding', 'output-size', 'dilation', 'groups', 'memory-format', 'activation', 'precision',
      'algorithm', 'invariant', 'workspace-limit', 'num-threads']) {
      expect(stdout).toMatch(new RegExp(`^  (--threads, )?--${option}\\b`, 'm'));
    }
  });

  test('version and info', async () => {
    expect(await convtranspose(['--version'])).toEqual({ code: 0, stdout: `${version()}\n`, stderr: '' });
    const { stdout } = await convtranspose(['info']);
    expect(stdout).toMatch(new RegExp(`version +${version()}\\n`));
    expect(stdout).toMatch(new RegExp(`instruction set +${cpuInfo().isa},`));
    expect(stdout).toMatch(/binary +\/.*\.node\n/);
  });

  test.each([
    [[], /a command is missing/],
    [['upsmaple'], /unknown command 'upsmaple' \(Did you mean upsample\?\)/],
    [['quantise'], /unknown command 'quantise'/],
    [['info', 'x'], /too many arguments for 'info'/],
    [['constructor'], /unknown command 'constructor'/],
  ])('%j is a usage error', async (args, message) => {
    const outcome = await convtranspose(args);
    expect(outcome.stderr).toMatch(message);
    expect([outcome.code, outcome.stdout]).toEqual([2, '']);
  });

  test('CONVTRANSPOSE_DEBUG shows where an error arose', async () => {
    process.env['CONVTRANSPOSE_DEBUG'] = '1';
    try {
      expect((await convtranspose(['nothing'])).stderr).toMatch(/\n +at .*program/);
    } finally {
      delete process.env['CONVTRANSPOSE_DEBUG'];
    }
    expect((await convtranspose(['nothing'])).stderr.split('\n').length).toBe(2);
  });
});

test('as a program of its own: exit code, output, errors', async () => {
  expect(await runChild('../lib/cli/main', {}, ['--version'])).toMatchObject({ status: 0, stdout: `${version()}\n`, stderr: '' });
  const wrong = await runChild('../lib/cli/main', {}, ['run', '--stride']);
  expect(wrong).toMatchObject({ status: 2, stdout: '' });
  expect(wrong.stderr).toMatch(/^convtranspose: .*\(ERR_CONVTRANSPOSE_USAGE\)\n$/);
  const isa = await runChild('../lib/cli/main', { CONVTRANSPOSE_ISA: 'mmx' }, ['info']);
  expect(isa).toMatchObject({ status: 1, stdout: '' });
  expect(isa.stderr).toMatch(/^convtranspose: CONVTRANSPOSE_ISA: .*mmx.* \(ERR_CONVTRANSPOSE_[A-Z_]+\)\n$/);
}, 60_000);
