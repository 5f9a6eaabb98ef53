// Measures: how a plate and a frame differ, apart from what stands in front. Simple cousins of `cleanplate doctor`'s.
//
//   gain         per channel, what the page multiplies mid grey by (exposure.js)
//   shift        right and down, pixels of the frame: the one that makes small pictures differ least, robustly
//   blur         the Gaussian by which the sharper picture fits the softer one best, pixels of the frame; > 0: the
//                plate is the softer one
//   noise        1.48 median |N * I| / 6 with N the difference of two Laplacians (Immerkaer, 1996), calmest blocks
//   lightChange  the largest ratio between two corners of the plane through ln(frame / plate), minus 1
//   foreground   the share that still differs by more than 25 of 255; clipped: the share of white values
//
// Everything after the gain is taken with it applied, everything after the shift with that, too.

import { Care } from "./care.js";
import { corrected, gainsOf } from "./exposure.js";
import { Rows, shrink, workingSize } from "./pixels.js";
import { bareOf, blurOf, clippedOf, foregroundOf, lightOf, noiseOf } from "./residues.js";
import { shiftOf, shifted } from "./shift.js";

const [SIDE, QUICK_SIDE] = [640, 320];

/** A plate's and a frame's bitmap -> the diagnosis. quick: at half the size, beside a running camera. */
export function examine(plate, frame, quick = false) {
  const [height, width] = workingSize(frame.height, frame.width, quick ? QUICK_SIDE : SIDE);
  const scale = frame.width / width;
  const [a, b] = [plate, frame].map((bitmap) => ({ height, width, pixels: shrink(new Rows(bitmap), height, width) }));
  const exposure = new Care(plate).exposure(new Rows(frame), false);
  const exposed = exposure ? { ...b, pixels: corrected(b.pixels, a.pixels, exposure) } : b;
  const [right, down] = shiftOf(a, exposed);
  const fitted = shifted(exposed, Math.round(right), Math.round(down));
  const bare = bareOf(a, fitted);
  return {
    plateSize: [plate.height, plate.width],
    frameSize: [frame.height, frame.width],
    gain: gainsOf(exposure),
    shift: [right * scale, down * scale],
    blur: blurOf(a, fitted, bare) * scale,
    plateNoise: noiseOf(a),
    frameNoise: noiseOf(b),
    lightChange: lightOf(a, fitted),
    foreground: foregroundOf(bare),
    clipped: clippedOf(b),
  };
}
