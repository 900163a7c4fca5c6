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
  begin: number;
  /** Input positions of a tile, and tiles. */
  tile: number;
  tiles: number;
}

/** What one output is allowed, for every output of a contiguous result; null where no phase has two taps or one is dilated. */
export function winogradAllowance(
  p: Problem, x: Float32Array, w: Float32Array, expected: Definition, mixedSigns: boolean, high = false,
): Float64Array | null {
  if (p.dilation.some((dilation, d) => dilation !== 1 && p.kernel[d] !== 1) || p.kernel.every((k, d) => k <= at(p.stride, d))) return null;
  const out = outputSize(p);
  const unit: Axis = { in: 1, out: 1, kernel: 1, stride: 1, begin: 0, tile: 1, tiles: 1 };
  const own = p.in.map((size, d): Axis => {
    const tile = at(p.kernel, d) <= at(p.stride, d) ? 1 : high ? 4 : 2;
    return {
      in: size, out: at(out, d), kernel: at(p.kernel, d), stride: at(p.stride, d), begin: (p.padding[d] as [number, number])[0], tile,
      tiles: ceil(size / tile),
    };
  });
  const axes = [...Array<Axis>(3 - p.rank).fill(unit), ...own] as [Axis, Axis, Axis];
  const [depth, height, width] = axes;
  const c = product(axes.map((axis) => factors[axis.tile] as number));
  const images = p.batch ?? 1;
  const inPerGroup = p.inChannels / p.groups;
  const outPerGroup = p.outChannels / p.groups;
  const outPlane = depth.out * height.out * width.out;
  const grid = (depth.tiles + 1) * (height.tiles + 1) * (width.tiles + 1);
  const residues = depth.stride * height.stride * width.stride;

  // Of each output position: the place of its tiles in the grid of maxima, and its residue.
  const place = new Int32Array(outPlane);
  const residue = new Int32Array(outPlane);
  const tileOf = (axis: Axis, o: number) => max(0, min(floor((o + axis.begin) / axis.stride / axis.tile), axis.tiles));
  const residueOf = (axis: Axis, o: number) => (((o + axis.begin) % axis.stride) + axis.stride) % axis.stride;
  let position = 0;
  for (let od = 0; od < depth.out; od++) {
    for (let oh = 0; oh < height.out; oh++) {
      for (let ow = 0; ow < width.out; ow++, position++) {
        place[position] = (tileOf(depth, od) * (height.tiles + 1) + tileOf(height, oh)) * (width.tiles + 1) + tileOf(width, ow);
        residue[position] = (residueOf(depth, od) * height.stride + residueOf(height, oh)) * width.stride + residueOf(width, ow);
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
                  const g = ((floor(d / depth.tile) + od) * (height.tiles + 1) + floor(h / height.tile) + oh) * (width.tiles + 1) +
                    floor(v / width.tile) + ow;
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
