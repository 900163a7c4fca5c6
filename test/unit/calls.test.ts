/** What the functional and module forms hand to the addon, and what they give back. */
import { asked, behaviour, fake, reset, waiting } from './fake-addon';

import { beforeEach, describe, expect, it } from '@jest/globals';

import {
  ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Tensor, convTranspose1d, convTranspose1dAsync, convTranspose2d, convTranspose2dAsync,
  convTranspose3d, cpuInfo, getNumThreads, setNumThreads, version,
} from '../../lib/index';
import { values } from '../support/data';

beforeEach(reset);

function random(stream: number, shape: number[]): Tensor {
  return new Tensor(values('mixed', stream, shape.reduce((a, b) => a * b, 1)), shape);
}

/** What is thrown, or rejected with. */
async function refusal(work: () => unknown): Promise<{ name: string; code: string; argument: string; message: string }> {
  try {
    await work();
  } catch (error) {
    return error as Awaited<ReturnType<typeof refusal>>;
  }
  throw new Error('nothing was thrown');
}

describe('functional forms', () => {
  it('compute what they are named for', () => {
    const x = new Tensor(Float32Array.of(1, 2, 3), [1, 1, 3]);
    expect([...convTranspose1d(x, new Tensor(Float32Array.of(1, 1), [1, 1, 2]), null, { stride: 2 }).data]).toEqual([1, 1, 2, 2, 3, 3]);
    const y = convTranspose2d(random(1, [1, 3, 32, 32]), random(2, [3, 3, 3, 3]), null, { stride: 2, padding: 1, outputPadding: 1 });
    expect(y.shape).toEqual([1, 3, 64, 64]);
    expect(convTranspose3d(random(1, [2, 4, 4, 4]), random(2, [2, 1, 2, 2, 2]), undefined, { stride: 2 }).shape).toEqual([1, 8, 8, 8]);
  });

  it('describe the layer and the call in three dimensions', () => {
    convTranspose2d(random(1, [2, 4, 5, 6]), random(2, [4, 3, 2, 3]), Tensor.zeros([6]), {
      stride: [2, 3], padding: [[1, 0], [2, -1]], dilation: [1, 2], outputPadding: [1, 0], groups: 2, precision: 'medium', algorithm: 'reference',
      activation: { type: 'clamp', min: -1, max: 1 }, invariant: true, workspaceLimit: 4096, numThreads: 3,
    });
    expect(asked.runs).toEqual([{
      layer: {
        rank: 2, groups: 2, inChannels: 4, outChannels: 6, kernel0: 1, kernel1: 2, kernel2: 3, stride0: 1, stride1: 2, stride2: 3, dilation0: 1,
        dilation1: 1, dilation2: 2, hasBias: 1,
      },
      call: {
        batch: 2, in0: 1, in1: 5, in2: 6, padBegin0: 0, padBegin1: 1, padBegin2: 2, out0: 1, out1: 10, out2: 19, format: 0,
        activation: 0, lower: -1, upper: 1, alpha: 0, precision: 2, algorithm: 6, invariant: 1, weightsReused: 0, workspaceLimit: 4096,
      },
      threads: 3,
    }]);
  });

  it('apply activations and layouts', () => {
    const x = random(1, [1, 2, 3, 3]);
    const w = random(2, [2, 2, 2, 2]);
    const plain = convTranspose2d(x, w);
    expect([...convTranspose2d(x, w, null, { activation: 'relu' }).data]).toEqual([...plain.data].map((value) => Math.max(value, 0)));
    const last = convTranspose2d(new Tensor(values('mixed', 1, 18), [1, 3, 3, 2]), w, null, { memoryFormat: 'channelsLast' });
    expect(last.shape).toEqual([1, 4, 4, 2]);
  });

  it('leave a batch dimension out where the input has none', () => {
    const x = random(1, [2, 3, 3]);
    const w = random(2, [2, 2, 2, 2]);
    const single = convTranspose2d(x, w);
    expect(single.shape).toEqual([2, 4, 4]);
    expect([...single.data]).toEqual([...convTranspose2d({ data: x.data, dims: [1, 2, 3, 3] }, w).data]);
  });

  it('do not ask for anything where there is nothing to compute', async () => {
    expect(convTranspose2d(Tensor.empty([0, 2, 3, 3]), random(2, [2, 2, 2, 2])).shape).toEqual([0, 2, 4, 4]);
    expect((await convTranspose1dAsync(Tensor.zeros([1, 1, 2]), random(2, [1, 1, 2]), null, { stride: 2, padding: 2 })).shape).toEqual([1, 1, 0]);
    expect(asked.runs).toEqual([]);
  });

  it('give the bias where there are no inputs', () => {
    const bias = new Tensor(Float32Array.of(1, 2), [2]);
    expect([...convTranspose1d(Tensor.empty([1, 0, 2]), Tensor.empty([0, 2, 1]), bias).data]).toEqual([1, 1, 2, 2]);
  });

  it('write to out, and return it', () => {
    const x = random(1, [1, 1, 3]);
    const w = random(2, [1, 1, 2]);
    const out = Tensor.zeros([1, 1, 4]);
    expect(convTranspose1d(x, w, null, { out })).toBe(out);
    const data = new Float32Array(4);
    const other = convTranspose1d(x, w, null, { out: { data, shape: [1, 1, 4] } });
    expect(other.data).toBe(data);
    expect([...data]).toEqual([...out.data]);
  });

  it('take an output size', () => {
    expect(convTranspose2d(random(1, [1, 1, 4, 4]), random(2, [1, 1, 3, 3]), null, { stride: 2, outputSize: [9, 10] }).shape).toEqual([1, 1, 9, 10]);
    expect(convTranspose2d(random(1, [1, 1, 4, 4]), random(2, [1, 1, 3, 3]), null, { stride: 2, outputSize: 10 }).shape).toEqual([1, 1, 10, 10]);
  });
});

