/** `convtranspose run`: one layer on the tensors of one file or of many. */
import { performance } from 'node:perf_hooks';

import { getNumThreads, version, type ConvTransposeModule, type ShapeOptions, type Tensor } from '../index';
import { writeAtomically } from '../io/files';
import type { MemoryFormat } from '../options';
import { formatSeconds } from '../text';
import { runBatch, type BatchOutcome } from './batch';
import { parseInteger, required, UsageError, type Arguments, type CommandSpec, type OptionSpec } from './command-line';
import { exitCodes } from './exit-codes';
import { findInputs, parseShard, planOutputs, shardOf, type BatchTask } from './inputs';
import { catchInterrupts, type Interrupts } from './interrupt';
import { convertOption, layerOptions, makeLayer, parseConvert, parseLayerOptions, parseOutputSize, readWeights, weightOptions, type Weights } from './layer';
import { showProgress } from './progress';
import { fingerprintOf, openBatch } from './record';
import { describeChoice, describeLayer, describeSpeed, formatShape, printRows, type Streams } from './report';
import { encodeTensorFile, extensionOf, outputFormats, readTensorFile, type FileOptions } from './tensor-files';

const grouped = (group: string, options: readonly OptionSpec[]): OptionSpec[] => options.map((option) => ({ ...option, group }));

export const runCommand: CommandSpec = {
  name: 'run',
  usage: '--weights FILE (--output FILE <input> | --output-dir DIR <inputs...>) [options]',
  summary: 'Applies a layer to tensors and pictures in files: one, or thousands.',
  description: [
    'Applies ConvTranspose1d, ConvTranspose2d or ConvTranspose3d to the tensors in files. The weight decides the number of dimensions;',
    'the options of the layer are those of the API. Inputs are .npy, .npz and .safetensors (every tensor in them) and pictures (PNG, JPEG, WebP,',
    'AVIF, TIFF; these need sharp).',
    '',
    'With --output, one input becomes one file, and shapes, kernels, time and speed are printed.',
    '',
    'With --output-dir a batch is run. Inputs are files, folders, and patterns in quotes (*, **, ?, [...], {a,b}); each output keeps the',
    'path of its input below the folder that was named, or below the part of the pattern without wildcards. An input that fails is',
    'reported and does not stop the others. Outputs appear whole or not at all, so a batch that was killed goes on with --resume where',
    'it was. A terminal shows progress.',
    '',
    'A picture is read as [C, H, W] (channelsLast: [H, W, C]) with values from 0 to 1, see --pixel-range, and its result is written as PNG.',
  ],
  operands: { name: '[inputs...]', help: 'Files, folders, or patterns in quotes.' },
  options: [
    ...grouped('Files', [
      { name: 'input', value: 'FILE', help: 'The input, if it is not given without an option.' },
      { name: 'output', value: 'FILE', help: `The file to write for one input: ${outputFormats.map((format) => `.${format}`).join(', ')}; it is replaced if it is there.` },
      { name: 'output-dir', value: 'DIR', help: 'The folder for the outputs of a batch; it is made if it is not there.' },
      { name: 'format', value: 'F', help: `Format of the outputs of a batch: ${outputFormats.join(', ')}. Default: that of the input; PNG for pictures, safetensors for .npz.` },
      { name: 'tensor', value: 'NAME', help: 'The tensor to take of .safetensors and .npz inputs. Default: all of them.' },
      { name: 'pixel-range', value: 'A:B', help: 'The values that black and white of pictures stand for. Default 0:1.' },
      convertOption,
    ]),
    ...grouped('Batch', [
      { name: 'jobs', value: 'N', help: 'Files that are read, computed and written at the same time. Default: one more than there are threads.' },
      {
        name: 'resume', value: null,
        help: 'Skip inputs whose output is there and not older. Refused if the folder holds results of other weights or options. Without ' +
          'it, what is in the place of the outputs is removed first.',
      },
      { name: 'shard', value: 'I/N', help: 'Do the I-th of N equal parts of the batch (I from 1 to N), for jobs of an array.', variable: 'CONVTRANSPOSE_SHARD' },
      { name: 'summary', value: 'FILE', help: 'Write counts, times and failures as JSON; - is the standard output, instead of text.' },
    ]),
    ...grouped('Weights', weightOptions),
    ...grouped('Layer', layerOptions),
  ],
  examples: [
    'convtranspose run --weights layer.safetensors --stride 2 --padding 1 --output y.npy x.npy',
    "convtranspose run --weights up.safetensors --stride 2 --padding 1 --output-dir out --resume 'photos/**/*.png'",
    'CONVTRANSPOSE_SHARD=3/8 convtranspose run --weights up.safetensors --stride 2 --output-dir out --resume --summary 3.json features/',
  ],
};

