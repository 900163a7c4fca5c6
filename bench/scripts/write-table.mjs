// @ts-check
/** Prints the results of a bench as a table for the documentation: node scripts/write-table.mjs results.json */
import { readFileSync } from 'node:fs';
import { markdown, summary } from '../src/report.mjs';

const file = process.argv[2];
if (!file) {
  console.error('usage: node scripts/write-table.mjs results.json');
  process.exit(1);
}
const report = JSON.parse(readFileSync(file, 'utf8'));
console.log([markdown(report), ...summary(report.layers)].join('\n'));
