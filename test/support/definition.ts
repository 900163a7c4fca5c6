/**
 * The definition of a transposed convolution, scattered in float64:
 *
 *   y[n, co, i*stride - padBegin + k*dilation] += x[n, ci, i] * w[ci, co', k]     over everything that lands inside
 *
 * together with what the error bound needs. Shares no code with the package.
 */
import { at, outputSize, product } from './problem';
import type { Problem } from './problem';

// Looking up a global for every product would take most of the time where tests run in a context of their own.
const { abs } = Math;

/** All arrays hold one value an output, contiguous ([N, C, ...spatial]). */
export interface Definition {
  y: Float64Array;
  /** |b| + sum |x||w| */
  magnitude: Float64Array;
  /** Products that reach the output, plus one; the same for every image and channel: one value a position. */
  terms: Float64Array;
}

/** The three spatial dimensions of a problem, the missing ones in front. */
interface Axis {
  in: number;
  out: number;
  kernel: number;
  stride: number;
  begin: number;
  dilation: number;
}

function axes(p: Problem): [Axis, Axis, Axis] {
  const unit: Axis = { in: 1, out: 1, kernel: 1, stride: 1, begin: 0, dilation: 1 };
  const out = outputSize(p);
  const own = p.in.map((size, d): Axis => ({
    in: size, out: at(out, d), kernel: at(p.kernel, d), stride: at(p.stride, d), begin: (p.padding[d] as [number, number])[0],
    dilation: at(p.dilation, d),
  }));
  return [...Array<Axis>(3 - p.rank).fill(unit), ...own] as [Axis, Axis, Axis];
}

/** Where tap k meets input position 0, and the input positions [first, last) whose product with it lands inside. */
function landing(axis: Axis, k: number): { shift: number; first: number; last: number } {
  const shift = k * axis.dilation - axis.begin;
  const first = Math.max(0, Math.ceil(-shift / axis.stride));
  const last = Math.min(axis.in, Math.floor((axis.out - 1 - shift) / axis.stride) + 1);
  return { shift, first, last: Math.max(first, last) };
}

/** How many (tap, input position) pairs land on each output position of one dimension. */
function hits(axis: Axis): Float64Array {
  const count = new Float64Array(axis.out);
  for (let k = 0; k < axis.kernel; k++) {
    const { shift, first, last } = landing(axis, k);
    for (let i = first; i < last; i++) {
      const o = i * axis.stride + shift;
      count[o] = (count[o] as number) + 1;
    }
  }
  return count;
}

/** Inputs contiguous, whatever the memory format of the call under test. */
export function define(p: Problem, x: Float32Array, w: Float32Array, bias: Float32Array | null): Definition {
  const [depth, height, width] = axes(p);
  const images = p.batch ?? 1;
  const inPerGroup = p.inChannels / p.groups;
  const outPerGroup = p.outChannels / p.groups;
  const inPlane = depth.in * height.in * width.in;
  const outPlane = depth.out * height.out * width.out;
  const taps = product(p.kernel);

  const y = new Float64Array(images * p.outChannels * outPlane);
  const magnitude = new Float64Array(y.length);
  if (bias !== null) {
    for (let image = 0; image < images; image++) {
      for (let co = 0; co < p.outChannels; co++) {
        const base = (image * p.outChannels + co) * outPlane;
        const b = bias[co] as number;
        y.fill(b, base, base + outPlane);
        magnitude.fill(abs(b), base, base + outPlane);
      }
    }
  }

  // The products of each tap are the same set of (input, output) positions for all channels: rows of `length` products.
  const rows: { tap: number; from: number; to: number; length: number }[] = [];
  for (let kd = 0; kd < depth.kernel; kd++) {
    const d = landing(depth, kd);
    for (let kh = 0; kh < height.kernel; kh++) {
      const h = landing(height, kh);
      for (let kw = 0; kw < width.kernel; kw++) {
        const v = landing(width, kw);
        if (v.first === v.last) continue;
        const tap = (kd * height.kernel + kh) * width.kernel + kw;
        for (let id = d.first; id < d.last; id++) {
          const od = id * depth.stride + d.shift;
          for (let ih = h.first; ih < h.last; ih++) {
            const oh = ih * height.stride + h.shift;
            rows.push({
              tap,
              from: (id * height.in + ih) * width.in + v.first,
              to: (od * height.out + oh) * width.out + v.first * width.stride + v.shift,
              length: v.last - v.first,
            });
          }
        }
      }
    }
  }

  const rowTap = Int32Array.from(rows, (r) => r.tap);
  const rowFrom = Int32Array.from(rows, (r) => r.from);
  const rowTo = Int32Array.from(rows, (r) => r.to);
  const rowLength = Int32Array.from(rows, (r) => r.length);
  for (let image = 0; image < images; image++) {
    for (let ci = 0; ci < p.inChannels; ci++) {
      const group = Math.floor(ci / inPerGroup);
      const xBase = (image * p.inChannels + ci) * inPlane;
      for (let co = 0; co < outPerGroup; co++) {
        const yBase = (image * p.outChannels + group * outPerGroup + co) * outPlane;
        scatter(y, magnitude, x, w, xBase, yBase, (ci * outPerGroup + co) * taps, rowTap, rowFrom, rowTo, rowLength, width.stride);
      }
    }
  }

  const terms = new Float64Array(outPlane);
  const [hd, hh, hw] = [hits(depth), hits(height), hits(width)];
  let position = 0;
  for (const a of hd) for (const b of hh) for (const c of hw) terms[position++] = a * b * c * inPerGroup + 1;
  return { y, magnitude, terms };
}

function scatter(
  y: Float64Array, magnitude: Float64Array, x: Float32Array, w: Float32Array, xBase: number, yBase: number, wBase: number,
  rowTap: Int32Array, rowFrom: Int32Array, rowTo: Int32Array, rowLength: Int32Array, stride: number,
): void {
  for (let r = 0; r < rowTap.length; r++) {
    const weight = w[wBase + (rowTap[r] as number)] as number;
    const size = abs(weight);
    const from = xBase + (rowFrom[r] as number);
    const length = rowLength[r] as number;
    let o = yBase + (rowTo[r] as number);
    for (let i = 0; i < length; i++, o += stride) {
      const value = x[from + i] as number;
      y[o] = (y[o] as number) + value * weight;
      magnitude[o] = (magnitude[o] as number) + abs(value) * size;
    }
  }
}
