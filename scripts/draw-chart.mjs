// Draws the test chart that the package ships, assets/chart.png: what upsampling can get wrong is in it. Gradients show banding,
// gratings and the zone plate aliasing, the star and the rings directions, bars and patches colours, the frame the borders.
//
//     node scripts/draw-chart.mjs [file]
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const width = 480;
const height = 320;
const pixels = new Uint8Array(width * height * 3).fill(96);

/** Sets a pixel to a grey level or to [red, green, blue], each from 0 to 1. */
function set(x, y, colour) {
  const rgb = typeof colour === 'number' ? [colour, colour, colour] : colour;
  for (let c = 0; c < 3; c++) pixels[(y * width + x) * 3 + c] = Math.round(255 * Math.min(1, Math.max(0, rgb[c])));
}

/** Fills a rectangle; `colourAt` is given the position in it, in pixels, and its sizes. */
function fill(left, top, columns, rows, colourAt) {
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const colour = colourAt(x, y, columns, rows);
      if (colour !== undefined) set(left + x, top + y, colour);
    }
  }
}

/** `inside` averaged over 4 x 4 points of a pixel: smooth edges. */
function coverage(x, y, inside) {
  let hits = 0;
  for (let j = 0; j < 4; j++) for (let i = 0; i < 4; i++) hits += inside(x + (i + 0.5) / 4, y + (j + 0.5) / 4) ? 1 : 0;
  return hits / 16;
}

const bars = [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]];

// Colour bars, full and at three quarters, then grey steps.
fill(8, 8, 464, 36, (x, _y, columns) => bars[Math.floor((x * 8) / columns)]);
fill(8, 44, 464, 16, (x, _y, columns) => bars[Math.floor((x * 8) / columns)].map((value) => value * 0.75));
fill(8, 60, 464, 14, (x, _y, columns) => Math.floor((x * 16) / columns) / 15);

// Gradients: grey, the three primaries, and all hues.
fill(8, 80, 464, 12, (x, _y, columns) => x / (columns - 1));
for (let c = 0; c < 3; c++) {
  fill(8, 92 + 8 * c, 464, 8, (x, _y, columns) => [0, 1, 2].map((channel) => (channel === c ? x / (columns - 1) : 0)));
}
fill(8, 116, 464, 12, (x, _y, columns) => [0, 2, 4].map((offset) => {
  const hue = (6 * x / columns + offset) % 6;
  return Math.min(1, Math.max(0, Math.abs(hue - 3) - 1));
}));

// Gratings: lines of 1, 2, 3 and 4 pixels, upright, lying, diagonal; chequers of 1 and 2 pixels.
for (let i = 0; i < 4; i++) {
  const line = i + 1;
  fill(8 + 38 * i, 136, 34, 34, (x) => Math.floor(x / line) % 2);
  fill(8 + 38 * i, 174, 34, 34, (_x, y) => Math.floor(y / line) % 2);
  fill(8 + 38 * i, 212, 34, 34, (x, y) => Math.floor((x + y) / line) % 2);
}
fill(8, 250, 34, 34, (x, y) => (x + y) % 2);
fill(46, 250, 34, 34, (x, y) => (Math.floor(x / 2) + Math.floor(y / 2)) % 2);
// Lines of one colour beside another of like brightness: they differ in hue alone.
fill(84, 250, 34, 34, (x) => (Math.floor(x / 2) % 2 ? [0.8, 0.2, 0.2] : [0.1, 0.45, 0.2]));
fill(122, 250, 34, 34, (_x, y) => (Math.floor(y / 2) % 2 ? [0.9, 0.8, 0.1] : [0.3, 0.3, 1]));
// Single points and lines, thinner than anything that may be lost.
fill(8, 290, 148, 22, (x, y, _columns, rows) => {
  if (x < 60) return x % 6 === 3 && y % 6 === 3 ? 1 : 0;
  return Math.abs((x - 60) * (rows / 88) - y) < 0.5 || x === 104 || y === 11 ? 1 : 0;
});

// A zone plate: rings whose frequency grows to half a period per pixel at the edge.
fill(164, 136, 176, 176, (x, y, columns) => {
  const squared = (x - columns / 2 + 0.5) ** 2 + (y - columns / 2 + 0.5) ** 2;
  return squared < (columns / 2) ** 2 ? 0.5 + 0.5 * Math.cos((Math.PI * squared) / columns) : 0.5;
});

// A star of 18 rays and rings of one and two pixels, with smooth edges.
fill(348, 136, 124, 84, (x, y, columns, rows) => coverage(x, y, (px, py) => {
  const angle = Math.atan2(py - rows / 2, px - columns / 2);
  return Math.hypot(px - columns / 2, py - rows / 2) < 40 && Math.floor((angle / Math.PI + 1) * 18) % 2 === 0;
}));
fill(348, 228, 60, 84, (x, y, columns, rows) => 1 - coverage(x, y, (px, py) => {
  const radius = Math.hypot(px - columns / 2, py - rows / 2);
  return radius < 28 && (radius % 7 < 1 || (radius > 14 && radius < 16));
}));
// Patches: skin, leaf, sky and the like, with round corners.
const patches = [[0.76, 0.59, 0.51], [0.34, 0.42, 0.26], [0.38, 0.48, 0.62], [0.84, 0.49, 0.17], [0.31, 0.36, 0.65], [0.73, 0.19, 0.21]];
patches.forEach((colour, i) => {
  fill(416 + 29 * (i % 2), 228 + 29 * Math.floor(i / 2), 27, 26, (x, y, columns, rows) => {
    const part = coverage(x, y, (px, py) => {
      const dx = Math.max(0, Math.abs(px - columns / 2) - columns / 2 + 6);
      const dy = Math.max(0, Math.abs(py - rows / 2) - rows / 2 + 6);
      return Math.hypot(dx, dy) < 6;
    });
    return colour.map((value) => value * part + (96 / 255) * (1 - part));
  });
});

// The frame: dashes of one pixel along every border, and corners of four colours.
fill(0, 0, width, height, (x, y) => {
  const border = Math.min(x, y, width - 1 - x, height - 1 - y);
  if (border > 1) return undefined;
  return border === 0 ? Math.floor((x + y) / 2) % 2 : 1 - (Math.floor((x + y) / 8) % 2);
});
const corners = [[0, 0, [1, 0, 0]], [width - 6, 0, [0, 1, 0]], [0, height - 6, [0, 0, 1]], [width - 6, height - 6, [1, 1, 0]]];
for (const [left, top, colour] of corners) fill(left, top, 6, 6, () => colour);

const file = process.argv[2] ?? path.join(root, 'assets', 'chart.png');
await sharp(pixels, { raw: { width, height, channels: 3 } }).png({ compressionLevel: 9 }).toFile(file);