/** The layer and all that is needed to apply it to a file. */
interface Job {
  readonly layer: ConvTransposeModule;
  readonly weights: Weights;
  readonly call: ShapeOptions;
  readonly files: FileOptions;
  readonly numThreads: number | undefined;
}

function parsePixelRange(text: string): [number, number] {
  const bounds = text.split(':').map((bound) => (bound.trim() === '' ? NaN : Number(bound)));
  const [black, white] = bounds;
  if (bounds.length !== 2 || !bounds.every(Number.isFinite) || black === white) {
    throw new UsageError(`--pixel-range needs two different numbers A:B, not ${JSON.stringify(text)}`);
  }
  return [black as number, white as number];
}

function parseFileOptions(args: Arguments): FileOptions {
  return {
    ...parseConvert(args),
    memoryFormat: (args.values.get('memory-format') ?? 'contiguous') as MemoryFormat,
    tensorName: args.values.get('tensor'),
    pixelRange: parsePixelRange(args.values.get('pixel-range') ?? '0:1'),
  };
}

/** Reads, computes and writes one file. Gives what the last tensor went through. */
async function runFile(
  { layer, call, files }: Job, { input, output }: BatchTask, format: string, signal?: AbortSignal,
): Promise<{ input: Tensor; output: Tensor; seconds: number }> {
  const read = await readTensorFile(input, files);
  const results = new Map<string, Tensor>();
  let last: { input: Tensor; output: Tensor; seconds: number } | undefined;
  for (const [name, tensor] of read.tensors) {
    await layer.prepareAsync(tensor.shape, { ...call, signal });
    const begin = performance.now();
    const result = await layer.forwardAsync(tensor, { ...call, signal });
    last = { input: tensor, output: result, seconds: (performance.now() - begin) / 1e3 };
    results.set(name, result);
  }
  if (last === undefined) throw Object.assign(new RangeError(`${input} holds no tensor`), { code: 'ERR_CONVTRANSPOSE_FORMAT' });
  const bytes = await encodeTensorFile({ ...read, tensors: results }, format, files);
  signal?.throwIfAborted();
  await writeAtomically({ argument: 'output', file: output }, output, [bytes]);
  return last;
}

async function runSingle(job: Job, task: BatchTask, weightsFile: string, streams: Streams): Promise<number> {
  const { layer, weights: { weight, bias }, call } = job;
  const { input, output, seconds } = await runFile(job, task, extensionOf(task.output));
  const explanation = layer.explain(input.shape, call);
  printRows(streams, [
    ['layer', describeLayer(layer)],
    ['weight', `${formatShape(weight.shape)}${bias === null ? ', no bias' : `, bias ${formatShape(bias.shape)}`}, ${weightsFile}`],
    ['input', `${formatShape(input.shape)}, ${task.input}`],
    ['output', `${formatShape(output.shape)}, ${task.output}`],
    ['choice', describeChoice(explanation)],
    ['time', describeSpeed(seconds, explanation.flops, job.numThreads ?? getNumThreads())],
  ]);
  return exitCodes.success;
}

/** Where a batch writes to and how. */
interface BatchPlan {
  readonly folder: string;
  readonly tasks: readonly BatchTask[];
  readonly pending: readonly BatchTask[];
  readonly total: number;
  readonly shard: string | undefined;
  readonly jobs: number;
}

function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

async function summarize(plan: BatchPlan, outcome: BatchOutcome, job: Job, args: Arguments, streams: Streams): Promise<void> {
  const { done, failures, interrupted, seconds } = outcome;
  const skipped = plan.tasks.length - plan.pending.length;
  const file = args.values.get('summary');
  const summary = {
    version: version(), layer: describeLayer(job.layer), weights: args.values.get('weights'), outputDir: plan.folder,
    shard: plan.shard ?? null, total: plan.tasks.length, done, skipped, failed: failures.length, left: plan.pending.length - done - failures.length,
    interrupted, seconds, filesPerSecond: seconds > 0 ? done / seconds : 0, failures,
  };
  const json = `${JSON.stringify(summary, null, 2)}\n`;
  if (file === '-') {
    streams.stdout.write(json);
    return;
  }
  if (file !== undefined) await writeAtomically({ argument: 'summary', file }, file, [Buffer.from(json)]);
  printRows(streams, [
    ['layer', describeLayer(job.layer)],
    ['files', `${count(plan.tasks.length, 'input')}${plan.shard === undefined ? '' : ` (shard ${plan.shard} of ${plan.total})`}: ${done} done, ` +
      `${skipped} skipped, ${failures.length} failed${interrupted ? `, ${summary.left} left: interrupted, --resume goes on` : ''}`],
    ['time', `${formatSeconds(seconds)}, ${summary.filesPerSecond.toPrecision(3)} files/s`],
    ['output', plan.folder],
  ]);
}

