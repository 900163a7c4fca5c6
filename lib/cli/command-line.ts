/** The command line: commands and options are described in tables, from which commander parses them and writes their manual. */
import { Command, CommanderError, Option } from 'commander';

/** One `--option`. */
export interface OptionSpec {
  readonly name: string;
  /** What stands for the value in the help; null for an option without one. */
  readonly value: string | null;
  readonly help: string;
  /** Another name of the same option. */
  readonly alias?: string;
  /** An environment variable that gives the value where the option is left out. */
  readonly variable?: string;
  /** The heading that it stands under in the help. Default: Options. */
  readonly group?: string;
}

/** One subcommand. */
export interface CommandSpec {
  readonly name: string;
  /** What follows the name, in short. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What it does, in lines; empty ones separate paragraphs. */
  readonly description: readonly string[];
  /** What may stand beside options: `[image]` for one word, `[inputs...]` for any number; absent for none. */
  readonly operands?: { readonly name: string; readonly help: string };
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
}

/** The program around the subcommands. */
export interface ProgramSpec {
  readonly name: string;
  readonly description: string;
  readonly commands: readonly CommandSpec[];
  /** What stands at the end of its help. */
  readonly notes: string;
  /** Asked for when it is to be printed. */
  readonly version: () => string;
}

/** The arguments of a subcommand. */
export interface Arguments {
  readonly operands: readonly string[];
  /** Values of options by name; '' for those without a value. */
  readonly values: ReadonlyMap<string, string>;
}

/** A command line that cannot be understood. */
export class UsageError extends Error {
  readonly code = 'ERR_CONVTRANSPOSE_USAGE';
}

const helpWidth = 100;

/** An option of commander that refuses to be given twice. */
function makeOption({ name, value, help, alias, variable, group }: OptionSpec): Option {
  const flags = [...(alias === undefined ? [] : [`--${alias}`]), `--${name}`].join(', ');
  const option = new Option(value === null ? flags : `${flags} <${value}>`, help);
  if (value !== null) {
    option.argParser((text, previous: unknown) => {
      if (/^--[a-z]/.test(text)) throw new UsageError(`--${name} needs a value: --${name} ${value}`);
      if (previous !== undefined) throw new UsageError(`--${name} is given twice`);
      return text;
    });
  }
  if (variable !== undefined) option.env(variable);
  return group === undefined ? option : option.helpGroup(`${group}:`);
}

/** The values that were given, by the names of the tables. */
function valuesOf(command: Command, specs: readonly OptionSpec[]): Map<string, string> {
  const values = new Map<string, string>();
  for (const { name } of specs) {
    const option = command.options.find(({ long }) => long === `--${name}`) as Option;
    const value: unknown = command.getOptionValue(option.attributeName());
    if (value !== undefined) values.set(name, typeof value === 'string' ? value : '');
  }
  return values;
}

/** Lines, of which empty ones separate paragraphs, as text that can be wrapped. */
function paragraphs(lines: readonly string[]): string {
  return lines.join('\n').split('\n\n').map((paragraph) => paragraph.replaceAll('\n', ' ')).join('\n\n');
}

function addCommand(program: Command, spec: CommandSpec, found: (args: Arguments) => void): void {
  const command = program.command(spec.name).usage(spec.usage).summary(spec.summary).description(paragraphs(spec.description));
  if (spec.operands !== undefined) command.argument(spec.operands.name, spec.operands.help);
  for (const option of spec.options) command.addOption(makeOption(option));
  command.allowExcessArguments(false);
  command.addHelpText('after', ['', 'Examples:', ...spec.examples.map((example) => `  ${example}`)].join('\n'));
  command.action(() => {
    found({ operands: command.args, values: valuesOf(command, spec.options) });
  });
}

/**
 * Parses a command line, `argv` without the program's name. Help and the version are printed through `write`; then the result is
 * null.
 */
export function parseCommandLine(
  argv: readonly string[], spec: ProgramSpec, write: (text: string) => void,
): { name: string; args: Arguments } | null {
  if (argv.length === 0) throw new UsageError(`a command is missing; ${spec.name} --help lists them`);
  let result: { name: string; args: Arguments } | null = null;
  const program = new Command(spec.name)
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: () => undefined })
    .configureHelp({ helpWidth, showGlobalOptions: false })
    .usage('<command> [options]')
    .description(spec.description)
    .option('-v, --version', 'Print the version of the package.')
    .helpOption('-h, --help', 'Print this page.')
    .helpCommand('help [command]', 'Prints the page of a command.')
    .addHelpText('after', `\n${spec.notes}`);
  program.on('option:version', () => {
    write(`${spec.version()}\n`);
    throw new CommanderError(0, 'commander.version', '');
  });
  for (const command of spec.commands) addCommand(program, command, (args) => { result = { name: command.name, args }; });
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help on request ends with 0, also where commander calls it an error.
    if (error.exitCode === 0) return null;
    throw new UsageError(error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' '));
  }
  return result;
}

/** The value of an option that must be there. */
export function required({ values }: Arguments, name: string): string {
  const value = values.get(name);
  if (value === undefined) throw new UsageError(`--${name} is missing`);
  return value;
}

/** One integer. */
export function parseInteger(text: string, option: string): number {
  if (!/^-?\d+$/.test(text)) throw new UsageError(`--${option} needs an integer, not ${JSON.stringify(text)}`);
  return Number(text);
}

/** Integers with commas between them. */
export function parseIntegers(text: string, option: string): number[] {
  if (!/^-?\d+(,-?\d+)*$/.test(text)) {
    throw new UsageError(`--${option} needs integers with commas between them, not ${JSON.stringify(text)}`);
  }
  return text.split(',').map(Number);
}

/** One integer, or a list of one per dimension. */
export function parsePerDimension(text: string, option: string): number | number[] {
  const values = parseIntegers(text, option);
  return values.length === 1 ? (values[0] as number) : values;
}

/** As `parsePerDimension`, or a list of begin:end. */
export function parsePadding(text: string, option: string): number | number[] | [number, number][] {
  if (!text.includes(':')) return parsePerDimension(text, option);
  if (!/^-?\d+:-?\d+(,-?\d+:-?\d+)*$/.test(text)) {
    throw new UsageError(`--${option} needs integers or pairs begin:end with commas between them, not ${JSON.stringify(text)}`);
  }
  return text.split(',').map((pair) => pair.split(':').map(Number) as [number, number]);
}
