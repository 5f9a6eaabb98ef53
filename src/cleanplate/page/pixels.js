// Pixels: pictures brought to the size at which the network looks, and maps brought back.
//
// shrink(rows, height, width) averages areas, each pixel weighted by how much of it lies in the new one, as cv2's
// INTER_AREA does; along an axis that grows, it interpolates. enlarge(map, ...) interpolates bilinearly, pixel centres
// at halves, the border repeated. Sizes are (height, width), pictures RGB bytes, maps Float32Array.

const STRIP_PIXELS = 1 << 21; // so much of a large picture is read at once

/** The size at which the network looks: the picture's own, or its longer side brought down to `longest`. */
export function workingSize(height, width, longest) {
  const most = Math.max(height, width, longest);
  // Rounded in whole numbers, as the predictor does, so that both agree.
  return [height, width].map((side) => Math.max(1, Math.floor((2 * side * longest + most) / (2 * most))));
}

/**
 * A bitmap's pixels, of its own size or stretched to another, read when they are needed; of the last rows, once.
 * change(bytes, top, height): what becomes of the rows that were read, if anything.
 */
export class Rows {
  #bitmap;
  #change;
  #bytes = null;
  #at = "";

  constructor(bitmap, [height, width] = [bitmap.height, bitmap.width], change = (bytes) => bytes) {
    this.#bitmap = bitmap;
    this.#change = change;
    [this.height, this.width] = [height, width];
  }

  /** Rows as RGBA bytes. */
  read(top = 0, height = this.height) {
    if (this.#at !== `${top} ${height}`) {
      const canvas = new OffscreenCanvas(this.width, height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.drawImage(this.#bitmap, 0, -top, this.width, this.height);
      this.#bytes = this.#change(context.getImageData(0, 0, this.width, height).data, top, height);
      this.#at = `${top} ${height}`;
    }
    return this.#bytes;
  }
}

/** Rows as RGB bytes of this size. */
export function shrink(picture, height, width) {
  const columns = taps(picture.width, width);
  const rows = taps(picture.height, height);
  const across = new Float32Array(picture.height * width * 3);
  const strip = stripOf(picture);
  for (let top = 0; top < picture.height; top += strip) {
    const bytes = picture.read(top, Math.min(strip, picture.height - top));
    alongRows(bytes, picture.width, columns, across, top * width * 3);
  }
  return alongColumns(across, width * 3, rows);
}

/** RGB bytes at a smaller size. */
export function shrinkBytes(bytes, [height, width], [newHeight, newWidth]) {
  if (height === newHeight && width === newWidth) return bytes;
  const read = (top, rows) => {
    const rgba = new Uint8Array(4 * rows * width);
    for (let i = 0, from = 3 * top * width; i < rgba.length; i += 4, from += 3) {
      for (let c = 0; c < 3; c++) rgba[i + c] = bytes[from + c];
    }
    return rgba;
  };
  return shrink({ height, width, read }, newHeight, newWidth);
}

/** How many rows of a picture are read at once. */
export function stripOf({ height, width }) {
  return Math.max(1, Math.min(height, Math.floor(STRIP_PIXELS / width)));
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
export function between(i, scale, from) {
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

/** A map [height, width] at another size. */
export function enlarge(map, [height, width], [newHeight, newWidth]) {
  if (height === newHeight && width === newWidth) return map.slice();
  const columns = Array.from({ length: newWidth }, (_, x) => between(x, width / newWidth, width));
  const low = Int32Array.from(columns, ([left]) => left);
  const part = Float32Array.from(columns, ([, share]) => share);
  const row = (y) => {
    const wide = new Float32Array(newWidth);
    const from = map.subarray(y * width, (y + 1) * width);
    for (let x = 0; x < newWidth; x++) {
      const left = low[x];
      wide[x] = part[x] > 0 ? from[left] + part[x] * (from[left + 1] - from[left]) : from[left];
    }
    return wide;
  };
  const larger = new Float32Array(newHeight * newWidth);
  let [above, over, under] = [-2, null, null];
  for (let y = 0, at = 0; y < newHeight; y++) {
    const [top, share] = between(y, height / newHeight, height);
    if (top !== above) {
      over = top === above + 1 && under ? under : row(top);
      under = top + 1 < height ? row(top + 1) : over;
      above = top;
    }
    for (let x = 0; x < newWidth; x++, at++) larger[at] = over[x] + share * (under[x] - over[x]);
  }
  return larger;
}