describe('modules', () => {
  it('have the properties that PyTorch has', () => {
    const layer = new ConvTranspose2d(4, 6, [2, 3], { stride: 2, padding: [[1, 0], [0, 0]], outputPadding: [1, 0], groups: 2, memoryFormat: 'channelsLast' });
    expect({ ...layer }).toEqual({
      inChannels: 4, outChannels: 6, kernelSize: [2, 3], stride: [2, 2], padding: [[1, 0], [0, 0]], outputPadding: [1, 0], dilation: [1, 1], groups: 2,
      memoryFormat: 'channelsLast', precision: 'highest', algorithm: 'auto', invariant: false, activation: null,
    });
    expect(new ConvTranspose1d(1, 1, 3, { padding: 1 }).padding).toEqual([1]);
  });

  it('give the result of the functional form', async () => {
    const [x, weight, bias] = [random(1, [2, 4, 3, 3]), random(2, [4, 2, 3, 3]), random(3, [2])];
    const options = { stride: 2, padding: 1, activation: 'relu' } as const;
    const expected = [...convTranspose2d(x, weight, bias, options).data];
    const layer = new ConvTranspose2d(4, 2, 3, { ...options, weight, bias });
    expect([...layer.forward(x).data]).toEqual(expected);
    expect([...(await layer.forwardAsync(x)).data]).toEqual(expected);
    expect(asked.runs[1]?.call['weightsReused']).toBe(1);
  });

  it('use the output padding unless an output size is given', () => {
    const layer = new ConvTranspose2d(1, 1, 3, { stride: 2, padding: 1, outputPadding: 1 });
    const x = random(1, [1, 1, 4, 4]);
    expect(layer.forward(x).shape).toEqual([1, 1, 8, 8]);
    expect(layer.forward(x, { outputSize: [7, 8] }).shape).toEqual([1, 1, 7, 8]);
    expect(layer.forward(x).shape).toEqual([1, 1, 8, 8]);
    expect(layer.outputShape([1, 1, 4, 4], { outputSize: 7 })).toEqual([1, 1, 7, 7]);
  });

  it('keep apart shapes that were seen before, many of them', () => {
    const layer = new ConvTranspose1d(1, 1, 3);
    for (const round of [0, 1]) {
      for (let length = 1; length < 200; length++) {
        expect([round, layer.forward(Tensor.zeros([1, 1, length])).shape[2]]).toEqual([round, length + 2]);
        expect(layer.forward(Tensor.zeros([1, length])).shape).toEqual([1, length + 2]);
      }
    }
  });

  it('allocate nothing with out', () => {
    const layer = new ConvTranspose1d(1, 1, 3);
    const x = Tensor.zeros([1, 1, 4]);
    const out = Tensor.empty([1, 1, 6]);
    asked.allocated = 0;
    for (let i = 0; i < 3; i++) expect(layer.forward(x, { out })).toBe(out);
    expect(asked.allocated).toBe(0);
  });

  it('use the threads of the call, then of the module, then the default', () => {
    const x = Tensor.zeros([1, 1, 4]);
    new ConvTranspose1d(1, 1, 3).forward(x);
    const layer = new ConvTranspose1d(1, 1, 3, { numThreads: 2 });
    layer.forward(x);
    layer.forward(x, { numThreads: 1 });
    expect(asked.runs.map((run) => run.threads)).toEqual([0, 2, 1]);
  });

  it('are prepared ahead', async () => {
    const layer = new ConvTranspose3d(1, 1, 2);
    layer.prepare([1, 1, 2, 2, 2]);
    await layer.prepareAsync([1, 2, 2, 2], { outputSize: 3 });
    expect(asked.prepared).toBe(2);
  });

  it('explain themselves', () => {
    const explanation = new ConvTranspose2d(1, 1, 2).explain([1, 1, 3, 3]);
    expect(explanation).toMatchObject({ algorithm: 'direct-wide', rejected: [{ name: 'gemm', reason: 'kernel differs from stride' }], tasks: 4 });
    for (const piece of ['ConvTranspose2d [1, 1, 3, 3] -> [1, 1, 4, 4]: direct-wide (fake)', 'panels 6 bytes', '5 bytes of scratch']) {
      expect(explanation.summary).toContain(piece);
    }
    expect(explanation.summary).toMatch(/^ {2}not gemm +kernel differs from stride$/m);
    expect(explanation.summary).toMatch(/^ {2}note +a remark$/m);
  });
});

