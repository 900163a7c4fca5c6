/**
 * Test data: element i of a stream is a function of a hash of both, so that inputs need not be stored. fixtures/generate.py
 * computes the same values.
 */

export type DataKind = 'mixed' | 'integers' | 'ones' | 'positive' | 'sparse' | 'ranged' | 'tiny' | 'large';

// Looking up a global for every element would take most of the time where tests run in a context of their own.
const { abs, imul } = Math;

/** lowbias32 of the element's index, displaced by the stream: an unsigned 32-bit number. */
export function hash32(stream: number, index: number): number {
  let x = (index + imul(stream, 0x9e3779b9)) >>> 0;
  x ^= x >>> 16;
  x = imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = imul(x, 0x846ca68b);
  x ^= x >>> 16;
  return x >>> 0;
}

/** [-2, 2) in steps that float32 holds exactly. */
const mixed = (h: number) => ((h >>> 8) - 2 ** 23) / 2 ** 22;

const valueOf: Record<DataKind, (h: number) => number> = {
  mixed,
  integers: (h) => (h % 9) - 4, // every sum is exact in float32
  ones: () => 1,
  positive: (h) => abs(mixed(h)) + 2 ** -22,
  sparse: (h) => (h % 10 === 0 ? mixed(h) : 0),
  ranged: (h) => mixed(h) * 2 ** ((h & 31) - 16), // magnitudes over 30 octaves
  tiny: (h) => mixed(h) * 2 ** -66, // products are subnormal in float32
  large: (h) => mixed(h) * 2 ** 50,
};

/** The first `count` elements of a stream. */
export function values(kind: DataKind, stream: number, count: number): Float32Array {
  const result = new Float32Array(count);
  const value = valueOf[kind];
  for (let i = 0; i < count; i++) result[i] = value(hash32(stream, i));
  return result;
}

/** Sums over such data may be of one sign, so that rounding errors do not average out. */
export function oneSided(kind: DataKind): boolean {
  return kind === 'positive' || kind === 'ones';
}

/** A seeded source of random numbers for sizes and parameters. */
export class Random {
  private index = 0;

  constructor(private readonly stream: number) {}

  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + (hash32(this.stream, this.index++) % (high - low + 1));
  }

  chance(probability: number): boolean {
    return hash32(this.stream, this.index++) < probability * 2 ** 32;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(0, choices.length - 1)] as T;
  }
}
