// Exposure: the curve per channel that takes a frame's values to the plate's, whatever stands in front.
//
// A port of src/cleanplate/care/exposure.py (`match`), which tells the maths, without its motion: gain v -> g v, offset
// v -> g v + o, gamma v -> g v^y, the plainest that clearly helps, and none unless the robust residual falls clearly.
// Pictures are RGB bytes of one size that lie on each other. A curve is [gain, offset, gamma], an exposure three of
// them, or null: the frame stays as it is. A test compares the two.

const [DARKEST, BRIGHTEST] = [6 / 255, 248 / 255]; // values outside are clipped, or nearly
const LEAST_GAIN = 0.15; // the robust residual must fall by this share
const LEAST_CHANGE = 0.03; // a curve must move a value by this share
const [RICHER, LEFT, GOOD, SCALE] = [0.25, 0.5, 0.03, 0.03];
const [LEAST_PIXELS, STEPS] = [200, 6];
const [BINS, RANGE] = [160, 1.6];
const [KEEP, STEADY, LITTLE] = [0.7, 0.05, 0.004]; // of the last frame's; if so near to it; what is nothing
const [MISFIT_SCALE, LEAST_FALL] = [15.3, 0.05]; // for the comparison of all pixels, of 255
const CLIPPED = 250; // a channel of a frame from here on may have been brighter than it could say
const NONE = [1, 0, 1];
const CURVES = [gainOf, offsetOf, gammaOf];

/** The exposure that takes the frame to the plate, or null. */
export function match(plate, frame) {
  const channels = [0, 1, 2].map((channel) => usable(plate, frame, channel));
  const enough = Math.min(LEAST_PIXELS, Math.floor(plate.length / 24));
  if (channels.some(([targets]) => targets.length < enough)) return null;
  const costOf = (curves) => mean(channels.map((channel, i) => cost(channel, curves[i])));
  const still = costOf([NONE, NONE, NONE]);
  let [best, least] = [null, still * (1 - LEAST_GAIN)];
  for (const curveOf of CURVES) {
    const curves = channels.map((channel) => curveOf(channel));
    const left = costOf(curves);
    if (left < least) best = curves;
    least = Math.min(least, left * (1 - RICHER), still * LEFT);
    if (left < GOOD) break;
  }
  if (!best || !(changeOf(best) > LEAST_CHANGE)) return null;
  return misfit(plate, corrected(frame, plate, best)) < misfit(plate, frame) * (1 - LEAST_FALL) ? best : null;
}

/** What the values in the middle are multiplied by, red, green, blue. */
export function gainsOf(exposure) {
  return exposure ? exposure.map((curve) => 2 * at(curve, 0.5)) : [1, 1, 1];
}

/** A camera's next exposure after the last one's: averaged where they nearly agree, so that it does not tremble. */
export function steady(before, now) {
  const [last, next] = [gainsOf(before), gainsOf(now)];
  if (Math.max(...last.map((gain, i) => Math.abs(gain / Math.max(next[i], 5e-4) - 1))) >= STEADY) return now;
  const [a, b] = [before, now].map((exposure) => exposure ?? [NONE, NONE, NONE]);
  const found = a.map((curve, i) => curve.map((value, k) => KEEP * value + (1 - KEEP) * b[i][k]));
  return Math.max(...gainsOf(found).map((gain) => Math.abs(gain - 1))) > LITTLE ? found : null;
}

/** RGB bytes (RGBA: step 4) as the plate's camera would have given them; clipped channels that could be the plate's are. */
export function corrected(frame, plate, exposure, step = 3) {
  const tables = exposure.map((curve) => tableOf((value) => at(curve, value)));
  const darker = Math.max(...exposure.map((curve) => at(curve, 1))) < 1;
  const found = frame.slice();
  for (let i = 0; i < frame.length; i += step) {
    for (let c = i; c < i + 3; c++) {
      const value = tables[c - i][frame[c]];
      found[c] = darker && frame[c] >= CLIPPED && plate[c] > value ? plate[c] : value;
    }
  }
  return found;
}

/** RGBA bytes of a plate as the frame's camera would have given them. */
export function undone(plate, exposure) {
  const back = ([gain, offset, gamma]) => tableOf((value) => (Math.max(0, value - offset) / gain) ** (1 / gamma));
  const tables = exposure.map(back);
  return plate.map((value, i) => (i % 4 < 3 ? tables[i % 4][value] : value));
}

function tableOf(curve) {
  return Uint8Array.from({ length: 256 }, (_, value) => Math.min(1, Math.max(0, curve(value / 255))) * 255 + 0.5);
}

function at([gain, offset, gamma], value) {
  return gain * value ** gamma + offset;
}

function changeOf(curves) {
  return Math.max(...curves.flatMap((curve) => [0.25, 0.5, 0.75].map((value) => Math.abs(at(curve, value) / value - 1))));
}

/** One channel's values that are clipped in neither picture: [plate's, frame's], 0..1, and their common ratio. */
function usable(plate, frame, channel) {
  const [targets, values] = [[], []];
  for (let i = channel; i < plate.length; i += 3) {
    const [target, value] = [plate[i] / 255, frame[i] / 255];
    if (Math.min(target, value) <= DARKEST || Math.max(target, value) >= BRIGHTEST) continue;
    targets.push(target);
    values.push(value);
  }
  return [Float64Array.from(targets), Float64Array.from(values), ratioMode(targets, values)];
}

