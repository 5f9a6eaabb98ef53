// Thread: a worker as promises. It is sent {kind, id, ...} and answers {id, ...} or {id, error: words for people}.

/** One worker; a question's promise is rejected with its words if it fails. */
export class Thread {
  #waiting = new Map();
  #worker;
  #next = 0;

  constructor(file) {
    this.#worker = new Worker(new URL(file, import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message || `${file} did not start.`));
      this.#waiting.clear();
    };
  }

  /** Asks; what is in handedOver is moved, everything else copied. */
  ask(kind, parts, handedOver = []) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ kind, id, ...parts }, handedOver);
    });
  }
}

/** Within a worker: answers every question by the task of its kind, one after the other. */
export function serve(tasks) {
  let last = Promise.resolve();
  self.onmessage = ({ data }) => {
    last = last.then(async () => {
      try {
        const answer = await tasks[data.kind](data);
        self.postMessage({ id: data.id, ...answer }, handedOver(answer));
      } catch (error) {
        self.postMessage({ id: data.id, error: error?.message || String(error) });
      }
    });
  };
}

function handedOver(answer) {
  const values = Object.values(answer);
  const maps = values.filter((value) => ArrayBuffer.isView(value));
  return [...maps.map((map) => map.buffer), ...values.filter((value) => value instanceof ImageBitmap)];
}
