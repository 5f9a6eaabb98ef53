// Measures: how a plate and a frame differ, apart from what stands in front. Simple cousins of `cleanplate doctor`'s.
//
//   gain         per channel, frame to plate: the mode of ln(plate / frame), which no foreground can move as long as
//                the background is the largest group of equal ratios, then least squares with weights that fall off
//   shift        right and down, pixels of the frame: the one that makes small pictures differ least, robustly
//   blur         the Gaussian by which the sharper picture fits the softer one best, pixels of the frame; > 0: the
//                plate is the softer one
//   noise        1.48 median |N * I| / 6 with N the difference of two Laplacians (Immerkaer, 1996), calmest blocks
//   lightChange  the largest ratio between two corners of the plane through ln(frame / plate), minus 1
//   foreground   the share that still differs by more than 25 of 255; clipped: the share of white values
//
// Everything after the gain is taken with it applied, everything after the shift with that, too.

import { bareOf, blurOf, clippedOf, foregroundOf, lightOf, noiseOf } from "./residues.js";
import { shrink, workingSize } from "./pixels.js";
import { shiftOf, shifted } from "./shift.js";

const [SIDE, QUICK_SIDE, GAIN_SIDE] = [640, 320, 96];
const [DARKEST, BRIGHTEST] = [6, 248];
const SCALE = 0.03 * 255;
const LEAST_FALL = 0.15;
const LEAST_CHANGE = 0.03;
const STEPS = 6;
const [BINS, RANGE] = [160, 1.6];

/** A plate's and a frame's bitmap -> the diagnosis. quick: at half the size, beside a running camera. */
export function examine(plate, frame, quick = false) {
  const [height, width] = workingSize(frame.height, frame.width, quick ? QUICK_SIDE : SIDE);
  const scale = frame.width / width;
  const [a, b] = [plate, frame].map((bitmap) => ({ height, width, pixels: shrink(bitmap, height, width) }));
  const gain = gainOf(plate, frame);
  const exposed = times(b, gain);
  const [right, down] = shiftOf(a, exposed);
  const fitted = shifted(exposed, Math.round(right), Math.round(down));
  const bare = bareOf(a, fitted);
  return {
    plateSize: [plate.height, plate.width],
    frameSize: [frame.height, frame.width],
    gain,
    shift: [right * scale, down * scale],
    blur: blurOf(a, fitted, bare) * scale,
    plateNoise: noiseOf(a),
    frameNoise: noiseOf(b),
    lightChange: lightOf(a, fitted),
    foreground: foregroundOf(bare),
    clipped: clippedOf(b),
  };
}

/** What the frame's red, green and blue are multiplied by to fit; 1 unless that clearly helps. */
export function gainOf(plate, frame) {
  const [height, width] = workingSize(frame.height, frame.width, GAIN_SIDE);
  const [a, b] = [plate, frame].map((bitmap) => shrink(bitmap, height, width));
  const channels = [0, 1, 2].map((channel) => usable(a, b, channel));
  if (Math.min(...channels.map(([targets]) => targets.length)) < Math.min(200, (height * width) / 8)) return [1, 1, 1];
  const gains = channels.map(([targets, values]) => fit(targets, values));
  const still = sum(channels.map(([targets, values]) => cost(targets, values, 1)));
  const left = sum(channels.map(([targets, values], i) => cost(targets, values, gains[i])));
  const changed = Math.max(...gains.map((gain) => Math.abs(gain - 1)));
  return left < still * (1 - LEAST_FALL) && changed > LEAST_CHANGE ? gains : [1, 1, 1];
}

/** One channel's values that are clipped in neither picture, in pixels of which no channel is. */
function usable(a, b, channel) {
  const [targets, values] = [[], []];
  for (let i = channel; i < a.length; i += 3) {
    if (Math.min(a[i], b[i]) <= DARKEST || Math.max(a[i], b[i]) >= BRIGHTEST) continue;
    targets.push(a[i]);
    values.push(b[i]);
  }
  return [targets, values];
}

function fit(targets, values) {
  let gain = ratioMode(targets, values);
  for (let step = 0; step < STEPS; step++) {
    const residuals = targets.map((target, i) => target - gain * values[i]);
    const typical = residuals.map(Math.abs).sort((x, y) => x - y)[Math.floor(0.4 * residuals.length)];
    const spread = Math.max(SCALE, 1.5 * typical);
    let [over, under] = [0, 0];
    residuals.forEach((residual, i) => {
      const weight = 1 / (1 + (residual / spread) ** 2) ** 2;
      over += weight * values[i] * targets[i];
      under += weight * values[i] ** 2;
    });
    gain = over / Math.max(under, 1e-9);
  }
  return gain;
}

function ratioMode(targets, values) {
  const counts = new Float64Array(BINS);
  targets.forEach((target, i) => {
    const bin = Math.floor(((Math.log(target / values[i]) + RANGE) / (2 * RANGE)) * BINS);
    if (bin >= 0 && bin < BINS) counts[bin] += Math.sqrt(values[i]);
  });
  const smooth = counts.map((_, i) => sum([1, 2, 3, 2, 1].map((share, k) => share * (counts[i + k - 2] ?? 0))));
  const best = smooth.indexOf(Math.max(...smooth));
  return Math.exp(((best + 0.5) / BINS) * 2 * RANGE - RANGE);
}

function cost(targets, values, gain) {
  const costs = targets.map((target, i) => {
    const squared = ((target - gain * values[i]) / SCALE) ** 2;
    return squared / (1 + squared);
  });
  return sum(costs) / targets.length;
}

function times(picture, gain) {
  if (gain.every((value) => value === 1)) return picture;
  return { ...picture, pixels: picture.pixels.map((value, i) => Math.min(255, value * gain[i % 3] + 0.5)) };
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
