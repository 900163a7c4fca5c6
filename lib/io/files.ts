/** Files of tensors: checked reads at a position, and writes that leave either the old file or the whole new one. */
import { randomBytes } from 'node:crypto';
import { open, realpath, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';

import { formatError, type Origin } from './format-error';

/** Most bytes that one read or write asks for: far below the limits of the system calls, large enough to cost nothing. */
const chunkBytes = 1 << 24;

/** An open regular file and its size when it was opened. */
export interface SizedFile {
  readonly handle: FileHandle;
  readonly size: number;
}

/** Opens a file for reading. Errors of the file system pass through; what is not a regular file is a format error. */
export async function openSized(origin: Origin, file: string): Promise<SizedFile> {
  // The type is checked before opening: opening a pipe without a writer would wait for one.
  const found = await stat(file);
  if (!found.isFile()) throw formatError(origin, 'the path', 'a regular file', found.isDirectory() ? 'a directory' : 'a special file');
  const handle = await open(file, 'r');
  try {
    return { handle, size: (await handle.stat()).size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Fills `bytes` from `position` on. A file that became shorter since it was opened is a format error. */
export async function readFully(origin: Origin, handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(chunkBytes, bytes.length - done), position + done);
    if (bytesRead === 0) {
      throw formatError(origin, `byte ${position + done}`, `${bytes.length - done} more bytes`, 'the end of a file that became shorter');
    }
    done += bytesRead;
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(chunkBytes, bytes.length - done));
    done += bytesWritten;
  }
}

/**
 * Writes a file whole or not at all: into a new file in the same folder, flushed to the disk, then renamed over `file`.
 *
 * A symbolic link is followed, so that its target is replaced, not the link. Anything there that is not a regular file is an
 * error; errors of the file system pass through, and the new file is removed.
 */
export async function writeAtomically(origin: Origin, file: string, parts: Iterable<Uint8Array>): Promise<void> {
  let target = path.resolve(file);
  try {
    target = await realpath(target);
    if (!(await stat(target)).isFile()) throw formatError(origin, 'the path', 'a regular file or none', 'something else');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const temporary = path.join(path.dirname(target), `.${path.basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  const handle = await open(temporary, 'wx');
  try {
    try {
      for (const part of parts) await writeFully(handle, part);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
  } catch (error) {
    await unlink(temporary);
    throw error;
  }
}
