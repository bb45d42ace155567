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

it('a clock of coarse steps is waited for', () => {
  replace(() => Math.floor(real() / 16) * 16);
  let calls = 0;
  const run = (): void => void calls++;
  bestTime([run], 1);
  expect(calls).toBeGreaterThan(0);
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
