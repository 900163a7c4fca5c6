/** What `explain()` gives, and the report of it that people read. */
import { list } from './errors';
import type { NativeExplanation } from './native';
import type { CallSizes, Geometry } from './shape';
import { columns, counted, formatBytes, formatCount, formatFlops, formatSeconds } from './text';

/** What will run for a shape, and why; read from the plan that runs. */
export interface Explanation {
  /** The kernels' family, for instance `'direct-wide'`. */
  readonly algorithm: string;
  /** The word of the `algorithm` option that forces it. */
  readonly choice: string;
  /** The instruction set in use, for instance `'avx512'`; `'amx'` is that with a unit for matrices of bfloat16. */
  readonly isa: string;
  /** Names of the kernels that run. */
  readonly kernels: readonly string[];
  /** Why this one. */
  readonly reason: string;
  /** The algorithms that come before it, with what speaks against each. */
  readonly rejected: readonly { readonly name: string; readonly reason: string }[];
  /** The precision that runs. */
  readonly precision: string;
  /** What is done to the outputs before they are stored, in order: `'batchNorm'` (folded), `'bias'`, and the activation. */
  readonly fused: readonly string[];
  /** Remarks, for instance that a precision has no kernels of its own here. */
  readonly notes: readonly string[];
  /** Effective operations: 2 * batch * in * out/groups * input points * kernel points. */
  readonly flops: number;
  /** What the planner's model expects for one thread, in seconds. */
  readonly estimatedSeconds: number;
  /** Groups of outputs that the same taps reach. */
  readonly phases: number;
  /** Independent pieces of work, whatever the number of threads. */
  readonly tasks: number;
  /** Scratch memory per thread, in bytes. */
  readonly workspaceBytes: number;
  /** Scratch memory that all threads of a call share, beside that, in bytes: Winograd's transformed input and products. */
  readonly sharedBytes: number;
  /** Packed forms of the weights that the module holds now: bytes by layout. */
  readonly packedWeights: Readonly<Record<string, number>>;
  /** Sizes of the blocks, by name. */
  readonly blocking: Readonly<Record<string, number>>;
  /** All of this as text for people, with units. */
  readonly summary: string;
}

/** One number where all are alike, as options are written; otherwise all of them. */
function short(values: readonly number[]): string {
  return values.every((value) => value === values[0]) ? String(values[0]) : list(values);
}

function padding({ begin, end }: Geometry['padding']): string {
  const symmetric = begin.every((first, i) => first === end[i]);
  return symmetric ? short(begin) : `[${begin.map((first, i) => list([first, end[i] ?? first])).join(', ')}]`;
}

