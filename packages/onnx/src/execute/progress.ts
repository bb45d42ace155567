/** What a caller hears while a session is created. */

/** What is known before memory is asked for. */
export interface MemoryEstimate {
  /** Weights of MSD's nodes, as they lie in its memory. */
  readonly packedBytes: number;
  /** What each token of a sequence adds to the caches of keys and values; 0 for a model that has none. */
  readonly kvBytesPerToken: number;
}

/** One message of `onProgress`. */
export interface LoadProgress {
  /**
   * 'download': the model's file, or one beside it, arrives. 'start': ONNX Runtime makes its sessions. 'pack': weights become what
   * MSD multiplies with. 'ready': done.
   */
  readonly phase: 'download' | 'start' | 'pack' | 'ready';
  readonly loadedBytes: number;
  /** `undefined` where nobody knows: a server may not say how much it sends. */
  readonly totalBytes: number | undefined;
  /** From 'pack' on. */
  readonly memory?: MemoryEstimate | undefined;
}

/** Milliseconds between messages of one phase; the first and the last always come. */
const EVERY_MS = 50;

export class Progress {
  readonly #tell: ((progress: LoadProgress) => void) | undefined;
  #memory: MemoryEstimate | undefined;
  #phase: LoadProgress['phase'] | undefined;
  #last = 0;

  constructor(tell: ((progress: LoadProgress) => void) | undefined) {
    this.#tell = tell;
  }

  /** From now on, with every message. */
  expect(memory: MemoryEstimate): void {
    this.#memory = memory;
  }

  report(phase: LoadProgress['phase'], loadedBytes: number, totalBytes: number | undefined): void {
    if (!this.#tell) return;
    const now = performance.now();
    const isDue =
      phase !== this.#phase || loadedBytes === 0 || loadedBytes === totalBytes || now - this.#last > EVERY_MS;
    if (!isDue) return;
    this.#phase = phase;
    this.#last = now;
    this.#tell({ phase, loadedBytes, totalBytes, ...(this.#memory && { memory: this.#memory }) });
  }
}
