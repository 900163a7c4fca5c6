/** The command line: finds the subcommand, runs it, turns errors into a line and an exit code. */
import { types } from 'node:util';

import { nearestName } from '../options';
import { version } from '../index';
import { checkerboardCommand, showCheckerboard } from './checkerboard';
import { columns, commandHelp, parseArguments, UsageError, type Arguments, type CommandSpec } from './command-line';
import { explain, explainCommand } from './explain';
import { info, infoCommand } from './info';
import type { Streams } from './report';
import { run, runCommand } from './run';
import { solveCommand, solveSizes } from './solve';
import { upsampleCommand, upsampleFile } from './upsample';

interface Command {
  readonly spec: CommandSpec;
  /** Resolves to false for an answer that is no: exit code 1 without a message. */
  readonly execute: (args: Arguments, streams: Streams) => Promise<boolean | void> | boolean | void;
}

const all: readonly Command[] = [
  { spec: upsampleCommand, execute: upsampleFile },
  { spec: runCommand, execute: run },
  { spec: explainCommand, execute: explain },
  { spec: solveCommand, execute: solveSizes },
  { spec: checkerboardCommand, execute: showCheckerboard },
  { spec: infoCommand, execute: (_args, streams) => { info(streams); } },
];
const commands: ReadonlyMap<string, Command> = new Map(all.map((command) => [command.spec.name, command]));

/** How a command ended. */
export const exitCodes = { success: 0, failure: 1, usage: 2 } as const;

function help(): string {
  return [
    'Usage: convtranspose <command> [options]',
    '',
    "PyTorch's transposed convolutions on the CPU, from the command line.",
    '',
    'Commands:',
    ...columns([...commands.values()].map(({ spec }) => [spec.name, spec.summary] as const)),
    '',
    'Options:',
    ...columns([
      ['--help', 'This page; behind a command, the page of the command.'],
      ['--version', 'The version of the package.'],
    ]),
    '',
    'Exit codes:',
    ...columns([
      ['0', 'Done.'],
      ['1', 'It failed: a file that cannot be read or written, sizes that do not fit, a value that the layer refuses; or the answer is no.'],
      ['2', 'The command line cannot be understood.'],
    ]),
    '',
    'Errors are one line on the standard error output, with the code of the error at the end.',
    '',
    'Environment:',
    ...columns([
      ['CONVTRANSPOSE_NUM_THREADS', 'Threads, unless --num-threads is given.'],
      ['CONVTRANSPOSE_ALGORITHM', 'The algorithm, unless --algorithm is given.'],
      ['CONVTRANSPOSE_ISA', 'Caps the instruction set: baseline, avx2, avx512 or neon.'],
      ['CONVTRANSPOSE_DEBUG', 'If set, errors show where in the program they arose.'],
    ]),
    '',
  ].join('\n');
}

function unknownCommand(name: string): UsageError {
  const near = nearestName(name, [...commands.keys()]);
  const hint = near === undefined ? `the commands are ${[...commands.keys()].join(', ')}` : `did you mean ${near}?`;
  return new UsageError(`unknown command ${JSON.stringify(name)}: ${hint}`);
}

async function dispatch(argv: readonly string[], streams: Streams): Promise<number> {
  const [name, ...rest] = argv;
  const command = name === undefined ? undefined : commands.get(name);
  if (name === '--help' || name === '-h') {
    streams.stdout.write(help());
  } else if (name === '--version' || name === '-v') {
    streams.stdout.write(`${version()}\n`);
  } else if (name === undefined) {
    throw new UsageError('a command is missing; convtranspose --help lists them');
  } else if (command === undefined) {
    throw unknownCommand(name);
  } else if (asksForHelp(rest)) {
    streams.stdout.write(commandHelp(command.spec));
  } else {
    const answer = await command.execute(parseArguments(rest, command.spec), streams);
    return answer === false ? exitCodes.failure : exitCodes.success;
  }
  return exitCodes.success;
}

/** True if `--help` stands among options, also wrong ones. */
function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return args.slice(0, end < 0 ? undefined : end).some((word) => word === '--help' || word === '-h');
}

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
    return await dispatch(argv, streams);
  } catch (error) {
    streams.stderr.write(`convtranspose: ${describeError(error)}\n`);
    if (process.env['CONVTRANSPOSE_DEBUG'] && types.isNativeError(error)) streams.stderr.write(`${error.stack}\n`);
    return error instanceof UsageError ? exitCodes.usage : exitCodes.failure;
  }
}
