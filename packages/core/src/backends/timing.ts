/** Short measurements, for choices that never show in a result. */

/** Calls of this length in all take V8 to its optimising tier, which it enters between calls only. */
export const WARM_MS = 10;
/** Browsers without isolation tell time in steps of 0.1 ms. */
const SAMPLE_MS = 1;
const ROUNDS = 5;

/** Median milliseconds per call of each function, taken in turns, so that whatever else the machine does meets all of them. */
export function medianTime(runs: readonly (() => void)[]): number[] {
  const timed = runs.map((run) => ({ run, calls: 1, samples: [] as number[] }));
  const sample = ({ run, calls }: (typeof timed)[number]) => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) run();
    return performance.now() - start;
  };
  for (const entry of timed) while (sample(entry) < SAMPLE_MS) entry.calls *= 2;
  for (let round = 0; round < ROUNDS; round++)
    for (const entry of timed) entry.samples.push(sample(entry) / entry.calls);
  return timed.map(({ samples }) => samples.sort((a, b) => a - b)[ROUNDS >> 1]);
}
