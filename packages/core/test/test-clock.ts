/** Time under a test's control. */
import type { Clock } from '../src/threads/clock.ts';

interface Timer {
  readonly ms: number;
  readonly run: () => void;
}

/** A clock whose timers go off when told. */
export class TestClock implements Clock {
  readonly #timers = new Set<Timer>();

  now = (): number => performance.now();

  after(ms: number, run: () => void): () => void {
    const timer = { ms, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** In how many milliseconds what is to happen was to happen, when it was asked for. */
  get pending(): number[] {
    return Array.from(this.#timers, ({ ms }) => ms);
  }

  /** What was to happen in so many milliseconds happens now. */
  fire(ms: number): void {
    for (const timer of [...this.#timers]) if (timer.ms === ms && this.#timers.delete(timer)) timer.run();
  }

  /** From now on `ms` pass with every look at the clock, and none else. @returns what sets it right again */
  passPerLook(ms: number): () => void {
    const { now } = this;
    let time = Math.ceil(now()); // whole numbers: their differences are exact
    this.now = () => (time += ms);
    return () => {
      this.now = now;
    };
  }
}
