/** The next token from logits: the largest, or drawn from a seed, so that the same command writes the same text. */
import { random as seededRandom } from '@msd/core/numerics';

export interface Sampling {
  /** 0 = always the most probable token. */
  readonly temperature: number;
  /** Only the so many most probable ones; 0 = all. */
  readonly topK: number;
  /** Only as many as have this much probability together. */
  readonly topP: number;
  readonly seed: number;
}

/** Chooses tokens; each one draws from the seed once. */
export type Sampler = (logits: Float32Array) => number;

export function sampler({ temperature, topK, topP, seed }: Sampling): Sampler {
  if (temperature === 0) return largest;
  const random = seededRandom(seed);
  return (logits) => {
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
    const kept = topK > 0 ? order.slice(0, topK) : order;
    const most = logits[kept[0]!]!;
    const weights = kept.map((id) => Math.exp((logits[id]! - most) / temperature));
    const limit = topP * weights.reduce((a, b) => a + b, 0);
    let count = 0;
    for (let sum = 0; count < kept.length && sum < limit; count++) sum += weights[count]!;
    let left = random() * weights.slice(0, count).reduce((a, b) => a + b, 0);
    for (let i = 0; i < count; i++) if ((left -= weights[i]!) < 0) return kept[i]!;
    return kept[count - 1]!;
  };
}

/** The index of the largest logit, the first one of equals. */
export function largest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}