describe('state dicts', () => {
  it('are copies that another module takes', () => {
    const a = new ConvTranspose2d(2, 3, 2, { seed: 1 });
    const b = new ConvTranspose2d(2, 3, 2, { seed: 2 });
    const x = random(1, [1, 2, 3, 3]);
    const state = a.stateDict();
    b.loadStateDict(state);
    expect([...b.forward(x).data]).toEqual([...a.forward(x).data]);
    state.weight.data.fill(0);
    expect([...b.forward(x).data]).toEqual([...a.forward(x).data]);
    expect([...b.stateDict().weight.data]).toEqual([...a.stateDict().weight.data]);
    expect(asked.disposed).toBe(1);
  });

  it('without bias have no such key', () => {
    const layer = new ConvTranspose2d(2, 3, 2, { bias: false });
    expect(Object.keys(layer.stateDict())).toEqual(['weight']);
    layer.loadStateDict({ weight: random(1, [2, 3, 2, 2]), bias: null });
  });

  it.each([
    ['the wrong shape', { weight: Tensor.zeros([3, 2, 2, 2]), bias: Tensor.zeros([3]) }, 'SHAPE', 'weight'],
    ['no weight', { bias: Tensor.zeros([3]) }, 'INVALID_TYPE', 'weight'], ['no bias', { weight: Tensor.zeros([2, 3, 2, 2]) }, 'INVALID_TYPE', 'bias'],
    ['a short bias', { weight: Tensor.zeros([2, 3, 2, 2]), bias: Tensor.zeros([2]) }, 'SHAPE', 'bias'],
    ['another key', { weight: Tensor.zeros([2, 3, 2, 2]), bias: Tensor.zeros([3]), running_mean: 1 }, 'UNKNOWN_OPTION', 'running_mean'],
    ['nothing', undefined, 'INVALID_TYPE', 'state'], ['null', null, 'INVALID_TYPE', 'state'],
  ])('with %s change nothing', async (_, state, code, argument) => {
    const layer = new ConvTranspose2d(2, 3, 2);
    const before = layer.stateDict();
    expect(await refusal(() => layer.loadStateDict(state as never))).toMatchObject({ code: `ERR_CONVTRANSPOSE_${code}`, argument });
    expect(layer.stateDict()).toEqual(before);
  });
});