/** The layer in words; options that have their default are left out. */
function layerText(geometry: Geometry): string {
  const { inChannels, outChannels, groups, kernel, stride, dilation, outputPadding } = geometry;
  const options: readonly (readonly [string, string, string])[] = [
    ['stride', short(stride), '1'], ['padding', padding(geometry.padding), '0'], ['output padding', short(outputPadding), '0'],
    ['dilation', short(dilation), '1'], ['groups', String(groups), '1'],
  ];
  const given = options.filter(([, value, standard]) => value !== standard).map(([name, value]) => `${name} ${value}`);
  return [`${counted(inChannels, 'channel')} to ${formatCount(outChannels)}`, `kernel ${kernel.join(' x ')}`, ...given].join(', ');
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** The fewest and the most kernel positions that reach an output away from the border, along one dimension. */
function taps(kernel: number, stride: number, dilation: number): readonly [number, number] {
  const step = stride / gcd(stride, dilation); // every step-th position reaches the same outputs; step < stride: some outputs none
  return [step < stride ? 0 : Math.floor(kernel / step), Math.ceil(kernel / step)];
}

/** The phases in words: how many, and what reaches an output. */
function phaseText({ inChannels, groups, kernel, stride, dilation }: Geometry): string {
  const reach = kernel.map((size, i) => taps(size, stride[i] ?? 1, dilation[i] ?? 1));
  const product = (values: readonly number[]) => values.reduce((a, b) => a * b, 1);
  const channels = inChannels / groups;
  const least = product(reach.map(([fewest]) => fewest));
  const most = product(reach.map(([, greatest]) => greatest));
  const phases = product(stride);
  const grid = stride.length > 1 && phases > 1 ? ` (${stride.join(' x ')})` : '';
  const positions = least === most ? formatCount(most) : `${formatCount(least)} to ${formatCount(most)}`;
  const products = least === most ? formatCount(most * channels) : `${formatCount(least * channels)} to ${formatCount(most * channels)}`;
  const bias = least === 0 ? '; outputs without any hold the bias' : '';
  return `${counted(phases, 'phase')}${grid}: ${positions} of the ${counted(product(kernel), 'kernel position')} reach an output, ` +
    `${products} products over ${counted(channels, 'channel')}${bias}`;
}

function memoryText(native: NativeExplanation): string {
  const forms = Object.entries(native.packedWeights);
  const total = formatBytes(forms.reduce((sum, [, bytes]) => sum + bytes, 0));
  const packed = forms.length === 0
    ? 'no weights packed yet'
    : `packed weights ${total}${forms.length === 1 ? '' : ' in all'} (${forms.map(([name, bytes]) => `${name} ${formatBytes(bytes)}`).join(', ')})`;
  const shared = native.sharedBytes === 0 ? '' : ` and ${formatBytes(native.sharedBytes)} for all of them`;
  return `${formatBytes(native.workspaceBytes)} of scratch for each thread${shared}; ${packed}`;
}

/** Names by what speaks against them, in order. */
function byReason(rejected: NativeExplanation['rejected']): [string, string[]][] {
  const reasons = new Map<string, string[]>();
  for (const { name, reason } of rejected) reasons.set(reason, [...reasons.get(reason) ?? [], name]);
  return [...reasons];
}

/**
 * What runs for a call and why, as text: a headline, then two columns.
 *
 * @param inputShape as the caller gave it
 */
export function report(geometry: Geometry, inputShape: readonly number[], sizes: CallSizes, native: NativeExplanation): string {
  const weights = (geometry.inChannels * geometry.outChannels) / geometry.groups * geometry.kernel.reduce((a, b) => a * b, 1);
  const { flops, estimatedSeconds } = native;
  const speed = estimatedSeconds > 0 && flops > 0 ? `, ${formatFlops(flops / estimatedSeconds)}/s` : '';
  const rows: (readonly [string, string])[] = [
    ['layer', layerText(geometry)],
    ['phases', phaseText(geometry)],
    ['work', `${formatFlops(flops)}; input ${formatBytes(4 * sizes.inputCount)}, weights ${formatBytes(4 * weights)}, output ${formatBytes(4 * sizes.outputCount)}`],
    ['runs', `${native.algorithm} on ${native.isa} (algorithm: '${native.choice}'), precision '${native.precision}'`],
    ['because', native.reason],
    ['estimate', `${formatSeconds(estimatedSeconds)} on one thread${speed}`],
    ['kernels', native.kernels.join(', ') || 'none'],
    ['fused', native.fused.join(', ') || 'nothing'],
    ['threads', native.tasks === 1 ? '1 task: one thread does it all' : `${counted(native.tasks, 'task')}, shared by as many threads as there are`],
    ['memory', memoryText(native)],
    ['blocking', Object.entries(native.blocking).map(([name, size]) => `${name} ${formatCount(size)}`).join(', ') || 'none'],
    ...byReason(native.rejected).map(([reason, names]) => [`not ${names.join(', ')}`, reason] as const),
    ...native.notes.map((note) => ['note', note] as const),
  ];
  const headline = `ConvTranspose${geometry.kernel.length}d ${list(inputShape)} -> ${list(sizes.outputShape)}: ${native.algorithm} (${native.isa})`;
  return [headline, ...columns(rows)].join('\n');
}
