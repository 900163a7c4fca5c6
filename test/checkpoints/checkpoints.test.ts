/** Whole networks from checkpoints of PyTorch, against what PyTorch computes with them in float64. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { describe, expect, jest, test } from '@jest/globals';

import { Sequential, Tensor } from '../../lib/index';
import { readModule, SafetensorsFile, type ReadModuleOptions } from '../../lib/io/index';

// A whole network, on a busy machine.
jest.setTimeout(300_000);

/** The generator of DCGAN: five layers, all but the last with a BatchNorm and ReLU. */
async function dcgan(file: SafetensorsFile): Promise<Sequential> {
  const layer = (index: number, options: ReadModuleOptions) => readModule(file, `main.${index}`, options);
  const up = { stride: 2, padding: 1 };
  return new Sequential([
    await layer(0, { batchNorm: 'main.1', activation: 'relu' }),
    await layer(3, { ...up, batchNorm: 'main.4', activation: 'relu' }),
    await layer(6, { ...up, batchNorm: 'main.7', activation: 'relu' }),
    await layer(9, { ...up, batchNorm: 'main.10', activation: 'relu' }),
    await layer(12, { ...up, activation: 'tanh' }),
  ]);
}

/** The head of SimpleBaseline: three layers with BatchNorm and ReLU, then a convolution of 1 x 1. */
async function simpleBaseline(file: SafetensorsFile): Promise<Sequential> {
  const layer = (index: number) =>
    readModule(file, `deconv_layers.${index}`, { stride: 2, padding: 1, batchNorm: `deconv_layers.${index + 1}`, activation: 'relu' });
  return new Sequential([await layer(0), await layer(3), await layer(6), await readModule(file, 'final_layer', { layer: 'pointwiseConv' })]);
}

const networks = [['dcgan', dcgan], ['simple-baseline', simpleBaseline]] as const;

/** The numbers of a float64 tensor, which the package itself does not read. */
function readExact(file: string): Float64Array {
  const bytes = fs.readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as { exact: { data_offsets: [number, number] } };
  const [begin, end] = header.exact.data_offsets;
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset + start + begin, bytes.byteOffset + start + end));
}

function maxError(values: Float32Array, exact: Float64Array): number {
  return values.reduce((most, value, i) => (Math.abs(value - (exact[i] as number)) <= most ? most : Math.abs(value - (exact[i] as number))), 0);
}

/** Error of the network of a checkpoint, and of PyTorch in float32. */
async function errors(folder: string, name: string, load: (file: SafetensorsFile) => Promise<Sequential>): Promise<{ ours: number; theirs: number }> {
  const file = await SafetensorsFile.open(path.join(folder, `${name}.safetensors`));
  const expectedFile = path.join(folder, `${name}-expected.safetensors`);
  const expected = await SafetensorsFile.open(expectedFile);
  const network = await load(file);
  try {
    const { x, y } = (await expected.read({ names: ['x', 'y'] })) as { x: Tensor; y: Tensor };
    const exact = readExact(expectedFile);
    const output = network.forward(x);
    expect(output.shape).toEqual(y.shape);
    expect(network.outputShape(x.shape)).toEqual(y.shape);
    const again = await network.forwardAsync(x);
    expect(Buffer.from(again.data.buffer, again.data.byteOffset, again.data.byteLength)
      .equals(Buffer.from(output.data.buffer, output.data.byteOffset, output.data.byteLength))).toBe(true);
    return { ours: maxError(output.data, exact), theirs: maxError(y.data, exact) };
  } finally {
    network.dispose();
    await file.close();
    await expected.close();
  }
}

function expectClose({ ours, theirs }: { ours: number; theirs: number }): void {
  expect(ours).toBeLessThanOrEqual(1.5 * theirs + 1e-6);
}

describe('with few channels, as committed', () => {
  test.each(networks)('%s', async (name, load) => {
    expectClose(await errors(path.join(__dirname, 'fixtures'), name, load));
  });
});

const pythons = ['/usr/bin/python3', 'python3'];
const python = pythons.find((command) => spawnSync(command, ['-c', 'import torch']).status === 0);

// In full size they are made here: they need a python with PyTorch.
(python === undefined ? describe.skip : describe)('in full size, made by PyTorch now', () => {
  test('dcgan and simple-baseline', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'checkpoints-'));
    try {
      const made = spawnSync(python as string, [path.join(__dirname, 'make-checkpoints.py'), folder, '--full'], { encoding: 'utf8' });
      expect({ status: made.status, stderr: made.stderr }).toMatchObject({ status: 0 });
      for (const [name, load] of networks) {
        const found = await errors(folder, name, load);
        console.info(`${name} in full size: error ${found.ours.toExponential(2)}, of PyTorch's float32 ${found.theirs.toExponential(2)}`);
        expectClose(found);
      }
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
