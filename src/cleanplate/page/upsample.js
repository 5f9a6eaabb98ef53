// Upsample: alpha from the network's working size to the size of the frame, along the frame's own edges.
//
// A port of src/cleanplate/inference/upsample.py (`enlarge_alpha`), which tells the maths: bilinear where alpha is flat;
// in the band where it changes it is linear in the colour, a . I + b, with the coefficients of windows at the working
// size (fast guided filter), after a second opinion by where each colour lies between the plate's and the foreground's.
// A test compares the two. Sizes are (height, width); maps Float32Array, 0..1; what is small has the working size.

import { between, enlarge, stripOf } from "./pixels.js";
import { dot, times, varying, windows } from "./planes.js";

const RADIUS = 2; // half a window, in pixels of the working size
const RIDGE = 1e-4; // what the variance of colours must exceed before alpha follows it
const NOISE = 0.03 ** 2; // squared differences between plate and frame that say nothing
const SHARE = 0.5; // how much the second opinion counts
const [STEEP, FLAT] = [8, 0.04]; // the band's weight is STEEP times the range of alpha beyond FLAT

/** Alpha [size] at frame's size. frame: Rows; small, plate: RGB bytes of frame and plate at alpha's size. */
export function enlargeAlpha(alpha, size, frame, small, plate) {
  const larger = [frame.height, frame.width];
  const clipped = alpha.map(unit);
  const found = enlarge(clipped, size, larger);
  if (size[0] === larger[0] && size[1] === larger[1]) return found;
  const weight = bandOf(clipped, size);
  const spot = boundsOf(weight, size);
  if (spot) apply(found, mapsOf(clipped, size, weight, spot, small, plate), spread(weight, spot, size), size, frame);
  return found;
}

function unit(value) {
  return value < 0 ? 0 : value > 1 ? 1 : value;
}

/** How much the colours decide, 0..1: 0 where alpha is flat over 3 x 3 pixels. */
function bandOf(alpha, [height, width]) {
  const [most, least] = [new Float32Array(alpha.length), new Float32Array(alpha.length)];
  for (let y = 0; y < height; y++) {
    const [first, last] = [y * width, (y + 1) * width - 1];
    for (let at = first; at <= last; at++) {
      const before = alpha[at > first ? at - 1 : at];
      const after = alpha[at < last ? at + 1 : at];
      most[at] = Math.max(before, alpha[at], after);
      least[at] = Math.min(before, alpha[at], after);
    }
  }
  const weight = new Float32Array(alpha.length);
  for (let at = 0; at < alpha.length; at++) {
    const above = at < width ? at : at - width;
    const below = at + width < alpha.length ? at + width : at;
    const range = Math.max(most[above], most[at], most[below]) - Math.min(least[above], least[at], least[below]);
    weight[at] = unit((range - FLAT) * STEEP);
  }
  return weight;
}

/** 1 where the band has a say: in 3 x 3 pixels about it. */
function spread(weight, { left, top, height, width }, [fullHeight, fullWidth]) {
  const cells = new Uint8Array(weight.length);
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) {
      if (!weight[y * fullWidth + x]) continue;
      const [from, to] = [Math.max(0, x - 1), Math.min(fullWidth, x + 2)];
      for (let v = Math.max(0, y - 1); v < Math.min(fullHeight, y + 2); v++) {
        cells.fill(1, v * fullWidth + from, v * fullWidth + to);
      }
    }
  }
  return cells;
}

/** What is not 0, with the windows, and the windows of windows, that it takes part in; null of nothing. */
function boundsOf(weight, [height, width]) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let i = 0; i < weight.length; i++) {
    if (!weight[i]) continue;
    const [y, x] = [Math.floor(i / width), i % width];
    [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
  }
  if (!bottom) return null;
  const rim = 4 * RADIUS;
  [left, top] = [Math.max(0, left - rim), Math.max(0, top - rim)];
  return { left, top, width: Math.min(width, right + rim) - left, height: Math.min(height, bottom + rim) - top };
}

