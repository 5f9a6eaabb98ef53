// View: an answer drawn on three canvases, mask, cutout over a background, and coloured depth.

import { colourDepth, scaleOf } from "./colours.js";
import { workingSize } from "./pixels.js";

export const LONGEST = 1280; // no canvas is larger than this; downloads have the frame's own size
const SQUARES = 12;

/** Draws answers. canvases: {mask, cutout, depth}. */
export class View {
  #canvases;
  #layer = document.createElement("canvas");
  #small = document.createElement("canvas");
  #alpha = document.createElement("canvas"); // white, as opaque as the mask
  #answer = null;
  #scale = null;
  /** What is behind the cutout: {kind: "checks"}, {kind: "colour", colour} or {kind: "picture", bitmap}. */
  background = { kind: "checks" };

  constructor(canvases) {
    this.#canvases = canvases;
  }

  /** Draws an answer of the model, and returns the ends of the depth's colours, metres. */
  show(answer) {
    this.#answer = answer;
    const [height, width] = workingSize(answer.bitmap.height, answer.bitmap.width, LONGEST);
    for (const canvas of [...Object.values(this.#canvases), this.#layer, this.#alpha]) {
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    }
    this.#mask();
    this.cutout();
    return answer.depth ? this.#depth() : null;
  }

  /** The next depth chooses its colours' scale anew. */
  forget() {
    this.#scale = null;
  }

  /** The depth under a canvas's point, x and y in 0..1, metres. */
  depthAt(x, y) {
    const { depth, width, height } = this.#answer ?? {};
    if (!depth) return null;
    const column = Math.min(width - 1, Math.max(0, Math.floor(x * width)));
    const row = Math.min(height - 1, Math.max(0, Math.floor(y * height)));
    return depth[row * width + column];
  }

  #mask() {
    const { mask } = this.#answer;
    const { width, height } = this.#alpha;
    const pixels = new Uint8ClampedArray(4 * mask.length).fill(255);
    for (let i = 0; i < mask.length; i++) pixels[4 * i + 3] = mask[i];
    this.#alpha.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    const context = this.#canvases.mask.getContext("2d");
    context.fillStyle = "#000000";
    context.fillRect(0, 0, width, height);
    context.drawImage(this.#alpha, 0, 0);
  }

  /** The cutout over the background, also when that has changed. */
  cutout() {
    if (!this.#answer) return;
    const layer = this.#layer.getContext("2d");
    const { width, height } = this.#layer;
    layer.globalCompositeOperation = "copy";
    layer.imageSmoothingQuality = "medium";
    layer.drawImage(this.#answer.bitmap, 0, 0, width, height);
    layer.globalCompositeOperation = "destination-in";
    layer.drawImage(this.#alpha, 0, 0);
    const context = this.#canvases.cutout.getContext("2d");
    this.#paint(context, width, height);
    context.drawImage(this.#layer, 0, 0);
  }

  #depth() {
    const { depth } = this.#answer;
    this.#scale ??= scaleOf(depth);
    const context = this.#canvases.depth.getContext("2d");
    context.globalCompositeOperation = "copy";
    this.#stretch(context, colourDepth(depth, ...this.#scale));
    return this.#scale;
  }

  /** Pixels at the working size, drawn smoothly over the whole of a context. */
  #stretch(context, pixels) {
    const { width, height } = this.#answer;
    if (this.#small.width !== width || this.#small.height !== height) Object.assign(this.#small, { width, height });
    this.#small.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    context.imageSmoothingQuality = "low"; // bilinear
    context.drawImage(this.#small, 0, 0, context.canvas.width, context.canvas.height);
  }

  #paint(context, width, height) {
    const { kind, colour, bitmap } = this.background;
    if (kind === "picture") {
      const scale = Math.max(width / bitmap.width, height / bitmap.height);
      const [w, h] = [bitmap.width * scale, bitmap.height * scale];
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
      return;
    }
    context.fillStyle = kind === "colour" ? colour : "#ffffff";
    context.fillRect(0, 0, width, height);
    if (kind !== "checks") return;
    context.fillStyle = "#c8c8c8";
    const side = Math.max(4, Math.round(Math.max(width, height) / (3 * SQUARES)));
    for (let y = 0; y * side < height; y++) {
      for (let x = y % 2; x * side < width; x += 2) context.fillRect(x * side, y * side, side, side);
    }
  }
}
