/** Seeded randomness: stories, weights, batches, samples repeat exactly. */

/** A source of numbers in [0, 1). */
export type Random = () => number;

/** mulberry32: 32 bits of state, enough for corpora and initial weights. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** One standard normal number (Box-Muller; the second one is thrown away to keep the state simple). */
export function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
}
