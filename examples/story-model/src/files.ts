/** Where this example keeps its files, and the corpora every script shares. */

import { tellStories } from './corpus.ts';
import { seededRandom } from './random.ts';
import { Vocabulary } from './words.ts';

const fromRoot = (path: string): URL => new URL(`../${path}`, import.meta.url);

type FileName =
  | 'weights'
  | 'config'
  | 'tokenizer'
  | 'tokenizerConfig'
  | 'generationConfig'
  | 'trainingLog'
  | 'evaluation'
  | 'checkpoint';

export const FILES: Readonly<Record<FileName, URL>> = {
  weights: fromRoot('model/weights.safetensors'),
  config: fromRoot('model/config.json'),
  tokenizer: fromRoot('model/tokenizer.json'),
  tokenizerConfig: fromRoot('model/tokenizer_config.json'),
  generationConfig: fromRoot('model/generation_config.json'),
  trainingLog: fromRoot('model/training.json'),
  evaluation: fromRoot('evaluation.json'),
  checkpoint: fromRoot('generated/checkpoint.safetensors'),
};

const TRAINING_SEED = 1;
const TRAINING_STORIES = 40_000;

let trainingStories: readonly string[] | undefined;

/** The training stories; more than the model sees in one training. */
export function trainingCorpus(): readonly string[] {
  trainingStories ??= tellStories(seededRandom(TRAINING_SEED), TRAINING_STORIES);
  return trainingStories;
}

/** The vocabulary of the training stories. */
export function corpusVocabulary(): Vocabulary {
  return Vocabulary.of(trainingCorpus());
}

/** `count` stories of another seed, none of which was trained on. */
export function unseenStories(seed: number, count: number): string[] {
  if (seed === TRAINING_SEED)
    throw new RangeError(`unseenStories: seed ${seed} made the training stories. Use another one.`);
  return tellStories(seededRandom(seed), count, new Set(trainingCorpus()));
}