/** The spot of something at the working size: `count` planes of values that lie `step` apart. */
function planesOf(values, fullWidth, { left, top, height, width }, step, count, scale) {
  return Array.from({ length: count }, (_, channel) => {
    const plane = new Float32Array(height * width);
    for (let y = 0; y < height; y++) {
      const from = ((top + y) * fullWidth + left) * step + channel;
      for (let x = 0; x < width; x++) plane[y * width + x] = values[from + x * step] * scale;
    }
    return plane;
  });
}

/** a (red, green, blue) and b of every pixel at the working size, side by side; a = 0, b = alpha outside the band. */
function mapsOf(alpha, [, fullWidth], weight, spot, small, plate) {
  const { left, top, height, width } = spot;
  const colours = planesOf(small, fullWidth, spot, 3, 3, 1 / 255);
  const [own] = planesOf(alpha, fullWidth, spot, 1, 1, 1);
  const [near] = planesOf(weight, fullWidth, spot, 1, 1, 1);
  const window = windows(height, width);
  let inside = own;
  if (plate) {
    const second = projected(own, colours, planesOf(plate, fullWidth, spot, 3, 3, 1 / 255), window);
    inside = new Float32Array(own.length);
    for (let i = 0; i < own.length; i++) inside[i] = own[i] + SHARE * near[i] * (second[i] - own[i]);
  }
  const [red, green, blue, level] = coefficients(inside, colours, window);
  const maps = new Float32Array(4 * alpha.length);
  for (let i = 0; i < alpha.length; i++) maps[4 * i + 3] = alpha[i];
  for (let y = 0, i = 0; y < height; y++) {
    let to = 4 * ((top + y) * fullWidth + left);
    for (let x = 0; x < width; x++, i++, to += 4) {
      const share = near[i];
      maps[to] = share * red[i];
      maps[to + 1] = share * green[i];
      maps[to + 2] = share * blue[i];
      maps[to + 3] = own[i] + share * (level[i] - own[i]);
    }
  }
  return maps;
}

/** The second opinion: where each colour lies on the line from what is behind to what is in front. */
function projected(alpha, frame, plate, window) {
  const [clear, solid] = [new Float32Array(alpha.length), new Float32Array(alpha.length)];
  for (let i = 0; i < alpha.length; i++) {
    clear[i] = fourth(1 - alpha[i]) ** 2;
    solid[i] = fourth(alpha[i]);
  }
  const gain = spreadFar(times(dot(frame, plate), clear), RADIUS, window);
  const dark = spreadFar(times(dot(plate, plate), clear), RADIUS, window);
  for (let i = 0; i < gain.length; i++) gain[i] = Math.min(1.6, Math.max(0.3, (gain[i] + 1e-6) / (dark[i] + 1e-6)));
  const covered = spreadFar(times(alpha, solid), 1, window);
  const [along, length] = [new Float32Array(alpha.length), new Float32Array(alpha.length)];
  for (let c = 0; c < 3; c++) {
    const [seen, behind, front] = [frame[c], times(plate[c], gain), new Float32Array(alpha.length)];
    for (let i = 0; i < front.length; i++) front[i] = (seen[i] - (1 - alpha[i]) * behind[i]) * solid[i];
    const mean = spreadFar(front, 1, window);
    for (let i = 0; i < along.length; i++) {
      const line = unit(mean[i] / (covered[i] + 1e-6)) - behind[i];
      along[i] += line * (seen[i] - behind[i]);
      length[i] += line * line;
    }
  }
  for (let i = 0; i < along.length; i++) along[i] = unit((along[i] + NOISE * alpha[i]) / (length[i] + NOISE));
  return along;
}

function fourth(value) {
  return value * value * value * value;
}

/** Window means; where a window holds next to nothing, of larger windows, then of everything. */
function spreadFar(weighted, radius, window) {
  const near = window(weighted, radius);
  const far = window(near, 3 * radius);
  let all = 0;
  for (let i = 0; i < far.length; i++) all += far[i];
  for (let i = 0; i < far.length; i++) near[i] += 0.02 * far[i] + (1e-4 * all) / far.length;
  return near;
}

