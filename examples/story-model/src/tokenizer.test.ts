import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { corpusVocabulary, FILES, unseenStories } from './files.ts';
import { tokenizerConfig, tokenizerJson, vocabularyOf } from './hugging-face.ts';
import { CONFIG } from './model.ts';
import { END_ID, START_ID, UNKNOWN_ID } from './words.ts';

const stories = unseenStories(98, 50);

describe('tokenizer', () => {
  const vocabulary = corpusVocabulary();
  const json = tokenizerJson(vocabulary);
  const tokenizer = new Tokenizer(json, tokenizerConfig(CONFIG));

  it('agrees with @huggingface/tokenizers and gives the text back', () => {
    for (const story of stories) {
      const ids = [START_ID, ...vocabulary.encode(story)];
      expect(tokenizer.encode(story).ids).toEqual(ids);
      expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(story);
      expect(vocabulary.decode(ids)).toBe(story);
    }
  });

  it('joins stories with one space', () => {
    const [first, second] = stories as [string, string];
    const ids = [START_ID, ...vocabulary.encode(first), END_ID, START_ID, ...vocabulary.encode(second), END_ID];
    expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(`${first} ${second}`);
    expect(vocabulary.decode(ids)).toBe(`${first} ${second}`);
  });

  it('maps unknown words to <unk> and keeps special words whole', () => {
    expect(tokenizer.encode('the computer').ids).toEqual([START_ID, ...vocabulary.encode('the'), UNKNOWN_ID]);
    expect(tokenizer.encode('</s>').ids).toEqual([START_ID, END_ID]);
  });

  it('is the one in model/', () => {
    const stored = JSON.parse(readFileSync(FILES.tokenizer, 'utf8')) as Parameters<typeof vocabularyOf>[0];
    expect(stored).toEqual(json);
    expect(vocabularyOf(stored).words).toEqual(vocabulary.words);
  });
});
