// Writes the weights of bilinear upsampling by 2 as a transposed convolution, assets/bilinear-x2.safetensors: one 4 x 4 filter
// for each of 3 channels (groups 3), stride 2, padding 1, as fully convolutional networks start from. Needs a built dist/.
//
//     node scripts/make-bilinear.mjs [file]
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tensor } from '../dist/index.mjs';
import { writeSafetensors } from '../dist/io/index.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const channels = 3;
const kernel = 4;
const stride = 2;

// An output half a pixel to the side of an input takes 3/4 of it and 1/4 of its neighbour: a triangle, sampled between its points.
const line = Array.from({ length: kernel }, (_, i) => 1 - Math.abs(i - (kernel - 1) / 2) / stride);
const weight = Tensor.zeros([channels, 1, kernel, kernel]);
weight.data.forEach((_, i) => {
  weight.data[i] = line[Math.floor(i / kernel) % kernel] * line[i % kernel];
});

const metadata = { format: 'pt', layer: 'ConvTranspose2d(3, 3, kernel_size=4, stride=2, padding=1, groups=3, bias=False)' };
await writeSafetensors(process.argv[2] ?? path.join(root, 'assets', 'bilinear-x2.safetensors'), { weight }, { metadata });
