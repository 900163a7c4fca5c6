// @ts-check
/** Peers that the bench does not run itself: their published times relative to onnxruntime-node, scaled to a run's own. */
import { readFileSync } from 'node:fs';
import { geometricMean } from './statistics.mjs';

/** @typedef {'plain' | 'any' | 'anyTwoThreads'} Column */
/** @typedef {{ source: string, peers: string, columns: Record<Column, string>, layers: Record<string, Record<Column, number>> }} PeerTable */

/** @returns {PeerTable} */
export const readPeers = () => JSON.parse(readFileSync(new URL('../peers/ratios.json', import.meta.url), 'utf8'));

/**
 * How often ours is faster than the fastest peer, layer by layer: (peer / ORT) of the table times (ORT / ours) of the run.
 * @param {import('./report.mjs').Report} report
 * @param {PeerTable} table
 * @returns {{ columns: Column[], rows: { name: string, ratios: number[] }[], missing: string[] }} `missing`: layers that the
 *   table does not know
 */
export function scaledRatios({ options, layers }, table) {
  /** @type {Column[]} */
  const columns = Number(options['threads']) === 1 ? ['plain', 'any'] : ['anyTwoThreads'];
  /** @type {{ name: string, ratios: number[] }[]} */
  const rows = [];
  const missing = [];
  for (const { name, times } of layers) {
    const peers = table.layers[name];
    const { ours, onnxruntime } = times;
    if (!peers || !ours || !onnxruntime) missing.push(name);
    else rows.push({ name, ratios: columns.map((column) => (peers[column] * onnxruntime.min) / ours.min) });
  }
  return { columns, rows, missing };
}

/** @param {ReturnType<typeof scaledRatios>} scaled @param {number} column @returns {{ mean: number, worst: { name: string, ratio: number } }} */
export function columnSummary({ rows }, column) {
  const all = rows.map(({ name, ratios }) => ({ name, ratio: Number(ratios[column]) }));
  const worst = all.reduce((least, item) => (item.ratio < least.ratio ? item : least));
  return { mean: geometricMean(all.map(({ ratio }) => ratio)), worst };
}
