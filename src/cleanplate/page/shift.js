// Shift: by how much a frame must move to lie on its plate, right and down, whatever stands in front.
//
// Found coarse to fine on greys of which the slow part is taken away, so that light counts little: at each level the
// shift of one pixel's neighbourhood with the least mean of min(|difference|, 20). At the finest, a parabola through
// the neighbours gives the fraction. No shift unless the misfit falls clearly.

import { fine, greyOf } from "./grey.js";

const FAR = 0.12; // of the longer side
const COARSEST = 40;
const CUT = 20;
const LEAST_FALL = 0.1;

/** [right, down] in pixels of these pictures. */
export function shiftOf(plate, frame) {
  const levels = [[greyOf(plate), greyOf(frame)]];
  while (Math.min(levels[0][0].height, levels[0][0].width) >= 2 * COARSEST) levels.unshift(levels[0].map(halved));
  let [x, y] = [0, 0];
  levels.forEach((pair, level) => {
    const [a, b] = pair.map((grey) => fine(grey));
    const reach = level ? 1 : Math.max(1, Math.round(FAR * Math.max(a.height, a.width)));
    [x, y] = level ? [2 * x, 2 * y] : [0, 0];
    [x, y] = best(a, b, x, y, reach);
  });
  const [a, b] = levels.at(-1).map((grey) => fine(grey));
  const [still, least] = [misfit(a, b, 0, 0), misfit(a, b, x, y)];
  if ((x === 0 && y === 0) || least > still * (1 - LEAST_FALL)) return [0, 0];
  return [x + peak(misfit(a, b, x - 1, y), least, misfit(a, b, x + 1, y)),
    y + peak(misfit(a, b, x, y - 1), least, misfit(a, b, x, y + 1))];
}

/** A picture moved by whole pixels; where it shows nothing, its border goes on. */
export function shifted({ height, width, pixels }, right, down) {
  if (right === 0 && down === 0) return { height, width, pixels };
  const moved = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    const row = Math.min(height - 1, Math.max(0, y - down)) * width;
    for (let x = 0; x < width; x++) {
      const from = 3 * (row + Math.min(width - 1, Math.max(0, x - right)));
      for (let c = 0; c < 3; c++) moved[3 * (y * width + x) + c] = pixels[from + c];
    }
  }
  return { height, width, pixels: moved };
}

function best(a, b, x, y, reach) {
  let found = [x, y];
  let least = Infinity;
  for (let down = y - reach; down <= y + reach; down++) {
    for (let right = x - reach; right <= x + reach; right++) {
      const cost = misfit(a, b, right, down);
      if (cost < least) [least, found] = [cost, [right, down]];
    }
  }
  return found;
}

function misfit(a, b, right, down) {
  const { height, width } = a;
  let [total, count] = [0, 0];
  for (let y = Math.max(0, down); y < Math.min(height, height + down); y++) {
    const [row, other] = [y * width, (y - down) * width - right];
    for (let x = Math.max(0, right); x < Math.min(width, width + right); x++) {
      total += Math.min(CUT, Math.abs(a.values[row + x] - b.values[other + x]));
      count++;
    }
  }
  return count ? total / count : Infinity;
}

/** Where between -0.5 and 0.5 the parabola through three neighbours is least. */
function peak(before, least, after) {
  const bend = before - 2 * least + after;
  return bend > 0 ? Math.min(0.5, Math.max(-0.5, (0.5 * (before - after)) / bend)) : 0;
}

function halved({ height, width, values }) {
  const [h, w] = [height >> 1, width >> 1];
  const half = new Float32Array(h * w);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const at = 2 * y * width + 2 * x;
      half[y * w + x] = (values[at] + values[at + 1] + values[at + width] + values[at + width + 1]) / 4;
    }
  }
  return { height: h, width: w, values: half };
}
