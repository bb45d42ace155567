/** A decoder writes on, token by token, the most likely one each. */
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { type Feeds, runtime } from '../feeds/engines.ts';
import { feedsOf } from '../feeds/feeds.ts';
import { presentOf } from '../models/player.ts';
import { isPast } from '../models/sizes.ts';
import { choicesOf } from './tokens.ts';

export interface Written {
  readonly tokens: readonly number[];
  /** How far each token's rival was behind. */
  readonly margins: readonly number[];
}

/** Can it be asked for one token after another? */
export const isDecoder = (session: InferenceSession): boolean =>
  session.inputNames.includes('input_ids') && session.outputNames.includes('logits');

export interface GenerateOptions {
  /** Tokens to write. */
  readonly count: number;
  /** The whole text is read again for each token. */
  readonly forgets: boolean;
  readonly onToken: () => void;
}

/** @param ids of the prompt */
export async function generate(
  session: InferenceSession,
  ids: readonly number[],
  { count, forgets, onToken }: GenerateOptions,
): Promise<Written> {
  const { Tensor } = await runtime();
  const pasts = forgets ? [] : session.inputNames.filter(isPast);
  const caches = pasts.flatMap((past) => {
    const present = presentOf(past, session.outputNames);
    return present === undefined ? [] : [[past, present] as const];
  });
  const int64 = (values: readonly number[]): Tensor =>
    new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const [tokens, margins]: [number[], number[]] = [[], []];
  let feeds: Feeds = await feedsOf(session, { ids });
  let [next, length] = [[...ids], ids.length];
  while (tokens.length < count) {
    const results = await session.run(feeds);
    const choices = await choicesOf(results);
    if (!choices) break;
    const token = choices.best.at(-1)!;
    tokens.push(token);
    margins.push(choices.margins.at(-1)!);
    onToken();
    const hasCache = caches.length > 0;
    next = hasCache ? [token] : [...next, token];
    length++;
    const made = await feedsOf(session, { ids: next });
    feeds = Object.fromEntries(
      session.inputNames.map((name) => {
        const cache = caches.find(([past]) => past === name);
        if (cache) return [name, results[cache[1]]!];
        if (name === 'attention_mask') return [name, int64(new Array<number>(length).fill(1))];
        if (name === 'position_ids' && hasCache) return [name, int64([length - 1])];
        if (name === 'use_cache_branch' && hasCache) return [name, new Tensor('bool', Uint8Array.of(1), [1])];
        return [name, made[name]!];
      }),
    );
  }
  return { tokens, margins };
}
