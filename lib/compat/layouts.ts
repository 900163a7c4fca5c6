/** Weight layouts by name, and the conversion between any two of them. */
import { argumentError, list } from '../errors';
import { readOptions, toInteger, toWord } from '../options';
import { elementCount } from '../shape';
import { checkLength, readTensor, Tensor, type TensorLike } from '../tensor';

/**
 * Layouts of the weights of a transposed convolution with kernel ...k, from the first axis to the last. "in" are the channels that it
 * reads, "out" those that it writes.
 *
 * | name | axes |
 * |---|---|
 * | `'pytorch'`, `'onnx'` | [in, out/groups, ...k] |
 * | `'keras'`, `'tensorflow'`, `'tfjs'` | [...k, out, in]; no groups |
 * | `'tflite'` | [out, ...k, in]; no groups |
 * | `'onednn'` | [out, in, ...k]; with groups [groups, out/groups, in/groups, ...k] |
 * | `'xnnpack'` | [out, ...k, in/groups] |
 * | `'ncnn'` | [out, in/groups, ...k] |
 * | `'jax'` | [...k, in, out], spatially flipped (lax.conv_transpose with transpose_kernel=False, flax.linen); no groups |
 */
export type WeightLayout =
  'pytorch' | 'onnx' | 'keras' | 'tensorflow' | 'tfjs' | 'tflite' | 'onednn' | 'xnnpack' | 'ncnn' | 'jax';

/** One axis of a layout: group (the slower) and channels within a group, or all of the kernel's axes. */
type Axis = 'in' | 'out' | 'inPerGroup' | 'outPerGroup' | 'group' | 'kernel';

interface LayoutRow {
  readonly axes: readonly Axis[];
  /** Axes where there is more than one group; absent where the layout has no groups. */
  readonly groupedAxes?: readonly Axis[];
  readonly flipped?: true;
}

const iohw: LayoutRow = { axes: ['in', 'outPerGroup', 'kernel'], groupedAxes: ['in', 'outPerGroup', 'kernel'] };
const hwoi: LayoutRow = { axes: ['kernel', 'out', 'in'] };

const layouts: Readonly<Record<WeightLayout, LayoutRow>> = {
  pytorch: iohw,
  onnx: iohw,
  keras: hwoi,
  tensorflow: hwoi,
  tfjs: hwoi,
  tflite: { axes: ['out', 'kernel', 'in'] },
  onednn: { axes: ['out', 'in', 'kernel'], groupedAxes: ['group', 'outPerGroup', 'inPerGroup', 'kernel'] },
  xnnpack: { axes: ['out', 'kernel', 'inPerGroup'], groupedAxes: ['out', 'kernel', 'inPerGroup'] },
  ncnn: { axes: ['out', 'inPerGroup', 'kernel'], groupedAxes: ['out', 'inPerGroup', 'kernel'] },
  jax: { axes: ['kernel', 'in', 'out'], flipped: true },
};
const layoutNames = Object.keys(layouts) as WeightLayout[];

/** Sizes of the weights of one layer. */
interface Sizes {
  readonly group: number;
  readonly inPerGroup: number;
  readonly outPerGroup: number;
  readonly kernel: readonly number[];
}

/** Size of the part of a dimension that is not the group's. */
const partOf = { in: 'inPerGroup', out: 'outPerGroup', inPerGroup: 'inPerGroup', outPerGroup: 'outPerGroup' } as const;

function axesOf(name: WeightLayout, groups: number, argument: string): readonly Axis[] {
  const { axes, groupedAxes } = layouts[name];
  if (groups === 1) return axes;
  if (groupedAxes === undefined) {
    throw argumentError('ERR_CONVTRANSPOSE_UNSUPPORTED', 'groups', `1, as the layout '${name}' (${argument}) has no groups`, String(groups));
  }
  return groupedAxes;
}

/** Reads the sizes from a shape. */
function sizesOf(shape: readonly number[], axes: readonly Axis[], groups: number, name: string): Sizes {
  const dims = shape.length - axes.length + 1;
  const fail = (): never => {
    const expected = `${axes.length} to ${axes.length + 2} sizes [${axes.join(', ')}] of the layout '${name}' with ${groups} groups`;
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'weight', expected, list(shape));
  };
  if (dims < 1 || dims > 3) return fail();
  const sizes = { group: groups, inPerGroup: 0, outPerGroup: 0, kernel: [] as number[] };
  let position = 0;
  for (const axis of axes) {
    if (axis === 'kernel') {
      sizes.kernel = shape.slice(position, position + dims);
      position += dims;
      continue;
    }
    const size = shape[position++] as number;
    if (axis === 'group') {
      if (size !== groups) fail();
      continue;
    }
    const isWhole = axis === 'in' || axis === 'out';
    if (isWhole && size % groups !== 0) fail();
    sizes[partOf[axis]] = isWhole ? size / groups : size;
  }
  return sizes;
}

