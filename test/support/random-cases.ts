/** Random problems: small odd ones, and larger ones that cross the block boundaries of the kernels. */
import { Random } from './data';
import type { DataKind } from './data';
import { outputSize, product } from './problem';
import type { Problem } from './problem';

export interface RandomCase {
  seed: number;
  problem: Problem;
  data: DataKind;
}

/** Most outputs of a case; like the products, they take the float64 definition some nanoseconds each. */
const maxOutputs = 120_000;

type Sizes = Pick<Problem, 'in' | 'kernel' | 'stride' | 'dilation'> & { inPerGroup: number; outPerGroup: number; groups: number };

/** `last` for the innermost dimension, `others` for the rest. */
function perDimension(rank: number, last: () => number, others: () => number): number[] {
  return Array.from({ length: rank }, (_, d) => (d === rank - 1 ? last() : others()));
}

/** Kernel, stride and dilation; a third of them with kernel == stride, where the gemm algorithm runs. */
function taps(random: Random, rank: number, maxKernel: number): Pick<Sizes, 'kernel' | 'stride' | 'dilation'> {
  if (random.chance(0.35)) {
    const kernel = perDimension(rank, () => random.int(1, Math.min(4, maxKernel)), () => random.int(1, Math.min(3, maxKernel)));
    return { kernel, stride: [...kernel], dilation: kernel.map(() => 1) };
  }
  const kernel = perDimension(rank, () => random.int(1, maxKernel), () => random.int(1, maxKernel));
  const stride = kernel.map(() => random.pick([1, 1, 2, 2, 2, 3, 4]));
  const dilation = kernel.map(() => random.pick([1, 1, 1, 1, 2, 3]));
  return { kernel, stride, dilation };
}

/** Few and odd channels, tiny images, groups, every parameter. */
function small(random: Random, rank: number): Sizes {
  return {
    ...taps(random, rank, rank === 3 ? 3 : 5),
    in: perDimension(rank, () => random.int(1, rank === 1 ? 40 : 12), () => random.int(1, rank === 2 ? 7 : 3)),
    groups: random.pick([1, 1, 1, 2, 3, 5]),
    inPerGroup: random.pick([1, 1, 2, 3, 4, 7]),
    outPerGroup: random.pick([1, 1, 2, 3, 5, 8, 9]),
  };
}

/** Rows longer than two blocks of columns, few channels. */
function wide(random: Random, rank: number): Sizes {
  return {
    ...taps(random, rank, rank === 3 ? 2 : 4),
    in: perDimension(rank, () => random.int(60, [0, 600, 300, 150][rank] as number), () => random.int(1, 3)),
    groups: random.pick([1, 1, 1, 2]),
    inPerGroup: random.int(1, 6),
    outPerGroup: random.int(1, 19),
  };
}

/** Long sums: channels times taps above two chunks of them; few pixels. */
function deep(random: Random, rank: number): Sizes {
  return {
    ...taps(random, rank, rank === 1 ? 5 : 3),
    in: perDimension(rank, () => random.int(1, rank === 1 ? 9 : 4), () => random.int(1, 2)),
    groups: 1,
    inPerGroup: random.pick([random.int(100, 300), random.int(300, 1300)]),
    outPerGroup: random.pick([1, 3, 8, 13, 17, 33, 50]),
  };
}

/** More output channels than two blocks of them, and at times more pixels and images too. */
function broad(random: Random, rank: number): Sizes {
  const large = random.chance(0.5);
  const last = [0, large ? 1200 : 30, large ? 60 : 6, large ? 30 : 6][rank] as number;
  const others = [0, 0, large ? 20 : 3, large ? 8 : 3][rank] as number;
  return {
    ...taps(random, rank, rank === 1 ? 5 : large ? 2 : 3),
    in: perDimension(rank, () => random.int(1, last), () => random.int(1, others)),
    groups: large ? 1 : random.pick([1, 1, 2]),
    inPerGroup: random.int(1, large ? 8 : 24),
    outPerGroup: large ? random.int(20, 60) : random.int(40, 300),
  };
}

