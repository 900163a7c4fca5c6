/** Numbers with their units, and text in columns, for people to read. */

/** A duration with three digits. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(3)} ms`;
  return `${seconds.toFixed(2)} s`;
}

/** A number of bytes with three digits. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${['KiB', 'MiB', 'GiB', 'TiB'][power - 1]}`;
}

/** A count with its thousands apart: 1,024. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** Operations with three digits: 8.59 GFLOP. */
export function formatFlops(flops: number): string {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(flops, 1)) / 3)));
  return `${Number((flops / 1000 ** power).toPrecision(3))} ${['', 'k', 'M', 'G', 'T'][power] ?? ''}FLOP`;
}

/** A number with its noun: 1 task, 16 tasks. */
export function counted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

const textWidth = 100;

/** Two columns: terms and explanations, wrapped. An empty term goes on with the one before. */
export function columns(rows: readonly (readonly [string, string])[]): string[] {
  const indent = Math.min(34, Math.max(...rows.map(([term]) => term.length)) + 4);
  const lines: string[] = [];
  for (const [term, text] of rows) {
    let line = `  ${term}`.padEnd(indent);
    if (line.length > indent || line.trimEnd().length === indent) {
      lines.push(line);
      line = ' '.repeat(indent);
    }
    for (const word of text.split(' ')) {
      if (line.length + 1 + word.length > textWidth) {
        lines.push(line);
        line = ' '.repeat(indent);
      }
      line += line.length === indent ? word : ` ${word}`;
    }
    lines.push(line);
  }
  return lines;
}
