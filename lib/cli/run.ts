/** `convtranspose run`: one layer on a tensor from a file. */
import { performance } from 'node:perf_hooks';

import { getNumThreads } from '../index';
import { readNpy, writeNpy } from '../io/index';
import { required, type Arguments, type CommandSpec } from './command-line';
import { convertOption, layerOptions, makeLayer, parseConvert, parseLayerOptions, parseOutputSize, readWeights, weightOptions } from './layer';
import { describeChoice, describeLayer, describeSpeed, formatShape, printRows, type Streams } from './report';

export const runCommand: CommandSpec = {
  name: 'run',
  usage: '--weights FILE --input FILE --output FILE [options]',
  summary: 'Applies a layer to a tensor in a .npy file.',
  description: [
    'Applies ConvTranspose1d, ConvTranspose2d or ConvTranspose3d to a tensor, and prints shapes, kernels, time and speed.',
    'The weight decides the number of dimensions. The options are those of the API.',
  ],
  options: [
    ...weightOptions,
    { name: 'input', value: 'FILE', help: 'A .npy file: [N, in, ...spatial], or without a batch dimension.' },
    { name: 'output', value: 'FILE', help: 'The .npy file to write; it is replaced if it is there.' },
    convertOption,
    ...layerOptions,
  ],
  examples: [
    'convtranspose run --weights layer.safetensors --input x.npy --output y.npy --stride 2 --padding 1',
    'convtranspose run --weights net.safetensors --weight-name up1.weight --input x.npy --output y.npy --stride 2,2 --padding 0:1,0:1',
  ],
  maxOperands: 0,
};

export async function run(args: Arguments, streams: Streams): Promise<void> {
  const weightsFile = required(args, 'weights');
  const inputFile = required(args, 'input');
  const outputFile = required(args, 'output');
  const options = parseLayerOptions(args);
  const call = parseOutputSize(args);
  const { weight, bias } = await readWeights(args, weightsFile);
  const input = await readNpy(inputFile, parseConvert(args));
  const layer = makeLayer(weight.shape, { ...options, weight, bias });
  try {
    await layer.prepareAsync(input.shape, call);
    const begin = performance.now();
    const output = await layer.forwardAsync(input, call);
    const seconds = (performance.now() - begin) / 1e3;
    await writeNpy(outputFile, output);
    const explanation = layer.explain(input.shape, call);
    printRows(streams, [
      ['layer', describeLayer(layer)],
      ['weight', `${formatShape(weight.shape)}${bias === null ? ', no bias' : `, bias ${formatShape(bias.shape)}`}, ${weightsFile}`],
      ['input', `${formatShape(input.shape)}, ${inputFile}`],
      ['output', `${formatShape(output.shape)}, ${outputFile}`],
      ['choice', describeChoice(explanation)],
      ['time', describeSpeed(seconds, explanation.flops, options.numThreads ?? getNumThreads())],
    ]);
  } finally {
    layer.dispose();
  }
}
