/** Calls that must be refused, each with the class, code and argument of the error it must give. */
import {
  ConvTranspose2d, ConvTranspose3d, Tensor, convTranspose1d, convTranspose1dAsync, convTranspose2d, convTranspose2dAsync,
  convTranspose3d, setNumThreads,
} from '../../lib/index';
import { detach, resizableBuffer } from '../support/buffers';

export interface WrongCall {
  name: string;
  call: () => unknown;
  error: 'TypeError' | 'RangeError';
  /** Without the prefix that all codes share. */
  code: string;
  argument: string;
}

type Row = [what: string, value: unknown, code: string];

const typeErrors = new Set(['INVALID_TYPE', 'UNKNOWN_OPTION', 'CONFLICT', 'DETACHED', 'DISPOSED']);

/** What is no number at all. */
const noNumbers: Row[] = [
  ['a string', '2', 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['true', true, 'INVALID_TYPE'], ['an object', {}, 'INVALID_TYPE'],
  ['a bigint', 2n, 'INVALID_TYPE'], ['a symbol', Symbol('two'), 'INVALID_TYPE'], ['a function', () => 2, 'INVALID_TYPE'],
  ['a boxed number', Object(2), 'INVALID_TYPE'], ['an object with valueOf', { valueOf: () => 2 }, 'INVALID_TYPE'],
];

/** Numbers that are no sizes. */
const noSizes: Row[] = [
  ['NaN', NaN, 'INVALID_VALUE'], ['1.5', 1.5, 'INVALID_VALUE'], ['Infinity', Infinity, 'INVALID_VALUE'], ['-1', -1, 'INVALID_VALUE'],
  ['2^53', 2 ** 53, 'INVALID_VALUE'], ['1e300', 1e300, 'INVALID_VALUE'], ['-2^31', -(2 ** 31), 'INVALID_VALUE'],
  ['the smallest number', 5e-324, 'INVALID_VALUE'],
];

/** Lists of the wrong length or with wrong entries, for two dimensions. */
const wrongLists: Row[] = [
  ['an empty array', [], 'INVALID_VALUE'], ['one entry', [1], 'INVALID_VALUE'], ['three entries', [1, 1, 1], 'INVALID_VALUE'],
  ['a million entries', { length: 1e6 }, 'INVALID_TYPE'], ['a string entry', [1, '1'], 'INVALID_TYPE'], ['a NaN entry', [1, NaN], 'INVALID_VALUE'],
  ['a fractional entry', [1, 0.5], 'INVALID_VALUE'], ['an undefined entry', [1, undefined], 'INVALID_TYPE'],
  // eslint-disable-next-line no-sparse-arrays
  ['a hole', [1, ,], 'INVALID_TYPE'], ['a nested array', [1, [1]], 'INVALID_TYPE'],
];

const zeros = (shape: number[]) => new Tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
const input = zeros([1, 4, 3, 3]);
const weight = zeros([4, 2, 3, 3]);
const bias = zeros([2]);

/** A detached array with the length that its shape asks for until a moment ago. */
function detached(length: number): Float32Array {
  const data = new Float32Array(length);
  detach(data);
  return data;
}

/** A view whose resizable buffer has become too short; one that follows the length of its buffer, or one that does not. */
function shrunk(length: number, follows: boolean): Float32Array {
  const buffer = resizableBuffer(4 * length, 8 * length);
  const data = follows ? new Float32Array(buffer) : new Float32Array(buffer, 0, length);
  buffer.resize(4);
  return data;
}

/** An array that grows while its entries are read. */
function growing(entries: number[]): unknown {
  const target = [...entries];
  return new Proxy(target, {
    get(array, key) {
      if (key === '0') array.push(1);
      return Reflect.get(array, key) as unknown;
    },
  });
}

/** An array that loses its entries while they are read. */
function shrinking(entries: number[]): unknown {
  const target = [...entries];
  return new Proxy(target, {
    get(array, key) {
      const value = Reflect.get(array, key) as unknown;
      if (key === '0') array.length = 0;
      return value;
    },
  });
}

export function wrongCalls(): WrongCall[] {
  const calls: WrongCall[] = [];
  const add = (name: string, code: string, argument: string, call: () => unknown) => {
    const error = typeErrors.has(code) || (code === 'UNSUPPORTED' && argument !== 'algorithm' && !argument.endsWith('stride')) ? 'TypeError' : 'RangeError';
    calls.push({ name, call, error, code, argument });
  };
  /** Every row as the value of one argument, which `call` gets. */
  const rows = (what: string, argument: string, list: Row[], call: (value: unknown) => unknown) => {
    for (const [value, given, code] of list) add(`${what}: ${value}`, code, argument, () => call(given));
  };
  const option = (name: string) => (value: unknown) => convTranspose2d(input, weight, bias, { [name]: value });

  // Options that are numbers, or lists of numbers
  for (const name of ['stride', 'dilation', 'padding', 'outputPadding']) {
    rows(name, name, [...noNumbers, ...noSizes, ...wrongLists], option(name));
    add(`${name}: [1, 2] in one dimension`, 'INVALID_VALUE', name, () =>
      convTranspose1d(zeros([1, 4, 3]), zeros([4, 2, 3]), null, { [name]: [1, 2] }));
  }
  rows('stride', 'stride', [['0', 0, 'INVALID_VALUE'], ['[1, 0]', [1, 0], 'INVALID_VALUE'], ['-0', -0, 'INVALID_VALUE']], option('stride'));
  rows('dilation', 'dilation', [['0', 0, 'INVALID_VALUE'], ['[0, 1]', [0, 1], 'INVALID_VALUE']], option('dilation'));
  rows('groups', 'groups', [...noNumbers, ...noSizes, ['0', 0, 'INVALID_VALUE'], ['3', 3, 'INVALID_VALUE'], ['a list', [1], 'INVALID_TYPE']], option('groups'));
  rows('outputSize', 'outputSize', [...noNumbers, ...noSizes, ...wrongLists], option('outputSize'));
  rows('numThreads', 'numThreads', [...noNumbers, ...noSizes, ['0', 0, 'INVALID_VALUE'], ['2^31', 2 ** 31, 'INVALID_VALUE'], ['2^32 + 1', 2 ** 32 + 1, 'INVALID_VALUE']], option('numThreads'));
  rows('workspaceLimit', 'workspaceLimit', [...noNumbers, ...noSizes, ['0', 0, 'INVALID_VALUE']], option('workspaceLimit'));
  rows('setNumThreads', 'numThreads', [...noNumbers, ...noSizes, ['0', 0, 'INVALID_VALUE'], ['2^32 + 1', 2 ** 32 + 1, 'INVALID_VALUE'], ['undefined', undefined, 'INVALID_TYPE']],
    (value) => setNumThreads(value as number));

  // Padding in pairs
  rows('padding', 'padding', [
    ['pairs and numbers mixed', [1, [1, 1]], 'INVALID_TYPE'], ['one pair for two dimensions', [[1, 1]], 'INVALID_VALUE'],
    ['a pair of one', [[1, 1], [1]], 'INVALID_VALUE'], ['a pair of three', [[1, 1], [1, 1, 1]], 'INVALID_VALUE'],
    ['a negative begin', [[-1, 0], [0, 0]], 'INVALID_VALUE'], ['a string in a pair', [[1, '1'], [1, 1]], 'INVALID_TYPE'],
    ['a fraction in a pair', [[0, 0.5], [0, 0]], 'INVALID_VALUE'], ['NaN in a pair', [[0, NaN], [0, 0]], 'INVALID_VALUE'],
    ['an end of -2^53', [[0, -(2 ** 53)], [0, 0]], 'INVALID_VALUE'], ['null in place of a pair', [[0, 0], null], 'INVALID_TYPE'],
    ['"same"', 'same', 'INVALID_TYPE'],
  ], option('padding'));

  // Words and flags
  const words: Row[] = [
    ['an unknown word', 'fastest', 'INVALID_VALUE'], ['another case', 'AUTO', 'INVALID_VALUE'], ['an empty word', '', 'INVALID_VALUE'],
    ['a number', 1, 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['a list', ['auto'], 'INVALID_TYPE'], ['a boxed word', Object('auto'), 'INVALID_TYPE'],
  ];
  for (const name of ['memoryFormat', 'precision', 'algorithm']) rows(name, name, words, option(name));
  rows('invariant', 'invariant', [['1', 1, 'INVALID_TYPE'], ['"true"', 'true', 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['an object', {}, 'INVALID_TYPE']], option('invariant'));
  rows('activation', 'activation', [
    ['an unknown word', 'relu6', 'INVALID_VALUE'], ['prelu without its weight', 'prelu', 'INVALID_VALUE'], ['a number', 1, 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['a list', ['relu'], 'INVALID_TYPE'],
    ['an unknown key', { type: 'clamp', low: 0 }, 'UNKNOWN_OPTION'], ['a key of another type', { type: 'tanh', alpha: 1 }, 'UNKNOWN_OPTION'],
  ], option('activation'));
  rows('activation', 'activation.type', [['no type', {}, 'INVALID_TYPE'], ['another type', { type: 'relu6' }, 'INVALID_VALUE']], option('activation'));
  rows('activation', 'activation.min', [['a NaN', { type: 'clamp', min: NaN }, 'INVALID_VALUE'], ['a string', { type: 'clamp', min: '0' }, 'INVALID_TYPE']], option('activation'));
  rows('activation', 'activation.max', [['max below min', { type: 'clamp', min: 1, max: 0 }, 'INVALID_VALUE']], option('activation'));

  for (const [type, key] of [['leakyRelu', 'negativeSlope'], ['elu', 'alpha']] as const) {
    rows('activation', `activation.${key}`, [
      ['a NaN', { type, [key]: NaN }, 'INVALID_VALUE'], ['an infinity', { type, [key]: Infinity }, 'INVALID_VALUE'],
      ['no float32', { type, [key]: 1e39 }, 'INVALID_VALUE'], ['a string', { type, [key]: '1' }, 'INVALID_TYPE'],
    ], option('activation'));
  }
  rows('activation', 'activation.approximate', [['another', { type: 'gelu', approximate: 'erf' }, 'INVALID_VALUE'], ['a number', { type: 'gelu', approximate: 1 }, 'INVALID_TYPE']], option('activation'));
  rows('activation', 'activation.weight', [
    ['none', { type: 'prelu' }, 'INVALID_TYPE'], ['a number', { type: 'prelu', weight: 0.1 }, 'INVALID_TYPE'],
    ['three of two', { type: 'prelu', weight: zeros([3]) }, 'SHAPE'], ['two dimensions', { type: 'prelu', weight: zeros([1, 2]) }, 'SHAPE'],
    ['a detached one', { type: 'prelu', weight: { data: detached(2), shape: [2] } }, 'DETACHED'],
  ], option('activation'));

  // A residual has the shape of the result, here [1, 2, 5, 5]
  const result = [1, 2, 5, 5];
  const up = new ConvTranspose2d(4, 2, 3, { weight, bias });
  const sharedFloats = new Float32Array(new SharedArrayBuffer(4 * 100));
  const residuals: Row[] = [
    ['a number', 1, 'INVALID_TYPE'], ['a list', [1], 'INVALID_TYPE'], ['another shape', zeros([1, 2, 5, 4]), 'SHAPE'], ['without batch', zeros([2, 5, 5]), 'SHAPE'],
    ['too short', { data: new Float32Array(49), shape: result }, 'SHAPE'], ['detached', { data: detached(50), shape: result }, 'DETACHED'],
    ['shrunk', { data: shrunk(50, false), shape: result }, 'DETACHED'], ['float64', { data: new Float64Array(50), shape: result }, 'UNSUPPORTED'],
  ];
  rows('residual', 'residual', residuals, option('residual'));
  rows('residual, asynchronously', 'residual', residuals, (value) => convTranspose2dAsync(input, weight, bias, { residual: value as Tensor }));
  rows('residual of a module', 'residual', residuals, (value) => up.forward(input, { residual: value as Tensor }));
  rows('residual of a module, asynchronously', 'residual', residuals, (value) => up.forwardAsync(input, { residual: value as Tensor }));
  for (const [what, memory] of [['an array', new Float32Array(100)], ['a SharedArrayBuffer', sharedFloats]] as const) {
    for (const offset of [0, 10, 49]) {
      const residual = { data: memory.subarray(0, 50), shape: result };
      const out = { data: memory.subarray(offset, offset + 50), shape: result };
      const name = `out ${offset} floats into the residual, in ${what}`;
      add(name, 'OVERLAP', 'out', () => convTranspose2d(input, weight, bias, { residual, out }));
      add(`${name}, asynchronously`, 'OVERLAP', 'out', () => convTranspose2dAsync(input, weight, bias, { residual, out }));
      add(`${name}, of a module`, 'OVERLAP', 'out', () => up.forward(input, { residual, out }));
      add(`${name}, of a module, asynchronously`, 'OVERLAP', 'out', () => up.forwardAsync(input, { residual, out }));
    }
  }

  // BatchNorm
  const norm = { runningMean: zeros([2]), runningVar: zeros([2]) };
  const withNorm = (value: unknown) => new ConvTranspose2d(4, 2, 3, { weight, batchNorm: value as never });
  rows('batchNorm', 'batchNorm', [['a number', 1, 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE']], withNorm);
  rows('batchNorm', 'batchNorm.runningMean', [['none', { runningVar: zeros([2]) }, 'INVALID_TYPE'], ['three of two', { ...norm, runningMean: zeros([3]) }, 'SHAPE']], withNorm);
  rows('batchNorm', 'batchNorm.runningVar', [['none', { runningMean: zeros([2]) }, 'INVALID_TYPE'], ['a matrix', { ...norm, runningVar: zeros([1, 2]) }, 'SHAPE']], withNorm);
  rows('batchNorm', 'batchNorm.weight', [['one of two', { ...norm, weight: zeros([1]) }, 'SHAPE']], withNorm);
  rows('batchNorm', 'batchNorm.bias', [['detached', { ...norm, bias: { data: detached(2), shape: [2] } }, 'DETACHED']], withNorm);
  rows('batchNorm', 'batchNorm.eps', [['negative', { ...norm, eps: -1 }, 'INVALID_VALUE'], ['a NaN', { ...norm, eps: NaN }, 'INVALID_VALUE'], ['a string', { ...norm, eps: '1' }, 'INVALID_TYPE']], withNorm);
  add('batchNorm: a misspelt key', 'UNKNOWN_OPTION', 'running_mean', () => withNorm({ running_mean: zeros([2]), runningVar: zeros([2]) }));

  // The options object itself
  rows('options', 'options', [['a number', 2, 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['a string', 'stride', 'INVALID_TYPE'], ['a list', [2], 'INVALID_TYPE'], ['a function', () => 1, 'INVALID_TYPE']],
    (value) => convTranspose2d(input, weight, bias, value as never));
  for (const key of ['strides', 'Stride', 'output_padding', 'dilations', 'group', 'bias', 'signal', 'x']) {
    add(`unknown option ${key}`, 'UNKNOWN_OPTION', key, () => convTranspose2d(input, weight, bias, { [key]: 1 }));
  }
  add('outputSize and outputPadding', 'CONFLICT', 'outputSize', () =>
    convTranspose2d(input, weight, bias, { stride: 2, outputSize: [8, 8], outputPadding: 1 }));
  for (const signal of [1, null, {}, { aborted: false }, 'abort']) {
    add(`signal: ${JSON.stringify(signal)}`, 'INVALID_TYPE', 'signal', () => convTranspose2dAsync(input, weight, bias, { signal } as never));
  }

  // Tensors
  const noTensors: Row[] = [
    ['undefined', undefined, 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['a number', 1, 'INVALID_TYPE'], ['a list', [1, 2], 'INVALID_TYPE'],
    ['a bare Float32Array', new Float32Array(36), 'INVALID_TYPE'], ['an empty object', {}, 'INVALID_TYPE'], ['a string', 'tensor', 'INVALID_TYPE'],
    ['no shape', { data: new Float32Array(36) }, 'INVALID_TYPE'], ['no data', { shape: [1, 4, 3, 3] }, 'INVALID_TYPE'],
    ['plain array data', { data: Array(36).fill(0), shape: [1, 4, 3, 3] }, 'INVALID_TYPE'],
    ['an ArrayBuffer', { data: new ArrayBuffer(144), shape: [1, 4, 3, 3] }, 'INVALID_TYPE'],
    ['a DataView', { data: new DataView(new ArrayBuffer(144)), shape: [1, 4, 3, 3] }, 'INVALID_TYPE'],
    ['a proxy of a Float32Array', { data: new Proxy(new Float32Array(36), {}), shape: [1, 4, 3, 3] }, 'INVALID_TYPE'],
    ['an object that says it is a Float32Array', { data: Object.create(Float32Array.prototype) as unknown, shape: [1, 4, 3, 3] }, 'INVALID_TYPE'],
    ['a shape that is a string', { data: new Float32Array(36), shape: '1433' }, 'INVALID_TYPE'],
  ];
  const tensors: [string, (value: unknown) => unknown][] = [
    ['input', (value) => convTranspose2d(value as Tensor, weight, bias)],
    ['weight', (value) => convTranspose2d(input, value as Tensor, bias)],
    ['out', (value) => convTranspose2d(input, weight, bias, { out: value as Tensor })],
  ];
  for (const [argument, call] of tensors) rows(argument, argument, noTensors.slice(argument === 'out' ? 1 : 0), call);
  rows('bias', 'bias', noTensors.slice(2), (value) => convTranspose2d(input, weight, value as Tensor));
  for (const Kind of [Float64Array, Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array, BigUint64Array]) {
    add(`input: ${Kind.name}`, 'UNSUPPORTED', 'input', () => convTranspose2d({ data: new Kind(36), shape: [1, 4, 3, 3] } as never, weight, bias));
  }
  const badShapes: [string, unknown, string][] = [
    ['a negative size', [-1, 4, 3, 3], 'INVALID_VALUE'], ['a fractional size', [1, 4, 3, 2.5], 'INVALID_VALUE'], ['a NaN size', [1, 4, NaN, 3], 'INVALID_VALUE'],
    ['a size of 2^53', [2 ** 53, 4, 3, 3], 'INVALID_VALUE'], ['a string size', [1, 4, '3', 3], 'INVALID_TYPE'], ['an undefined size', [1, 4, undefined, 3], 'INVALID_TYPE'],
    ['rank 1', [36], 'SHAPE'], ['rank 2', [4, 9], 'SHAPE'], ['rank 5', [1, 1, 4, 3, 3], 'SHAPE'], ['another number of channels', [4, 1, 3, 3], 'SHAPE'],
    ['a wrong length', [1, 4, 3, 4], 'SHAPE'], ['a batch of 2', [2, 4, 3, 3], 'SHAPE'], ['a batch of 2^31', [2 ** 31, 4, 3, 3], 'SHAPE'],
    ['a batch of 2^32 + 1', [2 ** 32 + 1, 4, 3, 3], 'SHAPE'], ['a product above 2^53', [2 ** 51, 4, 3, 3], 'TOO_LARGE'],
    ['products that wrap to the length in 64 bits', [2 ** 52, 4, 2 ** 40, 3], 'TOO_LARGE'],
    ['a plane that wraps to 0 in 32 bits', [1, 4, 2 ** 16, 2 ** 16], 'SHAPE'], ['too many entries', Array(1000).fill(1), 'INVALID_VALUE'],
    ['an entry that grows the list', growing([1, 4, 3, 4]), 'SHAPE'], ['an entry that empties the list', shrinking([1, 4, 3, 3]), 'INVALID_TYPE'],
  ];
  for (const [what, shape, code] of badShapes) {
    add(`input shape: ${what}`, code, 'input', () => convTranspose2d({ data: new Float32Array(36), shape } as never, weight, bias));
  }
  add('weight: rank 3', 'SHAPE', 'weight', () => convTranspose2d(input, { data: new Float32Array(24), shape: [4, 2, 3] }, null));
  add('weight: no kernel', 'SHAPE', 'weight', () => convTranspose2d(input, { data: new Float32Array(0), shape: [4, 2, 0, 3] }, null));
  add('weight: wrong length', 'SHAPE', 'weight', () => convTranspose2d(input, { data: new Float32Array(71), shape: [4, 2, 3, 3] }, null));
  add('weight: wrap to a small product', 'TOO_LARGE', 'weight', () => convTranspose2d(input, { data: new Float32Array(0), shape: [4, 2 ** 31, 2 ** 16, 2 ** 16] }, null));
  add('bias: one value for two channels', 'SHAPE', 'bias', () => convTranspose2d(input, weight, zeros([1])));
  add('bias: rank 2', 'SHAPE', 'bias', () => convTranspose2d(input, weight, zeros([1, 2])));
  add('bias: short data', 'SHAPE', 'bias', () => convTranspose2d(input, weight, { data: new Float32Array(1), shape: [2] }));
  add('out: wrong shape', 'SHAPE', 'out', () => convTranspose2d(input, weight, bias, { out: zeros([1, 2, 5, 6]) }));
  add('out: transposed shape', 'SHAPE', 'out', () => convTranspose2d(input, weight, bias, { out: zeros([1, 5, 5, 2]) }));
  add('out: no batch', 'SHAPE', 'out', () => convTranspose2d(input, weight, bias, { out: zeros([2, 5, 5]) }));
  add('out: short data', 'SHAPE', 'out', () => convTranspose2d(input, weight, bias, { out: { data: new Float32Array(49), shape: [1, 2, 5, 5] } }));
  const whole = new Float32Array(200);
  add('out overlaps input', 'OVERLAP', 'out', () => convTranspose2d({ data: whole.subarray(0, 36), shape: [1, 4, 3, 3] }, weight, null,
    { out: { data: whole.subarray(35, 85), shape: [1, 2, 5, 5] } }));
  add('out overlaps weight', 'OVERLAP', 'out', () => convTranspose2d(input, { data: whole.subarray(0, 72), shape: [4, 2, 3, 3] }, null,
    { out: { data: whole.subarray(71, 121), shape: [1, 2, 5, 5] } }));
  add('out overlaps bias', 'OVERLAP', 'out', () => convTranspose2d(input, weight, { data: whole.subarray(10, 12), shape: [2] },
    { out: { data: whole.subarray(0, 50), shape: [1, 2, 5, 5] } }));
  add('out is the input', 'OVERLAP', 'out', () => {
    const same = zeros([1, 1, 3, 3]);
    return convTranspose2d(same, zeros([1, 1, 1, 1]), null, { out: same });
  });
  add('out overlaps the module input', 'OVERLAP', 'out', () => new ConvTranspose2d(4, 2, 3, { weight, bias: null }).forward(
    { data: whole.subarray(0, 36), shape: [1, 4, 3, 3] }, { out: { data: whole.subarray(35, 85), shape: [1, 2, 5, 5] } }));

  // Memory that is gone
  add('input detached', 'DETACHED', 'input', () => convTranspose2d({ data: detached(36), shape: [1, 4, 3, 3] }, weight, bias));
  add('weight detached', 'DETACHED', 'weight', () => convTranspose2d(input, { data: detached(72), shape: [4, 2, 3, 3] }, bias));
  add('bias detached', 'DETACHED', 'bias', () => convTranspose2d(input, weight, { data: detached(2), shape: [2] }));
  add('out detached', 'DETACHED', 'out', () => convTranspose2d(input, weight, bias, { out: { data: detached(50), shape: [1, 2, 5, 5] } }));
  add('input detached, async', 'DETACHED', 'input', () => convTranspose2dAsync({ data: detached(36), shape: [1, 4, 3, 3] }, weight, bias));
  add('input detached, module', 'DETACHED', 'input', () => new ConvTranspose2d(4, 2, 3, { weight, bias }).forward({ data: detached(36), shape: [1, 4, 3, 3] }));
  add('input detached by a getter', 'DETACHED', 'input', () => {
    const data = new Float32Array(36);
    return convTranspose2d({ data, get shape() { detach(data); return [1, 4, 3, 3]; } }, weight, bias);
  });
  add('input detached by an option', 'DETACHED', 'input', () => {
    const data = new Float32Array(36);
    return convTranspose2d({ data, shape: [1, 4, 3, 3] }, weight, bias,
      { get stride() { detach(data); return 2; } });
  });
  add('a Tensor detached', 'DETACHED', 'input', () => {
    const own = zeros([1, 4, 3, 3]);
    detach(own.data);
    return convTranspose2d(own, weight, bias);
  });
  add('input shrunk', 'DETACHED', 'input', () => convTranspose2d({ data: shrunk(36, false), shape: [1, 4, 3, 3] }, weight, bias));
  add('input that followed its buffer', 'SHAPE', 'input', () => convTranspose2d({ data: shrunk(36, true), shape: [1, 4, 3, 3] }, weight, bias));

  // Sizes of the result
  const small = zeros([1, 4, 1, 1]);
  add('a negative output size', 'OUTPUT_SIZE', 'padding', () => convTranspose2d(small, weight, bias, { padding: 2 }));
  add('k4 p3 s1 in 2: a negative output size', 'OUTPUT_SIZE', 'padding', () => convTranspose1d(zeros([1, 1, 2]), zeros([1, 1, 4]), null, { padding: 3 }));
  add('an end that crops everything and more', 'OUTPUT_SIZE', 'padding', () => convTranspose2d(small, weight, bias, { padding: [[0, 4], [0, 0]] }));
  add('outputPadding as large as the stride', 'INVALID_VALUE', 'outputPadding', () => convTranspose2d(input, weight, bias, { outputPadding: 1 }));
  add('outputPadding 5 of stride 2', 'INVALID_VALUE', 'outputPadding', () => convTranspose2d(input, weight, bias, { stride: 2, outputPadding: 5 }));
  add('outputPadding too large in one dimension', 'INVALID_VALUE', 'outputPadding', () => convTranspose2d(input, weight, bias, { stride: [2, 1], outputPadding: [1, 1] }));
  for (const [what, size] of [['below the range', [6, 7]], ['above the range', [7, 9]], ['0', [0, 0]], ['2^31', 2 ** 31], ['2^32 + 1', 2 ** 32 + 1]] as [string, number | number[]][]) {
    add(`outputSize ${what}`, 'OUTPUT_SIZE', 'outputSize', () => convTranspose2d(input, weight, bias, { stride: 2, outputSize: size }));
  }
  // Sizes that no memory can hold
  for (const size of [2 ** 31, 2 ** 32 + 1, 2 ** 52]) {
    add(`stride ${size}`, 'TOO_LARGE', '*', () => convTranspose2d(input, weight, bias, { stride: size }));
    add(`dilation ${size}`, 'TOO_LARGE', '*', () => convTranspose2d(input, weight, bias, { dilation: size }));
    add(`padding end -${size}`, 'TOO_LARGE', '*', () => convTranspose2d(input, weight, bias, { padding: [[0, -size], [0, -size]] }));
    add(`padding ${size}`, 'OUTPUT_SIZE', 'padding', () => convTranspose2d(input, weight, bias, { padding: size }));
    add(`groups ${size}`, 'INVALID_VALUE', 'groups', () => convTranspose2d(input, weight, bias, { groups: size }));
  }
  add('stride 2^53 - 1', 'TOO_LARGE', '*', () => convTranspose1d(zeros([1, 1, 3]), zeros([1, 1, 1]), null, { stride: 2 ** 53 - 1 }));
  add('all parameters 2^53 - 1', 'TOO_LARGE', '*', () => convTranspose1d(zeros([1, 1, 3]), zeros([1, 1, 2]), null,
    { stride: 2 ** 53 - 1, dilation: 2 ** 53 - 1, padding: 2 ** 53 - 1 }));
  add('three dimensions of 2^20', 'TOO_LARGE', '*', () => convTranspose3d(zeros([1, 1, 2, 2, 2]), zeros([1, 1, 1, 1, 1]), null, { stride: 2 ** 20 }));

  // Forced algorithms that cannot run
  add('gemm where kernel and stride differ', 'UNSUPPORTED', 'algorithm', () => convTranspose2d(input, weight, bias, { algorithm: 'gemm' }));
  add('winograd', 'UNSUPPORTED', 'algorithm', () => convTranspose2d(input, weight, bias, { algorithm: 'winograd', invariant: true }));
  add('amx', 'UNSUPPORTED', 'algorithm', () => convTranspose2d(input, weight, bias, { algorithm: 'amx', invariant: true }));
  add('depthwise with nine channels to a group', 'UNSUPPORTED', 'algorithm', () =>
    convTranspose2d(zeros([1, 9, 3, 3]), zeros([9, 2, 3, 3]), bias, { algorithm: 'depthwise' }));

  // Modules
  for (const argument of ['inChannels', 'outChannels'] as const) {
    rows(argument, argument, [...noNumbers, ...noSizes, ['undefined', undefined, 'INVALID_TYPE']], (value) =>
      argument === 'inChannels' ? new ConvTranspose2d(value as number, 2, 3) : new ConvTranspose2d(4, value as number, 3));
  }
  rows('kernelSize', 'kernelSize', [...noNumbers, ...noSizes, ...wrongLists, ['0', 0, 'INVALID_VALUE'], ['undefined', undefined, 'INVALID_TYPE']], (value) =>
    new ConvTranspose2d(4, 2, value as number));
  rows('seed', 'seed', [...noNumbers, ...noSizes, ['2^32', 2 ** 32, 'INVALID_VALUE']], (value) => new ConvTranspose2d(4, 2, 3, { seed: value as number }));
  add('weight of a module: wrong shape', 'SHAPE', 'weight', () => new ConvTranspose2d(2, 4, 3, { weight }));
  add('bias of a module: wrong shape', 'SHAPE', 'bias', () => new ConvTranspose2d(4, 2, 3, { weight, bias: zeros([3]) }));
  add('bias of a module: a number', 'INVALID_TYPE', 'bias', () => new ConvTranspose2d(4, 2, 3, { weight, bias: 1 as never }));
  add('groups of a module that do not divide', 'INVALID_VALUE', 'groups', () => new ConvTranspose2d(4, 2, 3, { groups: 4 }));
  add('weights that no memory holds', 'TOO_LARGE', '*', () => new ConvTranspose3d(2 ** 26, 2 ** 26, 3));
  add('unknown option of a module', 'UNKNOWN_OPTION', 'kernel_size', () => new ConvTranspose2d(4, 2, 3, { kernel_size: 3 } as never));
  const layer = new ConvTranspose2d(4, 2, 3, { weight, bias });
  rows('forward', 'input', noTensors, (value) => layer.forward(value as Tensor));
  rows('forwardAsync', 'input', noTensors, (value) => layer.forwardAsync(value as Tensor));
  add('forward: unknown option', 'UNKNOWN_OPTION', 'stride', () => layer.forward(input, { stride: 2 } as never));
  add('forward: another number of channels', 'SHAPE', 'input', () => layer.forward(zeros([1, 3, 3, 3])));
  add('forward: three dimensions', 'SHAPE', 'input', () => layer.forward(zeros([1, 1, 4, 3, 3])));
  for (const method of ['prepare', 'prepareAsync', 'outputShape', 'explain'] as const) {
    rows(method, 'inputShape', [
      ['undefined', undefined, 'INVALID_TYPE'], ['a number', 4, 'INVALID_TYPE'], ['a string', '1433', 'INVALID_TYPE'], ['an empty list', [], 'SHAPE'],
      ['another number of channels', [1, 3, 3, 3], 'SHAPE'], ['a negative size', [1, 4, -3, 3], 'INVALID_VALUE'], ['a NaN size', [1, 4, NaN, 3], 'INVALID_VALUE'],
      ['2^53', [1, 4, 2 ** 53, 3], 'INVALID_VALUE'], ['a product above 2^53', [2 ** 40, 4, 2 ** 40, 3], 'TOO_LARGE'],
    ], (value) => layer[method](value as number[]));
  }
  rows('loadStateDict', '*', [['undefined', undefined, 'INVALID_TYPE'], ['null', null, 'INVALID_TYPE'], ['a number', 1, 'INVALID_TYPE']], (value) => layer.loadStateDict(value as never));
  add('loadStateDict: no weight', 'INVALID_TYPE', '*', () => layer.loadStateDict({ bias } as never));
  add('loadStateDict: wrong shape', 'SHAPE', '*', () => layer.loadStateDict({ weight: zeros([4, 2, 3, 4]), bias }));
  add('loadStateDict: bias missing', 'INVALID_TYPE', '*', () => layer.loadStateDict({ weight }));
  for (const [what, call] of [
    ['forward', (gone: ConvTranspose2d) => gone.forward(input)], ['forwardAsync', (gone: ConvTranspose2d) => gone.forwardAsync(input)],
    ['prepare', (gone: ConvTranspose2d) => gone.prepare([1, 4, 3, 3])], ['prepareAsync', (gone: ConvTranspose2d) => gone.prepareAsync([1, 4, 3, 3])],
    ['explain', (gone: ConvTranspose2d) => gone.explain([1, 4, 3, 3])],
    ['loadStateDict', (gone: ConvTranspose2d) => gone.loadStateDict({ weight, bias })], ['stateDict', (gone: ConvTranspose2d) => gone.stateDict()],
  ] as [string, (gone: ConvTranspose2d) => unknown][]) {
    add(`${what} after dispose`, 'DISPOSED', '*', () => {
      const gone = new ConvTranspose2d(4, 2, 3, { weight, bias });
      gone.dispose();
      return call(gone);
    });
  }

  // Tensor
  rows('Tensor data', 'data', [['undefined', undefined, 'INVALID_TYPE'], ['a list', [1], 'INVALID_TYPE'], ['Float64Array', new Float64Array(1), 'UNSUPPORTED'], ['a detached array', detached(1), 'DETACHED']],
    (value) => new Tensor(value as Float32Array, [1]));
  rows('Tensor shape', 'shape', [['undefined', undefined, 'INVALID_TYPE'], ['a number', 1, 'INVALID_TYPE'], ['a negative size', [-1], 'INVALID_VALUE'], ['2^53', [2 ** 53], 'INVALID_VALUE'], ['above 2^53', [2 ** 52, 2 ** 52], 'TOO_LARGE']],
    (value) => new Tensor(new Float32Array(1), value as number[]));
  add('Tensor: wrong length', 'SHAPE', 'data', () => new Tensor(new Float32Array(3), [2, 2]));
  rows('Tensor.empty', 'shape', [['undefined', undefined, 'INVALID_TYPE'], ['NaN', [NaN], 'INVALID_VALUE'], ['2^53', [2 ** 53], 'INVALID_VALUE'], ['above 2^53', [2 ** 30, 2 ** 30], 'TOO_LARGE']],
    (value) => Tensor.empty(value as number[]));
  rows('Tensor.zeros', 'shape', [['a string', '1', 'INVALID_TYPE'], ['1.5', [1.5], 'INVALID_VALUE'], ['above 2^53', [2 ** 30, 2 ** 30], 'TOO_LARGE']], (value) => Tensor.zeros(value as number[]));
  add('one dimension, async: a bad stride', 'INVALID_VALUE', 'stride', () => convTranspose1dAsync(zeros([1, 4, 3]), zeros([4, 2, 3]), null, { stride: 0 }));
  return calls;
}
