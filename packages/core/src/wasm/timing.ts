/** Short measurements, for choices that never show in a result. */

/** Calls of this length in all take V8 to its optimising tier, which it enters between calls only. */
export const WARM_MS = 10;
/** Browsers without isolation tell time in steps of 0.1 ms. */
const SAMPLE_MS = 1;
const ROUNDS = 7;

/**
 * Shortest milliseconds per call of each function, taken in turns. Whatever else the machine does only ever adds time, and it
 * adds it to single samples: a median of few would let a busy moment choose.
 */
export function bestTime(runs: readonly (() => void)[], rounds: number = ROUNDS): number[] {
  const timed = runs.map((run) => ({ run, calls: 1, best: Number.POSITIVE_INFINITY }));
  const sample = ({ run, calls }: (typeof timed)[number]) => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) run();
    return performance.now() - start;
  };
  for (const entry of timed) while (sample(entry) < SAMPLE_MS) entry.calls *= 2;
  for (let round = 0; round < rounds; round++)
    for (const entry of timed) entry.best = Math.min(entry.best, sample(entry) / entry.calls);
  return timed.map(({ best }) => best);
}
