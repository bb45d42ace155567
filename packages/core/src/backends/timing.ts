/** Short measurements, for choices that never show in a result. */

/** Calls of this length in all take V8 to its optimising tier, which it enters between calls only. */
export const WARM_MS = 10;
/** Browsers without isolation tell time in steps of 0.1 ms. */
const SAMPLE_MS = 1;
const ROUNDS = 7;

/** A function that gets faster by more than this has only now come to the optimising tier. */
const UNSETTLED = 0.8;
const RETRIES = 4;

/**
 * {@link bestTime}, once more where a function was still running unoptimised: engines compile in the background, on a busy
 * machine for longer than a warm-up takes.
 */
export function settledTime(runs: readonly (() => void)[], rounds: number = ROUNDS): number[] {
  const half = Math.ceil(rounds / 2);
  let best = bestTime(runs, half);
  for (let again = 0; again < RETRIES; again++) {
    const times = bestTime(runs, half);
    const settled = times.every((time, i) => time > UNSETTLED * best[i]);
    best = best.map((time, i) => Math.min(time, times[i]));
    if (settled) break;
  }
  return best;
}

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
