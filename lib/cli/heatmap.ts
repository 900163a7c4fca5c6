/** Maps of numbers as pictures: a PNG file, or coloured half blocks in a terminal. */
import type { Picture } from './picture';

/** Rows of numbers. */
export interface Grid {
  readonly width: number;
  readonly height: number;
  readonly values: ArrayLike<number>;
}

type Colour = readonly [red: number, green: number, blue: number];

/** From dark blue over teal to yellow: brighter is more, in grey print and for the colour-blind too. */
const ramp: readonly Colour[] = [[24, 16, 72], [32, 72, 136], [24, 128, 136], [72, 184, 104], [176, 216, 56], [253, 231, 76]];

/** A colour for a part of the range from 0 to 1. */
function colourAt(part: number): Colour {
  const position = Math.min(1, Math.max(0, part)) * (ramp.length - 1);
  const below = Math.min(ramp.length - 2, Math.floor(position));
  const [from, to] = [ramp[below] as Colour, ramp[below + 1] as Colour];
  const rest = position - below;
  const mix = (i: 0 | 1 | 2): number => Math.round(from[i] + (to[i] - from[i]) * rest);
  return [mix(0), mix(1), mix(2)];
}

/** Maps values to 0..1; a flat grid lies in the middle. */
function normalizer({ values }: Grid): (value: number) => number {
  let min = Infinity;
  let max = -Infinity;
  for (let i = 0; i < values.length; i++) {
    min = Math.min(min, values[i] as number);
    max = Math.max(max, values[i] as number);
  }
  return (value) => (max > min ? (value - min) / (max - min) : 0.5);
}

/** A side of a picture that is pleasant to look at, in pixels. */
const pictureSide = 512;

/** The grid as a picture, every entry a square of as many pixels as make it about 512 pixels wide. */
export function drawGrid(grid: Grid): Picture {
  const scale = Math.max(1, Math.floor(pictureSide / Math.max(grid.width, grid.height, 1)));
  const [width, height] = [grid.width * scale, grid.height * scale];
  const part = normalizer(grid);
  const samples = new Uint8Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      samples.set(colourAt(part(grid.values[Math.floor(y / scale) * grid.width + Math.floor(x / scale)] as number)), to);
    }
  }
  return { width, height, channels: 3, samples };
}

/** The upper left part of a grid that fits into columns and rows of characters of two entries each. */
function crop({ width, height, values }: Grid, columns: number, lines: number): Grid {
  const [newWidth, newHeight] = [Math.min(width, columns), Math.min(height, 2 * lines)];
  const kept = Array.from({ length: newWidth * newHeight }, (_, i) => values[Math.floor(i / newWidth) * width + (i % newWidth)] as number);
  return { width: newWidth, height: newHeight, values: kept };
}

/**
 * The grid in half blocks, two rows to a line, cropped to what fits: in 24-bit colours, or, without colours, filled where a value is
 * above the middle of the range.
 */
export function printGrid(grid: Grid, { columns, lines, colours }: { columns: number; lines: number; colours: boolean }): string {
  const { width, height, values } = crop(grid, columns, lines);
  const part = normalizer(grid);
  const at = (x: number, y: number): number | undefined => (y < height ? part(values[y * width + x] as number) : undefined);
  const text: string[] = [];
  for (let y = 0; y < height; y += 2) {
    let line = '';
    for (let x = 0; x < width; x++) {
      const [upper, lower] = [at(x, y) as number, at(x, y + 1)];
      if (colours) {
        const background = lower === undefined ? '\x1b[49m' : `\x1b[48;2;${colourAt(lower).join(';')}m`;
        line += `\x1b[38;2;${colourAt(upper).join(';')}m${background}▀`;
      } else {
        line += [' ', '▀', '▄', '█'][Number(upper > 0.5) + 2 * Number((lower ?? 0) > 0.5)] as string;
      }
    }
    text.push(colours ? `${line}\x1b[0m` : line.trimEnd());
  }
  return text.join('\n');
}
