/** What the user wants a model to be run on: a text, arrays, or nothing in particular. */
import { readFileSync } from 'node:fs';
import { random as seededRandom } from '@msd/core/numerics';
import type { InferenceSession } from 'onnxruntime-web';
import { messageOf, UserError } from '../shared/errors.ts';
import type { Feeds } from './engines.ts';
import { feedsOf, readsText } from './feeds.ts';
import { readNpz } from './npz.ts';
import { tokenizerOf, tokensOf } from './texts.ts';

export interface Given {
  readonly prompt?: string | undefined;
  /** Path of an `.npz`. */
  readonly inputs?: string | undefined;
}

/** Ids and what they are as text, where there is a text. */
export interface GivenFeeds {
  readonly feeds: Feeds;
  readonly ids: readonly number[] | undefined;
}

const MADE_UP_TOKENS = 16;
/** Vocabularies have at least so many words. */
const SAFE_WORDS = 64;

/** @param root the folder with tokenizer.json */
export async function givenFeeds(
  session: InferenceSession,
  { prompt, inputs }: Given,
  root: string,
): Promise<GivenFeeds> {
  if (inputs !== undefined) {
    let bytes: Buffer;
    try {
      bytes = readFileSync(inputs);
    } catch (cause) {
      throw new UserError(`--inputs: ${inputs} cannot be read: ${messageOf(cause)}`, { cause });
    }
    const arrays = readNpz(bytes, inputs);
    const unknown = [...arrays.keys()].filter((name) => !session.inputNames.includes(name));
    if (unknown.length > 0)
      throw new UserError(
        `--inputs: ${inputs} has ${unknown.join(', ')}, the model's inputs are ${session.inputNames.join(', ')}.`,
      );
    return { feeds: await feedsOf(session, { ids: [1], arrays }), ids: undefined };
  }
  if (prompt !== undefined) {
    if (!readsText(session))
      throw new UserError(
        `--prompt: the model reads no text, its inputs are ${session.inputNames.join(', ')}. Pass them with --inputs FILE.npz.`,
      );
    const [ids = []] = tokensOf(tokenizerOf(root), prompt);
    if (ids.length === 0) throw new UserError('--prompt: it has no words.');
    return { feeds: await feedsOf(session, { ids }), ids };
  }
  const random = seededRandom(7);
  const ids = Array.from({ length: MADE_UP_TOKENS }, () => Math.floor(random() * SAFE_WORDS));
  return { feeds: await feedsOf(session, { ids }), ids: readsText(session) ? ids : undefined };
}
