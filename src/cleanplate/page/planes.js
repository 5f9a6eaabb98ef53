// Planes: Float32Array of one size, pixel by pixel, and their means over windows.

// Loops, as `map` calls a function for every pixel: several times as slow.

export function times(one, two, found = new Float32Array(one.length)) {
  for (let i = 0; i < found.length; i++) found[i] = one[i] * two[i];
  return found;
}

/** The mean of a product, less the product of the means, in its place. */
export function varying(mean, one, two) {
  for (let i = 0; i < mean.length; i++) mean[i] -= one[i] * two[i];
  return mean;
}

/** Of two colours, three planes each, red times red plus green times green plus blue times blue. */
export function dot([red, green, blue], [x, y, z]) {
  const found = new Float32Array(red.length);
  for (let i = 0; i < found.length; i++) found[i] = red[i] * x[i] + green[i] * y[i] + blue[i] * z[i];
  return found;
}

/** What takes (plane, radius) of this size to its means over boxes of 2 radius + 1 a side, the border repeated. */
export function windows(height, width) {
  const across = new Float32Array(height * width);
  return (plane, radius) => {
    const side = 2 * radius + 1;
    const row = new Float32Array(width + side);
    for (let y = 0; y < height; y++) {
      const at = y * width;
      row.fill(plane[at], 0, radius);
      row.set(plane.subarray(at, at + width), radius);
      row.fill(plane[at + width - 1], radius + width);
      let sum = 0;
      for (let x = 0; x < side; x++) sum += row[x];
      for (let x = 0; x < width; x++) {
        across[at + x] = sum;
        sum += row[x + side] - row[x];
      }
    }
    return down(across, height, width, radius);
  };
}

function down(across, height, width, radius) {
  const share = 1 / (2 * radius + 1) ** 2;
  const means = new Float32Array(across.length);
  const sum = new Float64Array(width);
  const start = (y) => Math.min(height - 1, Math.max(0, y)) * width;
  for (let y = -radius; y <= radius; y++) {
    for (let x = 0, at = start(y); x < width; x++) sum[x] += across[at + x];
  }
  for (let y = 0, to = 0; y < height; y++) {
    const [next, last] = [start(y + radius + 1), start(y - radius)];
    for (let x = 0; x < width; x++, to++) {
      means[to] = sum[x] * share;
      sum[x] += across[next + x] - across[last + x];
    }
  }
  return means;
}
