// Draws the pictures of the README and the guides, docs/images/:
//
//   benchmark.svg     the table of results in docs/performance.md
//   upsampled.png     a part of the test chart, its pixels enlarged, beside what `convtranspose upsample` makes of it, twice
//   checkerboard.png  the overlap of a 3x3 and of a 4x4 kernel with stride 2
//
//     node scripts/draw-docs-images.mjs        (needs the compiled package: npm install)
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const images = path.join(root, 'docs', 'images');
const cli = path.join(root, 'dist', 'cli', 'main.js');

/** The first table of the results: { rows: [{ layer, ratio }], conditions }. */
function readResults() {
  const text = readFileSync(path.join(root, 'docs', 'performance.md'), 'utf8');
  const results = text.slice(text.indexOf('\n## Results\n'));
  const lines = results.split('\n');
  const head = lines.findIndex((line) => /^\| layer \|/.test(line));
  const cells = (line) => line.split('|').slice(1, -1).map((cell) => cell.trim());
  const columns = cells(lines[head]);
  const [layer, ratio] = ['layer', 'ratio'].map((name) => columns.indexOf(name));
  if (head < 0 || ratio < 0) throw new Error('docs/performance.md has no table with the columns layer and ratio under Results');
  const end = lines.findIndex((line, i) => i > head && !line.startsWith('|'));
  const rows = lines.slice(head + 2, end).map(cells).map((row) => ({ layer: row[layer], ratio: Number(row[ratio]) }));
  const conditions = lines.slice(lines.indexOf('## Results') + 1, head).join(' ').trim();
  return { rows, conditions };
}

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Words in lines of at most `width` characters. */
function wrap(text, width) {
  const lines = [''];
  for (const word of text.split(' ')) {
    if (`${lines.at(-1)} ${word}`.length > width) lines.push(word);
    else lines[lines.length - 1] = `${lines.at(-1)} ${word}`.trim();
  }
  return lines;
}

/** One bar for each layer: how many times as fast as onnxruntime-node, on a logarithmic scale. */
function drawBenchmark({ rows, conditions }) {
  const [left, top, rowHeight, plot] = [150, 64, 17, 560];
  const most = Math.max(...rows.map(({ ratio }) => ratio));
  const ticks = [0.5, 1, 2, 4, 8, 16, 32].filter((tick) => tick <= most * 1.2 && (tick >= 1 || rows.some(({ ratio }) => ratio < 1)));
  const least = ticks[0];
  const x = (ratio) => left + (plot * Math.log(Math.max(ratio, least) / least)) / Math.log((most * 1.1) / least);
  const notes = wrap(`${conditions} See docs/performance.md.`, 130);
  const bottom = top + rows.length * rowHeight;
  const height = bottom + 20 + notes.length * 15;
  const bars = rows.map(({ layer, ratio }, i) => {
    const y = top + i * rowHeight;
    return [
      `<text x="${left - 8}" y="${y + 12}" text-anchor="end">${escape(layer)}</text>`,
      `<rect x="${left}" y="${y + 2}" width="${(x(ratio) - left).toFixed(1)}" height="${rowHeight - 5}" fill="${ratio >= 1 ? '#2a7f9e' : '#c2603c'}"/>`,
      `<text x="${(x(ratio) + 5).toFixed(1)}" y="${y + 12}" fill="#444">${ratio}</text>`,
    ].join('');
  });
  const grid = ticks.map((tick) => `<line x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${top - 4}" y2="${bottom + 4}" stroke="${tick === 1 ? '#888' : '#ddd'}"/>` +
    `<text x="${x(tick).toFixed(1)}" y="${top - 9}" text-anchor="middle" fill="#666">${tick}x</text>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${left + plot + 60}" height="${height}" font-family="Helvetica, Arial, sans-serif" font-size="11">`,
    `<title>Speed relative to onnxruntime-node</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="12" y="22" font-size="15" font-weight="bold">Times as fast as onnxruntime-node, by layer</text>`,
    ...grid, ...bars,
    ...notes.map((line, i) => `<text x="12" y="${bottom + 24 + i * 15}" fill="#666">${escape(line)}</text>`),
    '</svg>', '',
  ].join('\n');
}

const side = { left: 348, top: 136, width: 124, height: 84 };
const enlarged = 4;

/** A part of the chart: as it is, its pixels as squares, and doubled twice by the command line. */
async function drawUpsampled(folder) {
  const small = path.join(folder, 'small.png');
  await sharp(path.join(root, 'assets', 'chart.png')).extract(side).png().toFile(small);
  const [twice, fourTimes] = [path.join(folder, 'x2.png'), path.join(folder, 'x4.png')];
  execFileSync(process.execPath, [cli, 'upsample', small, '--output', twice], { stdio: 'ignore' });
  execFileSync(process.execPath, [cli, 'upsample', twice, '--output', fourTimes], { stdio: 'ignore' });
  const [width, height, gap] = [side.width * enlarged, side.height * enlarged, 12];
  const squares = await sharp(small).resize(width, height, { kernel: 'nearest' }).png().toBuffer();
  await sharp({ create: { width: 2 * width + gap, height, channels: 3, background: '#fff' } })
    .composite([{ input: squares, left: 0, top: 0 }, { input: fourTimes, left: width + gap, top: 0 }])
    .png({ compressionLevel: 9, palette: true }).toFile(path.join(images, 'upsampled.png'));
}

async function drawCheckerboards(folder) {
  const parts = [];
  for (const [i, kernel] of ['3', '4'].entries()) {
    const file = path.join(folder, `checkerboard-${kernel}.png`);
    execFileSync(process.execPath, [cli, 'checkerboard', '--kernel-size', kernel, '--stride', '2', '--input-size', '8,8', '--picture', file], { stdio: 'ignore' });
    parts.push({ input: await sharp(file).resize(288, 288, { kernel: 'nearest' }).png().toBuffer(), left: i * 300, top: 0 });
  }
  await sharp({ create: { width: 588, height: 288, channels: 3, background: '#fff' } }).composite(parts)
    .png({ compressionLevel: 9, palette: true }).toFile(path.join(images, 'checkerboard.png'));
}

mkdirSync(images, { recursive: true });
const folder = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-images-'));
try {
  writeFileSync(path.join(images, 'benchmark.svg'), drawBenchmark(readResults()));
  await drawUpsampled(folder);
  await drawCheckerboards(folder);
} finally {
  rmSync(folder, { recursive: true });
}
