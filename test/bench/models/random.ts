/** Numbers that are the same on every run and engine. */

import { random as generator } from '../../../packages/core/test/seeded.ts';

export { generator };

/** Normally distributed (Box-Muller). */
export function gaussian(length: number, seed: number, scale = 1): Float32Array {
  const random = generator(seed);
  const out = new Float32Array(length);
  for (let i = 0; i < length; i += 2) {
    const radius = scale * Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < length) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}
