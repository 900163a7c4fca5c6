import { loadNative } from '../../lib/native';
import { attempt } from '../support/expect-error';
import { wrongCalls } from './wrong-calls';

export interface MisuseReport {
  /** Calls that were made. */
  calls: number;
  /** What was not as it should be, by name of the call. */
  failures: string[];
}

const prefix = 'ERR_CONVTRANSPOSE_';

/** A wrong call may allocate this much outside the JavaScript heap: nothing of the size of a result. */
const maxBytes = 8 * 1024;

/** What was expected and what came; for a forced algorithm, why it cannot run. */
const form = /^[\w.]+: (expected .+, got .+|'\w+' cannot run this problem: .+)$/s;

export async function runWrongCalls(): Promise<MisuseReport> {
  const native = loadNative();
  const calls = wrongCalls();
  const report: MisuseReport = { calls: calls.length, failures: [] };
  for (const { name, call, error, code, argument } of calls) {
    const before = native.memory();
    const buffersBefore = process.memoryUsage().arrayBuffers;
    const outcome = await attempt(call);
    const after = native.memory();
    const grown = process.memoryUsage().arrayBuffers - buffersBefore;
    const wrong: string[] = [];
    if (outcome.name !== error) wrong.push(`${outcome.name ?? 'nothing'} instead of ${error}`);
    if (outcome.code !== prefix + code) wrong.push(`code ${String(outcome.code)} instead of ${prefix + code}`);
    if (argument === '*' ? typeof outcome.argument !== 'string' : outcome.argument !== argument) {
      wrong.push(`argument ${String(outcome.argument)} instead of ${argument}`);
    }
    if (!form.test(outcome.message)) wrong.push('message of another form');
    if (after.liveBytes - before.liveBytes > maxBytes) wrong.push(`${after.liveBytes - before.liveBytes} bytes of native memory`);
    if (grown > maxBytes) wrong.push(`${grown} bytes of array buffers`);
    if (wrong.length > 0) report.failures.push(`${name}: ${wrong.join('; ')} (${outcome.message})`);
  }
  return report;
}
