// Model: the network, in its worker.

import { Thread } from "./thread.js";

/** The model of a server. Promises are rejected with words for people. */
export class Model {
  #thread = new Thread("./worker.js");

  /** Loads the two graphs at this address -> {threads, header}. */
  open(base) {
    return this.#thread.ask("open", { plate: new URL("plate.onnx", base).href, frame: new URL("frame.onnx", base).href });
  }

  /** Keeps this plate (a copy of the bitmap). */
  plate(bitmap) {
    return this.#thread.ask("plate", { bitmap });
  }

  /** Mask and depth of a frame; side, shown, live: see worker.js. The bitmap is handed over and comes back. */
  look(bitmap, side, shown, live) {
    return this.#thread.ask("look", { bitmap, side, shown, live }, [bitmap]);
  }

  /** The answer as a PNG: what = "mask", "cutout" or "depth". */
  async finish(what, answer) {
    return (await this.#thread.ask("finish", { what, answer, bitmap: answer.bitmap })).png;
  }
}
