/** Pictures: read and written through the optional package sharp, as interleaved samples. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

import type sharpPackage from 'sharp';

import { argumentError } from '../errors';

/** Samples of a picture, row by row, the channels of a pixel side by side: grey or red, green, blue, then alpha if there is one. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). */
  readonly channels: number;
  /** 8-bit samples, or 16-bit ones. */
  readonly samples: Uint8Array | Uint16Array;
}

type Sharp = typeof sharpPackage;

/** Loaded when it is needed, as it need not be there. */
function loadSharp(): Sharp {
  try {
    return createRequire(__filename)('sharp') as Sharp;
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
    const why = missing ? 'is not installed' : `cannot be loaded (${String((cause as Error).message).trim().split('\n')[0]})`;
    throw Object.assign(new Error(`pictures are read and written by the package sharp, which ${why}; type: npm install sharp`, { cause }),
      { code: 'ERR_CONVTRANSPOSE_NO_SHARP', argument: 'image' });
  }
}

/** Samples per pixel in words. */
export function describePicture({ width, height, channels, samples }: Picture): string {
  const kind = ['grey', 'grey and alpha', 'RGB', 'RGB and alpha'][channels - 1];
  return `${width} x ${height}, ${kind}, ${samples.BYTES_PER_ELEMENT * 8} bits`;
}

/** The first of three colours, and alpha if there is one. */
function dropGreenAndBlue(samples: Uint8Array, channels: number): Uint8Array {
  const kept = new Uint8Array((samples.length / channels) * (channels - 2));
  for (let from = 0, to = 0; from < samples.length; from += channels) {
    kept[to++] = samples[from] as number;
    if (channels === 4) kept[to++] = samples[from + 3] as number;
  }
  return kept;
}

/**
 * Reads a picture. Grey pictures stay grey; all others become RGB, in sRGB if they carry a colour profile. Alpha stays. 16-bit
 * pictures keep their 16 bits. The orientation that a camera noted is applied. Of an animation the first picture is read.
 */
export async function readPicture(file: string): Promise<Picture> {
  const sharp = loadSharp();
  const content = await readFile(file);
  try {
    const { space, depth } = await sharp(content).metadata();
    const isGrey = space === 'b-w' || space === 'grey16';
    const isDeep = depth === 'ushort';
    // 8-bit grey is read as RGB: as grey, sharp would drop the alpha.
    const { data, info } = await sharp(content).rotate().toColourspace(isDeep ? (isGrey ? 'grey16' : 'rgb16') : 'srgb')
      .raw({ depth: isDeep ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true });
    const { width, height } = info;
    // Sliced, because a Uint16Array must begin at an even offset.
    if (isDeep) return { width, height, channels: info.channels, samples: new Uint16Array(Uint8Array.prototype.slice.call(data).buffer) };
    const channels = isGrey ? info.channels - 2 : info.channels;
    return { width, height, channels, samples: isGrey ? dropGreenAndBlue(data, info.channels) : data };
  } catch (cause) {
    throw argumentError('ERR_CONVTRANSPOSE_FORMAT', 'image', `a picture that sharp can read in ${file}`, (cause as Error).message);
  }
}

/** A picture as the contents of a PNG file. */
export async function encodePng({ width, height, channels, samples }: Picture): Promise<Uint8Array> {
  const sharp = loadSharp();
  const isGrey = channels <= 2;
  const isDeep = samples.BYTES_PER_ELEMENT === 2;
  const colourSpace = isGrey ? (isDeep ? 'grey16' : 'b-w') : isDeep ? 'rgb16' : 'srgb';
  return sharp(samples, { raw: { width, height, channels: channels as 1 | 2 | 3 | 4 } }).toColourspace(colourSpace).png().toBuffer();
}
