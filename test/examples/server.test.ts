/** The example server, over real connections. */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterEach, beforeAll, expect, test } from '@jest/globals';
import * as esbuild from 'esbuild';
import sharp from 'sharp';

import * as index from '../../lib/index';
import { ConvTranspose2d, Tensor } from '../../lib/index';
import * as io from '../../lib/io/index';

const root = path.join(__dirname, '..', '..');
const folder = path.join(root, 'examples', 'server');

interface App {
  listen(options: { port: number; host: string }): Promise<string>;
  close(): Promise<void>;
  readonly server: http.Server;
}
type BuildApp = (options: { pictureWeight: Tensor; layer: ConvTranspose2d; maxPending?: number; bodyLimit?: number }) => App;

/** app.mjs as a CommonJS module that imports this source tree as `convtranspose`. */
function loadApp(): BuildApp {
  const { code } = esbuild.transformSync(readFileSync(path.join(folder, 'app.mjs'), 'utf8'), { loader: 'js', format: 'cjs', target: 'node20' });
  const nodeRequire = createRequire(__filename);
  const requireFromApp = (name: string): unknown => (name === 'convtranspose' ? index : name === 'convtranspose/io' ? io : nodeRequire(name));
  const module = { exports: {} as { buildApp?: BuildApp } };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- running the file is the point
  (new Function('require', 'module', 'exports', code) as (...args: unknown[]) => void)(requireFromApp, module, module.exports);
  return module.exports.buildApp as BuildApp;
}

const buildApp = loadApp();
let pictureWeight: Tensor;
let app: App | undefined;

beforeAll(async () => {
  ({ weight: pictureWeight } = await io.readSafetensors(path.join(root, 'assets', 'bilinear-x2.safetensors')) as { weight: Tensor });
});
afterEach(async () => {
  await app?.close();
  app = undefined;
});

const quick = () => new ConvTranspose2d(3, 2, 4, { stride: 2, padding: 1, seed: 1 });
/** Some seconds for an input [64, 96, 96]: the scalar reference. */
const slow = () => new ConvTranspose2d(64, 32, 4, { stride: 2, padding: 1, seed: 1, algorithm: 'reference', numThreads: 1 });

async function start(layer: ConvTranspose2d, options: { maxPending?: number; bodyLimit?: number } = {}): Promise<number> {
  app = buildApp({ pictureWeight, layer, ...options });
  await app.listen({ port: 0, host: '127.0.0.1' });
  return (app.server.address() as AddressInfo).port;
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/** A request that can be cut off. */
function send(port: number, route: string, type: string, body: Uint8Array): { request: http.ClientRequest; answer: Promise<Answer> } {
  const request = http.request({ port, host: '127.0.0.1', path: route, method: 'POST', headers: { 'content-type': type, 'content-length': body.length }, agent: false });
  const answer = new Promise<Answer>((resolve, reject) => {
    request.on('error', reject).on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject)
        .on('end', () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }); });
    });
  });
  request.end(body);
  return { request, answer };
}
const post = (port: number, route: string, type: string, body: Uint8Array) => send(port, route, type, body).answer;

async function health(port: number): Promise<Record<'pending' | 'done' | 'aborted' | 'refused', number>> {
  return await (await fetch(`http://127.0.0.1:${port}/health`)).json() as Record<'pending' | 'done' | 'aborted' | 'refused', number>;
}

async function until(port: number, isSo: (counts: Awaited<ReturnType<typeof health>>) => boolean): Promise<void> {
  while (!isSo(await health(port))) await sleep(5);
}

function ramp(shape: number[]): Tensor {
  const tensor = Tensor.empty(shape);
  tensor.data.forEach((_, i) => { tensor.data[i] = ((i * 7) % 23 - 11) / 8; });
  return tensor;
}

test('tensors: bit for bit what the layer gives, several at once', async () => {
  const layer = quick();
  const port = await start(layer);
  const inputs = [[3, 8, 8], [2, 3, 5, 7], [3, 1, 1]].map(ramp);
  const answers = await Promise.all(inputs.map((input) => post(port, '/forward', 'application/x-npy', io.encodeNpy(input))));
  for (const [i, { status, headers, body }] of answers.entries()) {
    expect([status, headers['content-type']]).toEqual([200, 'application/x-npy']);
    expect(Buffer.compare(body, io.encodeNpy(layer.forward(inputs[i] as Tensor)))).toBe(0);
  }
});

