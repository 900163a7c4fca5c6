/** `convtranspose explain`: what would run for a shape, and why. */
import { parseIntegers, required, UsageError, type Arguments, type CommandSpec } from './command-line';
import { convertOption, layerOptions, makeLayer, parseLayerOptions, parseOutputSize, readWeights, weightOptions } from './layer';
import { describeLayer, type Streams } from './report';

export const explainCommand: CommandSpec = {
  name: 'explain',
  usage: '--input-shape SIZES (--weight-shape SIZES | --weights FILE) [options]',
  summary: 'Prints which kernels a layer would run for a shape, and why.',
  description: [
    'Prints the plan of a layer: the algorithm that is chosen and those that are not, with reasons, the kernels, memory and blocking.',
    'Nothing is computed.',
  ],
  options: [
    { name: 'input-shape', value: 'N[,N...]', help: 'The sizes of the input, with or without a batch dimension.' },
    { name: 'weight-shape', value: 'N[,N...]', help: 'The sizes of the weight, [in, out/groups, ...kernel], if there is no file of weights.' },
    ...weightOptions,
    convertOption,
    ...layerOptions,
    { name: 'json', value: null, help: 'Print the layer and what explain() of the API returns, as JSON.' },
  ],
  examples: [
    'convtranspose explain --input-shape 1,256,64,64 --weight-shape 256,128,4,4 --stride 2 --padding 1',
    'convtranspose explain --input-shape 80,500 --weights vocoder.safetensors --weight-name ups.0.weight --stride 8 --padding 4',
  ],
};

export async function explain(args: Arguments, streams: Streams): Promise<void> {
  const inputShape = parseIntegers(required(args, 'input-shape'), 'input-shape');
  const weightShape = args.values.get('weight-shape');
  const file = args.values.get('weights');
  if ((weightShape === undefined) === (file === undefined)) throw new UsageError('one of --weight-shape and --weights is needed');
  const options = parseLayerOptions(args);
  const call = parseOutputSize(args);
  const weights = file === undefined ? { seed: 0, bias: false } : await readWeights(args, file);
  const shape = 'weight' in weights ? weights.weight.shape : parseIntegers(weightShape as string, 'weight-shape');
  const layer = makeLayer(shape, { ...options, ...weights });
  try {
    await layer.prepareAsync(inputShape, call);
    const explanation = layer.explain(inputShape, call);
    if (args.values.has('json')) {
      const { inChannels, outChannels, kernelSize, stride, padding, outputPadding, dilation, groups, memoryFormat } = layer;
      const described = { inChannels, outChannels, kernelSize, stride, padding, outputPadding, dilation, groups, memoryFormat };
      const outputShape = layer.outputShape(inputShape, call);
      streams.stdout.write(`${JSON.stringify({ layer: described, inputShape, outputShape, ...explanation }, null, 2)}\n`);
      return;
    }
    streams.stdout.write(`${describeLayer(layer)}\n\n${explanation.summary}\n`);
  } finally {
    layer.dispose();
  }
}
