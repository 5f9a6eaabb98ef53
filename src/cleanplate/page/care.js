// Care: a frame brought to its plate's exposure before the network looks, where that is sure to help.
//
// As `cleanplate predict` does by src/cleanplate/care, but for the motion of the camera, which the page leaves alone.

import { corrected, match, steady, undone } from "./exposure.js";
import { Rows, shrink, shrinkBytes, workingSize } from "./pixels.js";

const LEAST_SIDE = 48; // smaller pictures hold too little to measure anything by
const [SIDE, SMALL] = [320, 96]; // exposure is judged on averages: noise and small misfits average out
const LIVE_MS = 500; // so often it is judged of a camera, whose light changes slowly

/** A plate's care. */
export class Care {
  #plate;
  #small = null;
  #before;
  #judged = -Infinity;

  /** plate: a bitmap. */
  constructor(plate) {
    this.#plate = plate;
  }

  /** The exposure (see exposure.js) of a frame's rows, or null. live: of a camera, steadied by what was judged last. */
  exposure(frame, live) {
    const [height, width] = [frame.height, frame.width];
    if (live && performance.now() - this.#judged < LIVE_MS) return this.#before;
    if (Math.min(height, width) < LEAST_SIDE) return null;
    if (this.#small?.height !== height || this.#small?.width !== width) {
      this.#small = { height, width, bytes: small(new Rows(this.#plate), height, width) };
    }
    const now = match(this.#small.bytes, small(frame, height, width));
    this.#judged = performance.now();
    this.#before = live && this.#before !== undefined ? steady(this.#before, now) : now;
    return this.#before;
  }
}

/** A frame's rows, at this size, as the plate's camera would have given them. */
export function fitted(frame, plate, exposure, size = [frame.height, frame.width]) {
  if (!exposure) return new Rows(frame, size);
  const behind = plate && new Rows(plate, size);
  return new Rows(frame, size, (bytes, ...rows) => corrected(bytes, behind?.read(...rows) ?? bytes, exposure, 4));
}

/** A plate's rows, at this size, as the frame's camera would have given them. */
export function asSeen(plate, exposure, size) {
  return new Rows(plate, size, exposure ? (bytes) => undone(bytes, exposure) : undefined);
}

function small(rows, height, width) {
  const size = workingSize(height, width, SIDE);
  return shrinkBytes(shrink(rows, ...size), size, workingSize(...size, SMALL));
}
