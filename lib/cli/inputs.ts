/** The files of a batch: words of the command line to inputs, each with the place of its output. */
import { stat } from 'node:fs/promises';
import path from 'node:path';

import { glob, isDynamicPattern } from 'tinyglobby';

import { UsageError } from './command-line';
import { extensionOf, inputExtensions } from './tensor-files';

/** An input, and its path below the folder that was asked for, which its output takes over. */
export interface BatchInput {
  readonly file: string;
  readonly relative: string;
}

/** One file of work. */
export interface BatchTask {
  readonly input: string;
  readonly output: string;
}

/** A part of a batch: the tasks `index - 1`, `index - 1 + count`, ... */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** `i/n`, with i from 1 to n. */
export function parseShard(text: string): Shard {
  const [index, count] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).slice(1).map(Number);
  if (index === undefined || count === undefined || index < 1 || index > count) {
    throw new UsageError(`--shard needs I/N with I from 1 to N, not ${JSON.stringify(text)}`);
  }
  return { index, count };
}

const byCodePoints = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The folder of a pattern in front of its first part with a wildcard. */
function staticFolder(pattern: string): string {
  const parts = pattern.split('/');
  const first = parts.findIndex((part) => isDynamicPattern(part));
  const folder = parts.slice(0, first).join('/');
  return folder === '' ? (pattern.startsWith('/') ? '/' : '.') : folder;
}

/** The files of a folder that match a pattern, sorted. */
async function search(folder: string, pattern: string): Promise<BatchInput[]> {
  const found = await glob(pattern, { cwd: folder, onlyFiles: true, expandDirectories: false, caseSensitiveMatch: false });
  return found.sort(byCodePoints).map((relative) => ({ file: path.join(folder, relative), relative }));
}

/**
 * The inputs that words stand for: a file for itself, a folder for all files below it that can be read, a pattern (`*`, `**`, `?`,
 * `[...]`, `{a,b}`) for the files that match. In the order of the words, each file once. A pattern or folder without a file is an
 * error; a file that is not there is an input like others, which will fail.
 */
export async function findInputs(words: readonly string[]): Promise<BatchInput[]> {
  const inputs = new Map<string, BatchInput>();
  for (const word of words) {
    const kind = await stat(word).then((found) => (found.isDirectory() ? 'folder' : 'file'), () => 'none');
    let found: BatchInput[] = [{ file: word, relative: path.basename(word) }];
    if (kind === 'folder') {
      found = await search(word, `**/*.{${inputExtensions.join(',')}}`);
    } else if (kind === 'none' && isDynamicPattern(word)) {
      const folder = staticFolder(word);
      found = await search(folder, path.posix.relative(folder, word));
    }
    if (found.length === 0) {
      throw new UsageError(kind === 'folder' ? `there is no file to read below ${word} (${inputExtensions.join(', ')})` : `no file matches ${JSON.stringify(word)}`);
    }
    for (const input of found) {
      const key = path.resolve(input.file);
      if (!inputs.has(key)) inputs.set(key, input);
    }
  }
  return [...inputs.values()];
}

/**
 * Where the outputs go: to `folder`, under the relative path of their input with the extension of `format`. Two inputs for one
 * output, and an output in the place of an input, are errors.
 */
export function planOutputs(inputs: readonly BatchInput[], folder: string, format: string | undefined): BatchTask[] {
  const sources = new Set(inputs.map(({ file }) => path.resolve(file)));
  const owners = new Map<string, string>();
  return inputs.map(({ file, relative }) => {
    const extension = format ?? (extensionOf(relative) || 'npy');
    const { dir, name } = path.parse(relative);
    const output = path.join(folder, dir, `${name}.${extension}`);
    const key = path.resolve(output);
    const other = owners.get(key);
    if (other !== undefined) throw new UsageError(`${other} and ${file} would both become ${output}`);
    if (sources.has(key)) throw new UsageError(`the output of ${file} would take the place of the input ${output}: choose another --output-dir`);
    owners.set(key, file);
    return { input: file, output };
  });
}

/** The tasks of one shard. */
export function shardOf(tasks: readonly BatchTask[], { index, count }: Shard): BatchTask[] {
  return tasks.filter((_, i) => i % count === index - 1);
}
