/** Options of the command line: described in tables, from which they are parsed and their help is written. */
import { parseArgs } from 'node:util';

import { nearestName } from '../options';

/** One `--option`. */
export interface OptionSpec {
  readonly name: string;
  /** What stands for the value in the help; null for an option without one. */
  readonly value: string | null;
  readonly help: string;
  /** Another name of the same option. */
  readonly alias?: string;
}

/** One subcommand. */
export interface CommandSpec {
  readonly name: string;
  /** What follows the name, in short. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What it does, in lines. */
  readonly description: readonly string[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
  /** Most arguments that are no options. */
  readonly maxOperands: number;
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

/** Parses what follows the name of a subcommand. Options may stand anywhere; `--` ends them. */
export function parseArguments(args: readonly string[], command: CommandSpec): Arguments {
  const specs = new Map(command.options.flatMap((spec) => [spec.name, ...(spec.alias === undefined ? [] : [spec.alias])]
    .map((name) => [name, spec] as const)));
  // Not strict, because a value may begin with a dash ("--padding -1:2" reaches the check of padding); all is checked below.
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries([...specs].map(([name, { value }]) => [name, { type: value === null ? 'boolean' : 'string' }])),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const operands: string[] = [];
  const values = new Map<string, string>();
  for (const token of tokens) {
    if (token.kind === 'positional') operands.push(token.value);
    if (token.kind !== 'option') continue;
    const spec = specs.get(token.name);
    if (spec === undefined) throw unknownOption(token.rawName, [...specs.keys()]);
    if (values.has(spec.name)) throw new UsageError(`--${spec.name} is given twice`);
    if (spec.value === null && token.value !== undefined) throw new UsageError(`--${spec.name} takes no value`);
    if (spec.value !== null && (token.value === undefined || (!token.inlineValue && token.value.startsWith('--')))) {
      throw new UsageError(`--${spec.name} needs a value: --${spec.name} ${spec.value}`);
    }
    values.set(spec.name, token.value ?? '');
  }
  const extra = operands[command.maxOperands];
  if (extra !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(extra)}`);
  return { operands, values };
}

function unknownOption(given: string, known: readonly string[]): UsageError {
  const near = nearestName(given, known);
  return new UsageError(`unknown option ${given}${near === undefined ? '; --help lists them' : `: did you mean --${near}?`}`);
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

const helpWidth = 100;

/** Two columns: terms and explanations, wrapped. */
export function columns(rows: readonly (readonly [string, string])[]): string[] {
  const indent = Math.min(34, Math.max(...rows.map(([term]) => term.length)) + 4);
  const lines: string[] = [];
  for (const [term, text] of rows) {
    let line = `  ${term}`.padEnd(indent);
    if (line.length > indent || line.trimEnd().length === indent) {
      lines.push(line);
      line = ' '.repeat(indent);
    }
    for (const word of text.split(' ')) {
      if (line.length + 1 + word.length > helpWidth) {
        lines.push(line);
        line = ' '.repeat(indent);
      }
      line += line.length === indent ? word : ` ${word}`;
    }
    lines.push(line);
  }
  return lines;
}

/** The manual of a subcommand. */
export function commandHelp(command: CommandSpec): string {
  return [
    `Usage: convtranspose ${command.name} ${command.usage}`,
    '',
    ...command.description,
    '',
    'Options:',
    ...columns(command.options.map(({ name, value, help, alias }) =>
      [`--${name}${value === null ? '' : ` ${value}`}${alias === undefined ? '' : `, --${alias}`}`, help])),
    '',
    'Examples:',
    ...command.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}
