// @ts-check
import ort from 'onnxruntime-node';
import { turnOf } from '../measure.mjs';
import { convTransposeModel } from '../onnx.mjs';
import { inputShape, outputShape } from '../problem.mjs';

export const name = 'onnxruntime-node';
export const version = ort.env.versions.node ?? '';

/**
 * The file of a model that is the layer alone, weights as initialisers (so that a session packs them when it is made).
 * @param {import('../problem.mjs').Problem} problem
 * @param {import('../data.mjs').LayerData} data
 */
export const modelOf = (problem, data) =>
  convTransposeModel(problem, inputShape(problem), outputShape(problem), data.weight, data.bias);

/**
 * @param {import('../problem.mjs').Problem} problem
 * @param {import('../data.mjs').LayerData} data
 * @param {{ threads: number }} options
 * @param {Buffer} model of `modelOf`
 * @returns {Promise<import('../measure.mjs').Runner>}
 */
export async function makeRunner(problem, data, { threads }, model = modelOf(problem, data)) {
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
    turn: turnOf(async () => {
      results = await session.run(feeds);
    }),
    output: () => /** @type {Float32Array} */ (results?.['y']?.data),
    close: () => session.release(),
  };
}
