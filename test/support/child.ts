/**
 * Runs scripts of the tests in processes of their own: the instruction set is chosen once a process, and a crash must not
 * take the test run with it.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';

export interface ChildResult {
  /** null if a signal ended the process. */
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/**
 * `script` is a path below test/, without extension: run from TypeScript, or as compiled JavaScript where this file is.
 * CONVTRANSPOSE_TEST_NODE: a command to run instead of this process's own executable (an emulator in front of it, say).
 */
export function runChild(script: string, env: Record<string, string> = {}, args: readonly string[] = [], nodeArgs: readonly string[] = []): Promise<ChildResult> {
  const [command, ...prefix] = process.env['CONVTRANSPOSE_TEST_NODE']?.split(' ') ?? [process.execPath];
  const extension = path.extname(__filename);
  const loader = extension === '.ts' ? ['--require', path.join(__dirname, 'register.cjs')] : [];
  const file = path.join(__dirname, '..', script + extension);
  return new Promise((resolve, reject) => {
    const child = spawn(command as string, [...prefix, ...nodeArgs, ...loader, file, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
}

/** Runs a script that prints one JSON value as its last line, and returns that value; fails if the script does. */
export async function runChildForJson<T>(script: string, env: Record<string, string> = {}, args: readonly string[] = [], nodeArgs: readonly string[] = []): Promise<T> {
  const { status, signal, stdout, stderr } = await runChild(script, env, args, nodeArgs);
  if (status !== 0) throw new Error(`${script} ended with ${signal ?? `status ${status}`}\n${stdout}\n${stderr}`);
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(last) as T;
}
