/**
 * One thing at a time for each module of ONNX Runtime. Those whose WebAssembly can wait (the default bundle of browsers is one)
 * refuse a second run before the first is done, and then break both; sessions are created and released in turn, too.
 */

export class Turns {
  /** The last one that is not over. It never rejects. */
  #last: Promise<void> | undefined;

  /** Would something start at once? */
  get isFree(): boolean {
    return this.#last === undefined;
  }

  /** Does `work` when everything before is done, at once if nothing is. What fails keeps nobody waiting. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last ? this.#last.then(work) : now(work);
    const end = (): void => {
      if (this.#last === done) this.#last = undefined;
    };
    // Before the caller hears of the result: what it does next need not wait.
    const done: Promise<void> = result.then(end, end);
    this.#last = done;
    return result;
  }
}

/** What throws at once is an answer like any other. */
function now<T>(work: () => Promise<T>): Promise<T> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

const turns = /* @__PURE__ */ new WeakMap<object, Turns>();

/** @param key what all copies of a module's namespace share */
export function turnsOf(key: object): Turns {
  let found = turns.get(key);
  if (!found) {
    found = new Turns();
    turns.set(key, found);
  }
  return found;
}
