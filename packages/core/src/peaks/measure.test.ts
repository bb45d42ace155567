import { expect, it } from 'vitest';
import { measurePeaks } from './index.ts';

it('measures rates that a machine can have', () => {
  const { dotGmacs, relaxedDotGmacs = dotGmacs, readGigabytes } = measurePeaks(20);
  // A bit of a 1990s machine, and more than any core has.
  for (const rate of [dotGmacs, relaxedDotGmacs, readGigabytes]) {
    expect(rate).toBeGreaterThan(0.1);
    expect(rate).toBeLessThan(2000);
  }
});

it('reads as many bytes as are asked for: few come from a cache', () => {
  for (const bytes of [0, 2 ** 20, 2 ** 40]) expect(measurePeaks(5, bytes).readGigabytes).toBeGreaterThan(0.1);
});
