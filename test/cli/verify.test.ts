/** `convtranspose verify`, and the definition that it compares with. */
import path from 'node:path';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { convTransposeInFloat64 } from '../../lib/cli/float64';
import { onnx } from '../../lib/compat/index';
import { Tensor } from '../../lib/index';
import type { OnnxAttributes } from '../../lib/io/index';
import { convtranspose } from './support';

const fixture = (name: string) => path.join(__dirname, '..', 'io', 'fixtures', `${name}.onnx`);

function ramp(shape: number[], seed: number): Tensor {
  const tensor = Tensor.empty(shape);
  tensor.data.forEach((_, i) => { tensor.data[i] = (((i + seed) * 7) % 23 - 11) / 8; });
  return tensor;
}

describe('the definition', () => {
  test('by hand', () => {
    const x = { shape: [1, 1, 2], data: Float32Array.of(1, 10) };
    const w = { shape: [1, 1, 3], data: Float32Array.of(1, -2, 3) };
    const { shape, y, magnitude, terms } = convTransposeInFloat64({ strides: [2], pads: [1, 0] }, 22, x, w, Float32Array.of(0.5));
    expect(shape).toEqual([1, 1, 4]);
    expect([...y]).toEqual([-1.5, 13.5, -19.5, 30.5]); // of 1, -2, 3+10, -20, 30
    expect([...magnitude]).toEqual([2.5, 13.5, 20.5, 30.5]);
    expect([...terms]).toEqual([2, 3, 2, 2]);
  });

  const cases: [OnnxAttributes, number[], number[], number][] = [
    [{ strides: [2, 3], pads: [1, 0, 2, 1], dilations: [2, 1], group: 2 }, [1, 4, 5, 4], [4, 3, 3, 2], 22],
    [{ strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] }, [1, 3, 4, 4], [3, 2, 3, 3], 22],
    [{ strides: [3, 2], output_shape: [10, 8] }, [1, 1, 3, 3], [1, 2, 3, 3], 22],
    [{ strides: [2], auto_pad: 'VALID' }, [1, 2, 5], [2, 2, 4], 22],
    [{ strides: [2, 1, 2], pads: [0, 1, 0, 1, 0, 0] }, [1, 2, 3, 4, 2], [2, 2, 2, 3, 2], 22],
    ...(['SAME_UPPER', 'SAME_LOWER'] as const).flatMap((auto_pad) => [22, 10].map((opset): [OnnxAttributes, number[], number[], number] =>
      [{ strides: [2, 2], auto_pad }, [1, 2, 3, 4], [2, 2, 3, 4], opset])),
    ...(['SAME_UPPER', 'NOTSET'] as const).flatMap((auto_pad) => [22, 10].map((opset): [OnnxAttributes, number[], number[], number] =>
      [{ strides: [2, 2], auto_pad, output_shape: [6, 6] }, [1, 2, 3, 3], [2, 2, 3, 3], opset])),
    [{ strides: [3, 3], auto_pad: 'SAME_UPPER' }, [1, 2, 4, 4], [2, 2, 2, 2], 22],
  ];
  test.each(cases)('%j', (attributes, xShape, wShape, opset) => {
    const [x, w, b] = [ramp(xShape, 1), ramp(wShape, 2), ramp([(wShape[1] as number) * (attributes.group ?? 1)], 3)];
    const got = onnx.convTranspose(attributes, x, w, b, { opset });
    const { shape, y } = convTransposeInFloat64(attributes, opset, x, w, b.data);
    expect(shape).toEqual(got.shape);
    // All sums are exact in float32.
    expect([...got.data]).toEqual([...y]);
  });
});

describe('the command', () => {
  afterEach(() => { jest.restoreAllMocks(); });

  test.each([[[]], [['--algorithm', 'reference']], [['--input-size', '7,9', '--seed', '3', '--threads', '1']]])('a model that PyTorch exported, %j', async (args) => {
    const { code, stdout, stderr } = await convtranspose(['verify', fixture('exported'), '--json', ...args]);
    expect([code, stderr]).toEqual([0, '']);
    const { ok, nodes } = JSON.parse(stdout) as { ok: boolean; nodes: { error: number; ok: boolean; input: number[]; algorithm: string }[] };
    expect([ok, nodes.length]).toEqual([true, 2]);
    for (const node of nodes) {
      expect(node.ok).toBe(true);
      expect(node.error).toBeGreaterThan(0);
      expect(node.error).toBeLessThan(1);
      if (args.includes('7,9')) expect(node.input.slice(2)).toEqual([7, 9]);
      if (args.includes('reference')) expect(node.algorithm).toBe('reference');
    }
  });

  test('a table; what a model computes itself is skipped', async () => {
    const { code, stdout } = await convtranspose(['verify', fixture('types'), '--convert', 'float32']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ +node +weight +input +output +algorithm +error +verdict\n/);
    expect(stdout).toMatch(/dynamic +skipped: the model computes its weights\n/);
    expect(stdout.match(/ ok\n/g)?.length).toBeGreaterThan(8);
  });

  test('an error above the bound, and a value that is no number, are found', async () => {
    for (const spoil of [(value: number) => value * (1 + 1e-4), () => NaN]) {
      jest.spyOn(onnx.ConvTranspose.prototype, 'forwardAsync').mockImplementation(async function spoiled(this: onnx.ConvTranspose, input) {
        const result = this.forward(input);
        result.data[5] = spoil(result.data[5] as number);
        return result;
      });
      const { code, stdout } = await convtranspose(['verify', fixture('external')]);
      expect(code).toBe(1);
      expect(stdout).toContain('WRONG');
      jest.restoreAllMocks();
    }
    jest.spyOn(onnx.ConvTranspose.prototype, 'forwardAsync').mockImplementation(async () => Tensor.zeros([1, 3, 11]));
    const { code, stdout } = await convtranspose(['verify', fixture('external')]);
    expect([code, stdout]).toEqual([1, expect.stringContaining('the operator gives [1, 3, 12]')]);
  });

  test('what goes wrong', async () => {
    for (const [args, code, message] of [
      [[], 2, /missing required argument 'model'/],
      [[fixture('none')], 1, /\(ENOENT\)\n$/],
      [[__filename], 1, /\(ERR_CONVTRANSPOSE_FORMAT\)\n$/],
      [[fixture('types')], 1, /\(ERR_CONVTRANSPOSE_UNSUPPORTED\)\n$/],
      [[fixture('exported'), '--input-size', '3,4,5'], 2, /--input-size has 3 sizes, but a node has 2 dimensions/],
    ] as const) {
      const outcome = await convtranspose(['verify', ...args]);
      expect(outcome.stderr).toMatch(message);
      expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    }
  });
});
