// Speed: how long looks take, and how many frames come a second, in words that change slowly enough to read.

const SPAN_MS = 2000;
const WORDS_MS = 500;

/** Counts answers over the last two seconds. */
export class Speed {
  #times = [];
  #told = 0;

  reset() {
    this.#times = [];
    this.#told = 0;
  }

  /** Counts an answer that took so long; words if it is time for new ones, else null. */
  add(milliseconds, live) {
    const now = performance.now();
    this.#times = [...this.#times.filter((time) => time > now - SPAN_MS), now];
    if (live && now - this.#told < WORDS_MS) return null;
    this.#told = now;
    const each = `${milliseconds.toFixed(0)} ms a look`;
    if (!live || this.#times.length < 3) return each;
    const rate = (1000 * (this.#times.length - 1)) / (now - this.#times[0]);
    return `${rate.toFixed(1)} frames/s, ${each}`;
  }
}
