/** Short measurements, for choices that never change a result. */

/** Calls of this length in all make V8 ask for its optimising tier, which is compiled in the background; most kernels need less. */
const ASK_MS = 1;
/** From the first call on, until the optimised code is there. Calls enter it, loops that run already do not. */
const WARM_MS = 10;
/** A sample is this many steps of the clock, within these bounds. Chromium without isolation tells time in steps of 0.1 ms. */
const CLOCK_STEPS = 10;
const SAMPLE_MS = { least: 0.2, most: 1 } as const;
/** Steps of Firefox and Safari without isolation are 1 ms, longer than these: their samples are {@link coarseTimes}'. */
const COARSE_MS = 0.5;
/** Firefox places each step at random, within a millisecond: of four that is 10 %, which the best of several samples all have. */
const COARSE_STEPS = 4;
const COARSE_ROUNDS = 2;
/** A clock with longer steps is of no use: with the 17 ms of a Firefox that resists fingerprinting, one choice takes a second. */
const MOST_STEP_MS = 4;
const ROUNDS = 7;

/** A function that gets faster by more than this has only now reached the optimising tier. */
const UNSETTLED = 0.8;
const RETRIES = 4;
/** The optimising tier is two to eight times as fast as the one before. */
const LEAP = 0.65;
/** Looks at a clock, some 30 ms of them, after which it stands still: the coarsest one of browsers moves on every 17 ms. */
const LOOKS = 2 ** 19;

/**
 * Brings a function to the engine's optimising tier: runs it until the engine starts to optimise it. In the meantime
 * something else can be done, such as warming other functions.
 *
 * @param begin makes everything ready for calls, and gives one
 * @returns waits until the optimised function is seen to be there, at most for the time that it takes
 */
export function warmUp(begin: () => () => void): () => void {
  const start = performance.now();
  let calls = 1;
  let samples = 0;
  let best = Number.POSITIVE_INFINITY;
  let isWarm = false;
  const until = (end: number) => {
    if (performance.now() >= end || !clockRuns()) return;
    const run = begin();
    let now = performance.now();
    while (!isWarm && now < end) {
      const began = now;
      for (let i = 0; i < calls; i++) run();
      now = performance.now();
      if (now - began < sampleLength()) {
        calls *= 2;
        continue;
      }
      const time = (now - began) / calls;
      // One slow sample is a busy moment, not a tier.
      isWarm = samples++ > 1 && time < LEAP * best;
      best = Math.min(best, time);
    }
  };
  until(start + ASK_MS);
  return () => until(start + WARM_MS);
}

/**
 * {@link bestTime}, once more where a function was still running unoptimised: engines compile in the background, on a busy
 * machine for longer than a warm-up takes.
 */
export function settledTime(runs: readonly (() => void)[]): number[] {
  const half = Math.ceil(ROUNDS / 2);
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
 * Shortest milliseconds per call of each function, taken in turns. Other work on the machine only ever adds time, and
 * only to some samples, so the shortest is taken: in a median of few, a busy moment would decide. Where the clock stands
 * still, all are 0.
 */
export function bestTime(runs: readonly (() => void)[], rounds: number = ROUNDS): number[] {
  if (!clockRuns()) return runs.map(() => 0);
  if (stepMs > COARSE_MS) return coarseTimes(runs);
  const timed = runs.map((run) => ({ run, calls: 1, best: Number.POSITIVE_INFINITY }));
  const least = sampleLength();
  // One that only looked long, in a busy moment, is found out by the next.
  const sample = (entry: (typeof timed)[number], length: number): number => {
    const start = performance.now();
    for (let i = 0; i < entry.calls; i++) entry.run();
    const time = performance.now() - start;
    if (!(time < length)) return time;
    entry.calls *= 2;
    return sample(entry, length);
  };
  for (const entry of timed) sample(entry, least);
  for (let round = 0; round < rounds; round++)
    for (const entry of timed) entry.best = Math.min(entry.best, sample(entry, least / 2) / entry.calls);
  return timed.map(({ best }) => best);
}

/** Samples go from one step of the clock to another, in calls so few at once that the last ones do not count. */
function coarseTimes(runs: readonly (() => void)[]): number[] {
  const timed = runs.map((run) => ({ run, calls: callsOfStep(run), best: Number.POSITIVE_INFINITY }));
  for (let round = 0; round < COARSE_ROUNDS; round++)
    for (const entry of timed) {
      const start = nextStep();
      let [count, time] = [0, 0];
      for (; time < COARSE_STEPS * stepMs; time = performance.now() - start, count += entry.calls)
        for (let i = 0; i < entry.calls; i++) entry.run();
      entry.best = Math.min(entry.best, time / count);
    }
  return timed.map(({ best }) => best);
}

/** A small part of the calls that fit between two steps. */
function callsOfStep(run: () => void): number {
  const start = nextStep();
  let calls = 1;
  for (; performance.now() === start; calls *= 2) for (let i = 0; i < calls; i++) run();
  return Math.ceil(calls / 64);
}

/** What a clock shows that stands still. */
let stillAt: number | undefined;
/** The clock that was seen to move on: it is looked at once, for a step of it may be a millisecond and more. */
let runningClock: unknown;
/** Milliseconds between two times that it tells apart. */
let stepMs = 0;

/** Does the clock move on, and often enough? Test suites put one in its place that they move themselves: waiting for it would never end. */
function clockRuns(): boolean {
  if (performance.now === runningClock) return stepMs <= MOST_STEP_MS;
  const start = performance.now();
  if (start === stillAt) return false;
  stillAt = undefined;
  for (let look = 0; look < LOOKS; look++) {
    const now = performance.now();
    if (now === start) continue;
    if (!(now > start)) return false; // one that goes back is of no use
    runningClock = performance.now;
    stepMs = clockStep();
    return stepMs <= MOST_STEP_MS;
  }
  stillAt = start;
  return false;
}

/** Is a single call worth timing? A step is short beside a product of a large matrix. */
export const isClockFine = (): boolean => clockRuns() && stepMs <= COARSE_MS;

/** Milliseconds of a sample: long beside the steps of this engine's clock. */
const sampleLength = (): number => Math.min(SAMPLE_MS.most, Math.max(SAMPLE_MS.least, CLOCK_STEPS * stepMs));

/** The least of three: in a busy moment, this thread sees none for long. */
function clockStep(): number {
  let least = Number.POSITIVE_INFINITY;
  let last = nextStep();
  for (let i = 0; i < 3; i++) {
    const now = nextStep();
    least = Math.min(least, now - last);
    last = now;
  }
  return least;
}

/** The time when it changes. */
function nextStep(): number {
  const start = performance.now();
  let now = start;
  while (now === start) now = performance.now();
  return now;
}
