/** Holds results to the bit against each other, in the process's instruction set. */
import { cpuInfo, getNumThreads, setNumThreads } from '../../lib/index';
import { Random, values } from '../support/data';
import { callFunctional, contiguousOutput, inputTensor, makeModule, mayDecline, runForm, tensor } from '../support/forms';
import type { AlgorithmChoice, Data, RunOptions } from '../support/forms';
import { inputShape, memoryFormats, outputShape, outputSize, problemText, product, weightShape } from '../support/problem';
import type { MemoryFormat, Problem } from '../support/problem';
import { randomCase } from '../support/random-cases';

export interface DeterminismReport {
  isa: string;
  /** Pairs of results that were compared. */
  compared: number;
  failures: string[];
}

const choices: readonly AlgorithmChoice[] = ['auto', 'direct', 'gemm', 'winograd', 'amx', 'depthwise', 'reference'];
const casesPerRank = 14;
const maxFailures = 20;

/** Large enough for many tasks in every algorithm, odd sizes everywhere. */
const large: Problem[] = [
  problem({ batch: 2, inChannels: 19, outChannels: 37, in: [33, 41], kernel: [4, 4], stride: [2, 2], padding: [[1, 1], [1, 1]] }),
  problem({ batch: 1, inChannels: 150, outChannels: 65, in: [9, 7], kernel: [3, 3], stride: [1, 1], padding: [[1, 1], [1, 1]] }),
  problem({ batch: 3, inChannels: 24, outChannels: 21, in: [17, 23], kernel: [2, 2], stride: [2, 2] }),
  problem({ batch: 1, inChannels: 33, outChannels: 18, in: [700], kernel: [16], stride: [8], padding: [[4, 4]] }),
  problem({ batch: 1, inChannels: 12, outChannels: 9, in: [5, 9, 17], kernel: [2, 3, 4], stride: [2, 1, 2] }),
  problem({ batch: 2, inChannels: 24, outChannels: 24, groups: 24, in: [29, 31], kernel: [4, 4], stride: [2, 2], padding: [[1, 1], [1, 1]] }),
];

function problem(fields: Pick<Problem, 'batch' | 'inChannels' | 'outChannels' | 'in' | 'kernel' | 'stride'> & Partial<Problem>): Problem {
  return {
    rank: fields.in.length, groups: 1, padding: fields.in.map(() => [0, 0]), outputPadding: fields.in.map(() => 0),
    dilation: fields.in.map(() => 1), bias: true, ...fields,
  };
}

function problems(): Problem[] {
  return [...large, ...[1, 2, 3].flatMap((rank) => Array.from({ length: casesPerRank }, (_, i) => randomCase(rank, 9000 + i).problem))];
}

function dataOf(p: Problem, stream: number): Data {
  return {
    input: values('mixed', stream, product(inputShape(p))),
    weight: values('mixed', stream + 1, product(weightShape(p))),
    bias: p.bias ? values('mixed', stream + 2, p.outChannels) : null,
  };
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  return Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.byteLength), Buffer.from(b.buffer, b.byteOffset, b.byteLength)) === 0;
}

function refused(error: unknown): boolean {
  return (error as { code?: string }).code === 'ERR_CONVTRANSPOSE_UNSUPPORTED';
}

class Report implements DeterminismReport {
  readonly isa = cpuInfo().isa;
  compared = 0;
  readonly failures: string[] = [];

  compare(what: string, expected: Float32Array, actual: Float32Array, p: Problem, run: RunOptions): void {
    this.compared += 1;
    if (this.failures.length < maxFailures && !sameBits(expected, actual)) {
      const first = expected.findIndex((value, i) => !Object.is(value, actual[i]));
      this.failures.push(`${what}: output ${first} is ${actual[first]}, was ${expected[first]}: ${JSON.stringify(run)} ${problemText(p)}`);
    }
  }
}

