/** `convtranspose verify`: every ConvTranspose node of an ONNX model, as this package computes it, against float64. */
import { onnx } from '../compat/index';
import { Tensor, type Algorithm } from '../index';
import { readOnnx, type OnnxConvTranspose } from '../io/index';
import { parseInteger, parseIntegers, UsageError, type Arguments, type CommandSpec } from './command-line';
import { exitCodes } from './exit-codes';
import { convTransposeInFloat64 } from './float64';
import { convertOption, layerOptions, parseConvert } from './layer';
import { formatShape, printTable, type Streams } from './report';

const howNames = ['algorithm', 'num-threads'];

export const verifyCommand: CommandSpec = {
  name: 'verify',
  usage: '<model.onnx> [options]',
  summary: 'Computes every ConvTranspose node of an ONNX model and compares it with float64.',
  description: [
    'Computes every ConvTranspose node of a model whose weights are stored in it, on random inputs with values from -1 to 1, by the kernels',
    'that run with `invariant: true` (all but Winograd and amx), and again in float64 by the text of the operator, one product after the',
    'other. Prints the largest error as a part of what the package promises for that output: 2^-22 * sqrt(n) * (|b| + sum of |x||w|), with',
    'n products and the bias. The exit code is 1 if an error is larger, a size differs, or the model has no such node.',
    '',
    'Nodes whose weights the model computes are listed as skipped.',
  ],
  operands: { name: '<model>', help: 'An .onnx file; weights may lie in files beside it.' },
  options: [
    { name: 'input-size', value: 'N[,N...]', help: 'Spatial sizes of the inputs. Default: 12 in each dimension, fewer for large layers.' },
    { name: 'seed', value: 'N', help: 'Another number gives other inputs. Default 0.' },
    convertOption,
    ...layerOptions.filter(({ name }) => howNames.includes(name)),
    { name: 'json', value: null, help: 'Print the results as JSON.' },
  ],
  examples: ['convtranspose verify generator.onnx', 'CONVTRANSPOSE_ISA=avx2 convtranspose verify generator.onnx --input-size 33,17'],
};

/** What came of one node. */
interface Verdict {
  readonly node: string;
  readonly weight: readonly number[] | null;
  readonly input: readonly number[] | null;
  readonly output: readonly number[] | null;
  readonly algorithm: string | null;
  /** The largest error as a part of the bound; null if there was nothing to compare. */
  readonly error: number | null;
  readonly ok: boolean;
  readonly note: string;
}

/** Values from -1 to 1 that depend on the seed alone. */
function noise(shape: readonly number[], seed: number): Tensor {
  const tensor = Tensor.empty(shape);
  const { data } = tensor;
  let state = Math.imul(seed + 1, 0x9e3779b9) >>> 0;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = state / 2 ** 31 - 1;
  }
  return tensor;
}

/** Products that are computed in float64 for one node, at most, if the size is not given. */
const mostProducts = 2e8;
const usualSize = 12;

/** Sizes of an input for a weight: smaller ones for larger weights. */
function sizesFor(weight: readonly number[], given: readonly number[] | undefined): number[] {
  const dims = weight.length - 2;
  if (given !== undefined) {
    if (given.length !== 1 && given.length !== dims) throw new UsageError(`--input-size has ${given.length} sizes, but a node has ${dims} dimensions`);
    return Array.from({ length: dims }, (_, i) => given[given.length === 1 ? 0 : i] as number);
  }
  const perPosition = weight.reduce((a, b) => a * b, 1);
  const size = Math.floor((mostProducts / perPosition) ** (1 / dims));
  return new Array<number>(dims).fill(Math.min(usualSize, Math.max(2, size)));
}

/** The largest error as a part of the promised bound. */
function largestError(got: Float32Array, exact: ReturnType<typeof convTransposeInFloat64>): number {
  const { y, magnitude, terms } = exact;
  let largest = 0;
  for (let i = 0; i < y.length; i++) {
    const n = terms[i % terms.length] as number;
    const bound = 2 ** -22 * Math.sqrt(n) * (magnitude[i] as number) + n * 2 ** -126;
    const error = Math.abs((got[i] as number) - (y[i] as number)) / bound;
    if (Number.isNaN(error)) return Infinity;
    largest = Math.max(largest, error);
  }
  return largest;
}

type How = { readonly algorithm?: Algorithm; readonly numThreads?: number };

async function verifyNode(node: OnnxConvTranspose, sizes: readonly number[] | undefined, seed: number, how: How): Promise<Verdict> {
  const { attributes, opset, W, B } = node;
  const name = node.name === '' ? node.output : node.name;
  if (W === null || (B === null && node.inputs.B !== null)) {
    return { node: name, weight: null, input: null, output: null, algorithm: null, error: null, ok: true, note: 'skipped: the model computes its weights' };
  }
  const x = noise([1, W.shape[0] as number, ...sizesFor(W.shape, sizes)], seed);
  // Invariant: by the kernels that sum products themselves, whose bound holds for every single output.
  const layer = new onnx.ConvTranspose(attributes, W, B, { opset, ...how, invariant: true });
  try {
    const got = await layer.forwardAsync(x);
    const { algorithm } = layer.explain(x.shape);
    const exact = convTransposeInFloat64(attributes, opset, x, W, B?.data ?? null);
    const common = { node: name, weight: W.shape, input: x.shape, output: got.shape, algorithm };
    if (got.shape.join() !== exact.shape.join()) {
      return { ...common, error: null, ok: false, note: `the operator gives ${formatShape(exact.shape)}` };
    }
    const error = largestError(got.data, exact);
    return { ...common, error, ok: error <= 1, note: '' };
  } finally {
    layer.dispose();
  }
}

export async function verify(args: Arguments, streams: Streams): Promise<number> {
  const [file] = args.operands as [string];
  const { values } = args;
  const parse = <T>(name: string, parser: (text: string, option: string) => T): T | undefined => {
    const text = values.get(name);
    return text === undefined ? undefined : parser(text, name);
  };
  const sizes = parse('input-size', parseIntegers);
  const seed = parse('seed', parseInteger) ?? 0;
  const how: How = Object.fromEntries(Object.entries({
    algorithm: values.get('algorithm'), numThreads: parse('num-threads', parseInteger),
  }).filter(([, value]) => value !== undefined));
  const verdicts: Verdict[] = [];
  for (const node of await readOnnx(file, parseConvert(args))) verdicts.push(await verifyNode(node, sizes, seed, how));
  const ok = verdicts.length > 0 && verdicts.every((verdict) => verdict.ok);
  if (values.has('json')) {
    streams.stdout.write(`${JSON.stringify({ model: file, ok, nodes: verdicts }, null, 2)}\n`);
  } else if (verdicts.length === 0) {
    streams.stdout.write(`${file} has no ConvTranspose node\n`);
  } else {
    const shape = (sizesOf: readonly number[] | null): string => (sizesOf === null ? '' : formatShape(sizesOf));
    printTable(streams, ['node', 'weight', 'input', 'output', 'algorithm', 'error', 'verdict'], verdicts.map((verdict) => [
      verdict.node, shape(verdict.weight), shape(verdict.input), shape(verdict.output), verdict.algorithm ?? '',
      verdict.error === null ? '' : verdict.error.toPrecision(3), verdict.note === '' ? (verdict.ok ? 'ok' : 'WRONG') : verdict.note,
    ]));
    streams.stdout.write('error: the largest one, as a part of the promised bound\n');
  }
  return ok ? exitCodes.success : exitCodes.failure;
}
