// Pixels: pictures brought to the size at which the network looks, and maps brought back.
//
// shrink(bitmap, height, width) averages areas, each pixel weighted by how much of it lies in the new one, as cv2's
// INTER_AREA does; along an axis that grows, it interpolates. enlarge(map, ...) interpolates bilinearly, pixel centres
// at halves, the border repeated. Sizes are (height, width), pictures RGB bytes, maps Float32Array.

const STRIP_PIXELS = 1 << 21; // so much of a large picture is read at once

/** The size at which the network looks: the picture's own, or its longer side brought down to `longest`. */
export function workingSize(height, width, longest) {
  const scale = Math.min(1, longest / Math.max(height, width));
  return [Math.max(1, roundEven(height * scale)), Math.max(1, roundEven(width * scale))];
}

/** Halves go to the even neighbour, as in Python, so that both sides agree on sizes. */
function roundEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** A bitmap as RGB bytes of this size. */
export function shrink(bitmap, height, width) {
  const columns = taps(bitmap.width, width);
  const rows = taps(bitmap.height, height);
  const across = new Float32Array(bitmap.height * width * 3);
  const strip = Math.max(1, Math.min(bitmap.height, Math.floor(STRIP_PIXELS / bitmap.width)));
  for (let top = 0; top < bitmap.height; top += strip) {
    const bytes = read(bitmap, top, Math.min(strip, bitmap.height - top));
    alongRows(bytes, bitmap.width, columns, across, top * width * 3);
  }
  return alongColumns(across, width * 3, rows);
}

/** Rows of a bitmap as RGBA bytes. */
export function read(bitmap, top = 0, height = bitmap.height) {
  const canvas = new OffscreenCanvas(bitmap.width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, -top);
  return context.getImageData(0, 0, bitmap.width, height).data;
}

/** For each of `to` pixels along an axis: the first of those it is made of, how many they are, and their shares. */
function taps(from, to) {
  const most = Math.ceil(from / to) + 2;
  const [first, count, shares] = [new Int32Array(to), new Int32Array(to), new Float32Array(to * most)];
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    if (scale < 1) {
      const [low, part] = between(i, scale, from);
      [first[i], count[i]] = [low, part > 0 ? 2 : 1];
      shares.set([1 - part, part], i * most);
      continue;
    }
    const [start, end] = [i * scale, Math.min(from, (i + 1) * scale)];
    first[i] = Math.floor(start + 1e-6);
    const last = Math.min(from, Math.max(first[i] + 1, Math.ceil(end - 1e-6)));
    count[i] = last - first[i];
    for (let k = first[i]; k < last; k++) {
      shares[i * most + k - first[i]] = (Math.min(k + 1, end) - Math.max(k, start)) / (end - start);
    }
  }
  return { first, count, shares, most };
}

/** Where the centre of new pixel i lies among the old ones: the one at its left, and the share of the next. */
function between(i, scale, from) {
  const at = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), from - 1);
  const low = Math.floor(at);
  return [low, low + 1 < from ? at - low : 0];
}

/** Rows of RGBA bytes, `from` pixels wide, to rows of RGB from `start` on. */
function alongRows(bytes, from, { first, count, shares, most }, to, start) {
  const height = bytes.length / (4 * from);
  let at = start;
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < first.length; i++) {
      let source = 4 * (y * from + first[i]);
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let k = i * most; k < i * most + count[i]; k++, source += 4) {
        const share = shares[k];
        red += share * bytes[source];
        green += share * bytes[source + 1];
        blue += share * bytes[source + 2];
      }
      to[at] = red;
      to[at + 1] = green;
      to[at + 2] = blue;
      at += 3;
    }
  }
}

function alongColumns(from, width, { first, count, shares, most }) {
  const bytes = new Uint8Array(first.length * width);
  const sum = new Float32Array(width);
  for (let y = 0; y < first.length; y++) {
    sum.fill(0.5); // half a step, so that the bytes are rounded
    for (let k = 0; k < count[y]; k++) {
      const share = shares[y * most + k];
      const source = (first[y] + k) * width;
      for (let x = 0; x < width; x++) sum[x] += share * from[source + x];
    }
    for (let x = 0; x < width; x++) bytes[y * width + x] = Math.min(255, sum[x]);
  }
  return bytes;
}

/** A map [height, width] at another size, rows top to bottom of it only if asked for. */
export function enlarge(map, [height, width], [newHeight, newWidth], top = 0, bottom = newHeight) {
  if (height === newHeight && width === newWidth) return map.slice(top * width, bottom * width);
  const larger = new Float32Array((bottom - top) * newWidth);
  const low = new Int32Array(newWidth);
  const part = new Float32Array(newWidth);
  for (let x = 0; x < newWidth; x++) [low[x], part[x]] = between(x, width / newWidth, width);
  for (let y = top; y < bottom; y++) {
    const [row, share] = between(y, height / newHeight, height);
    const above = row * width;
    const below = share > 0 ? above + width : above;
    for (let x = 0; x < newWidth; x++) {
      const left = low[x];
      const right = part[x] > 0 ? left + 1 : left;
      const over = map[above + left] + part[x] * (map[above + right] - map[above + left]);
      const under = map[below + left] + part[x] * (map[below + right] - map[below + left]);
      larger[(y - top) * newWidth + x] = over + share * (under - over);
    }
  }
  return larger;
}
