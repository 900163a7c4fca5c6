/**
 * Which input a stream needs for which outputs, in one dimension. Frames are input positions, samples output positions, both counted
 * from the start of the stream. Frame i reaches the samples i*stride + k*dilation - begin, k below the kernel size: no frame that is
 * still to come reaches a sample below frames*stride - begin, so that those are final. How many there will be at the least is known
 * as well, since the output never gets shorter when frames are added.
 */

/** A transposed convolution in one dimension. */
export interface StreamGeometry {
  readonly stride: number;
  /** dilation * (kernel - 1): the last sample that a frame reaches, counted from the first. */
  readonly reach: number;
  /** Rows cropped at the start. */
  readonly begin: number;
  /** Rows cropped at the end minus output padding; negative: rows added. */
  readonly end: number;
}

/** Where a stream stands. */
export interface StreamPosition {
  /** Frames taken in. */
  readonly frames: number;
  /** Samples given out. */
  readonly samples: number;
}

/** What one step computes: a transposed convolution of the latest frames. */
export interface StreamWindow {
  /** Frames of it that were taken in before. */
  readonly kept: number;
  /** Frames of it altogether. */
  readonly frames: number;
  /** Rows cropped before the first output; may be negative. */
  readonly padBegin: number;
  /** Samples that become final; negative if the whole output would have a negative size. */
  readonly samples: number;
}

/** Size of the whole output for a number of frames; may be negative. */
export function wholeSize({ stride, reach, begin, end }: StreamGeometry, frames: number): number {
  return (frames - 1) * stride + reach + 1 - begin - end;
}

/** Samples that are final when the stream has taken in `frames` frames and more may come. */
function finalSamples(geometry: StreamGeometry, frames: number): number {
  return Math.max(0, Math.min(frames * geometry.stride - geometry.begin, wholeSize(geometry, frames)));
}

/** The first frame that reaches any of the samples from `sample` on, or `frames` if none of those that are there does. */
function firstFrame({ stride, reach, begin }: StreamGeometry, sample: number, frames: number): number {
  return Math.min(frames, Math.max(0, Math.ceil((sample + begin - reach) / stride)));
}

/**
 * The window of one step.
 *
 * @param added frames of the chunk
 * @param last whether no frames follow
 */
export function streamWindow(geometry: StreamGeometry, position: StreamPosition, added: number, last: boolean): StreamWindow {
  const frames = position.frames + added;
  const first = firstFrame(geometry, position.samples, position.frames);
  const end = last ? wholeSize(geometry, frames) : finalSamples(geometry, frames);
  return {
    kept: position.frames - first,
    frames: frames - first,
    padBegin: position.samples + geometry.begin - first * geometry.stride,
    samples: end - position.samples,
  };
}

/** A position from which on windows of equally long chunks are all alike. */
export function steadyPosition(geometry: StreamGeometry): StreamPosition {
  const frames = Math.ceil((Math.abs(geometry.begin) + Math.abs(geometry.end) + geometry.reach) / geometry.stride) + 2;
  return { frames, samples: finalSamples(geometry, frames) };
}
