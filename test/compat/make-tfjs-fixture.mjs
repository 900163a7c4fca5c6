// Writes test/compat/tfjs.json.gz: what tfjs' own conv2dTranspose computes.
//
//   npm install --no-save @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0
//   node test/compat/make-tfjs-fixture.mjs
//
// One case is [kernel, stride, input, pad, rounding, output] along the height, the kernel, stride, input and output along the width,
// and the results. The width has 2 inputs (5 where pad is a number) and the smallest legal output; its kernel is 3 and its
// stride 2, but those of the height where pad is a number, because tfjs then takes those for the width, too. Two channels in, one out; small integers, so that sums
// are exact.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

await tf.setBackend('cpu');

/** How many outputs tfjs' convolution has for an input of `size`: its published rule. */
function forward(size, kernel, stride, pad, rounding) {
  if (pad === 'same') return Math.ceil(size / stride);
  if (pad === 'valid') return Math.ceil((size - kernel + 1) / stride);
  return Math[rounding === null ? 'trunc' : rounding]((size - kernel + 2 * pad) / stride + 1);
}

/** All sizes that the convolution turns into `input`. */
function legal(input, kernel, stride, pad, rounding) {
  return Array.from({ length: 60 }, (_, i) => i + 1).filter((size) => forward(size, kernel, stride, pad, rounding) === input);
}

const values = (count, step) => Float32Array.from({ length: count }, (_, i) => ((i * step) % 7) - 3);

const cases = [];
const pads = [['same', null], ['valid', null], ...[1, 2].flatMap((pad) => [null, 'floor', 'round', 'ceil'].map((mode) => [pad, mode]))];
for (const [pad, rounding] of pads) {
  const grid = typeof pad === 'number' ? { kernels: [3, 4], strides: [1, 2, 3], inputs: [2, 5] } :
    { kernels: [1, 2, 3, 4, 5], strides: [1, 2, 3, 4], inputs: [1, 2, 3, 4, 5, 6] };
  for (const kernel of grid.kernels) for (const stride of grid.strides) for (const input of grid.inputs) {
    for (const output of legal(input, kernel, stride, pad, rounding)) {
      const [kernelWidth, strideWidth, inputWidth] = typeof pad === 'number' ? [kernel, stride, 5] : [3, 2, 2];
      const width = legal(inputWidth, kernelWidth, strideWidth, pad, rounding)[0];
      const x = tf.tensor4d(values(input * inputWidth * 2, 5), [1, input, inputWidth, 2]);
      const filter = tf.tensor4d(values(kernel * kernelWidth * 2, 3), [kernel, kernelWidth, 1, 2]);
      const y = tf.conv2dTranspose(x, filter, [1, output, width, 1], [stride, strideWidth], pad, rounding ?? undefined);
      cases.push([[kernel, stride, input, pad, rounding, output], [kernelWidth, strideWidth, inputWidth, width], Array.from(y.dataSync())]);
    }
  }
}
const file = path.join(path.dirname(fileURLToPath(import.meta.url)), 'tfjs.json.gz');
writeFileSync(file, gzipSync(JSON.stringify(cases), { level: 9 }));
console.log(`${cases.length} cases`);
