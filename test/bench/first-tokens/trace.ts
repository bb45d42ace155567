/**
 * A session from its making on: how long it took to make, to read a prompt, and every token after that. Runs in Node and in a
 * page.
 */
import type * as Ort from 'onnxruntime-web';
import { Reader, randomCache, tokens } from '../decoder/reader.ts';
import type { DecoderShape } from '../models/decoder.ts';

export interface TraceRequest {
  readonly shape: DecoderShape;
  readonly provider: 'msd' | 'wasm';
  /** Tokens of the prompt, and how many follow it one by one. */
  readonly prompt: number;
  readonly tokens: number;
  /** MB/s at which pages download the model, as a part of making the session; absent: its bytes are in memory. */
  readonly rate?: number | undefined;
}

/** Milliseconds. */
export interface Trace {
  readonly create: number;
  readonly prompt: number;
  readonly tokens: readonly number[];
  /** The same prompt once more, after all that. */
  readonly promptAgain: number;
  /** The first and the last one after the last token: equal wherever MSD runs. */
  readonly logits: readonly number[];
}

/** @param model its bytes, or where they are downloaded from @param now milliseconds since some moment */
export async function trace(
  ort: typeof Ort,
  model: Uint8Array | string,
  { shape, provider, prompt, tokens: count }: TraceRequest,
  now: () => number,
): Promise<Trace> {
  const timed = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
    const start = now();
    const result = await work();
    return [result, now() - start];
  };
  const options = { executionProviders: [provider], logSeverityLevel: 3 } as const;
  const [session, create] = await timed(() =>
    // Two overloads.
    typeof model === 'string'
      ? ort.InferenceSession.create(model, options)
      : ort.InferenceSession.create(model, options),
  );
  const read = async (): Promise<[Reader, number]> => {
    const reader = Reader.from({ ort }, session, shape, randomCache(shape, 0));
    const [, ms] = await timed(() => reader.read(tokens(prompt, shape.vocabSize)));
    return [reader, ms];
  };
  const [reader, firstPrompt] = await read();
  const times: number[] = [];
  let last = new Float32Array(0);
  for (const id of tokens(count, shape.vocabSize)) {
    const [logits, ms] = await timed(() => reader.read([id]));
    times.push(ms);
    last = logits as Float32Array<ArrayBuffer>;
  }
  reader.dispose();
  const [again, promptAgain] = await read();
  again.dispose();
  await session.release();
  return { create, prompt: firstPrompt, tokens: times, promptAgain, logits: [last.at(0)!, last.at(-1)!] };
}
