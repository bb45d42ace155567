import { describe, expect, it } from 'vitest';
import { checkConsistency } from './consistency.ts';
import { LONGEST_STORY, tellStories } from './corpus.ts';
import { corpusVocabulary, trainingCorpus, unseenStories } from './files.ts';
import { CONFIG } from './model.ts';
import { seededRandom } from './random.ts';
import { splitWords, UNKNOWN_ID } from './words.ts';

describe('corpus', () => {
  const unseen = unseenStories(99, 500);
  const vocabulary = corpusVocabulary();

  it('tells the same stories for the same seed, others for another', () => {
    expect(tellStories(seededRandom(5), 20)).toEqual(tellStories(seededRandom(5), 20));
    expect(tellStories(seededRandom(5), 20)).not.toEqual(tellStories(seededRandom(6), 20));
  });

  it('fills the vocabulary exactly, with sizes in blocks of 32', () => {
    expect(vocabulary.size).toBe(CONFIG.vocabSize);
    expect(vocabulary.size).toBeLessThanOrEqual(512);
    expect(vocabulary.size % 32).toBe(0);
    expect(new Set(vocabulary.words).size).toBe(vocabulary.size);
  });

  it('uses known words only, in 80 to LONGEST_STORY tokens', () => {
    for (const story of unseen) {
      const ids = vocabulary.encode(story);
      expect(ids, story).not.toContain(UNKNOWN_ID);
      expect(ids.length, story).toBeGreaterThanOrEqual(80);
      expect(ids.length, story).toBeLessThanOrEqual(LONGEST_STORY);
    }
  });

  it('keeps unseen stories out of the training stories', () => {
    const training = new Set(trainingCorpus());
    expect(unseen.filter((story) => training.has(story))).toEqual([]);
  });

  it('is written like a book: capitals after full stops, closed quotation marks, the right article', () => {
    for (const story of unseen) {
      expect(story).toMatch(/^[A-Z].*[.!]$/);
      expect(story).not.toMatch(/[.!?]”? [a-z](?!aid|sked)/);
      expect(story).not.toMatch(/\b[Aa] [aeiou]|\b[Aa]n [^aeiou]/);
      expect(splitWords(story).filter((word) => word === '“').length).toBe(
        splitWords(story).filter((word) => word === '”').length,
      );
    }
  });

  it('passes its own consistency check', () => {
    for (const story of unseen) expect(Object.values(checkConsistency(story)), story).not.toContain(false);
  });
});

describe('checkConsistency', () => {
  const story = unseenStories(99, 1)[0] as string;
  const hero = story.match(/named (\w+)/)?.[1] as string;
  const at = story.lastIndexOf(hero);

  it('notices another hero at the end', () => {
    const changed = `${story.slice(0, at)}${hero === 'Mia' ? 'Tom' : 'Mia'}${story.slice(at + hero.length)}`;
    expect(checkConsistency(changed)).toMatchObject({ hero: false, place: true });
  });

  it('notices a second place, kind, trait, thing, colour, helper and pronoun', () => {
    const places = checkConsistency(`${story} Then they came to the village and to the castle.`);
    expect(places).toMatchObject({ hero: true, place: false });
    const rest = checkConsistency(
      `${story} He gave her a red kite and a blue bell from the owl and the mole, the shy fox and the brave bear.`,
    );
    expect(rest).toMatchObject({
      thing: false,
      colour: false,
      helper: false,
      pronouns: false,
      kind: false,
      trait: false,
    });
  });
});
