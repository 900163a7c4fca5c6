/**
 * What a folder of outputs remembers of the batch that fills it, so that --resume never takes the outputs of one layer for those of
 * another. An output is there whole or not at all, so its being there, and newer than its input, is all that says it is done.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import path from 'node:path';

import { writeAtomically } from '../io/files';
import type { BatchTask } from './inputs';

const recordName = '.convtranspose-run.json';

interface BatchRecord {
  readonly fingerprint: string;
  readonly layer: string;
}

/** A short name of everything that decides about the values of the outputs. */
export function fingerprintOf(settings: unknown, arrays: readonly (Float32Array | null)[]): string {
  const hash = createHash('sha256').update(JSON.stringify(settings));
  for (const array of arrays) {
    hash.update(array === null ? 'none' : `${array.length}:`);
    if (array !== null) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  return hash.digest('hex').slice(0, 32);
}

async function modified(file: string): Promise<number | null> {
  try {
    return (await stat(file)).mtimeMs;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

async function readRecord(folder: string): Promise<BatchRecord | null> {
  try {
    return JSON.parse(await readFile(path.join(folder, recordName), 'utf8')) as BatchRecord;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    if (error instanceof SyntaxError) return { fingerprint: '', layer: 'something unknown' };
    throw error;
  }
}

/** Removes what a run that was killed left beside these outputs: files of `writeAtomically` that never got their name. */
async function removeRemains(tasks: readonly BatchTask[]): Promise<void> {
  const names = new Map<string, Set<string>>();
  for (const { output } of tasks) {
    const folder = path.dirname(output);
    names.set(folder, (names.get(folder) ?? new Set()).add(path.basename(output)));
  }
  for (const [folder, own] of names) {
    for (const entry of await readdir(folder)) {
      const [, name] = /^\.(.+)\.[0-9a-f]{12}\.tmp$/.exec(entry) ?? [];
      if (name !== undefined && own.has(name)) await unlink(path.join(folder, entry));
    }
  }
}

/** A folder of outputs that a batch cannot go on with. */
export class ResumeError extends Error {
  readonly code = 'ERR_CONVTRANSPOSE_RESUME';
}

/**
 * Makes the folders, and gives the tasks that are still to do. Without `resume` these are all, and what is in the place of their
 * outputs is removed; with it those whose output is missing or older than the input.
 *
 * @param tasks those of this run
 * @param all those of all shards
 */
export async function openBatch(
  folder: string, tasks: readonly BatchTask[], all: readonly BatchTask[], record: BatchRecord, resume: boolean,
): Promise<BatchTask[]> {
  await mkdir(folder, { recursive: true });
  for (const directory of new Set(tasks.map(({ output }) => path.dirname(output)))) await mkdir(directory, { recursive: true });
  await removeRemains(tasks);
  const known = await readRecord(folder);
  const pending: BatchTask[] = [];
  if (resume && known !== null && known.fingerprint !== record.fingerprint) {
    throw new ResumeError(`${folder} holds results of ${known.layer} with other weights, options or formats; choose another --output-dir, or start again without --resume`);
  }
  if (resume && known === null) {
    for (const { output } of all) {
      if (await modified(output) === null) continue;
      throw new ResumeError(`${output} is there, but nothing in ${folder} says which layer it comes from; choose another --output-dir, or start again without --resume`);
    }
  }
  for (const task of tasks) {
    const done = await modified(task.output);
    if (done === null) {
      pending.push(task);
    } else if (!resume) {
      await unlink(task.output);
      pending.push(task);
    } else if ((await modified(task.input) ?? -Infinity) > done) {
      pending.push(task);
    }
  }
  if (known?.fingerprint !== record.fingerprint) {
    const file = path.join(folder, recordName);
    await writeAtomically({ argument: 'output-dir', file }, file, [Buffer.from(`${JSON.stringify(record, null, 2)}\n`)]);
  }
  return pending;
}
