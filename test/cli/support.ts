/** What the tests of this folder share. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterAll } from '@jest/globals';

import { runProgram } from '../../lib/cli/program';

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the command line in this process. */
export async function convtranspose(args: readonly string[], isTTY = false): Promise<Outcome> {
  const outcome: Outcome = { code: -1, stdout: '', stderr: '' };
  outcome.code = await runProgram(args, {
    stdout: { write: (text) => { outcome.stdout += text; }, isTTY },
    stderr: { write: (text) => { outcome.stderr += text; }, isTTY },
  });
  return outcome;
}

/** A folder that exists until the tests of the file have ended. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-cli-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  return folder;
}
