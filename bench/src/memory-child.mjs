// @ts-check
/** Child process of memory.mjs: makes one layer, runs it once and prints by how much the process grew meanwhile. */
import { readFileSync, writeFileSync } from 'node:fs';
import { randomData } from './data.mjs';
import { outputShape, parseProblem, product } from './problem.mjs';

const { side, problem, options } = JSON.parse(process.argv[2] ?? '');

/** @type {(problem: import('./problem.mjs').Problem, data: import('./data.mjs').LayerData) => Promise<import('./measure.mjs').Runner>} */
let makeRunner;
if (side === 'convtranspose') {
  const { makeRunners } = await import('./runners/convtranspose.mjs');
  makeRunner = async (layer, data) => (await makeRunners(layer, data, options)).fresh;
} else {
  const { makeRunner: make } = await import('./runners/onnxruntime.mjs');
  makeRunner = (layer, data) => make(layer, data, options);
}

/** @param {'VmRSS' | 'VmHWM'} field @returns {number} bytes */
function processMemory(field) {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match?.[1]) * 1024;
}

// A tiny layer first, so that what every process pays once is not counted.
const tiny = parseProblem('c4 o4 i4x4 k2 s2');
await (await makeRunner(tiny, randomData(tiny, true))).run();

const data = randomData(problem, options.bias);
const before = processMemory('VmRSS');
writeFileSync('/proc/self/clear_refs', '5'); // the high-water mark starts again from here
const runner = await makeRunner(problem, data);
await runner.run();
const growth = processMemory('VmHWM') - before;
const wanted = data.weight.byteLength + 4 * product(outputShape(problem));
process.stdout.write(JSON.stringify({ extraBytes: Math.max(0, growth - wanted) }));
