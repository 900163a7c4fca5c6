/** The public API. */
export type { Activation } from './activation';
export type { BatchNorm } from './batch-norm';
export type { ConvTransposeError, ErrorCode } from './errors';
export type { Explanation } from './explanation';
export {
  convTranspose1d, convTranspose1dAsync, convTranspose2d, convTranspose2dAsync, convTranspose3d, convTranspose3dAsync,
} from './functional';
export type { ConvTransposeOptions, FunctionalAsyncOptions, FunctionalOptions } from './functional';
export { cpuInfo, getNumThreads, getQueueLimit, queueDepth, setNumThreads, setQueueLimit, version } from './info';
export type { CpuInfo } from './info';
export { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d } from './modules';
export type {
  ConvTransposeModule, ForwardAsyncOptions, ForwardOptions, ModuleOptions, PrepareAsyncOptions, ShapeOptions, StateDict,
  StateDictLike,
} from './modules';
export type { Algorithm, MemoryFormat, Precision } from './options';
export { Sequential } from './sequential';
export type { SequentialAsyncOptions, SequentialExplanation, SequentialOptions } from './sequential';
export type { TensorTransformStream } from './stream-adapters';
export type {
  ConvTranspose1dStream, PushAsyncOptions, PushOptions, StreamAsyncOptions, StreamOptions,
} from './streaming';
export { Tensor } from './tensor';
export type { TensorLike } from './tensor';
export { checkerboard } from './tools/checkerboard';
export type { Checkerboard, CheckerboardQuery, Period, WeightUnevenness } from './tools/checkerboard';
export { solve } from './tools/solve';
export type {
  DimensionSolution, ForwardConvolution, Solution, Solutions, SolveDimension, SolveParameter, SolveQuery, SolveRange,
} from './tools/solve';
