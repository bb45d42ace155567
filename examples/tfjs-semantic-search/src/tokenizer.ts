/** SentencePiece unigram tokenizer of the Universal Sentence Encoder: the pieces whose scores add up to most. */

/** [piece, log score] by id; ids 0 … 5 are reserved, 0 = unknown. */
export type Vocabulary = readonly (readonly [piece: string, score: number])[];

const FIRST_ID = 6;
const SPACE = '\u2581';

export class Tokenizer {
  readonly #ids = new Map<string, number>();
  readonly #scores: readonly number[];
  readonly #longest: number;

  constructor(vocabulary: Vocabulary) {
    let longest = 1;
    vocabulary.forEach(([piece], id) => {
      if (id < FIRST_ID) return;
      this.#ids.set(piece, id);
      longest = Math.max(longest, [...piece].length);
    });
    this.#scores = vocabulary.map(([, score]) => score);
    this.#longest = longest;
  }

  /** @returns ids; runs of unknown characters are one 0 */
  encode(text: string): number[] {
    const points = [...(SPACE + text.normalize('NFKC').trim().replaceAll(/\s+/g, SPACE))];
    // best[end]: the largest sum of scores of pieces that end there, and the last of them.
    const best: { score: number; id: number; start: number }[] = [{ score: 0, id: 0, start: 0 }];
    for (let end = 1; end <= points.length; end++) {
      let found = { score: best[end - 1]!.score, id: 0, start: end - 1 }; // unknown: score 0
      let isKnown = false;
      for (let start = Math.max(0, end - this.#longest); start < end; start++) {
        const id = this.#ids.get(points.slice(start, end).join(''));
        if (id === undefined) continue;
        const score = best[start]!.score + this.#scores[id]!;
        if (!isKnown || score > found.score) found = { score, id, start };
        isKnown = true;
      }
      best.push(found);
    }
    const ids: number[] = [];
    for (let end = points.length; end > 0; end = best[end]!.start) {
      const { id } = best[end]!;
      if (id !== 0 || ids.at(-1) !== 0) ids.push(id);
    }
    return ids.reverse();
  }
}
