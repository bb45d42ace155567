/** Texts as tokens, with the model's own tokenizer. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { messageOf, UserError } from '../shared/errors.ts';

/** Tokens that a run is given at once. */
const MOST_TOKENS = 256;

/** @throws {@link UserError} where there is none */
export function tokenizerOf(root: string): Tokenizer {
  const path = join(root, 'tokenizer.json');
  if (!existsSync(path))
    throw new UserError(
      `${root} has no tokenizer.json, which turns text into the model's tokens. Put it beside the model, or pass inputs as .npz.`,
    );
  try {
    const config = join(root, 'tokenizer_config.json');
    return new Tokenizer(json(path), existsSync(config) ? json(config) : {});
  } catch (cause) {
    throw new UserError(`${path}: ${messageOf(cause)}`, { cause });
  }
}

const json = (path: string): object => JSON.parse(readFileSync(path, 'utf8')) as object;

/** A text in pieces that a model can read at once; empty lines separate what does not belong together. */
export function tokensOf(tokenizer: Tokenizer, text: string): number[][] {
  const pieces: number[][] = [];
  for (const part of text.split(/\n\s*\n/)) {
    if (part.trim() === '') continue;
    const { ids } = tokenizer.encode(part);
    for (let at = 0; at < ids.length; at += MOST_TOKENS) pieces.push(ids.slice(at, at + MOST_TOKENS));
  }
  return pieces;
}
