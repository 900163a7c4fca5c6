/** Wrong calls: which error each gives, and that native code hears of none of them. */
import { asked, reset } from './fake-addon';

import { beforeEach, describe, expect, it } from '@jest/globals';

import { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Tensor, convTranspose1d, convTranspose2d } from '../../lib/index';

beforeEach(reset);

const input = Tensor.zeros([1, 4, 3, 3]);
const weight = Tensor.zeros([4, 2, 3, 3]);
const bias = Tensor.zeros([2]);
const out = Tensor.zeros([1, 2, 5, 5]);
const shared = new Float32Array(new SharedArrayBuffer(1024));
const layer = new ConvTranspose2d(4, 2, 3, { weight, bias });

type Row = [call: string, work: () => unknown, code: string, message: string];

const rows: Row[] = [
  // options
  ['stride 0', () => convTranspose2d(input, weight, bias, { stride: 0 }), 'INVALID_VALUE', 'stride: expected an integer of at least 1, got 0'],
  ['stride NaN', () => convTranspose2d(input, weight, bias, { stride: NaN }), 'INVALID_VALUE', 'stride: expected an integer of at least 1, got NaN'],
  ['stride null', () => convTranspose2d(input, weight, bias, { stride: null as never }), 'INVALID_TYPE',
    'stride: expected an integer of at least 1, or an array of 2 (one per dimension), got null'],
  ['stride [2, "2"]', () => convTranspose2d(input, weight, bias, { stride: [2, '2'] as never }), 'INVALID_TYPE',
    'stride: expected an integer of at least 1 in dimension 1, got "2"'],
  ['padding of one number too many', () => convTranspose1d(Tensor.zeros([1, 4, 3]), Tensor.zeros([4, 2, 3]), null, { padding: [1, 2] }), 'INVALID_VALUE',
    'padding: expected an integer of at least 0, an array of 1 integers, or an array of 1 [begin, end] pairs, got 2 entries'],
  ['outputPadding 1 at stride 1', () => convTranspose2d(input, weight, bias, { outputPadding: 1 }), 'INVALID_VALUE',
    'outputPadding: expected less than stride or dilation (0 to 0 in dimension 0), got 1'],
  ['groups 3', () => convTranspose2d(input, weight, bias, { groups: 3 }), 'INVALID_VALUE', 'groups: expected a divisor of inChannels (4), got 3'],
  ['groups 0', () => convTranspose2d(input, weight, bias, { groups: 0 }), 'INVALID_VALUE', 'groups: expected an integer of at least 1, got 0'],
  ['groups 2^52', () => convTranspose2d(input, weight, bias, { groups: 2 ** 52 }), 'INVALID_VALUE', `groups: expected a divisor of inChannels (4), got ${2 ** 52}`],
  ['both output size and padding', () => convTranspose2d(input, weight, bias, { stride: 2, outputSize: 8, outputPadding: 1 }), 'CONFLICT',
    'outputSize: expected either outputSize or outputPadding, got both'],
  ['outputSize out of range', () => convTranspose2d(input, weight, bias, { stride: 2, outputSize: [7, 9] }), 'OUTPUT_SIZE',
    'outputSize: expected sizes from [7, 7] to [8, 8] (for input sizes [3, 3]), got [7, 9]'],
  ['a misspelt option', () => convTranspose2d(input, weight, bias, { output_padding: 1 } as never), 'UNKNOWN_OPTION',
    'output_padding: expected a known option (did you mean outputPadding?), got the unknown option "output_padding"'],
  ['options in place of the bias', () => convTranspose2d(input, weight, { stride: 2 } as never), 'INVALID_TYPE',
    'bias: expected a Tensor, { data, shape } or { data, dims }, got an object'],
  ['options as a number', () => convTranspose2d(input, weight, bias, 2 as never), 'INVALID_TYPE', 'options: expected an object or undefined, got 2'],
  ['workspaceLimit 0', () => convTranspose2d(input, weight, bias, { workspaceLimit: 0 }), 'INVALID_VALUE', 'workspaceLimit: expected an integer of at least 1, got 0'],
  ['numThreads 2^31', () => convTranspose2d(input, weight, bias, { numThreads: 2 ** 31 }), 'INVALID_VALUE',
    'numThreads: expected an integer from 1 to 1024, got 2147483648'],
  // tensors
  ['a bare array', () => convTranspose2d(input.data as never, weight), 'INVALID_TYPE', 'input: expected a Tensor, { data, shape } or { data, dims }, got Float32Array'],
  ['float64', () => convTranspose2d({ data: new Float64Array(36), shape: [1, 4, 3, 3] } as never, weight), 'UNSUPPORTED',
    'input: expected float32 data (a Float32Array; other types are not supported yet), got Float64Array'],
  ['too many channels', () => convTranspose2d(Tensor.zeros([1, 5, 3, 3]), weight), 'SHAPE',
    'input: expected shape [N, 4, H, W] or [4, H, W] (contiguous), got [1, 5, 3, 3]'],
  ['weight of another rank', () => convTranspose2d(input, Tensor.zeros([4, 2, 3])), 'SHAPE',
    'weight: expected shape [in, out/groups, kernel, kernel] with a kernel of at least 1, got [4, 2, 3]'],
  ['bias of another length', () => convTranspose2d(input, weight, Tensor.zeros([1])), 'SHAPE', 'bias: expected shape [2], got [1]'],
  ['out of another shape', () => convTranspose2d(input, weight, bias, { out: Tensor.zeros([1, 2, 5, 6]) }), 'SHAPE', 'out: expected shape [1, 2, 5, 5], got [1, 2, 5, 6]'],
  ['out over the input', () => convTranspose2d({ data: shared.subarray(0, 36), shape: [1, 4, 3, 3] }, weight, null,
    { out: { data: shared.subarray(35, 85), shape: [1, 2, 5, 5] } }), 'OVERLAP', 'out: expected memory of its own, got memory that overlaps input'],
  ['out over the weight', () => convTranspose2d(input, { data: shared.subarray(0, 72), shape: [4, 2, 3, 3] }, null,
    { out: { data: shared.subarray(71, 121), shape: [1, 2, 5, 5] } }), 'OVERLAP', 'out: expected memory of its own, got memory that overlaps weight'],
  ['out over the bias', () => convTranspose2d(input, weight, { data: shared.subarray(49, 51), shape: [2] },
    { out: { data: shared.subarray(0, 50), shape: [1, 2, 5, 5] } }), 'OVERLAP', 'out: expected memory of its own, got memory that overlaps bias'],
  // sizes
  ['a negative output', () => convTranspose2d(Tensor.zeros([1, 4, 1, 1]), weight, bias, { padding: 2 }), 'OUTPUT_SIZE',
    'padding: expected an output size of at least 0 (for input sizes [1, 1]), got -1 in dimension 0'],
  ['a stride of 2^52', () => convTranspose2d(input, weight, bias, { stride: 2 ** 52 }), 'TOO_LARGE',
    `stride: expected stride * input size (3) below 2^53 in dimension 0, got ${2 ** 52}`],
  ['a result that no machine holds', () => convTranspose2d(input, weight, bias, { stride: 2 ** 23 }), 'OUT_OF_MEMORY', ''],
  // modules
  ['inChannels -1', () => new ConvTranspose2d(-1, 2, 3), 'INVALID_VALUE', 'inChannels: expected an integer of at least 0, got -1'],
  ['outChannels undefined', () => new ConvTranspose2d(4, undefined as never, 3), 'INVALID_TYPE', 'outChannels: expected an integer of at least 0, got undefined'],
  ['kernelSize of the wrong length', () => new ConvTranspose3d(4, 2, [3, 3]), 'INVALID_VALUE',
    'kernelSize: expected an integer of at least 1, or an array of 3 (one per dimension), got 2 entries'],
  ['seed 2^32', () => new ConvTranspose2d(4, 2, 3, { seed: 2 ** 32 }), 'INVALID_VALUE', 'seed: expected an integer from 0 to 4294967295, got 4294967296'],
  ['weight of the wrong shape', () => new ConvTranspose2d(2, 4, 3, { weight }), 'SHAPE', 'weight: expected shape [2, 4, 3, 3], got [4, 2, 3, 3]'],
  ['bias as a number', () => new ConvTranspose2d(4, 2, 3, { bias: 1 as never }), 'INVALID_TYPE', 'bias: expected true, false, null or a tensor, got 1'],
  ['weights of 2^53 bytes', () => new ConvTranspose1d(2 ** 26, 2 ** 25, 1), 'TOO_LARGE', 'weight: expected fewer than 2^53 bytes, got sizes [67108864, 33554432, 1]'],
  ['weights that no machine holds', () => new ConvTranspose1d(2 ** 24, 2 ** 24, 1), 'OUT_OF_MEMORY', ''],
  ['outputSize of a constructor', () => new ConvTranspose2d(4, 2, 3, { outputSize: 5 } as never), 'UNKNOWN_OPTION', ''],
  ['stride of a forward', () => layer.forward(input, { stride: 2 } as never), 'UNKNOWN_OPTION',
    'stride: expected one of outputSize, residual, out, numThreads, got the unknown option "stride"'],
  ['out of a forward without batch', () => layer.forward(input, { out: Tensor.zeros([2, 5, 5]) }), 'SHAPE', 'out: expected shape [1, 2, 5, 5], got [2, 5, 5]'],
  ['a shape that is no list', () => layer.outputShape(3 as never), 'INVALID_TYPE', 'inputShape: expected an array of sizes, got 3'],
  ['a shape with a fraction', () => layer.prepare([1, 4, 3, 2.5]), 'INVALID_VALUE', 'inputShape: expected an integer of at least 0 in dimension 3, got 2.5'],
  ['a shape of other channels', () => layer.explain([1, 3, 3, 3]), 'SHAPE', 'inputShape: expected shape [N, 4, H, W] or [4, H, W] (contiguous), got [1, 3, 3, 3]'],
];

