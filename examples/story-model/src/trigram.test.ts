import { describe, expect, it } from 'vitest';
import { seededRandom } from './random.ts';
import { TrigramModel } from './trigram.ts';

const VOCAB_SIZE = 12;

/** Stories in which every token depends on the two before it, with a little noise. */
function stories(seed: number, count: number): number[][] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const story = [1];
    for (let i = 1; i < 30; i++) {
      const rule = ((story[i - 1] as number) + 3 * (story[i - 2] ?? 1)) % 10;
      story.push(random() < 0.9 ? rule : Math.floor(10 * random()));
    }
    return story;
  });
}

describe('TrigramModel', () => {
  const model = new TrigramModel(VOCAB_SIZE, stories(1, 400));
  const test = stories(2, 50);
  const perToken = (): number => test.reduce((sum, story) => sum + model.negativeLogLikelihood(story), 0) / (50 * 29);

  it('tunes its weights and comes close to the entropy of the stories', () => {
    const before = perToken();
    model.tune(stories(3, 50));
    // One token in ten is drawn from ten: the rule's own token has 0.91, each other 0.01.
    const entropy = -(0.91 * Math.log(0.91) + 9 * 0.01 * Math.log(0.01));
    expect(perToken()).toBeLessThan(before);
    expect(perToken()).toBeGreaterThan(entropy - 0.05);
    expect(perToken()).toBeLessThan(entropy + 0.1);
  });

  it.each([
    ['a seen pair', [1, 4]],
    ['an unseen pair', [11, 4]],
    ['an unseen word', [4, 11]],
  ])('gives probabilities that add up to 1 after %s', (_, context) => {
    const base = model.negativeLogLikelihood(context);
    let total = 0;
    for (let next = 0; next < VOCAB_SIZE; next++) {
      total += Math.exp(base - model.negativeLogLikelihood([...context, next]));
    }
    expect(total).toBeCloseTo(1, 9);
  });
});
