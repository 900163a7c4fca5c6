// @ts-check
/**
 * Writes results of the bench into the documentation: the tables of docs/performance.md between its two marks, and the chart
 * docs/performance.svg from the first file.
 *
 *     node scripts/write-docs.mjs results.json [more.json...]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { chart } from '../src/chart.mjs';
import { machineLine, markdown, summary } from '../src/report.mjs';

const BEGIN = '<!-- results -->';
const END = '<!-- end of results -->';

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error('usage: node scripts/write-docs.mjs results.json [more.json...]');
  process.exit(1);
}
/** @type {import('../src/report.mjs').Report[]} */
const reports = files.map((file) => JSON.parse(readFileSync(file, 'utf8')));
const sections = reports.map((report) => [machineLine(report), '', markdown(report), ...summary(report.layers).map((line) => `- ${line.trim()}`)].join('\n'));

const document = new URL('../../docs/performance.md', import.meta.url);
const before = readFileSync(document, 'utf8');
const [begin, end] = [before.indexOf(BEGIN), before.indexOf(END)];
if (begin < 0 || end < begin) throw new Error(`docs/performance.md: the marks ${BEGIN} and ${END} are missing`);
const picture = '![Bars: how many times as fast as onnxruntime-node each layer is](performance.svg)';
writeFileSync(document, `${before.slice(0, begin)}${BEGIN}\n\n${[picture, ...sections].join('\n\n')}\n\n${before.slice(end)}`);
const [first] = reports;
if (first) writeFileSync(new URL('../../docs/performance.svg', import.meta.url), chart(first));