/** Window by window, a (red, green, blue) and b of alpha = a . colours + b, averaged over a pixel's windows. */
function coefficients(alpha, colours, window) {
  const mean = (plane) => window(plane, RADIUS);
  const [red, green, blue] = colours;
  const [x, y, z, m] = [red, green, blue, alpha].map(mean);
  const product = new Float32Array(alpha.length);
  const together = (one, two, a, b) => varying(mean(times(one, two, product)), a, b);
  const [xx, yy, zz] = [together(red, red, x, x), together(green, green, y, y), together(blue, blue, z, z)];
  const [xy, xz, yz] = [together(red, green, x, y), together(red, blue, x, z), together(green, blue, y, z)];
  const [p, q, r] = [together(red, alpha, x, m), together(green, alpha, y, m), together(blue, alpha, z, m)];
  const [i, j, k, level] = Array.from({ length: 4 }, () => new Float32Array(alpha.length));
  for (let n = 0; n < alpha.length; n++) {
    const a = xx[n] + RIDGE;
    const b = yy[n] + RIDGE;
    const c = zz[n] + RIDGE;
    const d = xy[n];
    const e = xz[n];
    const f = yz[n];
    // The inverse of a symmetric 3 x 3 matrix, by its cofactors.
    const c0 = b * c - f * f;
    const c1 = e * f - d * c;
    const c2 = d * f - e * b;
    const d1 = a * c - e * e;
    const d2 = d * e - a * f;
    const e2 = a * b - d * d;
    const over = 1 / Math.max(a * c0 + d * c1 + e * c2, RIDGE ** 3);
    i[n] = (c0 * p[n] + c1 * q[n] + c2 * r[n]) * over;
    j[n] = (c1 * p[n] + d1 * q[n] + d2 * r[n]) * over;
    k[n] = (c2 * p[n] + d2 * q[n] + e2 * r[n]) * over;
    level[n] = m[n] - i[n] * x[n] - j[n] * y[n] - k[n] * z[n];
  }
  return [i, j, k, level].map(mean);
}

/** Puts a . I + b into `found` wherever the band has a say. */
function apply(found, maps, cells, [height, width], frame) {
  const columns = Array.from({ length: frame.width }, (_, x) => between(x, width / frame.width, width));
  const low = Int32Array.from(columns, ([left]) => left);
  const part = Float32Array.from(columns, ([, share]) => share);
  const cell = Int32Array.from(columns, (_, x) => Math.floor((x * width) / frame.width));
  const strip = stripOf(frame);
  for (let top = 0; top < frame.height; top += strip) {
    const rows = Math.min(strip, frame.height - top);
    const bytes = frame.read(top, rows);
    for (let y = top; y < top + rows; y++) {
      const [row, share] = between(y, height / frame.height, height);
      const places = [4 * row * width, share > 0 ? 4 * (row + 1) * width : 4 * row * width, share];
      const flags = cells.subarray(Math.floor((y * height) / frame.height) * width);
      const colours = bytes.subarray(4 * (y - top) * frame.width);
      applyRow(found.subarray(y * frame.width), maps, flags, colours, places, { low, part, cell });
    }
  }
}

function applyRow(found, maps, flags, bytes, [above, below, down], { low, part, cell }) {
  for (let x = 0; x < low.length; x++) {
    if (!flags[cell[x]]) continue;
    const across = part[x];
    const left = 4 * low[x];
    const right = across > 0 ? left + 4 : left;
    let value = 0;
    for (let c = 0; c < 4; c++) {
      const over = maps[above + left + c] + across * (maps[above + right + c] - maps[above + left + c]);
      const under = maps[below + left + c] + across * (maps[below + right + c] - maps[below + left + c]);
      const there = over + down * (under - over);
      value += c < 3 ? (there * bytes[4 * x + c]) / 255 : there;
    }
    found[x] = unit(value);
  }
}
