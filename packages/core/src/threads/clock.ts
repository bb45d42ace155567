/** The time, and timers. Tests give a pool a clock of their own. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /** Calls `run` in `ms`, unless the process ends before. @returns a function that cancels it */
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
