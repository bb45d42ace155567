/**
 * Texts that a decoder writes itself, drawn as its probabilities are: what it is like on texts that it may write, where the user gives
 * none. All at once, so that a step costs little more than one of one text.
 */
import { random as seededRandom } from '@msd/core/numerics';
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { type Feeds, numbersOf, runtime } from '../feeds/engines.ts';
import { feedsOf } from '../feeds/feeds.ts';
import { presentOf } from '../models/player.ts';
import { isFixed, isPast } from '../models/sizes.ts';

/** Inputs of a decoder that can be told what it wrote; one with others wants to know more than that. */
const KNOWN = /^(input_ids|attention_mask|position_ids|num_logits_to_keep|past.*)$/;

export interface SelfWrittenOptions {
  readonly texts: number;
  readonly tokens: number;
  /** What texts begin with; absent: some word each. */
  readonly begin: number | undefined;
  /** Words to begin with. */
  readonly words: number;
  readonly onStep: (done: number, total: number) => void;
}

/** @returns ids of each text; `undefined` for models that do not write word by word */
export async function selfWritten(
  session: InferenceSession,
  { texts, tokens, begin, words, onStep }: SelfWrittenOptions,
): Promise<number[][] | undefined> {
  const { inputNames, outputNames, inputMetadata } = session;
  const pasts = inputNames.filter(isPast);
  const caches = pasts.flatMap((past) => {
    const present = presentOf(past, outputNames);
    return present === undefined ? [] : [[past, present] as const];
  });
  const ids = inputMetadata.find(({ name }) => name === 'input_ids');
  const isAny = ids?.isTensor === true && ids.shape.length > 0 && !isFixed(ids.shape[0]!);
  const isAlone = inputNames.every((name) => KNOWN.test(name)) && outputNames.includes('logits');
  if (!isAny || !isAlone || caches.length === 0 || caches.length < pasts.length) return undefined;
  const { Tensor } = await runtime();
  const int64 = (values: readonly number[], dims: number[]): Tensor =>
    new Tensor('int64', BigInt64Array.from(values, BigInt), dims);
  const random = seededRandom(1);
  const written = Array.from({ length: texts }, () => [begin ?? Math.floor(random() * words)]);
  const fetches = ['logits', ...caches.map(([, present]) => present)];
  let feeds: Feeds = await feedsOf(session, { ids: written.flat(), texts });
  for (let length = 1; length < tokens; length++) {
    onStep(length - 1, tokens - 1);
    const results = await session.run(feeds, fetches);
    const next = await drawn(results.logits!, texts, random);
    for (const [i, id] of next.entries()) written[i]!.push(id);
    const fed: Record<string, Tensor> = { ...feeds, input_ids: int64(next, [texts, 1]) };
    if (fed.attention_mask)
      fed.attention_mask = int64(new Array<number>(texts * (length + 1)).fill(1), [texts, length + 1]);
    if (fed.position_ids) fed.position_ids = int64(new Array<number>(texts).fill(length), [texts, 1]);
    for (const [past, present] of caches) fed[past] = results[present]!;
    feeds = fed;
  }
  return written;
}

/** A token for each text: as probable as the model says. */
async function drawn(logits: Tensor, texts: number, random: () => number): Promise<number[]> {
  const all = await numbersOf(logits);
  const words = logits.dims.at(-1)!;
  const rows = all.length / words / texts;
  return Array.from({ length: texts }, (_, i) => {
    const from = ((i + 1) * rows - 1) * words;
    const own = all.subarray(from, from + words);
    const most = own.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    let left = random() * own.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    const at = own.findIndex((logit) => (left -= Math.exp(logit - most)) < 0);
    return at < 0 ? own.indexOf(most) : at;
  });
}
