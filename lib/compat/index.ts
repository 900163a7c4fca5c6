/** The semantics of other libraries: `convtranspose/compat`. */
export type { CallAsyncOptions, CallOptions, LayerOptions } from './arguments';
export type { PreparedLayer } from './layer';
export { convertWeights } from './layouts';
export type { ConvertWeightsOptions, WeightLayout } from './layouts';
export * as keras from './keras';
export * as onnx from './onnx';
export * as tf from './tf';
export * as tfjs from './tfjs';
