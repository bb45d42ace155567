/** The time, and what is to happen later. Tests put a clock of their own into a pool. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /** Calls `run` in `ms`, unless the process ends before. @returns what takes it back */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    (timer as { unref?(): void }).unref?.();
    return () => clearTimeout(timer);
  },
};
