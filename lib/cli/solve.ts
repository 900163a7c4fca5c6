/** `convtranspose solve`: the layers that turn one size into another. */
import { solve, type Solution, type SolveParameter, type SolveQuery } from '../index';
import { parseIntegers, parsePadding, parsePerDimension, UsageError, type Arguments, type CommandSpec } from './command-line';
import { exitCodes } from './exit-codes';
import { formatShape, printTable, type Streams } from './report';

export const solveCommand: CommandSpec = {
  name: 'solve',
  usage: '--output-size SIZES (--input-size SIZES | --convolution) [options]',
  summary: 'Lists the layers that turn one size into another, or says why there is none.',
  description: [
    'Lists every kernel, stride, padding, output padding and dilation within the given ranges that makes --output-size of --input-size,',
    'best first: those that multiply every size by the stride ("scales"), then those whose stride divides the kernel ("even": no',
    'checkerboard pattern). If there is none, says which sizes come nearest and which change would help; the exit code is then 1.',
    '',
    'With --convolution the options describe a forward convolution (torch.nn.Conv2d), and what leads back from it is shown:',
    '--output-size is the size before that convolution, --input-size the one after it; one of them is enough.',
    '',
    'A RANGE is a number, a list of one number per dimension, or MIN..MAX (either may be left out).',
  ],
  options: [
    { name: 'input-size', value: 'N[,N...]', help: 'Spatial sizes of the input.' },
    { name: 'output-size', value: 'N[,N...]', help: 'Spatial sizes of the output.' },
    { name: 'kernel-size', value: 'RANGE', help: 'Default 1..16.' },
    { name: 'stride', value: 'RANGE', help: 'Default 1..16; with --convolution 1.' },
    { name: 'dilation', value: 'RANGE', help: 'Default 1.' },
    { name: 'padding', value: 'RANGE', help: 'Default 0 to dilation * (kernel - 1); with --convolution 0, and pairs begin:end are allowed.' },
    { name: 'output-padding', value: 'RANGE', help: 'Default 0 to max(stride, dilation) - 1, which is what is legal.' },
    { name: 'asymmetric', value: null, help: 'Also paddings that differ between both ends.' },
    { name: 'convolution', value: null, help: 'Invert the forward convolution that the other options describe.' },
    { name: 'limit', value: 'N', help: 'Layers to print. Default 20; 0 prints all.' },
    { name: 'json', value: null, help: 'Print what solve() of the API returns, as JSON.' },
  ],
  examples: [
    'convtranspose solve --input-size 32 --output-size 64',
    'convtranspose solve --input-size 7,7 --output-size 14,14 --kernel-size 3',
    'convtranspose solve --input-size 80 --output-size 20480 --stride 256 --kernel-size 512..1024',
    'convtranspose solve --convolution --kernel-size 3 --stride 2 --padding 1 --output-size 65,48',
  ],
};

const defaultLimit = 20;

/** A number, a list, or a range. */
function parseRange(text: string, option: string): SolveParameter {
  const range = /^(\d*)\.\.(\d*)$/.exec(text);
  if (range === null) {
    if (!/^\d+(,\d+)*$/.test(text)) throw new UsageError(`--${option} needs a number, a list with commas, or MIN..MAX, not ${JSON.stringify(text)}`);
    return parsePerDimension(text, option);
  }
  const [min, max] = range.slice(1).map((bound) => (bound === '' ? undefined : Number(bound)));
  return { ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) };
}

function parseQuery({ values }: Arguments): SolveQuery {
  const parse = <T>(name: string, parser: (text: string, option: string) => T): T | undefined => {
    const text = values.get(name);
    return text === undefined ? undefined : parser(text, name);
  };
  const sizes = { inputSize: parse('input-size', parseIntegers), outputSize: parse('output-size', parseIntegers) };
  if (values.has('convolution')) {
    for (const name of ['output-padding', 'asymmetric']) {
      if (values.has(name)) throw new UsageError(`--${name} does not go with --convolution`);
    }
    const kernelSize = parse('kernel-size', parsePerDimension);
    if (kernelSize === undefined) throw new UsageError('--kernel-size is missing');
    const convolution = {
      kernelSize, stride: parse('stride', parsePerDimension), padding: parse('padding', parsePadding), dilation: parse('dilation', parsePerDimension),
    };
    return { ...sizes, convolution };
  }
  for (const name of ['input-size', 'output-size']) {
    if (!values.has(name)) throw new UsageError(`--${name} is missing`);
  }
  return {
    ...sizes,
    kernelSize: parse('kernel-size', parseRange),
    stride: parse('stride', parseRange),
    dilation: parse('dilation', parseRange),
    padding: parse('padding', parseRange),
    outputPadding: parse('output-padding', parseRange),
    asymmetric: values.has('asymmetric') ? true : undefined,
  };
}

/** A parameter as it is written on the command line. */
function argumentText(value: number | readonly (number | readonly [number, number])[]): string {
  if (typeof value === 'number') return String(value);
  return value.map((one) => (typeof one === 'number' ? String(one) : one.join(':'))).join(',');
}

function rowOf({ kernelSize, options, inputSize, outputSize, scales, even }: Solution): string[] {
  return [
    argumentText(kernelSize), argumentText(options.stride), argumentText(options.padding), argumentText(options.outputPadding),
    argumentText(options.dilation), `${formatShape(inputSize)} -> ${formatShape(outputSize)}`, scales ? 'yes' : '', even ? 'yes' : '',
  ];
}

/** Prints the solutions. Gives the exit code: failure if there is none. */
export function solveSizes(args: Arguments, streams: Streams): number {
  const limitText = args.values.get('limit') ?? String(defaultLimit);
  if (!/^\d+$/.test(limitText)) throw new UsageError(`--limit needs a number, not ${JSON.stringify(limitText)}`);
  const found = solve(parseQuery(args));
  const { solutions, dimensions, reason } = found;
  if (args.values.has('json')) {
    streams.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
    return reason === null ? exitCodes.success : exitCodes.failure;
  }
  if (reason !== null) {
    streams.stdout.write(`${reason}\n`);
    return exitCodes.failure;
  }
  const shown = Number(limitText) === 0 ? solutions : solutions.slice(0, Number(limitText));
  printTable(streams, ['kernel', 'stride', 'padding', 'output padding', 'dilation', 'sizes', 'scales', 'even'], shown.map(rowOf));
  if (shown.length < solutions.length) streams.stdout.write(`and ${solutions.length - shown.length} more; --limit 0 prints all\n`);
  const counts = dimensions.map((dimension) => dimension.solutions.length);
  if (counts.some((count) => count > solutions.length)) {
    streams.stdout.write(`Each dimension by itself has ${counts.join(', ')} solutions; any of one goes with any of another.\n`);
  }
  return exitCodes.success;
}
