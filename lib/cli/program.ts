/** The command line: finds the subcommand, runs it, turns errors into a line and an exit code. */
import { types } from 'node:util';

import { version } from '../index';
import { columns } from '../text';
import { checkerboardCommand, showCheckerboard } from './checkerboard';
import { parseCommandLine, UsageError, type Arguments, type CommandSpec, type ProgramSpec } from './command-line';
import { exitCodes } from './exit-codes';
import { explain, explainCommand } from './explain';
import { info, infoCommand } from './info';
import { type Streams } from './report';
import { run, runCommand } from './run';
import { solveCommand, solveSizes } from './solve';
import { upsampleCommand, upsampleFile } from './upsample';
import { verify, verifyCommand } from './verify';

interface Command {
  readonly spec: CommandSpec;
  /** Gives the exit code; nothing is success. */
  readonly execute: (args: Arguments, streams: Streams) => Promise<number | void> | number | void;
}

const commands: readonly Command[] = [
  { spec: upsampleCommand, execute: upsampleFile },
  { spec: runCommand, execute: run },
  { spec: explainCommand, execute: explain },
  { spec: solveCommand, execute: solveSizes },
  { spec: checkerboardCommand, execute: showCheckerboard },
  { spec: verifyCommand, execute: verify },
  { spec: infoCommand, execute: (_args, streams) => { info(streams); } },
];

const program: ProgramSpec = {
  name: 'convtranspose',
  description: "PyTorch's transposed convolutions on the CPU, from the command line.",
  commands: commands.map(({ spec }) => spec),
  version,
  notes: [
    'Exit codes:',
    ...columns([
      ['0', 'Done.'],
      ['1', 'It failed: a file that cannot be read or written, sizes that do not fit, a value that the layer refuses; or the answer is no.'],
      ['2', 'The command line cannot be understood.'],
      ['3', 'Some inputs of a batch failed; all others are done.'],
      ['130, 143', 'A batch was interrupted (by SIGINT, by SIGTERM).'],
    ]),
    '',
    'Errors are one line on the standard error output, with the code of the error at the end.',
    '',
    'Environment:',
    ...columns([
      ['CONVTRANSPOSE_NUM_THREADS', 'Threads, unless --num-threads is given.'],
      ['CONVTRANSPOSE_ALGORITHM', 'The algorithm, unless --algorithm is given.'],
      ['CONVTRANSPOSE_ISA', 'Caps the instruction set: baseline, avx2, avx512, amx or neon. amx is avx512 with the unit for matrices of ' +
        'bfloat16 that some x86-64 processors have, on Linux.'],
      ['CONVTRANSPOSE_SHARD', 'The part of a batch to do, unless --shard is given.'],
      ['CONVTRANSPOSE_DEBUG', 'If set, errors show where in the program they arose.'],
      ['NO_COLOR', 'If set, pictures in the terminal are drawn without colours.'],
    ]),
  ].join('\n'),
};

/** An error as one line that ends with its code; a binary that cannot be loaded needs several. */
function describeError(error: unknown): string {
  if (!types.isNativeError(error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined || code === 'ERR_CONVTRANSPOSE_NO_BINARY') return error.message;
  // Errors of the file system begin with their code.
  const message = error.message.startsWith(`${code}: `) ? error.message.slice(code.length + 2) : error.message;
  return `${message.replace(/\s*\n\s*/g, ' ')} (${code})`;
}

/** Runs the command line, `argv` without the program's name. Never throws; the result is the exit code. */
export async function runProgram(argv: readonly string[], streams: Streams): Promise<number> {
  try {
    const parsed = parseCommandLine(argv, program, (text) => { streams.stdout.write(text); });
    if (parsed === null) return exitCodes.success;
    const command = commands.find(({ spec }) => spec.name === parsed.name) as Command;
    return await command.execute(parsed.args, streams) ?? exitCodes.success;
  } catch (error) {
    streams.stderr.write(`convtranspose: ${describeError(error)}\n`);
    if (process.env['CONVTRANSPOSE_DEBUG'] && types.isNativeError(error)) streams.stderr.write(`${error.stack}\n`);
    return error instanceof UsageError ? exitCodes.usage : exitCodes.failure;
  }
}