describe('wrong calls', () => {
  it.each(rows)('%s', (_, work, code, message) => {
    let error: { code?: string; argument?: string; message: string } = { message: 'nothing was thrown' };
    try {
      work();
    } catch (caught) {
      error = caught as typeof error;
    }
    expect(error.code).toBe(`ERR_CONVTRANSPOSE_${code}`);
    const isType = ['INVALID_TYPE', 'UNKNOWN_OPTION', 'CONFLICT'].includes(code) || (code === 'UNSUPPORTED');
    expect(error).toBeInstanceOf(isType ? TypeError : RangeError);
    expect(error.message.startsWith(`${String(error.argument)}: expected `)).toBe(true);
    if (message !== '') expect(error.message).toBe(message);
    expect(asked.runs).toEqual([]);
    expect(asked.prepared).toBe(0);
  });
});

describe('code of the user', () => {
  it('cannot change what was read', () => {
    const data = new Float32Array(36).fill(1);
    const shape = [1, 4, 3, 3];
    const y = convTranspose2d({ data, shape }, weight, bias, { get stride() { shape[1] = 1000; return 1; }, out });
    expect(y.shape).toEqual([1, 2, 5, 5]);
  });

  it('that takes memory away is noticed', () => {
    const data = new Float32Array(36);
    const work = () => convTranspose2d({ data, shape: [1, 4, 3, 3] }, weight, bias, {
      get stride() {
        structuredClone(data.buffer, { transfer: [data.buffer] });
        return 1;
      },
    });
    expect(work).toThrow(expect.objectContaining({ code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'input' }));
  });
});
