/** Random layers fed in random chunks, against one call on everything, bit for bit; in the process's instruction set. */
import { isDeepStrictEqual } from 'node:util';

import fc from 'fast-check';

import { ConvTranspose1d, cpuInfo, Tensor, type Activation, type ConvTranspose1dStream } from '../../lib/index';
import { values } from '../support/data';
import { inputTensor, makeModule, mayDecline, type AlgorithmChoice, type Data, type RunOptions } from '../support/forms';
import { inputShape, memoryFormats, outputShape, outputSize, problemText, product, weightShape, type MemoryFormat, type Problem } from '../support/problem';

export interface StreamingReport {
  isa: string;
  /** Chunkings that were compared with the whole call. */
  compared: number;
  /** Chunkings of problems that an algorithm refuses, or whose output would have a negative size. */
  refused: number;
  /** What fast-check says about the first wrong one. */
  failure: string | null;
}

const channels = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 5 }) }, { weight: 1, arbitrary: fc.integer({ min: 6, max: 70 }) });

const problems: fc.Arbitrary<Problem> = fc.record({
  batch: fc.option(fc.integer({ min: 1, max: 3 })),
  groups: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 20 }) }),
  inPerGroup: channels,
  outPerGroup: channels,
  frames: fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 0, max: 40 }) }, { weight: 1, arbitrary: fc.integer({ min: 41, max: 300 }) }),
  kernel: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 6 }) }, { weight: 1, arbitrary: fc.integer({ min: 7, max: 17 }) }),
  stride: fc.integer({ min: 1, max: 9 }),
  dilation: fc.oneof({ weight: 2, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 5 }) }),
  begin: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 6 }) }, { weight: 1, arbitrary: fc.integer({ min: 7, max: 60 }) }),
  end: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 6 }) }, { weight: 1, arbitrary: fc.integer({ min: -40, max: 60 }) }),
  more: fc.nat(8),
  bias: fc.boolean(),
}).map(({ groups, inPerGroup, outPerGroup, frames, kernel, stride, dilation, begin, end, more, ...rest }) => ({
  rank: 1, groups, inChannels: groups * Math.min(inPerGroup, Math.ceil(140 / groups)), outChannels: groups * Math.min(outPerGroup, Math.ceil(140 / groups)),
  in: [frames], kernel: [kernel], stride: [stride], dilation: [dilation], padding: [[begin, end]],
  outputPadding: [more % Math.max(stride, dilation)], ...rest,
}));

const runs: fc.Arbitrary<RunOptions> = fc.record({
  algorithm: fc.oneof(
    { weight: 3, arbitrary: fc.constant<AlgorithmChoice>('auto') },
    { weight: 1, arbitrary: fc.constantFrom<AlgorithmChoice>('direct', 'gemm', 'depthwise', 'reference') }),
  memoryFormat: fc.constantFrom(...memoryFormats),
  activation: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, {
    weight: 1,
    arbitrary: fc.constantFrom<Activation>(
      'relu', 'tanh', 'gelu', 'silu', 'elu', { type: 'clamp', min: -1, max: 2 }, { type: 'leakyRelu', negativeSlope: 0.2 },
      { type: 'prelu', weight: new Tensor(new Float32Array([0.3]), [1]) }),
  }),
}).map(({ activation, ...rest }) => (activation === undefined ? rest : { ...rest, activation }));

/** Lengths of chunks, taken in turn until all frames are used: empty ones among them, and asynchronous ones. */
const chunkings = fc.array(fc.record({
  frames: fc.oneof({ weight: 6, arbitrary: fc.integer({ min: 0, max: 9 }) }, { weight: 1, arbitrary: fc.integer({ min: 10, max: 200 }) }),
  async: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  out: fc.boolean(),
}), { minLength: 1, maxLength: 12 });

function dataOf(p: Problem, stream: number, special: boolean): Data {
  const input = values('mixed', stream, product(inputShape(p)));
  const weight = values('mixed', stream + 1, product(weightShape(p)));
  if (special) {
    for (let i = stream % 17; i < input.length; i += 41) input[i] = [NaN, Infinity, -Infinity, -0][i % 4] as number;
    weight[stream % weight.length] = stream % 3 === 0 ? Infinity : 0;
  }
  const bias = p.bias ? values('mixed', stream + 2, p.outChannels) : null;
  if (special && bias !== null) bias[0] = -0;
  return { input, weight, bias };
}

/** Part of [rows, length, width] along its middle dimension. */
function part(data: Float32Array, rows: number, length: number, width: number, first: number, count: number): Float32Array {
  const result = new Float32Array(rows * count * width);
  for (let r = 0; r < rows; r++) result.set(data.subarray((r * length + first) * width, (r * length + first + count) * width), r * count * width);
  return result;
}

/** How frames or samples lie in memory. */
function layout(p: Problem, count: number, format: MemoryFormat): { rows: number; width: number } {
  const batch = p.batch ?? 1;
  return format === 'contiguous' ? { rows: batch * count, width: 1 } : { rows: batch, width: count };
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  return Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.byteLength), Buffer.from(b.buffer, b.byteOffset, b.byteLength)) === 0;
}

/** Samples that are final after so many frames, by the definition: those before the first position, padding included, that a later frame reaches. */
function finalSamples(p: Problem, frames: number): number {
  const [size] = outputSize({ ...p, in: [frames] }) as [number];
  const [[begin]] = p.padding as [[number, number]];
  const [stride, dilation, kernel] = [p.stride[0], p.dilation[0], p.kernel[0]] as [number, number, number];
  for (let position = 0; position < size + begin; position++) {
    for (let k = 0; k < kernel; k++) {
      const from = position - k * dilation;
      if (from % stride === 0 && from / stride >= frames) return Math.max(0, position - begin);
    }
  }
  return Math.max(0, size);
}

