/** Tensors in files: `convtranspose/io`. */
export { decodeNpy, encodeNpy, readNpy, writeNpy } from './npy';
export {
  decodeSafetensors, encodeSafetensors, inspectSafetensors, readSafetensors, SafetensorsFile, writeSafetensors,
} from './safetensors';
export type { SafetensorsEntry, SafetensorsHeader, SafetensorsReadOptions, SafetensorsWriteOptions } from './safetensors';
export type { ReadOptions } from './arguments';
