// @ts-check
/** Child process of memory.mjs: makes one layer, runs it once and prints by how much the process grew meanwhile. */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomData } from './data.mjs';
import { outputShape, parseProblem, product } from './problem.mjs';

const { side, problem, options } = JSON.parse(process.argv[2] ?? '');

/**
 * What comes before the layer (the file of a model) and then the layer itself.
 * @type {(problem: import('./problem.mjs').Problem, data: import('./data.mjs').LayerData) => () => Promise<import('./measure.mjs').Runner>}
 */
let prepare;
if (side === 'convtranspose') {
  const { makeRunners } = await import('./runners/convtranspose.mjs');
  prepare = (layer, data) => async () => (await makeRunners(layer, data, options)).fresh;
} else {
  const { makeRunner, modelOf } = await import('./runners/onnxruntime.mjs');
  prepare = (layer, data) => {
    const model = modelOf(layer, data);
    return () => makeRunner(layer, data, options, model);
  };
}

/** @param {'VmRSS' | 'VmHWM'} field @returns {number} bytes */
function processMemory(field) {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match?.[1]) * 1024;
}

// A tiny layer first, so that what every process pays once is not counted.
const tiny = parseProblem('c4 o4 i4x4 k2 s2');
await (await prepare(tiny, randomData(tiny, true))()).turn(0);

const data = randomData(problem, options.bias);
const make = prepare(problem, data);
globalThis.gc?.(); // memory that making the data left behind could be used again, and would hide as much growth
await sleep(20); // it is freed by another thread
const before = processMemory('VmRSS');
writeFileSync('/proc/self/clear_refs', '5'); // the high-water mark starts again from here
const runner = await make();
await runner.turn(0);
const growth = processMemory('VmHWM') - before;
const wanted = data.weight.byteLength + 4 * product(outputShape(problem));
process.stdout.write(JSON.stringify({ extraBytes: Math.max(0, growth - wanted) }));