const codeOf = (error: unknown) => (error as { code?: string }).code;

interface Case {
  problem: Problem;
  run: RunOptions;
  chunking: { frames: number; async: boolean; out: boolean }[];
  stream: number;
  special: boolean;
  again: boolean;
}

/** All samples of a stream fed with input in its format, chunk by chunk; checks how many each chunk gives. */
async function streamed(stream: ConvTranspose1dStream, { problem: p, run, chunking }: Case, input: Float32Array): Promise<Float32Array[]> {
  const format = run.memoryFormat ?? 'contiguous';
  const frames = p.in[0] as number;
  const from = layout(p, p.inChannels, format);
  const given: Tensor[] = [];
  const pending: Promise<unknown>[] = [];
  for (let first = 0, i = 0; first < frames || i < chunking.length; i++) {
    const { frames: wanted, async, out } = chunking[i % chunking.length] as Case['chunking'][number];
    const count = i >= 3 * chunking.length ? frames - first : Math.min(wanted, frames - first);
    const chunk = { data: part(input, from.rows, frames, from.width, first, count), shape: inputShape({ ...p, in: [count] }, format) };
    const slot = given.length;
    given.push(undefined as never);
    if (async) {
      pending.push(stream.pushAsync(chunk).then((samples) => (given[slot] = samples)));
    } else {
      await Promise.all(pending.splice(0));
      const options = out ? { out: { data: new Float32Array(product(stream.outputShape(count))), shape: stream.outputShape(count) } } : undefined;
      given[slot] = stream.push(chunk, options);
      if (options !== undefined && given[slot].data !== options.out.data) throw new Error('the result is not in `out`');
      const wantedSamples = finalSamples(p, first + count);
      if (stream.samplesOut !== wantedSamples) throw new Error(`${stream.samplesOut} samples after ${first + count} frames, ${wantedSamples} are final`);
    }
    first += count;
  }
  await Promise.all(pending);
  if (stream.framesIn !== frames) throw new Error(`${stream.framesIn} frames taken in, not ${frames}`);
  given.push(chunking.length % 2 === 0 ? stream.flush() : await stream.flushAsync());
  const axis = format === 'contiguous' ? 1 : 0;
  const offset = p.batch === null ? 0 : 1;
  for (const { shape } of given) {
    const wanted = outputShape({ ...p }, format);
    wanted[axis + offset] = shape[axis + offset] as number;
    if (!isDeepStrictEqual([...shape], wanted)) throw new Error(`shape [${shape.join()}] instead of [${wanted.join()}]`);
  }
  return given.map(({ data }) => data);
}

/** Chunks side by side, as one output. */
function joined(p: Problem, chunks: Float32Array[], format: MemoryFormat): Float32Array {
  const { rows, width } = layout(p, p.outChannels, format);
  const length = outputSize(p)[0] as number;
  const result = new Float32Array(rows * length * width);
  let first = 0;
  for (const chunk of chunks) {
    const count = chunk.length / (rows * width);
    for (let r = 0; r < rows; r++) result.set(chunk.subarray(r * count * width, (r + 1) * count * width), (r * length + first) * width);
    first += count;
  }
  if (first !== length) throw new Error(`${first} samples, not ${length}`);
  return result;
}

/** Compares one chunking; false if the layer cannot run. */
async function runCase(test: Case): Promise<boolean> {
  const { problem: p, run } = test;
  const format = run.memoryFormat ?? 'contiguous';
  const data = dataOf(p, test.stream, test.special);
  const whole = makeModule(p, data, { ...run, invariant: true });
  const layer = makeModule(p, data, run) as ConvTranspose1d;
  const stream = layer.stream(p.batch === null ? {} : { batch: p.batch });
  try {
    const input = inputTensor(p, data.input, format);
    let wanted: Float32Array;
    try {
      wanted = whole.forward(input).data;
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ERR_CONVTRANSPOSE_UNSUPPORTED' && mayDecline(run.algorithm)) return false;
      if (code !== 'ERR_CONVTRANSPOSE_OUTPUT_SIZE') throw error;
      const failed = await streamed(stream, test, input.data).then(() => undefined, codeOf);
      if (failed !== code) throw new Error(`flush gives ${failed} instead of ${code}`, { cause: error });
      return false;
    }
    for (let round = 0; round < (test.again ? 2 : 1); round++) {
      if (round > 0) stream.reset();
      const actual = joined(p, await streamed(stream, test, input.data), format);
      if (!sameBits(wanted, actual)) {
        const first = wanted.findIndex((value, i) => !Object.is(value, actual[i]));
        throw new Error(`output ${first} is ${actual[first]}, not ${wanted[first]}`);
      }
    }
    return true;
  } finally {
    stream.dispose();
    whole.dispose();
    layer.dispose();
  }
}

/** Compares `count` chunkings. */
export async function runStreaming(count: number): Promise<StreamingReport> {
  const report: StreamingReport = { isa: cpuInfo().isa, compared: 0, refused: 0, failure: null };
  const cases = fc.record({
    problem: problems, run: runs, chunking: chunkings, stream: fc.nat(1e6), again: fc.boolean(),
    special: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  });
  const property = fc.asyncProperty(cases, async (test) => {
    try {
      report[(await runCase(test)) ? 'compared' : 'refused'] += 1;
    } catch (error) {
      throw new Error(`${problemText(test.problem)}: ${(error as Error).message}`, { cause: error });
    }
  });
  try {
    await fc.assert(property, { numRuns: count });
  } catch (error) {
    report.failure = `${(error as Error).message}\n${String((error as Error).cause)}`;
  }
  return report;
}