/** Rows of several blocks of columns: thousands of columns, or hundreds with many phases. */
function longRows(random: Random, rank: number): Sizes {
  const stride = perDimension(rank, () => random.pick([1, 2, 4, 8, 12]), () => 1);
  return {
    kernel: stride.map((s) => random.int(1, s + 1)),
    stride,
    dilation: stride.map(() => 1),
    in: perDimension(rank, () => random.int(500, 5000), () => random.int(1, 2)),
    groups: 1,
    inPerGroup: random.int(1, 4),
    outPerGroup: random.int(1, 9),
  };
}

/** Images and channels so large that a block holds a part of the rows. */
function planes(random: Random, rank: number): Sizes {
  return {
    ...taps(random, rank, 2),
    in: perDimension(rank, () => random.int(30, [0, 1500, 90, 40][rank] as number), () => random.int(6, rank === 2 ? 70 : 24)),
    groups: 1,
    inPerGroup: random.int(24, rank === 1 ? 300 : 96),
    outPerGroup: random.pick([1, 3, 5, 6, 7]),
  };
}

/** Many rows and images of moderate width: tasks and row blocks. */
function tall(random: Random, rank: number): Sizes {
  return {
    ...taps(random, rank, 3),
    in: perDimension(rank, () => random.int(1, rank === 1 ? 150 : 20), () => random.int(4, rank === 2 ? 60 : 12)),
    groups: random.pick([1, 1, 3]),
    inPerGroup: random.int(1, 10),
    outPerGroup: random.int(1, 12),
  };
}

/** Two or three taps to every phase: Winograd's case. */
function overlapping(random: Random, rank: number): Sizes {
  const stride = perDimension(rank, () => random.pick([1, 1, 2, 2, 3, 5]), () => random.pick([1, 2, 2, 3]));
  return {
    kernel: stride.map((s) => random.int(s + 1, Math.min(3 * s, s + 4))),
    stride,
    dilation: random.chance(0.3) ? stride.map(() => random.pick([1, 2, 3])) : stride.map(() => 1),
    in: perDimension(rank, () => random.int(1, rank === 1 ? 200 : 16), () => random.int(1, rank === 2 ? 16 : 5)),
    groups: random.pick([1, 1, 1, 2]),
    inPerGroup: random.pick([1, 3, 8, 30, random.int(40, 150)]),
    outPerGroup: random.pick([1, 3, 8, 20, 40]),
  };
}

/** Kernels that are multiples of wide strides along the width: the case of direct-residues. */
function residues(random: Random, rank: number): Sizes {
  const stride = perDimension(rank, () => random.pick([4, 5, 8, 16]), () => random.pick([1, 2]));
  return {
    kernel: stride.map((s) => s * random.int(1, 2)),
    stride,
    dilation: stride.map(() => 1),
    in: perDimension(rank, () => random.int(1, rank === 1 ? 40 : 12), () => random.int(1, rank === 2 ? 12 : 4)),
    groups: random.pick([1, 1, 1, 2]),
    inPerGroup: random.pick([1, 3, 8, 30, random.int(40, 150)]),
    outPerGroup: random.pick([1, 3, 8, 21, 40]),
  };
}

/** Few outputs of many channels whose planes do not overlap along the depth: the case of amx-overlap, in blocks of every kind. */
function fewOutputs(random: Random, rank: number): Sizes {
  const kernel = perDimension(rank, () => random.int(1, 5), () => random.int(1, 3));
  const stride = kernel.map((k, d) => (rank === 3 && d === 0 ? k + random.int(0, 1) : random.int(1, 3)));
  return {
    kernel,
    stride,
    dilation: kernel.map(() => 1),
    in: perDimension(rank, () => random.int(10, [0, 4000, 300, 60][rank] as number), () => random.int(1, rank === 2 ? 100 : 12)),
    groups: 1,
    inPerGroup: random.pick([32, 64, random.int(24, 160)]),
    outPerGroup: random.pick([1, 1, 2, 3, 9]),
  };
}

