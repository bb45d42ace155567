import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { expect, it } from 'vitest';
import { FILES } from '../../../examples/story-model/src/files.ts';
import { TextStream } from '../src/run/text-stream.ts';

const readJson = (file: URL): object => JSON.parse(readFileSync(file, 'utf8')) as object;

it('gives the text piece by piece, spaces where they belong', () => {
  const tokenizer = new Tokenizer(readJson(FILES.tokenizer), readJson(FILES.tokenizerConfig));
  const text = 'Once upon a time, a shy rabbit said. “What is wrong?”';
  const { ids } = tokenizer.encode(text);
  const stream = new TextStream(tokenizer, ids.slice(0, 4));
  const pieces = ids.slice(4).map((id) => stream.push(id));
  expect(pieces.slice(0, 4)).toEqual([' time', ',', ' a', ' shy']);
  expect(`Once upon a${pieces.join('')}`).toBe(text);
});

it('waits for the rest of a character', () => {
  const texts = ['é', 'é�', 'éü'];
  const tokenizer = { decode: (ids: number[]) => texts[ids.length - 1] } as unknown as Tokenizer;
  const stream = new TextStream(tokenizer, [0]);
  expect([stream.push(1), stream.push(2)]).toEqual(['', 'ü']);
});