describe('dispose', () => {
  it('makes every use an error, but not a second dispose', async () => {
    const layer = new ConvTranspose2d(2, 3, 2);
    layer.dispose();
    layer.dispose();
    expect(asked.disposed).toBe(1);
    const uses = [
      () => layer.forward(Tensor.zeros([1, 2, 2, 2])), () => layer.forwardAsync(Tensor.zeros([1, 2, 2, 2])), () => layer.prepare([1, 2, 2, 2]),
      () => layer.prepareAsync([1, 2, 2, 2]), () => layer.explain([1, 2, 2, 2]), () => layer.stateDict(),
      () => layer.loadStateDict({ weight: Tensor.zeros([2, 3, 2, 2]), bias: Tensor.zeros([3]) }),
    ];
    for (const use of uses) expect(await refusal(use)).toMatchObject({ name: 'TypeError', code: 'ERR_CONVTRANSPOSE_DISPOSED' });
    expect(layer.outputShape([1, 2, 2, 2])).toEqual([1, 3, 3, 3]);
  });

  (typeof Symbol.dispose === 'symbol' ? it : it.skip)('is what `using` calls', () => {
    const layer = new ConvTranspose2d(2, 3, 2);
    layer[Symbol.dispose]();
    expect(asked.disposed).toBe(1);
  });
});

/** An AbortSignal that counts its listeners. */
function watched(): { signal: AbortSignal; abort: (reason?: unknown) => void; listeners: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)] as [typeof signal.addEventListener, typeof signal.removeEventListener];
  signal.addEventListener = (...args: Parameters<typeof add>) => { count++; add(...args); };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => { count--; remove(...args); };
  return { signal, abort: (reason) => controller.abort(reason), listeners: () => count };
}

