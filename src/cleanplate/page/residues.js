// Residues: what is left between a plate and a frame that has been fitted to it. See measures.js for what each means.
//
// Pictures are {height, width, pixels: RGB bytes} of one size.

import { blurred, fine, greyOf } from "./grey.js";

const FOREGROUND = 25;
const BLURS = [0.4, 0.6, 0.8, 1, 1.3, 1.6, 2, 2.5, 3.2, 4];
const BLOCK = 16;
const GRID = 12;

/** Where nothing stands in front: 1 where boxes of 3 x 3 pixels differ little, else 0. */
export function bareOf(plate, frame) {
  const { height, width } = plate;
  const bare = new Uint8Array(height * width);
  const part = new Int16Array(plate.pixels.length);
  for (let i = 0; i < part.length; i++) part[i] = plate.pixels[i] - frame.pixels[i];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let most = 0;
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let dy = -1; dy <= 1; dy++) {
          const row = Math.min(height - 1, Math.max(0, y + dy)) * width;
          for (let dx = -1; dx <= 1; dx++) sum += part[3 * (row + Math.min(width - 1, Math.max(0, x + dx))) + c];
        }
        most = Math.max(most, Math.abs(sum) / 9);
      }
      bare[y * width + x] = most <= FOREGROUND ? 1 : 0;
    }
  }
  return bare;
}

export function foregroundOf(bare) {
  return 1 - bare.reduce((sum, value) => sum + value, 0) / bare.length;
}

export function clippedOf({ pixels }) {
  return pixels.reduce((count, value) => count + (value >= 250), 0) / pixels.length;
}

/** > 0: the plate is softer, as if blurred so; < 0: the frame; 0: neither clearly. */
export function blurOf(plate, frame, bare) {
  const [a, b] = [greyOf(plate), greyOf(frame)];
  const inside = eroded(bare, a.height, a.width);
  if (inside.reduce((sum, value) => sum + value, 0) < 0.1 * inside.length) return 0;
  const still = misfit(a, b, inside);
  const plateSofter = (sigma) => misfit(a, blurred(b, sigma), inside);
  const frameSofter = (sigma) => misfit(blurred(a, sigma), b, inside);
  const [sign, softer] = plateSofter(1) < frameSofter(1) ? [1, plateSofter] : [-1, frameSofter];
  const tries = BLURS.map((sigma) => [sigma, softer(sigma)]);
  const [sigma, least] = tries.reduce((best, one) => (one[1] < best[1] ? one : best));
  return least < 0.85 * still && sigma > 0.5 ? sign * sigma : 0;
}

/** The mean difference of what is fine. */
function misfit(a, b, inside) {
  const rest = fine({ ...a, values: a.values.map((value, i) => value - b.values[i]) });
  let [sum, count] = [0, 0];
  for (let i = 0; i < inside.length; i++) {
    if (!inside[i]) continue;
    sum += Math.min(20, Math.abs(rest.values[i]));
    count++;
  }
  return sum / count;
}

/** 1 where all pixels within two are 1, outside counting as 1. */
function eroded(mask, height, width) {
  const result = new Uint8Array(mask.length).fill(1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (mask[y * width + x]) continue;
      for (let v = Math.max(0, y - 2); v <= Math.min(height - 1, y + 2); v++) {
        result.fill(0, v * width + Math.max(0, x - 2), v * width + Math.min(width, x + 3));
      }
    }
  }
  return result;
}

/** The standard deviation of the noise, of 255. */
export function noiseOf(picture) {
  const { height, width, values } = greyOf(picture);
  const kernel = [1, -2, 1, -2, 4, -2, 1, -2, 1];
  const found = [];
  for (let top = 1; top < height - 1; top += BLOCK) {
    for (let left = 1; left < width - 1; left += BLOCK) {
      const cell = [];
      for (let y = top; y < Math.min(height - 1, top + BLOCK); y++) {
        for (let x = left; x < Math.min(width - 1, left + BLOCK); x++) {
          let sum = 0;
          for (let k = 0; k < 9; k++) sum += kernel[k] * values[(y + Math.floor(k / 3) - 1) * width + x + (k % 3) - 1];
          cell.push(Math.abs(sum));
        }
      }
      found.push((1.4826 * quantile(cell, 0.5)) / 6);
    }
  }
  return found.length ? quantile(found, 0.25) : 0;
}

/** A plane through ln(frame / plate), fitted robustly to the medians of a grid. */
export function lightOf(plate, frame) {
  const spots = spotsOf(plate, frame);
  if (spots.length < 20) return 0;
  let weights = spots.map(() => 1);
  let plane = [0, 0, 0];
  for (let step = 0; step < 8; step++) {
    plane = leastSquares(spots, weights);
    weights = spots.map(([x, y, ratio]) => 1 / (1 + ((ratio - plane[0] - plane[1] * x - plane[2] * y) / 0.1) ** 2) ** 2);
  }
  const agree = weights.filter((weight) => weight > 0.5).length / weights.length;
  return agree > 0.5 ? Math.exp(Math.abs(plane[1]) + Math.abs(plane[2])) - 1 : 0;
}

function spotsOf({ height, width, pixels }, frame) {
  const mean = (bytes, i) => (bytes[3 * i] + bytes[3 * i + 1] + bytes[3 * i + 2]) / 3;
  const spots = [];
  for (let row = 0; row < GRID; row++) {
    for (let column = 0; column < GRID; column++) {
      const ratios = [];
      for (let y = Math.floor((row * height) / GRID); y < Math.floor(((row + 1) * height) / GRID); y++) {
        for (let x = Math.floor((column * width) / GRID); x < Math.floor(((column + 1) * width) / GRID); x++) {
          const [a, b] = [pixels, frame.pixels].map((bytes) => mean(bytes, y * width + x));
          if (Math.min(a, b) > 8 && Math.max(a, b) < 245) ratios.push(Math.log(b / a));
        }
      }
      if (ratios.length > 8) spots.push([(column + 0.5) / GRID - 0.5, (row + 0.5) / GRID - 0.5, quantile(ratios, 0.5)]);
    }
  }
  return spots;
}

/** Weighted least squares of [x, y, value] by a plane [c, per x, per y], by Cramer's rule. */
function leastSquares(spots, weights) {
  const m = Array.from({ length: 3 }, (_, i) => Array.from({ length: 3 }, (_, j) => (i === j ? 1e-6 : 0)));
  const v = [0, 0, 0];
  spots.forEach(([x, y, value], n) => {
    const row = [1, x, y];
    for (let i = 0; i < 3; i++) {
      v[i] += weights[n] * row[i] * value;
      for (let j = 0; j < 3; j++) m[i][j] += weights[n] * row[i] * row[j];
    }
  });
  const whole = determinant(m);
  return v.map((_, k) => determinant(m.map((row, i) => row.map((value, j) => (j === k ? v[i] : value)))) / whole);
}

function determinant([[a, b, c], [d, e, f], [g, h, i]]) {
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