/** The mean robust residual of a curve, 0..1; 1 for a curve that no camera has. */
function cost([targets, values], curve) {
  const [gain, offset, gamma] = curve;
  if (!(gain > 0.2 && gain < 5 && Math.abs(offset) < 0.25 && gamma > 0.4 && gamma < 2.5)) return 1;
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const powered = gamma === 1 ? values[i] : values[i] ** gamma;
    sum += robust((targets[i] - gain * powered - offset) / SCALE);
  }
  return sum / values.length;
}

function gainOf([targets, values, ratio]) {
  let gain = ratio;
  for (let step = 0; step < STEPS; step++) {
    const weights = weightsOf(targets.map((target, i) => target - gain * values[i]));
    let [over, under] = [0, 0];
    weights.forEach((weight, i) => {
      over += weight * values[i] * targets[i];
      under += weight * values[i] * values[i];
    });
    gain = over / Math.max(under, 1e-9);
  }
  return [gain, 0, 1];
}

function offsetOf([targets, values, ratio]) {
  let weights = weightsOf(targets.map((target, i) => target - ratio * values[i]));
  let [slope, intercept] = [1, 0];
  for (let step = 0; step < STEPS; step++) {
    [slope, intercept] = line(values, targets, weights);
    weights = weightsOf(targets.map((target, i) => target - slope * values[i] - intercept));
  }
  return [slope, intercept, 1];
}

/** A line through the logarithms. */
function gammaOf([targets, values, ratio]) {
  const [x, y] = [values.map(Math.log), targets.map(Math.log)];
  let weights = weightsOf(targets.map((target, i) => target - ratio * values[i]));
  let [slope, intercept] = [1, 0];
  for (let step = 0; step < STEPS; step++) {
    // An error in a logarithm counts by the value it belongs to, or the dark half would decide alone.
    [slope, intercept] = line(x, y, weights.map((weight, i) => weight * targets[i] * targets[i]));
    if (!(slope > 0.2 && slope < 5)) break;
    weights = weightsOf(targets.map((target, i) => target - Math.exp(slope * x[i] + intercept)));
  }
  return [Math.exp(Math.min(3, Math.max(-3, intercept))), 0, slope];
}

/** Slope and intercept of the weighted regression of y on x. */
function line(x, y, weights) {
  let [all, sumX, sumY, over, under] = [0, 0, 0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    all += weights[i];
    sumX += weights[i] * x[i];
    sumY += weights[i] * y[i];
  }
  const total = Math.max(all, 1e-9);
  const [meanX, meanY] = [sumX / total, sumY / total];
  for (let i = 0; i < x.length; i++) {
    const away = weights[i] * (x[i] - meanX);
    over += away * (y[i] - meanY);
    under += away * (x[i] - meanX);
  }
  const slope = over / Math.max(under, 1e-6);
  return [slope, meanY - slope * meanX];
}

/** The ratio of plate and frame that most pixels share, by a smoothed histogram of its logarithm. */
function ratioMode(targets, values) {
  const counts = new Float64Array(BINS);
  targets.forEach((target, i) => {
    const bin = Math.floor(((Math.log(target / values[i]) + RANGE) / (2 * RANGE)) * BINS);
    if (bin >= 0 && bin < BINS) counts[bin] += Math.sqrt(values[i]);
  });
  const smooth = counts.map((_, i) => [1, 2, 3, 2, 1].reduce((sum, share, k) => sum + share * (counts[i + k - 2] ?? 0), 0));
  const best = smooth.indexOf(Math.max(...smooth));
  return Math.exp(((best + 0.5) / BINS) * 2 * RANGE - RANGE);
}

function weightsOf(residuals) {
  const scale = Math.max(SCALE, 1.5 * ranked(residuals.map(Math.abs), Math.floor(0.4 * residuals.length)));
  const weights = new Float64Array(residuals.length);
  for (let i = 0; i < weights.length; i++) {
    const rest = 1 - robust(residuals[i] / scale);
    weights[i] = rest * rest;
  }
  return weights;
}

/** The value that would stand at this place if they were sorted, without sorting them all (Hoare's quickselect). */
function ranked(values, place) {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let [i, j] = [low, high];
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const other = values[i];
      values[i++] = values[j];
      values[j--] = other;
    }
    if (place <= j) high = j;
    else if (place >= i) low = i;
    else break;
  }
  return values[place];
}

/** The mean robust difference of two pictures, 0..1. */
function misfit(plate, frame) {
  let sum = 0;
  for (let i = 0; i < plate.length; i += 3) {
    const [red, green, blue] = [plate[i] - frame[i], plate[i + 1] - frame[i + 1], plate[i + 2] - frame[i + 2]];
    const most = Math.max(Math.abs(red), Math.abs(green), Math.abs(blue));
    sum += robust(most / MISFIT_SCALE);
  }
  return (3 * sum) / plate.length;
}

function robust(residual) {
  const squared = residual * residual;
  return squared / (1 + squared);
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
