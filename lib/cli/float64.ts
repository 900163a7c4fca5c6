/**
 * ONNX' operator ConvTranspose in float64, straight from its text: products scattered one by one. Shares nothing with the kernels, nor
 * with the package's arithmetic of sizes; it is what `verify` compares them with.
 */
import type { OnnxAttributes } from '../io/index';

/** One dimension: sizes, steps, and rows that the output begins after the first one that products reach. */
interface Axis {
  readonly input: number;
  readonly output: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly begin: number;
}

export interface Float64Result {
  /** [1, M, ...spatial] */
  readonly shape: readonly number[];
  readonly y: Float64Array;
  /** |b| + the sum of |x||w| at each output. */
  readonly magnitude: Float64Array;
  /** Products that reach an output, plus one: the same for all channels, so one entry a position. */
  readonly terms: Float64Array;
}

/** The operator's equations for one dimension. Before operator set 11 they split an odd padding that `output_shape` implies the other way. */
function axisOf(attributes: OnnxAttributes, opset: number, input: number, kernel: number, i: number, dims: number): Axis {
  const { auto_pad: autoPad = 'NOTSET', strides, dilations, output_padding: extra, output_shape: wanted, pads } = attributes;
  const stride = strides?.[i] ?? 1;
  const dilation = dilations?.[i] ?? 1;
  const reached = stride * (input - 1) + (extra?.[i] ?? 0) + (kernel - 1) * dilation + 1;
  const split = (total: number, lessFirst: boolean): number => (lessFirst ? Math.floor(total / 2) : total - Math.floor(total / 2));
  const axis = { input, kernel, stride, dilation };
  if (wanted !== undefined) {
    const output = wanted.length === dims ? wanted[i] as number : wanted[i + 2] as number;
    return { ...axis, output, begin: split(reached - output, (autoPad === 'SAME_UPPER') === (opset >= 11)) };
  }
  if (autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER') {
    return { ...axis, output: input * stride, begin: split(reached - input * stride, autoPad === 'SAME_UPPER') };
  }
  const [begin, end] = autoPad === 'VALID' ? [0, 0] : [pads?.[i] ?? 0, pads?.[i + dims] ?? 0];
  return { ...axis, output: reached - begin - end, begin };
}

/** Row-major tensors: X [1, C, ...spatial], W [C, M/group, ...kernel], B [M] or null. */
export function convTransposeInFloat64(
  attributes: OnnxAttributes, opset: number,
  x: { readonly shape: readonly number[]; readonly data: Float32Array }, w: { readonly shape: readonly number[]; readonly data: Float32Array },
  bias: Float32Array | null,
): Float64Result {
  const dims = x.shape.length - 2;
  const [inChannels, outPerGroup, ...kernel] = w.shape as [number, number, ...number[]];
  const groups = attributes.group ?? 1;
  const own = kernel.map((size, i) => axisOf(attributes, opset, x.shape[i + 2] as number, size, i, dims));
  const unit: Axis = { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0 };
  const [depth, height, width] = [...new Array<Axis>(3 - dims).fill(unit), ...own] as [Axis, Axis, Axis];
  const inPlane = depth.input * height.input * width.input;
  const outPlane = depth.output * height.output * width.output;
  const taps = depth.kernel * height.kernel * width.kernel;
  const outChannels = outPerGroup * groups;
  const inPerGroup = inChannels / groups;

  // Where each tap puts each input; -1 beyond the borders.
  const places = new Int32Array(taps * inPlane);
  const terms = new Float64Array(outPlane).fill(1);
  let next = 0;
  for (let kd = 0; kd < depth.kernel; kd++) {
    for (let kh = 0; kh < height.kernel; kh++) {
      for (let kw = 0; kw < width.kernel; kw++) {
        for (let id = 0; id < depth.input; id++) {
          for (let ih = 0; ih < height.input; ih++) {
            for (let iw = 0; iw < width.input; iw++, next++) {
              const od = id * depth.stride + kd * depth.dilation - depth.begin;
              const oh = ih * height.stride + kh * height.dilation - height.begin;
              const ow = iw * width.stride + kw * width.dilation - width.begin;
              const inside = od >= 0 && od < depth.output && oh >= 0 && oh < height.output && ow >= 0 && ow < width.output;
              const place = inside ? (od * height.output + oh) * width.output + ow : -1;
              places[next] = place;
              if (inside) terms[place] = (terms[place] as number) + inPerGroup;
            }
          }
        }
      }
    }
  }

  const y = new Float64Array(outChannels * outPlane);
  const magnitude = new Float64Array(y.length);
  bias?.forEach((value, channel) => {
    y.fill(value, channel * outPlane, (channel + 1) * outPlane);
    magnitude.fill(Math.abs(value), channel * outPlane, (channel + 1) * outPlane);
  });
  for (let ci = 0; ci < inChannels; ci++) {
    const group = Math.floor(ci / inPerGroup);
    for (let co = 0; co < outPerGroup; co++) {
      const base = (group * outPerGroup + co) * outPlane;
      for (let tap = 0; tap < taps; tap++) {
        const weight = w.data[(ci * outPerGroup + co) * taps + tap] as number;
        for (let i = 0; i < inPlane; i++) {
          const place = places[tap * inPlane + i] as number;
          if (place < 0) continue;
          const product = (x.data[ci * inPlane + i] as number) * weight;
          y[base + place] = (y[base + place] as number) + product;
          magnitude[base + place] = (magnitude[base + place] as number) + Math.abs(product);
        }
      }
    }
  }
  return { shape: [1, outChannels, ...own.map(({ output }) => output)], y, magnitude, terms };
}
