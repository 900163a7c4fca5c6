// @ts-check
import { formatProblem } from './problem.mjs';

/**
 * The suite as the native benches read it: "name problem" lines.
 * @param {readonly import('./problem.mjs').Problem[]} suite
 */
export function suiteText(suite) {
  const width = Math.max(...suite.map(({ name }) => name.length));
  const lines = suite.map((problem) => `${problem.name.padEnd(width)}  ${formatProblem(problem)}`);
  return ['# Written by scripts/write-suite.mjs from layers.json.', ...lines, ''].join('\n');
}
