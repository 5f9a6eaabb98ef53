// Finish: an answer at the frame's own size, as files to download.
//
//   mask     grey, 8 bits: alpha times 255
//   cutout   RGBA, alpha not multiplied in; where it is between, the plate is taken out of the colours again:
//            F = (I - (1 - alpha) P) / alpha
//   depth    grey, 16 bits, millimetres; 0 = unknown or farther than 65.535 m
//
// Alpha follows the frame's own edges (upsample.js). Depth jumps where alpha does: its two layers, ln z behind and in
// front, are enlarged each, and alpha, steepened, chooses: z = exp(behind + sigmoid(EDGE logit(alpha)) (front - behind)).

import { asSeen, fitted } from "./care.js";
import { enlarge, Rows, shrink, stripOf } from "./pixels.js";
import { png } from "./png.js";
import { enlargeAlpha } from "./upsample.js";

const EDGE = 4;
const LEAST_ALPHA = 0.3; // below it, the division makes noise of nothing

/** The PNG of one of the three. answer: of `look`; bitmap: its frame; plate: the plate's bitmap. */
export async function finish(what, answer, bitmap, plate) {
  const { width, height } = bitmap;
  const alpha = fullAlpha(answer, fitted(bitmap, plate, answer.exposure), plate);
  if (what === "depth") return png(width, height, 1, millimetres(answer, alpha, [height, width]));
  if (what === "mask") return png(width, height, 1, bytesOf(alpha));
  return png(width, height, 4, cutout(new Rows(bitmap), plate && asSeen(plate, answer.exposure, [height, width]), alpha));
}

/** Alpha 0..1 as bytes. */
export function bytesOf(alpha) {
  const bytes = new Uint8Array(alpha.length);
  for (let i = 0; i < alpha.length; i++) bytes[i] = alpha[i] * 255 + 0.5;
  return bytes;
}

function fullAlpha(answer, frame, plate) {
  const { height, width } = answer;
  const small = [frame, plate && new Rows(plate)].map((rows) => rows && shrink(rows, height, width));
  return enlargeAlpha(answer.alpha, [height, width], frame, ...small);
}

function millimetres(answer, alpha, size) {
  const depth = fullDepth(answer, alpha, size);
  return Uint16Array.from(depth, (metres) => (metres > 0 && metres < 65.5355 ? Math.round(metres * 1000) : 0));
}

/** Depth in metres at this size, which alpha has. */
function fullDepth(answer, alpha, size) {
  const [behind, front] = [answer.behind, answer.front].map((map) => enlarge(map, [answer.height, answer.width], size));
  for (let i = 0; i < alpha.length; i++) {
    behind[i] = Math.exp(behind[i] + inFront(alpha[i]) * (front[i] - behind[i]));
  }
  return behind;
}

/** sigmoid(EDGE logit(alpha)), without its poles. */
function inFront(alpha) {
  const rest = ((1 - alpha) / Math.max(alpha, 1e-9)) ** EDGE;
  return 1 / (1 + rest);
}

function cutout(frame, plate, alpha) {
  const { width, height } = frame;
  const pixels = new Uint8Array(4 * width * height);
  const strip = stripOf(frame);
  for (let top = 0; top < height; top += strip) {
    const rows = Math.min(strip, height - top);
    const behind = plate?.read(top, rows);
    const start = 4 * top * width;
    pixels.set(frame.read(top, rows), start);
    for (let i = start; i < start + 4 * rows * width; i += 4) {
      const share = alpha[i / 4];
      if (behind && share > LEAST_ALPHA && share < 1) {
        for (let c = i; c < i + 3; c++) {
          const own = (pixels[c] - (1 - share) * behind[c - start]) / share;
          pixels[c] = Math.min(255, Math.max(0, own + 0.5));
        }
      }
      pixels[i + 3] = share * 255 + 0.5;
    }
  }
  return pixels;
}
