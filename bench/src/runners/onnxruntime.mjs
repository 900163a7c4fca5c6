// @ts-check
import ort from 'onnxruntime-node';
import { convTransposeModel } from '../onnx.mjs';
import { inputShape, outputShape } from '../problem.mjs';

export const name = 'onnxruntime-node';
export const version = ort.env.versions.node ?? '';

/**
 * A session whose model is the layer alone, weights as initialisers (so that it packs them when it is made).
 * @param {import('../problem.mjs').Problem} problem
 * @param {import('../data.mjs').LayerData} data
 * @param {{ threads: number }} options
 * @returns {Promise<import('../measure.mjs').Runner>}
 */
export async function makeRunner(problem, data, { threads }) {
  const model = convTransposeModel(problem, inputShape(problem), outputShape(problem), data.weight, data.bias);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const feeds = { x: new ort.Tensor('float32', data.input, inputShape(problem)) };
  /** @type {ort.InferenceSession.OnnxValueMapType | undefined} */
  let results;
  return {
    async run() {
      results = await session.run(feeds);
    },
    output: () => /** @type {Float32Array} */ (results?.['y']?.data),
    close: () => session.release(),
  };
}
