// @ts-check
/** The chart of the documentation: by how much each layer is faster than onnxruntime-node, as an SVG picture. */
import { ratio, torchRatio } from './report.mjs';
import { geometricMean } from './statistics.mjs';

const WIDTH = 780;
const LABELS = 150; // for the names on the left
const NUMBERS = 44; // for the ratios at the right end
const ROW = 16;
const TOP = 64;
const BOTTOM = 34;
const FONT = 'font-family="Helvetica, Arial, sans-serif"';
const INK = '#24292f';
const FAINT = '#d0d7de';
const FASTER = '#0969da';
const SLOWER = '#cf222e';
const PEER = '#f0a020';

/** Marks of the axis that fit between the ends. @param {number} low @param {number} high */
const ticks = (low, high) => [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200].filter((tick) => tick >= low && tick <= high);

/** @param {string} text */
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/**
 * @param {number} x @param {number} y @param {string} content
 * @param {{ size?: number, anchor?: 'start' | 'middle' | 'end', fill?: string, weight?: string }} [style]
 */
const text = (x, y, content, { size = 11, anchor = 'start', fill = INK, weight = 'normal' } = {}) =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${FONT} font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${fill}">${escaped(content)}</text>`;

/**
 * Bars on a logarithmic scale, from 1 (as fast) to the ratio, the highest first; a mark where the faster one of PyTorch's
 * two stands. Fits the width of a README.
 * @param {import('./report.mjs').Report} report
 * @returns {string} SVG
 * @throws {RangeError} if no layer was compared
 */
export function chart({ machine, options, date, layers }) {
  const bars = layers.flatMap((layer) => {
    const value = ratio(layer);
    return value === undefined ? [] : [{ name: layer.name, value, torch: torchRatio(layer) }];
  });
  if (bars.length === 0) throw new RangeError('the results hold no layer that was compared with onnxruntime-node');
  bars.sort((a, b) => b.value - a.value);
  const all = bars.flatMap(({ value, torch }) => (torch === undefined ? [value] : [value, torch]));
  const low = Math.min(0.9, ...all) / 1.05;
  const high = Math.max(2, ...all) * 1.05;
  const left = LABELS;
  const right = WIDTH - NUMBERS;
  const x = (/** @type {number} */ value) => left + ((right - left) * Math.log(value / low)) / Math.log(high / low);
  const height = TOP + bars.length * ROW + BOTTOM;
  const foot = TOP + bars.length * ROW;
  const mean = geometricMean(bars.map(({ value }) => value));
  const threads = Number(options['threads']);

  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>Times as fast as onnxruntime-node, layer by layer</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(12, 22, 'Times as fast as onnxruntime-node', { size: 15, weight: 'bold' }),
    text(12, 41, `${machine.cpu}, ${machine.isa}, ${threads} thread${threads === 1 ? '' : 's'}, ${date.slice(0, 10)}; geometric mean ${mean.toFixed(2)}`, { fill: '#57606a' }),
  ];
  if (bars.some(({ torch }) => torch !== undefined)) {
    parts.push(`<rect x="${WIDTH - 226}" y="32" width="3" height="11" fill="${PEER}"/>`, text(WIDTH - 218, 41, 'the faster of PyTorch’s two ways, likewise', { fill: '#57606a' }));
  }
  for (const tick of ticks(low, high)) {
    parts.push(
      `<line x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${TOP - 6}" y2="${foot + 4}" stroke="${tick === 1 ? INK : FAINT}"/>`,
      text(x(tick), foot + 18, String(tick), { anchor: 'middle' }),
    );
  }
  for (const [index, { name, value, torch }] of bars.entries()) {
    const y = TOP + index * ROW;
    const [from, to] = [Math.min(x(1), x(value)), Math.max(x(1), x(value))];
    parts.push(
      text(left - 8, y + 11, name, { anchor: 'end' }),
      `<rect x="${from.toFixed(1)}" y="${y + 2}" width="${(to - from).toFixed(1)}" height="${ROW - 5}" fill="${value >= 1 ? FASTER : SLOWER}"/>`,
      text(WIDTH - 12, y + 11, value.toFixed(2), { anchor: 'end' }),
    );
    if (torch !== undefined) parts.push(`<rect x="${(x(torch) - 1.5).toFixed(1)}" y="${y + 1}" width="3" height="${ROW - 3}" fill="${PEER}"/>`);
  }
  return [...parts, '</svg>', ''].join('\n');
}
