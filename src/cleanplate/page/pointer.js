// Pointer: which place of the depth is read, by mouse, finger or arrow keys.

const STEP = 0.01;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Reads depth in an element. read(x, y) -> words, for x and y in 0..1; cross: its mark; output: where words go. */
export class Pointer {
  #plan;
  #cross;
  #output;
  #read;
  #at = null;

  constructor(plan, cross, output, read) {
    [this.#plan, this.#cross, this.#output, this.#read] = [plan, cross, output, read];
    const point = (event) => {
      const box = plan.getBoundingClientRect();
      this.#move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, "off");
    };
    plan.addEventListener("pointermove", point);
    plan.addEventListener("pointerdown", point);
    plan.addEventListener("keydown", (event) => {
      const way = KEYS[event.key];
      if (!way) return;
      event.preventDefault();
      const step = event.shiftKey ? 10 * STEP : STEP;
      const [x, y] = this.#at ?? [0.5, 0.5];
      this.#move(x + way[0] * step, y + way[1] * step, "polite");
    });
    plan.addEventListener("focus", () => this.#move(...(this.#at ?? [0.5, 0.5]), "polite"));
  }

  /** Reads the same place again, of another picture. */
  refresh() {
    if (!this.#at) return;
    this.#output.setAttribute("aria-live", "off"); // a camera's numbers never stop
    this.#say();
  }

  #move(x, y, live) {
    this.#at = [x, y].map((value) => Math.min(1, Math.max(0, value)));
    this.#output.setAttribute("aria-live", live);
    this.#cross.hidden = false;
    [this.#cross.style.left, this.#cross.style.top] = this.#at.map((value) => `${100 * value}%`);
    this.#say();
  }

  #say() {
    this.#output.textContent = this.#read(...this.#at);
  }
}
