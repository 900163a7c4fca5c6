/**
 * The promised accuracy of Winograd. A value of a tile meets every rounding of the whole tile, so the largest input of the
 * tiles that reach an output takes the place of each input, and the largest tap that of each tap:
 *
 *   |error| <= C * 2^-23 * sqrt(n) * sum over ci of max|x in these tiles| * max|w of the phase's taps|
 *
 * with n = products reaching the output + 1, n itself instead of its root on data of one sign, and C the product over the
 * dimensions with more taps than one of 8 (tiles of two, precision 'highest') or 40 (tiles of four): the largest sums of magnitudes
 * that the transforms of an input tile, of the taps and of their products make together, over one to three taps.
 */
import type { Definition } from './definition';
import { at, outputSize, product } from './problem';
import type { Problem } from './problem';

const { abs, ceil, floor, max, min, sqrt } = Math;

const factors: Record<number, number> = { 1: 1, 2: 8, 4: 40 };

/** Values that are not finite are the direct algorithms'. */
const finite = (value: number) => (Number.isFinite(value) ? abs(value) : 0);

interface Axis {
  in: number;
  out: number;
  kernel: number;
  stride: number;
  dilation: number;
  begin: number;
  /** Input positions of a tile, and tiles: with dilation every dilation-th input belongs to a grid that has its own tiles. */
  tile: number;
  tiles: number;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const mod = (a: number, b: number) => ((a % b) + b) % b;

/**
 * What one output is allowed, for every output of a contiguous result; null where no phase has two taps, or where dilation shares a
 * factor with stride.
 */
export function winogradAllowance(
  p: Problem, x: Float32Array, w: Float32Array, expected: Definition, mixedSigns: boolean, high = false,
): Float64Array | null {
  const dilations = p.kernel.map((k, d) => (k === 1 ? 1 : at(p.dilation, d)));
  if (p.kernel.every((k, d) => k <= at(p.stride, d)) || dilations.some((dilation, d) => gcd(dilation, at(p.stride, d)) !== 1)) return null;
  const out = outputSize(p);
  const unit: Axis = { in: 1, out: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, tile: 1, tiles: 1 };
  const own = p.in.map((size, d): Axis => {
    const tile = at(p.kernel, d) <= at(p.stride, d) ? 1 : high ? 4 : 2;
    return {
      in: size, out: at(out, d), kernel: at(p.kernel, d), stride: at(p.stride, d), dilation: at(dilations, d),
      begin: (p.padding[d] as [number, number])[0], tile, tiles: ceil(ceil(size / at(dilations, d)) / tile),
    };
  });
  const axes = [...Array<Axis>(3 - p.rank).fill(unit), ...own] as [Axis, Axis, Axis];
  const [depth, height, width] = axes;
  const c = product(axes.map((axis) => factors[axis.tile] as number));
  const images = p.batch ?? 1;
  const inPerGroup = p.inChannels / p.groups;
  const outPerGroup = p.outChannels / p.groups;
  const outPlane = depth.out * height.out * width.out;
  const places = (axis: Axis) => axis.dilation * (axis.tiles + 1);
  const grid = places(depth) * places(height) * places(width);
  const residues = depth.stride * height.stride * width.stride;

  // Of each output position: the place of its tiles in the grid of maxima, and its residue.
  const place = new Int32Array(outPlane);
  const residue = new Int32Array(outPlane);
  // The first tap that reaches an output, the input that it meets (maybe outside), and the place of an input's tile.
  const tapOf = (axis: Axis, o: number) => {
    let k = 0;
    while (k < axis.stride && mod(o + axis.begin - k * axis.dilation, axis.stride) !== 0) k++;
    return k;
  };
  const placeOf = (axis: Axis, input: number) =>
    mod(input, axis.dilation) * (axis.tiles + 1) + max(0, min(floor(floor(input / axis.dilation) / axis.tile), axis.tiles));
  const placeReached = (axis: Axis, o: number) => placeOf(axis, floor((o + axis.begin - tapOf(axis, o) * axis.dilation) / axis.stride));
  const [tileOfDepth, tileOfHeight, tileOfWidth] =
    axes.map((axis) => Int32Array.from({ length: axis.in }, (_, input) => placeOf(axis, input))) as [Int32Array, Int32Array, Int32Array];
  const [reachedDepth, reachedHeight, reachedWidth] =
    axes.map((axis) => Int32Array.from({ length: axis.out }, (_, o) => placeReached(axis, o))) as [Int32Array, Int32Array, Int32Array];
  const [tapDepth, tapHeight, tapWidth] =
    axes.map((axis) => Int32Array.from({ length: axis.out }, (_, o) => tapOf(axis, o))) as [Int32Array, Int32Array, Int32Array];
  let position = 0;
  for (let od = 0; od < depth.out; od++) {
    for (let oh = 0; oh < height.out; oh++) {
      for (let ow = 0; ow < width.out; ow++, position++) {
        place[position] = ((reachedDepth[od] as number) * places(height) + (reachedHeight[oh] as number)) * places(width) +
          (reachedWidth[ow] as number);
        residue[position] = ((tapDepth[od] as number) * height.stride + (tapHeight[oh] as number)) * width.stride + (tapWidth[ow] as number);
      }
    }
  }

  const largestTap = new Float64Array(residues);
  const sums = new Float64Array(images * p.outChannels * outPlane);
  const reached = new Float64Array(grid);
  for (let image = 0; image < images; image++) {
    for (let ci = 0; ci < p.inChannels; ci++) {
      // The largest input of each tile and of those before it: a product runs over into the next tile along each dimension.
      reached.fill(0);
      let i = (image * p.inChannels + ci) * depth.in * height.in * width.in;
      for (let d = 0; d < depth.in; d++) {
        for (let h = 0; h < height.in; h++) {
          for (let v = 0; v < width.in; v++, i++) {
            const value = finite(x[i] as number);
            for (let od = 0; od <= 1; od++) {
              for (let oh = 0; oh <= 1; oh++) {
                for (let ow = 0; ow <= 1; ow++) {
                  const g = (((tileOfDepth[d] as number) + od) * places(height) + (tileOfHeight[h] as number) + oh) * places(width) +
                    (tileOfWidth[v] as number) + ow;
                  if (value > (reached[g] as number)) reached[g] = value;
                }
              }
            }
          }
        }
      }
      const group = floor(ci / inPerGroup);
      for (let co = 0; co < outPerGroup; co++) {
        largestTap.fill(0);
        let k = (ci * outPerGroup + co) * depth.kernel * height.kernel * width.kernel;
        for (let kd = 0; kd < depth.kernel; kd++) {
          for (let kh = 0; kh < height.kernel; kh++) {
            for (let kw = 0; kw < width.kernel; kw++, k++) {
              const r = ((kd % depth.stride) * height.stride + (kh % height.stride)) * width.stride + (kw % width.stride);
              largestTap[r] = max(largestTap[r] as number, finite(w[k] as number));
            }
          }
        }
        const base = (image * p.outChannels + group * outPerGroup + co) * outPlane;
        for (let o = 0; o < outPlane; o++) {
          sums[base + o] = (sums[base + o] as number) + (reached[place[o] as number] as number) * (largestTap[residue[o] as number] as number);
        }
      }
    }
  }
  const underflow = 64 * 2 ** -126;
  return sums.map((sum, o) => {
    const n = expected.terms[o % outPlane] as number;
    const last = 2 ** -24 * (expected.magnitude[o] as number); // the addition of the bias
    return c * 2 ** -23 * (mixedSigns ? sqrt(n) : n) * sum + last + n * underflow;
  });
}
