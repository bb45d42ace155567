/**
 * How a caller stops what it has started: an AbortSignal, or the `terminate` of a run, both looked at between steps. A run that
 * somebody may stop lets others have a turn now and then, or nobody could.
 */
import { AbortError } from '../errors.ts';
import type { AbortSignalLike } from '../read/fetch.ts';

/** Milliseconds that pass, at most a step more, before others have a turn. */
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
      throw new AbortError(`${this.#where}: stopped, for \`terminate\` of its options is true.`);
    }
  }

  /** Is it time for {@link turn}? */
  get isDue(): boolean {
    return performance.now() - this.#last > TURN_MS;
  }

  /** Lets others have a turn. @throws {@link AbortError} if it was stopped in it */
  async turn(): Promise<void> {
    await nextTask();
    this.#last = performance.now();
    this.check();
  }

  /** What comes first: the outcome, or the signal. The work itself ends at its next check. */
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

/** Node's own way to wait for others. */
const { setImmediate: immediately } = globalThis as { readonly setImmediate?: (run: () => void) => void };

/** Resolves in a task of its own: events, timers and garbage collectors come before it. */
export async function nextTask(): Promise<void> {
  await new Promise<void>((resolve) => {
    // The first message of a channel costs Node 40 ms: it loads all that the web knows of messages.
    if (immediately) return immediately(resolve);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
