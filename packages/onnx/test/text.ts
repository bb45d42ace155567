/** Text of a decoder through the public API: `present` fed back as `past`, as Transformers.js does it. */
import { floats, ort } from './ort.ts';

/** How a text goes on: a token, or which one of the logits it is to be. */
export type Choose = (logits: Float32Array, index: number) => number;

export interface Step {
  readonly token: number;
  /** That it was chosen from. */
  readonly logits: Float32Array;
}

export function argMax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** The cache before the first token. Sizes come from the session, as for a caller who knows only that. */
function emptyCache(session: ort.InferenceSession): Record<string, ort.Tensor> {
  const cache: Record<string, ort.Tensor> = {};
  for (const input of session.inputMetadata) {
    if (!input.name.startsWith('past_key_values') || !input.isTensor) continue;
    const [, heads, , width] = input.shape as readonly (number | string)[];
    cache[input.name] = new ort.Tensor('float32', new Float32Array(0), [1, Number(heads), 0, Number(width)]);
  }
  return cache;
}

/** Writes `count` tokens after a prompt. */
export async function write(
  session: ort.InferenceSession,
  prompt: readonly number[],
  count: number,
  choose: Choose = argMax,
): Promise<Step[]> {
  let cache = emptyCache(session);
  let ids = prompt;
  let length = 0;
  const steps: Step[] = [];
  while (steps.length < count) {
    length += ids.length;
    const results = await session.run({
      input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      attention_mask: new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
      ...cache,
    });
    cache = Object.fromEntries(
      Object.keys(cache).map((name) => [name, results[name.replace('past_key_values', 'present')]!]),
    );
    const { logits } = results;
    const last = floats(logits).slice(-logits!.dims.at(-1)!);
    const token = choose(last, steps.length);
    steps.push({ token, logits: last });
    ids = [token];
  }
  return steps;
}

/** How far apart the two best logits are. */
export function marginOf(logits: Float32Array): number {
  const best = argMax(logits);
  let second = Number.NEGATIVE_INFINITY;
  for (const [i, value] of logits.entries()) if (i !== best) second = Math.max(second, value);
  return logits[best]! - second;
}

/** Kullback-Leibler divergence of what two sets of logits say of the next token. */
export function divergence(expected: Float32Array, got: Float32Array): number {
  const [p, q] = [expected, got].map((logits) => {
    const most = logits.reduce((max, value) => Math.max(max, value));
    const sum = logits.reduce((total, value) => total + Math.exp(value - most), 0);
    return (i: number) => logits[i]! - most - Math.log(sum);
  }) as [(i: number) => number, (i: number) => number];
  return expected.reduce((total, _, i) => total + Math.exp(p(i)) * (p(i) - q(i)), 0);
}
