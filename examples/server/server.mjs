// Starts the server: PORT (default 3000), HOST (default 127.0.0.1), WEIGHTS (a .safetensors file with `weight` and perhaps `bias`, for
// POST /forward with stride 2 and padding 1; default: a small layer with random weights).
import { createRequire } from 'node:module';
import path from 'node:path';
import { ConvTranspose2d } from 'convtranspose';
import { readSafetensors } from 'convtranspose/io';
import { buildApp } from './app.mjs';

const packageFolder = path.dirname(createRequire(import.meta.url).resolve('convtranspose/package.json'));
const { weight: pictureWeight } = await readSafetensors(path.join(packageFolder, 'assets', 'bilinear-x2.safetensors'));

async function makeLayer() {
  const options = { stride: 2, padding: 1 };
  if (process.env.WEIGHTS === undefined) return new ConvTranspose2d(3, 8, 4, { ...options, seed: 0 });
  const { weight, bias = null } = await readSafetensors(process.env.WEIGHTS);
  const [inChannels, outChannels, ...kernel] = weight.shape;
  return new ConvTranspose2d(inChannels, outChannels, kernel, { ...options, weight, bias });
}

const app = buildApp({ pictureWeight, layer: await makeLayer(), logger: true });
await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' });

// No new connections; what is under way is answered.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void app.close());
