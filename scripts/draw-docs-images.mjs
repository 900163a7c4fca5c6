// Draws pictures of the README and the guides, docs/images/ (that of the benchmark comes from bench/scripts/write-docs.mjs):
//
//   upsampled.png     a part of the test chart, its pixels enlarged, beside what `convtranspose upsample` makes of it, twice
//   checkerboard.png  the overlap of a 3x3 and of a 4x4 kernel with stride 2
//
//     node scripts/draw-docs-images.mjs        (needs the compiled package: npm install)
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const images = path.join(root, 'docs', 'images');
const cli = path.join(root, 'dist', 'cli', 'main.js');

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
  await drawUpsampled(folder);
  await drawCheckerboards(folder);
} finally {
  rmSync(folder, { recursive: true });
}
