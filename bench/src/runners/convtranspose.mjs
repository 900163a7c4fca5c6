// @ts-check
import * as convtranspose from '../../../dist/index.mjs';
import { transposed } from '../data.mjs';
import { turnOf } from '../measure.mjs';
import { outputSize, product, weightShape } from '../problem.mjs';

const { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Tensor } = convtranspose;

export const name = 'convtranspose';
export const version = convtranspose.version();

/** What the processor is and which instruction set is in use. */
export const cpuInfo = () => convtranspose.cpuInfo();

/**
 * @typedef {object} RunnerOptions
 * @property {number} threads
 * @property {'contiguous' | 'channelsLast'} memoryFormat
 * @property {'highest' | 'high' | 'medium'} precision
 * @property {'auto' | 'direct' | 'gemm' | 'winograd' | 'amx' | 'depthwise' | 'reference'} algorithm
 */

/**
 * A module with its weights packed, and two ways to call it: with an output of its own each time, as the peers do, and with
 * a preallocated one.
 * @param {import('../problem.mjs').Problem} problem
 * @param {import('../data.mjs').LayerData} data
 * @param {RunnerOptions} options
 */
export async function makeRunners(problem, data, { threads, memoryFormat, precision, algorithm }) {
  const channelsLast = memoryFormat === 'channelsLast';
  const { batch, inChannels, outChannels, groups, inputSize, kernelSize, stride, padding, outputPadding, dilation } = problem;
  const shapeOf = (/** @type {number} */ channels, /** @type {number[]} */ sizes) =>
    channelsLast ? [batch, ...sizes, channels] : [batch, channels, ...sizes];
  const settings = {
    stride,
    padding,
    outputPadding,
    dilation,
    groups,
    weight: new Tensor(data.weight, weightShape(problem)),
    bias: data.bias && new Tensor(data.bias, [outChannels]),
    memoryFormat,
    precision,
    algorithm,
    numThreads: threads,
  };
  const Module = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d][problem.spatialDims - 1] ?? ConvTranspose2d;
  const layer = new Module(inChannels, outChannels, kernelSize, settings);
  const shape = shapeOf(inChannels, inputSize);
  const input = new Tensor(channelsLast ? transposed(data.input, batch, inChannels, product(inputSize)) : data.input, shape);
  const out = Tensor.empty(shapeOf(outChannels, outputSize(problem)));
  await layer.prepareAsync(shape);

  /** @param {Float32Array} values */
  const contiguous = (values) =>
    channelsLast ? transposed(values, batch, product(outputSize(problem)), outChannels) : values;
  let result = out;
  return {
    explanation: layer.explain(shape),
    /** @type {import('../measure.mjs').Runner} */
    fresh: {
      turn: turnOf(() => {
        result = layer.forward(input);
      }),
      output: () => contiguous(result.data),
      close: () => layer.dispose(),
    },
    /** @type {import('../measure.mjs').Runner} */
    reused: {
      turn: turnOf(() => {
        layer.forward(input, { out });
      }),
      output: () => contiguous(out.data),
      close: () => layer.dispose(),
    },
  };
}
