/** What commands print about a computation. */
import type { ConvTransposeModule, Explanation } from '../index';
import { columns, formatFlops, formatSeconds } from '../text';

/** Where commands write to. */
export interface Streams {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean };
}

export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** A layer as its constructor is written. Values that are alike in all dimensions are written once. */
export function describeLayer(layer: ConvTransposeModule): string {
  const sizes = (values: readonly unknown[]) => {
    const texts = values.map((value) => (Array.isArray(value) ? formatShape(value as number[]) : String(value)));
    return texts.every((text) => text === texts[0]) ? (texts[0] as string) : `[${texts.join(', ')}]`;
  };
  const options = Object.entries({
    stride: [sizes(layer.stride), '1'],
    padding: [sizes(layer.padding), '0'],
    outputPadding: [sizes(layer.outputPadding), '0'],
    dilation: [sizes(layer.dilation), '1'],
    groups: [String(layer.groups), '1'],
  }).filter(([, [value, standard]]) => value !== standard).map(([name, [value]]) => `${name}: ${value}`);
  const name = `ConvTranspose${layer.kernelSize.length}d`;
  const arguments_ = [layer.inChannels, layer.outChannels, sizes(layer.kernelSize)].join(', ');
  return `${name}(${arguments_}${options.length === 0 ? '' : `, { ${options.join(', ')} }`})`;
}

/** The kernels that ran, and why. */
export function describeChoice(explanation: Explanation): string {
  const { algorithm, isa, kernels, reason } = explanation;
  return `${algorithm} on ${isa}, ${reason}; ${kernels.length === 1 ? 'kernel' : 'kernels'} ${kernels.join(', ') || 'none'}`;
}

/** Time and speed of a computation. */
export function describeSpeed(seconds: number, flops: number, threads: number): string {
  return `${formatSeconds(seconds)} with ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${formatFlops(flops / seconds)}/s`;
}

/** Prints rows of a name and a text. */
export function printRows(streams: Streams, rows: readonly (readonly [string, string])[]): void {
  streams.stdout.write(`${columns(rows).join('\n')}\n`);
}

/** Prints a table: columns as wide as their widest entry, numbers and words alike on the left. */
export function printTable(streams: Streams, head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)));
  for (const row of [head, ...rows]) {
    streams.stdout.write(`  ${row.map((text, i) => text.padEnd(widths[i] as number)).join('  ').trimEnd()}\n`);
  }
}
