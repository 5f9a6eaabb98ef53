// Grey: a picture's luminance as {height, width, values: Float32Array of 0..255}, blurred and freed of what is slow.

/** Luminance (BT.601) of {height, width, pixels: RGB bytes}. */
export function greyOf({ height, width, pixels }) {
  const values = new Float32Array(height * width);
  for (let i = 0; i < values.length; i++) {
    values[i] = 0.299 * pixels[3 * i] + 0.587 * pixels[3 * i + 1] + 0.114 * pixels[3 * i + 2];
  }
  return { height, width, values };
}

/** A grey picture convolved with a Gaussian, its border going on outside. */
export function blurred({ height, width, values }, sigma) {
  const radius = Math.max(1, Math.ceil(3 * sigma));
  const kernel = Float32Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)));
  const total = kernel.reduce((sum, value) => sum + value, 0);
  const shares = kernel.map((value) => value / total);
  const across = alongRows(values, height, width, shares, radius);
  return { height, width, values: alongColumns(across, height, width, shares, radius) };
}

function alongRows(values, height, width, shares, radius) {
  const result = new Float32Array(values.length);
  const row = new Float32Array(width + 2 * radius);
  for (let y = 0; y < height; y++) {
    const at = y * width;
    row.fill(values[at], 0, radius);
    row.set(values.subarray(at, at + width), radius);
    row.fill(values[at + width - 1], radius + width);
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let k = 0; k < shares.length; k++) sum += shares[k] * row[x + k];
      result[at + x] = sum;
    }
  }
  return result;
}

function alongColumns(values, height, width, shares, radius) {
  const result = new Float32Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let k = 0; k < shares.length; k++) {
      const from = Math.min(height - 1, Math.max(0, y + k - radius)) * width;
      for (let x = 0; x < width; x++) result[y * width + x] += shares[k] * values[from + x];
    }
  }
  return result;
}

/** A grey picture less its mean over boxes of 2 radius + 1 pixels a side: what is fine; light and shadows are coarse. */
export function fine({ height, width, values }, radius = 6) {
  const across = new Float32Array(values.length);
  for (let y = 0; y < height; y++) running(values, across, y * width, 1, width, radius);
  const slow = new Float32Array(values.length);
  for (let x = 0; x < width; x++) running(across, slow, x, width, height, radius);
  return { height, width, values: values.map((value, i) => value - slow[i]) };
}

/** Means over a window that runs along a row or a column, its ends going on outside. */
function running(from, to, start, step, length, radius) {
  const at = (i) => from[start + step * Math.min(length - 1, Math.max(0, i))];
  let sum = 0;
  for (let i = -radius; i <= radius; i++) sum += at(i);
  for (let i = 0; i < length; i++) {
    to[start + step * i] = sum / (2 * radius + 1);
    sum += at(i + radius + 1) - at(i - radius);
  }
}
