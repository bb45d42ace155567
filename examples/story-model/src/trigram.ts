/**
 * The opponent: an interpolated trigram model.
 *
 *   p(c | a b) = λ₃ p₃(c | a b) + λ₂ p₂(c | b) + λ₁ p₁(c) + λ₀ / vocab
 *
 * The λ depend on how often the context (a b) was seen, in buckets of powers of two, and are fitted by expectation
 * maximisation on stories that are neither in the training nor in the test set (Jelinek-Mercer smoothing).
 */

const ORDERS = 4;
const EM_ROUNDS = 20;

/** The four estimates of one token, from uniform to trigram, and the bucket of its context. */
interface Estimates {
  readonly probabilities: readonly number[];
  readonly bucket: number;
}

function increment(counts: Map<number, number>, key: number): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

export class TrigramModel {
  readonly #vocabSize: number;
  readonly #unigrams = new Map<number, number>();
  readonly #bigrams = new Map<number, number>();
  readonly #trigrams = new Map<number, number>();
  /** How often a token or a pair stood before another token. */
  readonly #contexts1 = new Map<number, number>();
  readonly #contexts2 = new Map<number, number>();
  #tokens = 0;
  readonly #lambdas: number[][] = [];

  /** @param stories token ids, each from `<s>` to `</s>`; the first token is context only. */
  constructor(vocabSize: number, stories: Iterable<readonly number[]>) {
    this.#vocabSize = vocabSize;
    for (const story of stories) {
      for (let i = 1; i < story.length; i++) {
        const [a, b, c] = this.#window(story, i);
        this.#tokens++;
        increment(this.#unigrams, c);
        increment(this.#contexts1, b);
        increment(this.#bigrams, b * vocabSize + c);
        increment(this.#contexts2, a * vocabSize + b);
        increment(this.#trigrams, (a * vocabSize + b) * vocabSize + c);
      }
    }
  }

  /** Fits the interpolation weights. */
  tune(stories: readonly (readonly number[])[]): void {
    const all = stories.flatMap((story) => story.slice(1).map((_, i) => this.#estimate(story, i + 1)));
    for (let round = 0; round < EM_ROUNDS; round++) {
      const shares: number[][] = [];
      for (const { probabilities, bucket } of all) {
        const lambdas = this.#weights(bucket);
        const total = probabilities.reduce((sum, p, order) => sum + p * (lambdas[order] as number), 0);
        const share = (shares[bucket] ??= new Array<number>(ORDERS).fill(0));
        probabilities.forEach((p, order) => {
          share[order] = (share[order] as number) + (p * (lambdas[order] as number)) / total;
        });
      }
      shares.forEach((share, bucket) => {
        const total = share.reduce((sum, value) => sum + value, 0);
        this.#lambdas[bucket] = share.map((value) => value / total);
      });
    }
  }

  /** Sum of −ln p over all tokens after the first, in nats. */
  negativeLogLikelihood(story: readonly number[]): number {
    let sum = 0;
    for (let i = 1; i < story.length; i++) {
      const { probabilities, bucket } = this.#estimate(story, i);
      const lambdas = this.#weights(bucket);
      sum -= Math.log(probabilities.reduce((total, p, order) => total + p * (lambdas[order] as number), 0));
    }
    return sum;
  }

  #weights(bucket: number): readonly number[] {
    return this.#lambdas[bucket] ?? [0.01, 0.09, 0.3, 0.6];
  }

  /** The two tokens before position i (the first token stands in for what is before the story) and the one at i. */
  #window(story: readonly number[], i: number): [number, number, number] {
    return [story[Math.max(0, i - 2)] as number, story[i - 1] as number, story[i] as number];
  }

  #estimate(story: readonly number[], i: number): Estimates {
    const [a, b, c] = this.#window(story, i);
    const pair = a * this.#vocabSize + b;
    const seen = this.#contexts2.get(pair) ?? 0;
    const unigram = (this.#unigrams.get(c) ?? 0) / this.#tokens;
    // A context that was never seen says nothing: the next shorter one speaks for it.
    const ratio = (count: number | undefined, total: number, shorter: number): number =>
      total === 0 ? shorter : (count ?? 0) / total;
    const bigram = ratio(this.#bigrams.get(b * this.#vocabSize + c), this.#contexts1.get(b) ?? 0, unigram);
    const trigram = ratio(this.#trigrams.get(pair * this.#vocabSize + c), seen, bigram);
    return {
      probabilities: [1 / this.#vocabSize, unigram, bigram, trigram],
      bucket: seen === 0 ? 0 : 1 + Math.floor(Math.log2(seen)),
    };
  }
}