/** Everything that decides about the values of the outputs. */
function fingerprint(args: Arguments, { weight, bias }: Weights): string {
  const deciding = [...layerOptions.map(({ name }) => name), 'format', 'tensor', 'pixel-range', 'convert'];
  const settings = deciding.filter((name) => name !== 'num-threads' && name !== 'workspace-limit').map((name) => [name, args.values.get(name) ?? null]);
  return fingerprintOf([settings, weight.shape], [weight.data, bias?.data ?? null]);
}

async function planBatch(args: Arguments, words: readonly string[], job: Job): Promise<BatchPlan> {
  const { values } = args;
  const format = values.get('format');
  if (format !== undefined && !outputFormats.includes(format)) throw new UsageError(`--format is one of ${outputFormats.join(', ')}, not ${JSON.stringify(format)}`);
  const jobs = parseInteger(values.get('jobs') ?? String((job.numThreads ?? getNumThreads()) + 1), 'jobs');
  if (jobs < 1 || jobs > 1024) throw new UsageError(`--jobs needs a number from 1 to 1024, not ${jobs}`);
  const shard = values.get('shard');
  const part = shard === undefined ? { index: 1, count: 1 } : parseShard(shard);
  const folder = required(args, 'output-dir');
  const all = planOutputs(await findInputs(words), folder, format);
  const tasks = shardOf(all, part);
  const record = { fingerprint: fingerprint(args, job.weights), layer: describeLayer(job.layer) };
  const pending = await openBatch(folder, tasks, all, record, values.has('resume'));
  return { folder, tasks, pending, total: all.length, shard, jobs };
}

async function runAll(job: Job, args: Arguments, words: readonly string[], interrupts: Interrupts, streams: Streams): Promise<number> {
  const plan = await planBatch(args, words, job);
  const progress = showProgress(streams, plan.pending.length);
  let outcome: BatchOutcome;
  try {
    outcome = await runBatch(
      plan.pending,
      async (task) => { await runFile(job, task, extensionOf(task.output), interrupts.signal); },
      {
        jobs: plan.jobs,
        signal: interrupts.signal,
        onSettled: (done, failed) => { progress.update(done, failed); },
        onFailure: ({ input, message, code }) => { progress.log(`convtranspose: ${input}: ${message} (${code})`); },
      },
    );
  } finally {
    progress.stop();
  }
  await summarize(plan, outcome, job, args, streams);
  if (outcome.interrupted) return interrupts.received() === 'SIGTERM' ? exitCodes.terminated : exitCodes.interrupted;
  return outcome.failures.length > 0 ? exitCodes.someFailed : exitCodes.success;
}

const batchOnly = ['format', 'jobs', 'resume', 'summary'];

/** The one file of a run without --output-dir. */
function singleTask({ values }: Arguments, words: readonly string[]): BatchTask {
  const [input] = words;
  const output = values.get('output');
  if (output === undefined) throw new UsageError('--output or --output-dir is missing');
  if (input === undefined || words.length > 1) throw new UsageError(`--output takes one input, not ${words.length}; --output-dir takes many`);
  const extra = batchOnly.find((name) => values.has(name));
  if (extra !== undefined) throw new UsageError(`--${extra} goes with --output-dir`);
  if (!outputFormats.includes(extensionOf(output))) {
    throw new UsageError(`--output needs a name that ends in ${outputFormats.map((format) => `.${format}`).join(', ')}, not ${JSON.stringify(output)}`);
  }
  return { input, output };
}

export async function run(args: Arguments, streams: Streams): Promise<number> {
  const { values } = args;
  const weightsFile = required(args, 'weights');
  const input = values.get('input');
  const words = [...(input === undefined ? [] : [input]), ...args.operands];
  const isBatch = values.has('output-dir');
  if (isBatch && values.has('output')) throw new UsageError('--output and --output-dir exclude each other');
  if (isBatch && words.length === 0) throw new UsageError('inputs are missing: files, folders, or patterns in quotes');
  const single = isBatch ? null : singleTask(args, words);
  const options = parseLayerOptions(args);
  const files = parseFileOptions(args);
  const call = parseOutputSize(args);
  const weights = await readWeights(args, weightsFile);
  const layer = makeLayer(weights.weight.shape, { ...options, ...weights });
  const job: Job = { layer, weights, call, files, numThreads: options.numThreads };
  const interrupts = single === null ? catchInterrupts() : null;
  try {
    return interrupts === null
      ? await runSingle(job, single as BatchTask, weightsFile, streams)
      : await runAll(job, args, words, interrupts, streams);
  } finally {
    interrupts?.release();
    layer.dispose();
  }
}
