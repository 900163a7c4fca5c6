// The routes of the server, around a layer and a queue. server.mjs starts it; tests start it on a port of their own.
import { ConvTranspose2d, Tensor } from 'convtranspose';
import { decodeNpy, encodeNpy } from 'convtranspose/io';
import Fastify from 'fastify';
import sharp from 'sharp';

const scale = 2;
/** Pixels by which a picture is continued at every border, by repeating it, and what that becomes in the output. */
const border = 1;
const cropped = 1 + border * scale;

/**
 * @param {object} options
 * @param {import('convtranspose').Tensor} options.pictureWeight bilinear filters [3, 1, 4, 4] for pictures
 * @param {import('convtranspose').ConvTransposeModule} options.layer what POST /forward applies
 * @param {number} [options.maxPending] calls that may run or wait; more are answered with 503
 * @param {number} [options.bodyLimit] most bytes of a request
 * @param {boolean} [options.logger] log requests
 */
export function buildApp({ pictureWeight, layer, maxPending = 8, bodyLimit = 64 << 20, logger = false }) {
  const app = Fastify({ bodyLimit, logger });
  const pictures = new ConvTranspose2d(3, 3, 4, {
    stride: scale, padding: cropped, groups: 3, memoryFormat: 'channelsLast', weight: pictureWeight, activation: { type: 'clamp', min: 0, max: 255 },
  });
  const counts = { pending: 0, done: 0, aborted: 0, refused: 0 };

  // Bodies as they are: pictures and .npy files.
  app.addContentTypeParser(/^image\//, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.addContentTypeParser(['application/x-npy', 'application/octet-stream'], { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  /**
   * Answers with what `work` gives, which is told to stop when the client goes away. Back-pressure: with `maxPending` calls under way the
   * client is asked to come again, before anything of its request is decoded. Memory is thus bounded by maxPending * bodyLimit and
   * the results.
   */
  async function limited(reply, work) {
    if (counts.pending >= maxPending) {
      counts.refused += 1;
      return reply.code(503).header('retry-after', '1').send({ code: 'BUSY', message: `${maxPending} calls are under way; come again` });
    }
    const gone = new AbortController();
    const onClose = () => {
      if (!reply.raw.writableFinished) gone.abort(new Error('the client went away'));
    };
    reply.raw.on('close', onClose);
    counts.pending += 1;
    try {
      const { type, body } = await work(gone.signal);
      counts.done += 1;
      return reply.type(type).send(body);
    } catch (error) {
      if (!gone.signal.aborted) throw error;
      counts.aborted += 1; // nobody is there to read an answer
      return reply.hijack();
    } finally {
      counts.pending -= 1;
      reply.raw.off('close', onClose);
    }
  }

  // A picture of any kind that sharp reads; the answer is a PNG file of twice the size.
  app.post('/upsample', (request, reply) => limited(reply, async (signal) => {
    const { data, info } = await sharp(pictureIn(request)).rotate().removeAlpha().toColourspace('srgb')
      .extend({ top: border, bottom: border, left: border, right: border, extendWith: 'copy' })
      .raw().toBuffer({ resolveWithObject: true }).catch((cause) => { throw badRequest('body', `not a picture: ${cause.message}`); });
    signal.throwIfAborted();
    const input = Tensor.empty([info.height, info.width, 3]); // memory of the package: used in place, not copied
    input.data.set(data);
    const output = await pictures.forwardAsync(input, { signal });
    const [height, width] = output.shape;
    const body = await sharp(Uint8ClampedArray.from(output.data), { raw: { width, height, channels: 3 } }).png().toBuffer();
    return { type: 'image/png', body };
  }));

  // A tensor as a .npy file; the answer is one, too.
  app.post('/forward', (request, reply) => limited(reply, async (signal) => {
    const output = await layer.forwardAsync(decodeNpy(bytesIn(request)), { signal });
    const bytes = encodeNpy(output);
    return { type: 'application/x-npy', body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  }));

  app.get('/health', () => ({ ...counts, maxPending }));

  // What is wrong with a request is said with the code and the argument of the package's errors.
  app.setErrorHandler((error, request, reply) => {
    const { code = 'INTERNAL', argument = '', statusCode } = error;
    const status = statusCode ?? (code === 'ERR_CONVTRANSPOSE_OUT_OF_MEMORY' ? 503 : code.startsWith('ERR_CONVTRANSPOSE_') ? 400 : 500);
    if (status >= 500) request.log.error(error);
    return reply.code(status).send({ code, argument, message: status === 500 ? 'internal error' : error.message });
  });

  app.addHook('onClose', () => {
    pictures.dispose(); // calls under way finish
    layer.dispose();
  });
  return app;
}

function badRequest(argument, message) {
  return Object.assign(new Error(message), { statusCode: 400, code: 'BAD_REQUEST', argument });
}

function bytesIn({ body }) {
  if (!Buffer.isBuffer(body)) throw badRequest('body', 'expected a .npy file as application/x-npy');
  return body;
}

function pictureIn({ body }) {
  if (!Buffer.isBuffer(body)) throw badRequest('body', 'expected a picture as image/png, image/jpeg or the like');
  return body;
}
