/** Greedy and sampled text on the reference decoder. */

import { argMax, type Decoder } from './forward.ts';
import type { Random } from './random.ts';
import { END_ID } from './words.ts';

/** Reads a prompt from position 0. @returns the logits after its last token. */
function prefill(decoder: Decoder, prompt: readonly number[]): Float32Array {
  if (prompt.length === 0) throw new RangeError('generate: the prompt must have at least one token. Start with <s>.');
  decoder.reset();
  let logits = new Float32Array(0);
  for (const id of prompt) logits = decoder.step(id) as Float32Array<ArrayBuffer>;
  return logits;
}

export interface GreedyText {
  readonly ids: readonly number[];
  /** Best minus second-best logit at each new token: how far rounding may move the logits. */
  readonly margins: readonly number[];
}

/** `count` tokens after the prompt; `</s>` does not stop it, the next story follows. */
export function greedy(decoder: Decoder, prompt: readonly number[], count: number): GreedyText {
  const ids: number[] = [];
  const margins: number[] = [];
  let logits = prefill(decoder, prompt);
  for (;;) {
    const id = argMax(logits);
    const best = logits[id] as number;
    const second = logits.reduce((largest, value, i) => (i === id ? largest : Math.max(largest, value)), -Infinity);
    ids.push(id);
    margins.push(best - second);
    if (ids.length === count) return { ids, margins };
    logits = decoder.step(id);
  }
}

/** Draws from softmax(logits / temperature). */
function sample(logits: Float32Array, temperature: number, random: Random): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (value) => Math.exp((value - largest) / temperature));
  let left = random() * weights.reduce((a, b) => a + b, 0);
  return Math.max(
    0,
    weights.findIndex((weight) => (left -= weight) < 0),
  );
}

/** Draws tokens until `</s>` (not included) or the end of the context. @returns the new ids, without the prompt. */
export function sampleStory(
  decoder: Decoder,
  prompt: readonly number[],
  context: number,
  temperature: number,
  random: Random,
): { ids: number[]; ended: boolean } {
  const ids: number[] = [];
  let logits = prefill(decoder, prompt);
  for (;;) {
    const id = sample(logits, temperature, random);
    if (id === END_ID) return { ids, ended: true };
    ids.push(id);
    if (decoder.position === context) return { ids, ended: false };
    logits = decoder.step(id);
  }
}

/** Sum of −ln p over all tokens after the first, in nats. */
export function negativeLogLikelihood(decoder: Decoder, ids: readonly number[]): number {
  decoder.reset();
  let sum = 0;
  for (let i = 0; i + 1 < ids.length; i++) {
    const logits = decoder.step(ids[i] as number);
    const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = logits.reduce((acc, value) => acc + Math.exp(value - largest), 0);
    sum += Math.log(total) + largest - (logits[ids[i + 1] as number] as number);
  }
  return sum;
}
