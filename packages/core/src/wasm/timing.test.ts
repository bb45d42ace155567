import { afterEach, expect, it } from 'vitest';
import { firstDifference, gaussians, random, randomWeights } from '../../test/random.ts';
import { createBackend, msdMatmul } from '../index.ts';
import { relaxedDot } from './features.ts';
import { bestTime, settledTime, warmUp } from './timing.ts';

const { now } = performance;
const real = () => now.call(performance);
const replace = (clock: () => number): void => void Object.assign(performance, { now: clock });

afterEach(() => replace(real));

const CLOCKS: readonly (readonly [string, () => () => number])[] = [
  ['stands still', () => () => 5],
  [
    'goes back',
    () =>
      (
        (time) => () =>
          time--
      )(1e6),
  ],
  ['shows no number', () => () => Number.NaN],
];

it.each(CLOCKS)('a clock that %s is not waited for', async (_, clock) => {
  replace(clock());
  let calls = 0;
  const run = (): void => void calls++;
  expect(bestTime([run, run])).toEqual([0, 0]);
  expect(settledTime([run])).toEqual([0]);
  warmUp(() => run)();
  expect(calls).toBe(0);
  expect(relaxedDot()?.gain ?? 0).toBeGreaterThanOrEqual(0);

  // Kernels that were not compiled before, and choices that were not made.
  const backend = await createBackend('wasm', { threads: 1 });
  const next = random(1);
  const weights = randomWeights(next, { format: 'int8', N: 33, K: 96, blockSize: 32, asymmetric: true });
  const prepared = backend.prepare(weights);
  for (const M of [1, 3, 9]) {
    const x = gaussians(next, M * 96);
    const want = msdMatmul(x, weights, { M, arithmetic: 'float32' });
    const before = backend.kernelFor(prepared, M);
    expect(firstDifference(backend.matmul(x, prepared), want)).toBe(-1);
    expect(backend.autotune(prepared, M).every(({ milliseconds }) => milliseconds === 0)).toBe(true);
    expect(backend.kernelFor(prepared, M)).toBe(before);
  }
  backend.dispose();
});

/** A clock that moves on when it is looked at, and when something runs. */
function madeClock(step: number): { run(ms: number): () => void; readonly runs: number } {
  let [time, runs] = [1000, 0];
  replace(() => Math.floor((time += 0.0001) / step) * step);
  const run = (ms: number) => () => {
    time += ms;
    runs++;
  };
  return {
    run,
    get runs() {
      return runs;
    },
  };
}

it('a clock of coarse steps tells functions apart', () => {
  const { run } = madeClock(1);
  const [slow, fast] = settledTime([run(0.013), run(0.01)]);
  expect(slow / fast).toBeGreaterThan(1.27);
  expect(slow / fast).toBeLessThan(1.33);
  expect(fast).toBeGreaterThan(0.0097);
  expect(fast).toBeLessThan(0.0105);
  const [once] = bestTime([run(3)]); // longer than a step
  expect(once).toBeGreaterThan(2.5);
  expect(once).toBeLessThan(3.5);
});

it('a clock that is another function each time it is asked for is one all the same', () => {
  const clock = Object.getOwnPropertyDescriptor(performance, 'now');
  Object.defineProperty(performance, 'now', { configurable: true, get: () => () => real() });
  try {
    const times = bestTime([() => Math.hypot(1, 2)], 1);
    expect(times[0]).toBeGreaterThan(0);
  } finally {
    if (clock) Object.defineProperty(performance, 'now', clock);
  }
});

it('a clock of steps that last longer than what is measured is not waited for', () => {
  const clock = madeClock(16);
  expect(settledTime([clock.run(0.01), clock.run(0.01)])).toEqual([0, 0]);
  warmUp(() => clock.run(0.01))();
  expect(clock.runs).toBe(0);
});

it('a busy moment does not pass for a long sample, however coarse the clock is', () => {
  // Steps of 0.1 ms; a call takes 0.01 ms, the first one is interrupted for 10 ms.
  let time = 1000;
  let calls = 0;
  replace(() => Math.floor((time += 0.0001) * 10) / 10);
  const run = (): void => void (time += calls++ === 0 ? 10 : 0.01);
  const [best] = bestTime([run]);
  // A sample of two steps is up to one step off.
  expect(best).toBeGreaterThan(0.004);
  expect(best).toBeLessThan(0.016);
});
