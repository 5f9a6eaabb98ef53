// Doctor: what is wrong between a plate and a frame, in words, found in a worker of its own.

import { Thread } from "./thread.js";

/** Asks the worker; one question at a time is enough. */
export class Doctor {
  #thread = new Thread("./consult.js");

  /** Sentences on how this frame fits its plate (copies of the bitmaps). quick: a camera runs beside it. */
  async examine(plate, frame, quick) {
    return (await this.#thread.ask("examine", { plate, frame, quick })).words;
  }
}