/** One loop of the copy: an index of the weights, and the step that it makes in an array. */
interface Loop {
  readonly key: string;
  readonly size: number;
  readonly step: number;
}

/** The loops over an array of a layout, outermost first, and where the first element lies. */
function loopsOf(axes: readonly Axis[], sizes: Sizes, flipped: boolean): { shape: number[]; loops: Loop[]; start: number } {
  const shape: number[] = [];
  const indices: { key: string; size: number }[] = [];
  for (const axis of axes) {
    if (axis === 'kernel') {
      shape.push(...sizes.kernel);
      sizes.kernel.forEach((size, i) => indices.push({ key: `kernel${i}`, size }));
    } else if (axis === 'group') {
      shape.push(sizes.group);
      indices.push({ key: 'group', size: sizes.group });
    } else {
      const part = partOf[axis];
      const isWhole = axis === 'in' || axis === 'out';
      shape.push(isWhole ? sizes[part] * sizes.group : sizes[part]);
      if (isWhole) indices.push({ key: 'group', size: sizes.group });
      indices.push({ key: part, size: sizes[part] });
    }
  }
  const loops: Loop[] = [];
  let step = 1;
  let start = 0;
  for (const { key, size } of indices.reverse()) {
    const isFlipped = flipped && key.startsWith('kernel');
    loops.unshift({ key, size, step: isFlipped ? -step : step });
    if (isFlipped) start += (size - 1) * step;
    step *= size;
  }
  return { shape, loops, start };
}

/** Fills `out`, in order, with the elements that the loops reach. */
function gather(source: Float32Array, start: number, loops: readonly Loop[], out: Float32Array): void {
  const outer = loops.slice(0, -1);
  const inner = loops[loops.length - 1] as Loop;
  const index = new Array<number>(outer.length).fill(0);
  let offset = start;
  for (let to = 0; to < out.length;) {
    for (let i = 0; i < inner.size; i++) out[to++] = source[offset + i * inner.step] as number;
    for (let axis = outer.length - 1; axis >= 0; axis--) {
      const { size, step } = outer[axis] as Loop;
      offset += step;
      if (++(index[axis] as number) < size) break;
      offset -= size * step;
      index[axis] = 0;
    }
  }
}

/** Options of {@link convertWeights}. */
export interface ConvertWeightsOptions {
  /** Groups of the layer. Default 1. */
  readonly groups?: number | undefined;
}

/**
 * Weights in another layout: a copy, with the same values.
 *
 * ```js
 * import { Tensor } from 'convtranspose';
 * import { convertWeights } from 'convtranspose/compat';
 * const kernel = Tensor.zeros([4, 4, 8, 3]); // Keras: 3 channels in, 8 out
 * console.log(convertWeights(kernel, 'keras', 'pytorch').shape); // [ 3, 8, 4, 4 ]
 * ```
 *
 * @param weight float32, of 1 to 3 kernel dimensions, in the layout `from`
 * @param from the layout that it has
 * @param to the layout that it is wanted in
 * @throws RangeError `ERR_CONVTRANSPOSE_SHAPE` if the shape is none of the layout, `ERR_CONVTRANSPOSE_UNSUPPORTED` for groups in a
 * layout that has none
 */
export function convertWeights(weight: TensorLike, from: WeightLayout, to: WeightLayout, options?: ConvertWeightsOptions): Tensor {
  const view = readTensor(weight, 'weight');
  const source = toWord(from, 'from', layoutNames);
  const target = toWord(to, 'to', layoutNames);
  const raw = readOptions(options, 'options', ['groups'] as const);
  const groups = raw.groups === undefined ? 1 : toInteger(raw.groups, 'groups', 1);
  const sourceAxes = axesOf(source, groups, 'from');
  const targetAxes = axesOf(target, groups, 'to');
  const sizes = sizesOf(view.shape, sourceAxes, groups, source);
  checkLength(view, elementCount(view.shape, 'weight'), 'weight');
  const read = loopsOf(sourceAxes, sizes, layouts[source].flipped === true);
  const write = loopsOf(targetAxes, sizes, layouts[target].flipped === true);
  const result = Tensor.empty(write.shape);
  // Flips cancel out: an axis that runs backwards in one layout alone is read backwards.
  const bySource = new Map(read.loops.map((loop) => [loop.key, loop]));
  let start = read.start;
  const loops = write.loops.map(({ key, size, step }): Loop => {
    const own = bySource.get(key)?.step ?? 0;
    if (step > 0) return { key, size, step: own };
    start += (size - 1) * own;
    return { key, size, step: -own };
  });
  gather(view.data, start, loops, result.data);
  return result;
}
