/** Words and punctuation marks are the tokens of this model. */

/** The same rule as the pre-tokenizer in model/tokenizer.json: a run of letters, or one other visible character. */
export const WORD_PATTERN = '[A-Za-z]+|[^\\sA-Za-z]';

export function splitWords(text: string): string[] {
  return text.match(new RegExp(WORD_PATTERN, 'g')) ?? [];
}

export const UNKNOWN_ID = 0;
export const START_ID = 1;
export const END_ID = 2;
const SPECIAL_WORDS = ['<unk>', '<s>', '</s>', '<pad>'];

/** Words and their ids; ids 0 to 3 are the special words. */
export class Vocabulary {
  readonly words: readonly string[];
  readonly #ids: ReadonlyMap<string, number>;

  /** @param words every word, special ones included, in id order. */
  constructor(words: readonly string[]) {
    this.words = words;
    this.#ids = new Map(words.map((word, id) => [word, id]));
  }

  /** The words of `texts`, the most frequent first, ties in alphabetical order. */
  static of(texts: readonly string[]): Vocabulary {
    const counts = new Map<string, number>();
    for (const text of texts) for (const word of splitWords(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
    const byCount = [...counts].sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1));
    return new Vocabulary([...SPECIAL_WORDS, ...byCount.map(([word]) => word)]);
  }

  get size(): number {
    return this.words.length;
  }

  encode(text: string): number[] {
    return splitWords(text).map((word) => this.#ids.get(word) ?? UNKNOWN_ID);
  }

  /** Text with ordinary spacing; special words are left out. */
  decode(ids: readonly number[]): string {
    return ids
      .filter((id) => id >= SPECIAL_WORDS.length)
      .map((id) => this.words[id] ?? '')
      .join(' ')
      .replace(/ ([.,!?”])/g, '$1')
      .replace(/“ /g, '“');
  }
}
