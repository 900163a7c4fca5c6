/** Files that hold tensors, whatever their kind: .npy, .npz, .safetensors, pictures. What one kind held can be written as another. */
import path from 'node:path';

import { argumentError, list } from '../errors';
import { Tensor } from '../index';
import { encodeNpy, encodeSafetensors, readNpy, readNpz, SafetensorsFile } from '../io/index';
import type { MemoryFormat } from '../options';
import { encodePng, readPicture, type Picture } from './picture';

/** How files are read and written. */
export interface FileOptions {
  readonly memoryFormat: MemoryFormat;
  /** Convert other number types than float32. */
  readonly convert?: 'float32';
  /** The one tensor to read of a file of several; all of them if left out. */
  readonly tensorName?: string | undefined;
  /** What black and white of a picture stand for. */
  readonly pixelRange: readonly [black: number, white: number];
}

/** The tensors of a file by name; a file that knows no names has one called ''. */
export interface TensorFile {
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Bits of the samples of a picture. */
  readonly depth: 8 | 16;
}

const pictureExtensions = ['png', 'jpg', 'jpeg', 'webp', 'tif', 'tiff', 'avif'];
/** What can be read. */
export const inputExtensions: readonly string[] = ['npy', 'npz', 'safetensors', ...pictureExtensions];
/** What can be written. */
export const outputFormats: readonly string[] = ['npy', 'safetensors', 'png'];

/** The format that a file is written in for what it is read from: pictures become PNG files, .npz archives .safetensors; '' for none that is known. */
export function extensionOf(file: string): string {
  const extension = path.extname(file).slice(1).toLowerCase();
  if (pictureExtensions.includes(extension)) return 'png';
  if (extension === 'npz') return 'safetensors';
  return outputFormats.includes(extension) ? extension : '';
}

/** A picture as [C, H, W] or, channels last, [H, W, C]. */
function tensorOfPicture({ width, height, channels, samples }: Picture, { memoryFormat, pixelRange: [black, white] }: FileOptions): Tensor {
  const scale = (white - black) / (2 ** (8 * samples.BYTES_PER_ELEMENT) - 1);
  const pixels = width * height;
  const isPlanar = memoryFormat === 'contiguous';
  const tensor = Tensor.empty(isPlanar ? [channels, height, width] : [height, width, channels]);
  const { data } = tensor;
  for (let pixel = 0, from = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < channels; channel++, from++) {
      data[isPlanar ? channel * pixels + pixel : from] = black + (samples[from] as number) * scale;
    }
  }
  return tensor;
}

/** A tensor as a picture: values beyond black and white are cut off, the others rounded to the nearest level. */
function pictureOfTensor({ shape, data }: Tensor, depth: 8 | 16, { memoryFormat, pixelRange: [black, white] }: FileOptions): Picture {
  const isPlanar = memoryFormat === 'contiguous';
  const sizes = shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape;
  const [channels = 0, height = 0, width = 0] = isPlanar ? sizes : [sizes[2], sizes[0], sizes[1]];
  if (sizes.length !== 3 || channels < 1 || channels > 4 || height < 1 || width < 1) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'output', 'one picture of 1 to 4 channels (other results can be written with --format npy)', list(shape));
  }
  const most = 2 ** depth - 1;
  const scale = most / (white - black);
  const pixels = width * height;
  const samples = depth === 8 ? new Uint8ClampedArray(pixels * channels) : new Uint16Array(pixels * channels);
  for (let to = 0; to < samples.length; to++) {
    const value = data[isPlanar ? (to % channels) * pixels + Math.floor(to / channels) : to] as number;
    samples[to] = Math.min(most, Math.max(0, Math.round((value - black) * scale)));
  }
  return { width, height, channels, samples: samples instanceof Uint16Array ? samples : new Uint8Array(samples.buffer) };
}

/** Reads a file of any kind, told by its extension. */
export async function readTensorFile(file: string, options: FileOptions): Promise<TensorFile> {
  const { convert, tensorName } = options;
  const convertOption = convert === undefined ? {} : { convert };
  const extension = path.extname(file).slice(1).toLowerCase();
  if (extension === 'safetensors') {
    const opened = await SafetensorsFile.open(file);
    try {
      const tensors = await opened.read({ ...(tensorName === undefined ? {} : { names: [tensorName] }), ...convertOption });
      return { tensors: new Map(Object.entries(tensors)), depth: 8 };
    } finally {
      await opened.close();
    }
  }
  if (extension === 'npz') {
    const tensors = await readNpz(file, { ...(tensorName === undefined ? {} : { names: [tensorName] }), ...convertOption });
    return { tensors: new Map(Object.entries(tensors)), depth: 8 };
  }
  if (pictureExtensions.includes(extension)) {
    const picture = await readPicture(file);
    return { tensors: new Map([['', tensorOfPicture(picture, options)]]), depth: picture.samples.BYTES_PER_ELEMENT === 2 ? 16 : 8 };
  }
  if (extension === 'npy') return { tensors: new Map([['', await readNpy(file, convertOption)]]), depth: 8 };
  throw argumentError('ERR_CONVTRANSPOSE_UNSUPPORTED', 'input', `a file of a kind that can be read (${inputExtensions.join(', ')})`, JSON.stringify(path.basename(file)));
}

/** The contents of a file of a kind in `outputFormats`. */
export async function encodeTensorFile({ tensors, depth }: TensorFile, format: string, options: FileOptions): Promise<Uint8Array> {
  if (format === 'safetensors') {
    return encodeSafetensors(Object.fromEntries([...tensors].map(([name, tensor]) => [name === '' ? 'output' : name, tensor])));
  }
  const [only] = tensors.values();
  if (only === undefined || tensors.size > 1) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', 'output', `one tensor for a .${format} file (--tensor picks one, --format safetensors takes all)`, `${tensors.size}`);
  }
  return format === 'png' ? encodePng(pictureOfTensor(only, depth, options)) : encodeNpy(only);
}