/** Overlapping kernels whose channels fill matrices, with many tiles: the case of Winograd by products of terms. */
function matrices(random: Random, rank: number): Sizes {
  const stride = perDimension(rank, () => (rank === 3 ? 1 : random.int(1, 3)), () => (rank === 3 ? 1 : random.int(1, 2)));
  return {
    kernel: stride.map((s, d) => (rank === 3 && d === 0 ? random.pick([1, 3]) : s === 1 ? 3 : 2 * s)),
    stride,
    dilation: stride.map(() => 1),
    in: perDimension(rank, () => random.int(rank === 1 ? 60 : 8, [0, 300, 20, 10][rank] as number), () => random.int(6, rank === 2 ? 16 : 8)),
    groups: random.pick([1, 1, 1, 2]),
    inPerGroup: random.pick([64, 96, 128, random.int(120, 128)]),
    outPerGroup: random.pick([32, 48, 64]),
  };
}

/** How to draw sizes, and how many products such a case may have. */
type Kind = [draw: (random: Random, rank: number) => Sizes, maxProducts: number];
const kinds: Kind[] = [
  [small, 1.5e6], [small, 1.5e6], [wide, 1.5e6], [wide, 1.5e6], [deep, 1.5e6], [deep, 1.5e6], [deep, 1.5e6],
  [broad, 1.5e6], [broad, 1.5e6], [tall, 1.5e6], [tall, 1.5e6], [longRows, 1.5e6], [planes, 6e6], [planes, 6e6],
  [residues, 1.5e6], [residues, 1.5e6], [residues, 1.5e6],
  ...Array.from({ length: 8 }, (): [typeof overlapping, number] => [overlapping, 1.5e6]),
];

/** The case of a seed: always the same. */
export function randomCase(rank: number, seed: number): RandomCase {
  return caseOf(kinds, rank, seed);
}

/** The same of few outputs alone. */
export function fewOutputsCase(rank: number, seed: number): RandomCase {
  return caseOf([[fewOutputs, 1e6]], rank, seed);
}

/** The same for products of matrices alone. */
export function matricesCase(rank: number, seed: number): RandomCase {
  return caseOf([[matrices, 6e7]], rank, seed);
}

function caseOf(from: Kind[], rank: number, seed: number): RandomCase {
  const random = new Random(Math.imul(seed, 4) + rank);
  for (;;) {
    const [draw, maxProducts] = random.pick(from);
    const { inPerGroup, outPerGroup, ...sizes } = draw(random, rank);
    const problem: Problem = {
      rank,
      batch: random.pick([null, 1, 1, 1, 2, 3, 9]),
      inChannels: inPerGroup * sizes.groups,
      outChannels: outPerGroup * sizes.groups,
      ...sizes,
      padding: sizes.in.map((): [number, number] => [0, 0]),
      outputPadding: sizes.in.map(() => 0),
      bias: random.chance(0.7),
    };
    // One tap for every output only without padding: gemm's case.
    const equal = problem.kernel.every((k, d) => k === problem.stride[d]);
    const style = equal && random.chance(0.6) ? 0 : random.int(0, 3);
    problem.padding = problem.kernel.map((kernel, d): [number, number] => {
      const extent = (problem.dilation[d] as number) * (kernel - 1);
      if (style === 0) return [0, 0];
      if (style < 3) {
        const both = random.int(0, extent);
        return [both, both];
      }
      return [random.int(0, extent + 1), random.int(-2, extent + 1)];
    });
    if (random.chance(equal ? 0.1 : 0.3)) {
      problem.outputPadding = problem.stride.map((stride, d) => random.int(0, Math.max(stride, problem.dilation[d] as number) - 1));
    }
    const out = outputSize(problem);
    const images = problem.batch ?? 1;
    const products = images * problem.inChannels * outPerGroup * product(problem.in) * product(problem.kernel);
    if (Math.min(...out) >= 1 && products <= maxProducts && images * problem.outChannels * product(out) <= maxOutputs) {
      return { seed, problem, data: random.pick(['mixed', 'mixed', 'mixed', 'mixed', 'mixed', 'integers', 'positive', 'sparse', 'ranged'] as const) };
    }
  }
}
