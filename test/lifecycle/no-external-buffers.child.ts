/** Results of every kind of call, for a runtime that may refuse memory which is not its own. */
import { ConvTranspose2d, convTranspose2d, Tensor } from '../../lib/index';

async function main(): Promise<void> {
  const x = Tensor.empty([2, 3, 20, 20]);
  x.data.forEach((_, i) => { x.data[i] = Math.sin(i); });
  const layer = new ConvTranspose2d(3, 8, 4, { stride: 2, padding: 1, seed: 5 });
  const { weight, bias } = layer.stateDict();
  const out = Tensor.zeros(layer.outputShape(x.shape));
  const results = [
    layer.forward(x),
    layer.forward(x, { out }),
    await layer.forwardAsync(x),
    await layer.forwardAsync(x, { out: Tensor.empty(out.shape) }),
    convTranspose2d(x, weight, bias, { stride: 2, padding: 1 }),
    ...(await Promise.all(Array.from({ length: 5 }, () => layer.forwardAsync(x)))),
  ];
  console.log(JSON.stringify(results.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64'))));
}

void main();
