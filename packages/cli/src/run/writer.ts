/** Writes texts with a model: tokens in, a stream of text out, timed. */

import type { DecoderSession, EncoderState } from './decoder.ts';
import type { ModelText } from './model-text.ts';
import type { Sampler } from './sampler.ts';
import { TextStream } from './text-stream.ts';

/** What is written. */
export interface Writing {
  readonly prompt: readonly number[];
  /** New tokens at most. */
  readonly tokens: number;
  readonly sample: Sampler;
  readonly encoder?: EncoderState | undefined;
  /** Called between two tokens: throws to stop. */
  readonly check: () => void;
  /** The next piece of text, with what was written so far. */
  readonly onText: (piece: string, soFar: Written) => void;
}

/** What was. */
export interface Written {
  readonly text: string;
  readonly ids: readonly number[];
  /** From the prompt to the first token. */
  readonly firstTokenMs: number;
  /** Of the tokens after the first; 0 if there are none. */
  readonly tokensPerSecond: number;
  /** Why it ended: the model said so, `tokens` were written, or no room is left. */
  readonly ended: 'end' | 'tokens' | 'context';
}

/** Only the model's work is timed. */
export async function write(decoder: DecoderSession, model: ModelText, writing: Writing): Promise<Written> {
  const { prompt, tokens, sample, encoder, check, onText } = writing;
  decoder.reset(encoder);
  const stream = new TextStream(model.tokenizer, prompt);
  const ids: number[] = [];
  let [text, firstTokenMs, decodeMs] = ['', 0, 0];
  const soFar = (ended: Written['ended']): Written => ({
    text,
    ids,
    firstTokenMs,
    tokensPerSecond: decodeMs > 0 ? (1000 * (ids.length - 1)) / decodeMs : 0,
    ended,
  });
  for (let input = prompt; ; ) {
    if (decoder.position + input.length > model.context) return soFar('context');
    const start = performance.now();
    const id = sample(await decoder.read(input));
    const elapsedMs = performance.now() - start;
    // Others have a turn: Ctrl-C comes in one.
    await new Promise((resolve) => setImmediate(resolve));
    check();
    if (ids.length === 0) firstTokenMs = elapsedMs;
    else decodeMs += elapsedMs;
    ids.push(id);
    if (model.endIds.includes(id)) return soFar('end');
    const piece = stream.push(id);
    text += piece;
    onText(piece, soFar('tokens'));
    if (ids.length >= tokens) return soFar('tokens');
    input = [id];
  }
}