describe('signal', () => {
  const x = Tensor.zeros([1, 1, 4]);
  const w = Tensor.zeros([1, 1, 2]);

  it('that is aborted rejects with its reason before any work', async () => {
    const layer = new ConvTranspose1d(1, 1, 2);
    asked.allocated = 0;
    for (const reason of [new Error('enough'), 'a string', { an: 'object' }]) {
      const signal = AbortSignal.abort(reason);
      for (const work of [() => convTranspose1dAsync(x, w, null, { signal }), () => layer.forwardAsync(x, { signal }), () => layer.prepareAsync([1, 1, 4], { signal })]) {
        expect(await refusal(work)).toBe(reason);
      }
    }
    expect([asked.runs.length, asked.prepared, asked.allocated]).toEqual([0, 0, 0]);
  });

  it.each(['functional', 'forward', 'prepare'])('aborts %s, which rejects when native code has let go', async (form) => {
    const layer = new ConvTranspose1d(1, 1, 2);
    behaviour.holdAsync = true;
    const { signal, abort, listeners } = watched();
    const promise = form === 'functional' ? convTranspose1dAsync(x, w, null, { signal })
      : form === 'forward' ? layer.forwardAsync(x, { signal }) : layer.prepareAsync([1, 1, 4], { signal });
    const outcome = refusal(() => promise);
    expect(listeners()).toBe(1);
    const [ticket, settle] = [...waiting][0] as [number, () => void];
    const reason = new Error('enough');
    abort(reason);
    expect(asked.aborted).toEqual([ticket]);
    expect(await Promise.race([outcome, new Promise((resolve) => setImmediate(resolve, 'still waiting'))])).toBe('still waiting');
    settle();
    expect(await outcome).toBe(reason);
    expect(listeners()).toBe(0);
  });

  it('is left alone after success and failure', async () => {
    const { signal, abort, listeners } = watched();
    await convTranspose1dAsync(x, w, null, { signal });
    expect(listeners()).toBe(0);
    behaviour.failure = { code: 'ERR_CONVTRANSPOSE_DETACHED', argument: 'input', message: 'expected memory, got none' };
    expect(await refusal(() => convTranspose1dAsync(x, w, null, { signal }))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_DETACHED' });
    expect(listeners()).toBe(0);
    abort();
    expect(asked.aborted).toEqual([]);
  });

  it('is no option of a synchronous call', async () => {
    const { signal } = new AbortController();
    expect(await refusal(() => convTranspose1d(x, w, null, { signal } as never))).toMatchObject({ code: 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', argument: 'signal' });
  });
});

describe('failures of native code', () => {
  const x = Tensor.zeros([1, 1, 4]);
  const w = Tensor.zeros([1, 1, 2]);

  it.each([
    ['ERR_CONVTRANSPOSE_UNSUPPORTED', 'algorithm', 'RangeError'], ['ERR_CONVTRANSPOSE_DETACHED', 'input', 'TypeError'],
    ['ERR_CONVTRANSPOSE_OUT_OF_MEMORY', '', 'RangeError'], ['ERR_CONVTRANSPOSE_INVALID_TYPE', 'out', 'TypeError'],
  ])('%s of %s is a %s of this realm', async (code, argument, name) => {
    for (const failure of [{ code, argument, message: 'expected more, got less' }, Object.assign(new Error(`${argument}: expected more, got less`), { code, argument })]) {
      behaviour.failure = failure;
      for (const work of [() => convTranspose1d(x, w), () => convTranspose1dAsync(x, w), () => new ConvTranspose1d(1, 1, 2).forward(x)]) {
        const error = await refusal(work);
        expect(error).toBeInstanceOf(name === 'TypeError' ? TypeError : RangeError);
        expect(error).toMatchObject({ code, argument });
        expect(error.message.endsWith('expected more, got less')).toBe(true);
        expect(error.message.startsWith(`${argument}: ${argument}`) && argument !== '').toBe(false);
      }
    }
  });

  it('that are no reports pass unchanged', async () => {
    behaviour.failure = new SyntaxError('of something else');
    expect(await refusal(() => convTranspose1d(x, w))).toBe(behaviour.failure);
  });
});

describe('asynchronous forms', () => {
  it('reject instead of throwing', async () => {
    const promise = convTranspose2dAsync(null as never, null as never);
    expect(await refusal(() => promise)).toMatchObject({ code: 'ERR_CONVTRANSPOSE_INVALID_TYPE', argument: 'input' });
  });
});

describe('info', () => {
  it('comes from the addon', () => {
    expect(version()).toBe('9.8.7');
    expect(getNumThreads()).toBe(2);
    expect(cpuInfo()).toEqual(fake.cpuInfo());
    setNumThreads(3);
  });

  it.each([0, -1, 1.5, NaN, 2000, '2', undefined])('setNumThreads refuses %p', async (count) => {
    expect(await refusal(() => setNumThreads(count as number))).toMatchObject({ argument: 'numThreads' });
  });
});
