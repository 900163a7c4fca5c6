// @ts-check
/** Times several runners in turn, so that whatever else the machine does hits all of them alike. */
import { setTimeout as sleep } from 'node:timers/promises';
import { summarize } from './statistics.mjs';

/**
 * One implementation of one layer, ready to run: weights are packed, sessions are made.
 * @typedef {object} Runner
 * @property {(milliseconds: number) => Promise<number[]>} turn calls until that much time has passed, at least one; gives the
 *   milliseconds of each
 * @property {() => Float32Array | Promise<Float32Array>} output what the last call gave, contiguous
 * @property {() => void | Promise<void>} close
 */

/** A runner's turn: short, so that all sides see the same seconds of the machine. */
const TURN_MILLISECONDS = 25;
const LEAST_ROUNDS = 4;
/** Between turns when several threads run: pools of the other side spin for a while after their last task. */
const REST_MILLISECONDS = 5;

/**
 * The turn of a runner that is called in this process.
 * @param {() => void | Promise<void>} call
 * @returns {Runner['turn']}
 */
export function turnOf(call) {
  return async (milliseconds) => {
    const times = [];
    for (let total = 0; times.length === 0 || total < milliseconds; total += Number(times.at(-1))) {
      const start = process.hrtime.bigint();
      const pending = call();
      if (pending) await pending;
      times.push(Number(process.hrtime.bigint() - start) / 1e6);
    }
    return times;
  };
}

/**
 * @param {Map<string, Runner>} runners
 * @param {{ seconds: number, threads: number, betweenRounds: (round: number) => void }} options `seconds` is a budget for
 *   all runners together, overrun where few rounds take longer
 * @returns {Promise<Map<string, import('./statistics.mjs').Times>>}
 */
export async function measureInterleaved(runners, { seconds, threads, betweenRounds }) {
  /** @type {Map<string, number[]>} */
  const samples = new Map([...runners.keys()].map((name) => [name, []]));
  for (const runner of runners.values()) {
    for (let warmUp = 0; warmUp < 3; warmUp++) await runner.turn(0);
  }
  let spent = 0;
  for (let round = 0; round < LEAST_ROUNDS || spent < seconds * 1000; round++) {
    betweenRounds(round);
    const order = [...runners];
    if (round % 2 === 1) order.reverse();
    for (const [name, runner] of order) {
      // A turn of the event loop, as any program has them: memory of results that are gone comes back in it.
      await sleep(threads > 1 ? REST_MILLISECONDS : 0);
      const times = await runner.turn(TURN_MILLISECONDS);
      samples.get(name)?.push(...times);
      spent += times.reduce((total, time) => total + time, 0);
    }
  }
  return new Map([...samples].map(([name, milliseconds]) => [name, summarize(milliseconds)]));
}