/** Threads, sync and async, alignment, repetition. */
export async function runDeterminism(): Promise<DeterminismReport> {
  const report = new Report();
  const defaultThreads = getNumThreads();
  let stream = 50_000;
  for (const p of problems()) {
    const data = dataOf(p, (stream += 4));
    for (const memoryFormat of memoryFormats) {
      for (const algorithm of choices) {
        const run: RunOptions = { memoryFormat, algorithm };
        let first: Float32Array;
        try {
          first = await runForm('module', p, data, { ...run, numThreads: 1 });
        } catch (error) {
          if (mayDecline(algorithm) && refused(error)) continue;
          throw error;
        }
        for (const numThreads of [1, 2, 3, 4]) {
          const again = await runForm('module', p, data, { ...run, numThreads });
          report.compare(`module, ${numThreads} threads`, first, again, p, run);
          const async = await runForm('moduleAsync', p, data, { ...run, numThreads });
          report.compare(`forwardAsync, ${numThreads} threads`, first, async, p, run);
        }
        setNumThreads(3);
        report.compare('setNumThreads(3)', first, await runForm('module', p, data, run), p, run);
        setNumThreads(defaultThreads);
        for (const offset of [1, 2, 5, 13]) report.compare(`views at offset ${offset}`, first, shifted(p, data, run, offset), p, run);
        // Another form may choose another algorithm, but each is the same at every number of threads.
        const functional = await runForm('functional', p, data, { ...run, numThreads: 1 });
        report.compare('functional, 4 threads', functional, await runForm('functional', p, data, { ...run, numThreads: 4 }), p, run);
        report.compare('functional, async', functional, await runForm('functionalAsync', p, data, { ...run, numThreads: 2 }), p, run);
      }
    }
  }
  return report;
}

/** forward() from and to views that begin `offset` values into their buffers. */
function shifted(p: Problem, data: Data, run: RunOptions, offset: number): Float32Array {
  const format = run.memoryFormat ?? 'contiguous';
  const view = (length: number) => new Float32Array(new ArrayBuffer(4 * (length + offset)), 4 * offset);
  const input = inputTensor(p, data.input, format);
  const source = view(input.data.length);
  source.set(input.data);
  const shape = outputShape(p, format);
  const target = view(product(shape));
  const layer = makeModule(p, data, run);
  layer.forward(tensor(source, input.shape), { out: tensor(target, shape) });
  layer.dispose();
  return contiguousOutput(p, target, format);
}

/** `invariant: true`: an output's bits depend on the values that reach it alone. */
export async function runInvariance(): Promise<DeterminismReport> {
  const report = new Report();
  const random = new Random(777);
  let stream = 80_000;
  for (const p of problems()) {
    const data = dataOf(p, (stream += 4));
    for (const memoryFormat of memoryFormats) {
      for (const algorithm of choices) {
        const run: RunOptions = { memoryFormat, algorithm, invariant: true };
        let whole: Float32Array;
        try {
          whole = await runForm('module', p, data, run);
        } catch (error) {
          if (mayDecline(algorithm) && refused(error)) continue;
          throw error;
        }
        report.compare('functional', whole, callContiguous(p, data, run, memoryFormat), p, run);
        batches(report, p, data, run, whole);
        const axis = random.int(0, p.rank - 1);
        windows(report, p, data, run, whole, axis, random);
        unreached(report, p, data, run, whole, random);
      }
    }
  }
  return report;
}

function callContiguous(p: Problem, data: Data, run: RunOptions, format: MemoryFormat): Float32Array {
  return contiguousOutput(p, callFunctional(p, data, run).data, format);
}

/** Each image alone, and in the middle of a larger batch. */
function batches(report: Report, p: Problem, data: Data, run: RunOptions, whole: Float32Array): void {
  const images = p.batch ?? 1;
  const format = run.memoryFormat ?? 'contiguous';
  const inImage = data.input.length / images;
  const outImage = whole.length / images;
  for (let image = 0; image < images; image++) {
    const input = data.input.subarray(image * inImage, (image + 1) * inImage);
    const wanted = whole.subarray(image * outImage, (image + 1) * outImage);
    const one = { ...p, batch: null };
    report.compare('one image alone', wanted, callContiguous(one, { ...data, input }, run, format), one, run);
    const many = new Float32Array(5 * inImage).fill(0.5);
    many.set(input, 3 * inImage);
    const five = { ...p, batch: 5 };
    const among = callContiguous(five, { ...data, input: many }, run, format);
    report.compare('image 3 of 5', wanted, among.subarray(3 * outImage, 4 * outImage), five, run);
  }
}

