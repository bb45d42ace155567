/** Tokens to text as they come. */
import type { Tokenizer } from '@huggingface/tokenizers';

/** U+FFFD: the token ends in the middle of a character. */
const INCOMPLETE = '�';

/** The text of a growing token sequence, piece by piece. */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  readonly #ids: number[];
  #written: string;

  /** @param prompt its tokens; their text counts as written. */
  constructor(tokenizer: Tokenizer, prompt: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.#ids = [...prompt];
    this.#written = this.#decode();
  }

  /** @returns what the token adds; empty while a character is incomplete. */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#decode();
    if (text.endsWith(INCOMPLETE)) return '';
    const added = text.slice(this.#written.length);
    this.#written = text;
    return added;
  }

  #decode(): string {
    return this.#tokenizer.decode(this.#ids, { skip_special_tokens: true });
  }
}
