/** Progress messages while a session is created. */

/** Known before memory is allocated. */
export interface MemoryEstimate {
  /** Weights of MSD's nodes, as they lie in its memory. */
  readonly packedBytes: number;
  /** What each token of a sequence adds to the caches of keys and values; 0 for a model that has none. */
  readonly kvBytesPerToken: number;
}

/** One message of `onProgress`. */
export interface LoadProgress {
  /**
   * 'download': the model's file, and those beside it, arrive, all together. 'start': ONNX Runtime makes its sessions. 'pack':
   * weights become what MSD multiplies with. 'ready': done.
   */
  readonly phase: 'download' | 'start' | 'pack' | 'ready';
  readonly loadedBytes: number;
  /** `undefined` if it is not known: a server may not say how much it sends. */
  readonly totalBytes: number | undefined;
  /** From 'pack' on. */
  readonly memory?: MemoryEstimate | undefined;
}

/** Milliseconds between messages of one phase; the first and the last always come. */
const EVERY_MS = 50;

/** Bytes of one file. */
interface Arrived {
  loaded: number;
  total: number | undefined;
}

export class Progress {
  readonly #tell: ((progress: LoadProgress) => void) | undefined;
  #memory: MemoryEstimate | undefined;
  /** When a phase was last told of. */
  readonly #last = new Map<LoadProgress['phase'], number>();
  readonly #files: Arrived[] = [];

  constructor(tell: ((progress: LoadProgress) => void) | undefined) {
    this.#tell = tell;
  }

  /** From now on, with every message. */
  expect(memory: MemoryEstimate): void {
    this.#memory = memory;
  }

  /** One more file: what it tells counts together with all others. */
  file(): (loaded: number, total: number | undefined) => void {
    const file: Arrived = { loaded: 0, total: undefined };
    this.#files.push(file);
    return (loaded, total) => {
      file.loaded = loaded;
      file.total = total;
      let [sum, all]: [number, number | undefined] = [0, 0];
      for (const each of this.#files) {
        sum += each.loaded;
        all = all === undefined || each.total === undefined ? undefined : all + each.total;
      }
      this.report('download', sum, all);
    };
  }

  report(phase: LoadProgress['phase'], loadedBytes: number, totalBytes: number | undefined): void {
    if (!this.#tell) return;
    const now = performance.now();
    const last = this.#last.get(phase);
    if (last !== undefined && loadedBytes > 0 && loadedBytes !== totalBytes && now - last < EVERY_MS) return;
    this.#last.set(phase, now);
    this.#tell({ phase, loadedBytes, totalBytes, ...(this.#memory && { memory: this.#memory }) });
  }
}