/** Part of a tensor [rows, axis, inner] along its middle dimension. */
function part(data: Float32Array, rows: number, axis: number, inner: number, first: number, count: number): Float32Array {
  const result = new Float32Array(rows * count * inner);
  for (let r = 0; r < rows; r++) {
    result.set(data.subarray((r * axis + first) * inner, (r * axis + first + count) * inner), r * count * inner);
  }
  return result;
}

/** A window of the input along one axis gives the same bits wherever no product from outside the window arrives. */
function windows(report: Report, p: Problem, data: Data, run: RunOptions, whole: Float32Array, axis: number, random: Random): void {
  const size = p.in[axis] as number;
  if (size < 2) return;
  const first = random.int(0, size - 1);
  const count = random.int(1, size - first);
  const [stride, dilation, kernel] = [p.stride[axis] as number, p.dilation[axis] as number, p.kernel[axis] as number];
  const [begin] = p.padding[axis] as [number, number];
  // No padding here: output position q of the window is position q + first*stride - begin of the whole.
  const narrow: Problem = {
    ...p,
    in: p.in.map((s, d) => (d === axis ? count : s)),
    padding: p.padding.map((pair, d): [number, number] => (d === axis ? [0, 0] : pair)),
    outputPadding: p.outputPadding.map((o, d) => (d === axis ? 0 : o)),
  };
  const images = p.batch ?? 1;
  const inner = product(p.in.slice(axis + 1));
  const input = part(data.input, images * p.inChannels * product(p.in.slice(0, axis)), size, inner, first, count);
  const actual = callContiguous(narrow, { ...data, input }, run, run.memoryFormat ?? 'contiguous');

  // Position u = i*stride + k*dilation of the whole, unpadded: reached from inside the window alone between these.
  const reach = dilation * (kernel - 1);
  const low = first === 0 ? 0 : (first - 1) * stride + reach + 1;
  const high = first + count === size ? (size - 1) * stride + reach : (first + count) * stride - 1;
  const out = outputSize(p);
  const from = Math.max(low, begin, first * stride);
  const to = Math.min(high, begin + (out[axis] as number) - 1, (first + count - 1) * stride + reach);
  if (to < from) return;
  const outInner = product(out.slice(axis + 1));
  const rows = images * p.outChannels * product(out.slice(0, axis));
  const narrowSize = outputSize(narrow)[axis] as number;
  report.compare(`window of ${count} from ${first} along axis ${axis}`,
    part(whole, rows, out[axis] as number, outInner, from - begin, to - from + 1),
    part(actual, rows, narrowSize, outInner, from - first * stride, to - from + 1), narrow, run);
}

/** Other values, NaN among them, in all but one input position along the last axis change nothing where only that one arrives. */
function unreached(report: Report, p: Problem, data: Data, run: RunOptions, whole: Float32Array, random: Random): void {
  const axis = p.rank - 1;
  const size = p.in[axis] as number;
  const kept = random.int(0, size - 1);
  const input = data.input.map((value, i) => (i % size === kept ? value : i % 3 === 0 ? NaN : -value));
  const actual = callContiguous(p, { ...data, input }, run, run.memoryFormat ?? 'contiguous');
  const [begin] = p.padding[axis] as [number, number];
  const [stride, dilation, kernel] = [p.stride[axis] as number, p.dilation[axis] as number, p.kernel[axis] as number];
  const out = outputSize(p)[axis] as number;
  const alone: number[] = [];
  for (let o = 0; o < out; o++) {
    let others = false;
    for (let k = 0; k < kernel; k++) {
      const u = o + begin - k * dilation;
      if (u >= 0 && u % stride === 0 && u / stride < size && u / stride !== kept) others = true;
    }
    if (!others) alone.push(o);
  }
  if (alone.length === 0) return;
  const pick = (y: Float32Array) => {
    const rows = y.length / out;
    const result = new Float32Array(rows * alone.length);
    for (let r = 0; r < rows; r++) alone.forEach((o, j) => (result[r * alone.length + j] = y[r * out + o] as number));
    return result;
  };
  report.compare(`other values outside column ${kept}`, pick(whole), pick(actual), p, run);
}
