/** Streams of the web and of Node.js over one that is pushed. */
import { Transform } from 'node:stream';

import type { Tensor, TensorLike } from './tensor';

/** What is adapted. */
export interface PushStream {
  pushAsync(chunk: TensorLike, options: { readonly signal: AbortSignal }): Promise<Tensor>;
  flushAsync(options: { readonly signal: AbortSignal }): Promise<Tensor>;
}

/**
 * A TransformStream of whichever typings a program uses: those of the DOM library where it has them, else those of Node.js; the two do
 * not go together in `pipeThrough`.
 */
export type TensorTransformStream = InstanceType<typeof globalThis.TransformStream<TensorLike, Tensor>>;

function isEmpty(tensor: Tensor): boolean {
  return tensor.data.length === 0;
}

/**
 * A TransformStream from chunks to samples, with the queues that it has by default: nothing is computed before a reader wants it.
 * Results without samples are left out. What goes wrong errors both sides.
 */
export function webStream(stream: PushStream): TensorTransformStream {
  const abort = new AbortController();
  const { signal } = abort;
  // Node 21.5 and later call `cancel`, which the types do not know; earlier ones let the chunk in hand run to its end.
  const transformer = {
    async transform(chunk: TensorLike, controller: { enqueue(samples: Tensor): void }) {
      const samples = await stream.pushAsync(chunk, { signal });
      if (!isEmpty(samples)) controller.enqueue(samples);
    },
    async flush(controller: { enqueue(samples: Tensor): void }) {
      const samples = await stream.flushAsync({ signal });
      if (!isEmpty(samples)) controller.enqueue(samples);
    },
    cancel(reason: unknown) {
      abort.abort(reason);
    },
  };
  return new TransformStream<TensorLike, Tensor>(transformer);
}

/**
 * A Transform from chunks to samples, in object mode, with one chunk waiting on either side. Results without samples are left out.
 * What goes wrong destroys it with the error; destroying it aborts the chunk in hand.
 */
export function nodeStream(stream: PushStream): Transform {
  const abort = new AbortController();
  const { signal } = abort;
  type Done = (error?: Error | null, samples?: Tensor) => void;
  const settle = (work: Promise<Tensor>, done: Done) => {
    work.then((samples) => {
      if (isEmpty(samples)) done();
      else done(null, samples);
    }, done);
  };
  return new Transform({
    objectMode: true,
    highWaterMark: 1,
    transform(chunk: TensorLike, _encoding, done) {
      settle(stream.pushAsync(chunk, { signal }), done);
    },
    flush(done) {
      settle(stream.flushAsync({ signal }), done);
    },
    destroy(error, done) {
      abort.abort(error ?? undefined);
      done(error);
    },
  });
}
