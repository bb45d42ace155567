import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Lifetime, planMemory } from './memory-plan.ts';

const lifetimes = fc.array(
  fc
    .record({ byteLength: fc.nat(5000), from: fc.nat(30), steps: fc.nat(6) })
    .map(({ byteLength, from, steps }): Lifetime => ({ byteLength, from, to: from + steps })),
  { maxLength: 60 },
);

describe('planMemory', () => {
  it('keeps apart what lives at the same time', () => {
    fc.assert(
      fc.property(lifetimes, (values) => {
        const { offsets, byteLength } = planMemory(values);
        values.forEach((a, i) => {
          expect(offsets[i] % 64).toBe(0);
          expect(offsets[i] + a.byteLength).toBeLessThanOrEqual(byteLength);
          values.forEach((b, j) => {
            if (i === j || a.to < b.from || b.to < a.from) return;
            const apart = offsets[i] + a.byteLength <= offsets[j] || offsets[j] + b.byteLength <= offsets[i];
            expect(apart || a.byteLength === 0 || b.byteLength === 0).toBe(true);
          });
        });
      }),
    );
  });

  it('lets a chain of equal values take the place of two', () => {
    const chain = Array.from({ length: 20 }, (_, i) => ({ byteLength: 640, from: i, to: i + 1 }));
    expect(planMemory(chain).byteLength).toBe(2 * 640);
  });
});