test('pictures: twice the size, interpolated between the centres of pixels', async () => {
  const port = await start(quick());
  const [width, height] = [7, 5];
  const samples = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 41) % 256);
  const { status, headers, body } = await post(port, '/upsample', 'image/png', await sharp(samples, { raw: { width, height, channels: 3 } }).png().toBuffer());
  expect([status, headers['content-type']]).toEqual([200, 'image/png']);
  const { data, info } = await sharp(body).raw().toBuffer({ resolveWithObject: true });
  expect([info.width, info.height, info.channels]).toEqual([2 * width, 2 * height, 3]);
  const at = (x: number, y: number, c: number) =>
    samples[(Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))) * 3 + c] as number;
  let largest = 0;
  data.forEach((level, i) => {
    const [c, x, y] = [i % 3, (Math.floor(i / 3) % (2 * width) + 0.5) / 2 - 0.5, (Math.floor(i / 6 / width) + 0.5) / 2 - 0.5];
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const mix = (row: number) => at(left, row, c) * (1 - x + left) + at(left + 1, row, c) * (x - left);
    largest = Math.max(largest, Math.abs(level - (mix(top) * (1 - y + top) + mix(top + 1) * (y - top))));
  });
  expect(largest).toBeLessThanOrEqual(0.5 + 1e-4); // rounding to a level
});

test('back-pressure: what is too much is refused at once, the rest is answered', async () => {
  const port = await start(slow(), { maxPending: 2 });
  const body = io.encodeNpy(ramp([64, 24, 24])), long = io.encodeNpy(ramp([64, 96, 96]));
  const first = [0, 1].map(() => post(port, '/forward', 'application/x-npy', long)); // still running when the others have come
  await until(port, ({ pending }) => pending === 2); // the event loop is free while they run
  const more = await Promise.all([0, 1, 2].map(() => post(port, '/forward', 'application/x-npy', body)));
  expect(more.map(({ status, headers }) => [status, headers['retry-after']])).toEqual(Array(3).fill([503, '1']));
  expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200]);
  expect(await health(port)).toMatchObject({ pending: 0, done: 2, refused: 3 });
  expect((await post(port, '/forward', 'application/x-npy', body)).status).toBe(200);
});

test('a client that goes away ends its computation', async () => {
  const port = await start(slow());
  const { request, answer } = send(port, '/forward', 'application/x-npy', io.encodeNpy(ramp([64, 192, 192])));
  const gone = answer.catch((error: NodeJS.ErrnoException) => error.code);
  await until(port, ({ pending }) => pending === 1);
  request.destroy();
  expect(await gone).toBe('ECONNRESET');
  await until(port, ({ pending }) => pending === 0);
  expect(await health(port)).toMatchObject({ done: 0, aborted: 1 });
});

test('wrong requests are answered with what is wrong', async () => {
  const port = await start(quick(), { bodyLimit: 4096 });
  const npy = 'application/x-npy';
  for (const [route, type, body, status, fields] of [
    ['/forward', npy, io.encodeNpy(ramp([4, 2, 2])), 400, { code: 'ERR_CONVTRANSPOSE_SHAPE', argument: 'input' }],
    ['/forward', npy, Buffer.from('no tensor'), 400, { code: 'ERR_CONVTRANSPOSE_FORMAT' }],
    ['/forward', 'image/png', Buffer.from('no tensor'), 400, { code: 'ERR_CONVTRANSPOSE_FORMAT' }],
    ['/upsample', 'image/png', Buffer.from('no picture'), 400, { code: 'BAD_REQUEST', argument: 'body' }],
    ['/upsample', 'application/json', Buffer.from('{}'), 400, { code: 'BAD_REQUEST', argument: 'body' }],
    ['/upsample', 'text/html', Buffer.from('x'), 415, {}],
    ['/forward', npy, Buffer.alloc(5000), 413, {}],
    ['/backward', npy, Buffer.alloc(1), 404, {}],
  ] as const) {
    const answer = await post(port, route, type, body);
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.body.toString())).toMatchObject(fields);
  }
  expect(await health(port)).toMatchObject({ pending: 0, done: 0, aborted: 0 });
});
