/** Tensors in files: `convtranspose/io`. */
export { decodeNpy, encodeNpy, readNpy, writeNpy } from './npy';
export { decodeNpz, readNpz } from './npz';
export type { NpzReadOptions } from './npz';
export { decodeOnnx, readOnnx } from './onnx';
export type { OnnxAttributes, OnnxConvTranspose } from './onnx';
export {
  decodeSafetensors, encodeSafetensors, inspectSafetensors, readSafetensors, SafetensorsFile, writeSafetensors,
} from './safetensors';
export type { SafetensorsEntry, SafetensorsHeader, SafetensorsReadOptions, SafetensorsWriteOptions } from './safetensors';
export { layerFromStateDict, readLayer } from './state-dict';
export type { LayerParameters, ReadLayerOptions, StateDictOptions } from './state-dict';
export { moduleFromStateDict, readModule } from './state-module';
export type { ReadModuleOptions, StateModuleOptions } from './state-module';
export type { ReadOptions } from './arguments';
