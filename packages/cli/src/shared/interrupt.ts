/** Ctrl-C: what a command has begun is undone, at once and whatever it is waiting for. */
import { Interrupted } from './errors.ts';

/** What has to be undone if the command does not come to its end. */
export class Undo {
  readonly #controller = new AbortController();
  readonly #steps = new Set<() => void>();

  /** Aborted by Ctrl-C: for fetch and for sessions. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Has something done if the command fails or is stopped: synchronous, and it must not throw.
   *
   * @returns takes it back: the work is done
   */
  add(step: () => void): () => void {
    this.#steps.add(step);
    return () => this.#steps.delete(step);
  }

  /** Throws if Ctrl-C was pressed: between two long steps that give others no turn. */
  check(): void {
    if (this.signal.aborted) throw new Interrupted();
  }

  /** Undoes everything, the last thing first. */
  run(): void {
    for (const step of [...this.#steps].reverse()) step();
    this.#steps.clear();
  }

  /** Ctrl-C was pressed. */
  stop(): void {
    this.#controller.abort(new Interrupted());
    this.run();
  }
}
