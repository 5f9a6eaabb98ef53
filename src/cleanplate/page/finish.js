// Finish: an answer at the frame's own size, as files to download.
//
//   mask     grey, 8 bits: alpha times 255
//   cutout   RGBA, alpha not multiplied in; where it is between, the plate is taken out of the colours again:
//            F = (I - (1 - alpha) P) / alpha
//   depth    grey, 16 bits, millimetres; 0 = unknown or farther than 65.535 m
//
// Alpha is enlarged bilinearly. Depth jumps where alpha does: its two layers, ln z behind and in front, are enlarged
// each, and alpha, steepened, chooses: z = exp(behind + sigmoid(EDGE logit(alpha)) (front - behind)).

import { enlarge, read } from "./pixels.js";
import { png } from "./png.js";

const EDGE = 4;
const LEAST_ALPHA = 0.3; // below it, the division makes noise of nothing
const STRIP_PIXELS = 1 << 20;

/** The PNG of one of the three. answer: of `look`; bitmap: its frame; plate: the plate's bitmap. */
export async function finish(what, answer, bitmap, plate) {
  const { width, height } = bitmap;
  const size = [answer.height, answer.width];
  if (what === "depth") return png(width, height, 1, millimetres(answer, [height, width]));
  const alpha = enlarge(answer.alpha, size, [height, width]);
  if (what === "mask") return png(width, height, 1, Uint8Array.from(alpha, (value) => value * 255 + 0.5));
  return png(width, height, 4, cutout(bitmap, plate, alpha));
}

function millimetres(answer, size) {
  const depth = fullDepth(answer, size);
  return Uint16Array.from(depth, (metres) => (metres > 0 && metres < 65.5355 ? Math.round(metres * 1000) : 0));
}

/** Depth in metres at this size, rows top to bottom of it. */
export function fullDepth(answer, [height, width], top = 0, bottom = height) {
  const from = [answer.height, answer.width];
  if (height === from[0] && width === from[1]) return answer.depth.slice(top * width, bottom * width);
  const [alpha, behind, front] = ["alpha", "behind", "front"].map((name) =>
    enlarge(answer[name], from, [height, width], top, bottom),
  );
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

function cutout(bitmap, plate, alpha) {
  const { width, height } = bitmap;
  const pixels = new Uint8Array(4 * width * height);
  const strip = Math.max(1, Math.floor(STRIP_PIXELS / width));
  const fitted = plate && fit(plate, width, height);
  for (let top = 0; top < height; top += strip) {
    const rows = Math.min(strip, height - top);
    const behind = fitted && read(fitted, top, rows);
    const start = 4 * top * width;
    pixels.set(read(bitmap, top, rows), start);
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

function fit(bitmap, width, height) {
  if (bitmap.width === width && bitmap.height === height) return bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}
