/** Greedy decoding on a session, timed token by token; and the same with given tokens, for comparing logits. */
import type { DecoderSession } from '../../../packages/cli/src/run/decoder.ts';
import { argMax } from './forward.ts';

export interface GreedyRun {
  readonly ids: readonly number[];
  /** From the prompt to the first token. */
  readonly firstTokenMs: number;
  /** The tokens after the first, all together. */
  readonly decodeMs: number;
}

/** Called after each token with the time that all tokens after the first took so far; `true` ends the text. */
export type OnToken = (id: number, count: number, decodeMs: number) => boolean;

/**
 * Writes up to `count` tokens after the prompt. Only the model's work is timed, not `onToken`.
 *
 * @param prompt at least one token
 */
export async function greedyRun(
  decoder: DecoderSession,
  prompt: readonly number[],
  count: number,
  onToken: OnToken = () => false,
): Promise<GreedyRun> {
  decoder.reset();
  const ids: number[] = [];
  let input = prompt;
  let firstTokenMs = 0;
  let decodeMs = 0;
  while (ids.length < count) {
    const start = performance.now();
    const id = argMax(await decoder.read(input));
    const elapsedMs = performance.now() - start;
    if (ids.length === 0) firstTokenMs = elapsedMs;
    else decodeMs += elapsedMs;
    ids.push(id);
    input = [id];
    if (onToken(id, ids.length, decodeMs)) break;
  }
  return { ids, firstTokenMs, decodeMs };
}

/** Tokens per second of the tokens after the first. */
export function tokensPerSecond(count: number, decodeMs: number): number {
  return count > 1 ? (1000 * (count - 1)) / decodeMs : 0;
}

/** @returns the logits [vocab] from which each of `ids` would be chosen, when the text is `ids` whatever they say. */
export async function forcedLogits(
  decoder: DecoderSession,
  prompt: readonly number[],
  ids: readonly number[],
): Promise<Float32Array[]> {
  decoder.reset();
  const logits: Float32Array[] = [];
  for (let i = 0; i < ids.length; i++) {
    logits.push((await decoder.read(i === 0 ? prompt : [ids[i - 1] as number])).slice());
  }
  return logits;
}
