/**
 * Judges the trained model in model/.
 *
 * 1. Cross-entropy per token on stories it has not seen, next to a trigram model of the same training stories.
 * 2. How many sampled stories keep their hero and place.
 * 3. The smallest margin of greedy decoding for every shipped prompt, with int4 weights.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type Consistency, checkConsistency, FACTS } from './consistency.ts';
import { FILES, trainingCorpus, unseenStories } from './files.ts';
import { Decoder } from './forward.ts';
import { greedy, negativeLogLikelihood, sampleStory } from './generate.ts';
import { vocabularyOf } from './hugging-face.ts';
import { CONFIG } from './model.ts';
import { PROMPTS } from './prompts.ts';
import { quantizedWeights } from './quantize.ts';
import { seededRandom } from './random.ts';
import { readSafetensors } from './safetensors.ts';
import { TrigramModel } from './trigram.ts';
import { END_ID, START_ID, type Vocabulary } from './words.ts';

const TUNING_SEED = 2;
const TUNING_STORIES = 500;
const TEST_SEED = 3;
const TEST_STORIES = 150;
const SAMPLE_SEED = 4;
const SAMPLES = 100;
const TEMPERATURE = 1;
const GREEDY_TOKENS = 200;

/** The contents of evaluation.json. */
interface Evaluation {
  readonly heldOut: {
    readonly stories: number;
    readonly tokens: number;
    /** Nats per token. */
    readonly model: number;
    readonly modelInt4: number;
    readonly trigram: number;
    readonly gain: number;
  };
  /** Stories of 100 that stay true to their opening; see consistency.ts. */
  readonly samples: Readonly<Record<keyof Consistency | 'heroAndPlace' | 'everything' | 'ended', number>> & {
    readonly stories: number;
    readonly temperature: number;
  };
  readonly prompts: ReadonlyArray<{
    readonly prompt: string;
    readonly minMarginInt4: number;
    readonly minMarginFp32: number;
    /** Greedy tokens until int4 first chooses another token than fp32; GREEDY_TOKENS if it never does. */
    readonly sameTokens: number;
    readonly continuationInt4: string;
  }>;
}

function compareWithTrigrams(vocabulary: Vocabulary, decoder: Decoder, int4: Decoder): Evaluation['heldOut'] {
  const encode = (story: string): number[] => [START_ID, ...vocabulary.encode(story), END_ID];
  const trigrams = new TrigramModel(CONFIG.vocabSize, trainingCorpus().map(encode));
  trigrams.tune(unseenStories(TUNING_SEED, TUNING_STORIES).map(encode));
  const test = unseenStories(TEST_SEED, TEST_STORIES).map(encode);
  const tokens = test.reduce((sum, ids) => sum + ids.length - 1, 0);
  const perToken = (score: (ids: number[]) => number): number =>
    test.reduce((sum, ids) => sum + score(ids), 0) / tokens;
  const model = perToken((ids) => negativeLogLikelihood(decoder, ids));
  const modelInt4 = perToken((ids) => negativeLogLikelihood(int4, ids));
  const trigram = perToken((ids) => trigrams.negativeLogLikelihood(ids));
  return { stories: TEST_STORIES, tokens, model, modelInt4, trigram, gain: trigram - model };
}

function checkSamples(vocabulary: Vocabulary, decoder: Decoder): Evaluation['samples'] {
  const random = seededRandom(SAMPLE_SEED);
  const counts = {
    ...(Object.fromEntries(FACTS.map((fact) => [fact, 0])) as Record<keyof Consistency, number>),
    heroAndPlace: 0,
    everything: 0,
    ended: 0,
  };
  for (let i = 0; i < SAMPLES; i++) {
    const { ids, ended } = sampleStory(decoder, [START_ID], CONFIG.context, TEMPERATURE, random);
    const result = checkConsistency(vocabulary.decode(ids));
    for (const fact of FACTS) counts[fact] += Number(result[fact]);
    counts.heroAndPlace += Number(result.hero && result.place);
    counts.everything += Number(Object.values(result).every(Boolean));
    counts.ended += Number(ended);
  }
  return { stories: SAMPLES, temperature: TEMPERATURE, ...counts };
}

function checkPrompt(
  vocabulary: Vocabulary,
  decoder: Decoder,
  int4: Decoder,
  prompt: string,
): Evaluation['prompts'][number] {
  const ids = [START_ID, ...vocabulary.encode(prompt)];
  const float = greedy(decoder, ids, GREEDY_TOKENS);
  const quantized = greedy(int4, ids, GREEDY_TOKENS);
  const difference = float.ids.findIndex((id, i) => id !== quantized.ids[i]);
  return {
    prompt,
    minMarginInt4: Math.min(...quantized.margins),
    minMarginFp32: Math.min(...float.margins),
    sameTokens: difference < 0 ? GREEDY_TOKENS : difference,
    continuationInt4: vocabulary.decode(quantized.ids),
  };
}

/** Evaluates the model in model/. */
export function evaluate(): Evaluation {
  const vocabulary = vocabularyOf(
    JSON.parse(readFileSync(FILES.tokenizer, 'utf8')) as Parameters<typeof vocabularyOf>[0],
  );
  const { weights } = readSafetensors(readFileSync(FILES.weights));
  const decoder = new Decoder(CONFIG, weights);
  const int4 = new Decoder(CONFIG, quantizedWeights(weights));
  return {
    heldOut: compareWithTrigrams(vocabulary, decoder, int4),
    samples: checkSamples(vocabulary, decoder),
    prompts: PROMPTS.map((prompt) => checkPrompt(vocabulary, decoder, int4, prompt)),
  };
}

/** Prints the result and writes evaluation.json. */
export function report({ heldOut, samples, prompts }: Evaluation): void {
  console.table({
    'model, fp32': { 'nats per token': heldOut.model.toFixed(4) },
    'model, int4': { 'nats per token': heldOut.modelInt4.toFixed(4) },
    'interpolated trigrams': { 'nats per token': heldOut.trigram.toFixed(4) },
    'gain of the model, fp32': { 'nats per token': heldOut.gain.toFixed(4) },
  });
  console.table(samples);
  console.table(prompts.map(({ continuationInt4: _, ...row }) => row));
  const rounded = (_: string, value: unknown): unknown =>
    typeof value === 'number' ? Number(value.toFixed(4)) : value;
  writeFileSync(FILES.evaluation, `${JSON.stringify({ heldOut, samples, prompts }, rounded, 2)}\n`);
}
