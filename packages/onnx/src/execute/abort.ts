/**
 * How a caller stops a creation or a run: by an AbortSignal, or by `terminate` of a run; both are checked between
 * steps. A run that may be stopped lets other tasks run now and then, because otherwise nothing could stop it.
 */
import { AbortError } from '../errors.ts';
import type { AbortSignalLike } from '../read/fetch.ts';

/** Milliseconds before other tasks have a turn; at most one step longer. */
const TURN_MS = 12;

export class Watch {
  readonly #where: string;
  readonly #signal: AbortSignalLike | undefined;
  readonly #isTerminated: () => boolean;
  #last: number = performance.now();

  constructor(where: string, signal: AbortSignalLike | undefined, isTerminated: () => boolean = () => false) {
    this.#where = where;
    this.#signal = signal;
    this.#isTerminated = isTerminated;
  }

  /** @throws {@link AbortError} if it was stopped */
  check(): void {
    if (this.#signal?.aborted) throw this.#error();
    if (this.#isTerminated()) {
      throw new AbortError(`${this.#where}: stopped, because its option \`terminate\` is true.`);
    }
  }

  /** Is it time for {@link turn}? */
  get isDue(): boolean {
    return performance.now() - this.#last > TURN_MS;
  }

  /** Lets other tasks run. @throws {@link AbortError} if one of them stopped it */
  async turn(): Promise<void> {
    await nextTask();
    this.#last = performance.now();
    this.check();
  }

  /** Settles with the outcome or the signal, whichever comes first. The work itself ends at its next check. */
  async orAborted<T>(work: Promise<T>): Promise<T> {
    const signal = this.#signal;
    if (!signal) return work;
    let listener: (() => void) | undefined;
    const aborted = new Promise<never>((_, reject) => {
      listener = () => reject(this.#error());
      signal.addEventListener('abort', listener);
    });
    try {
      return await Promise.race([work, aborted]);
    } finally {
      signal.removeEventListener('abort', listener!);
    }
  }

  #error(): AbortError {
    return new AbortError(`${this.#where}: stopped by its AbortSignal.`, { cause: this.#signal?.reason });
  }
}

/** Checks an option `signal`. */
export function checkSignal(where: string, signal: unknown): AbortSignalLike | undefined {
  if (signal === undefined || signal === null) return undefined;
  const { aborted, addEventListener } = signal as Partial<AbortSignalLike>;
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function') {
    throw new TypeError(`${where}: option 'signal', expected an AbortSignal, got ${typeof signal}.`);
  }
  return signal as AbortSignalLike;
}

/** Node's own way to let other tasks run. */
const { setImmediate: immediately } = globalThis as { readonly setImmediate?: (run: () => void) => void };

/** Resolves in a task of its own: events, timers and garbage collectors come before it. */
export async function nextTask(): Promise<void> {
  await new Promise<void>((resolve) => {
    // In Node, the first message of a channel costs 40 ms, because it loads the code for the web's messages.
    if (immediately) return immediately(resolve);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
