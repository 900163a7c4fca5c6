// @ts-check
/**
 * Compares results of a bench with the peers that it does not run itself:
 *
 *     node scripts/compare-peers.mjs results.json
 *
 * Their times relative to onnxruntime-node (peers/ratios.json) are scaled to that of the results. Lists the layers from the
 * worst ratio on; then the geometric mean and the worst of each column.
 */
import { readFileSync } from 'node:fs';
import { columnSummary, readPeers, scaledRatios } from '../src/peers.mjs';

const file = process.argv[2];
if (!file) {
  console.error('usage: node scripts/compare-peers.mjs results.json');
  process.exit(1);
}
const table = readPeers();
const scaled = scaledRatios(JSON.parse(readFileSync(file, 'utf8')), table);
if (scaled.rows.length === 0) {
  console.error(`compare-peers: ${file} holds no layer with a time of onnxruntime-node that the table knows`);
  process.exit(1);
}
console.log('Fastest float32 peer / ours. ' + table.source);
for (const column of scaled.columns) console.log(`${column}: ${table.columns[column]}`);
console.log(`\n${'layer'.padEnd(20)}${scaled.columns.map((column) => column.padStart(15)).join('')}`);
const worstFirst = scaled.rows.toSorted((a, b) => Number(a.ratios[0]) - Number(b.ratios[0]));
for (const { name, ratios } of worstFirst) {
  console.log(name.padEnd(20) + ratios.map((ratio) => ratio.toFixed(2).padStart(15)).join(''));
}
console.log('');
for (const [index, column] of scaled.columns.entries()) {
  const { mean, worst } = columnSummary(scaled, index);
  console.log(`${column}: geometric mean ${mean.toFixed(2)}, worst ${worst.ratio.toFixed(2)} (${worst.name}), ${scaled.rows.length} layers`);
}
if (scaled.missing.length > 0) console.log(`not in the table: ${scaled.missing.join(', ')}`);
