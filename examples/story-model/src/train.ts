/**
 * Trains the story model from nothing: HELP below.
 *
 * Everything is seeded: the same machine gives the same weights. At the end it writes model/ and evaluates it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { type AdamState, adamStep, initialAdamState } from './adamw.ts';
import { evaluate, report } from './evaluation.ts';
import { corpusVocabulary, FILES, trainingCorpus } from './files.ts';
import { type Batch, Differentiator } from './gradients.ts';
import { generationConfig, llamaConfig, tokenizerConfig, tokenizerJson } from './hugging-face.ts';
import { CONFIG, elementCount, initialWeights, type WeightArray, type Weights } from './model.ts';
import { type Random, seededRandom } from './random.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';
import { END_ID, START_ID, type Vocabulary } from './words.ts';

const HELP = `npm run train                 trains the story model from nothing, writes model/ and evaluates it
npm run train -- --resume     goes on after an interruption: a checkpoint is written every three minutes`;

const STEPS = 3500;
const BATCH_SIZE = 4;
const TIME = 256;
const PEAK_LEARNING_RATE = 2e-3;
const WARM_UP_STEPS = 100;
/** Of the peak, reached at the last step. */
const FINAL_FRACTION = 0.05;
/** The other windows start anywhere in the stream. */
const STORY_START_FRACTION = 0.75;
const WEIGHT_SEED = 7;
const BATCH_SEED = 1000;
const STEPS_PER_LINE = 25;
const CHECKPOINT_MS = 180_000;

/** What training leaves behind for the README. */
interface TrainingLog {
  readonly parameters: number;
  readonly steps: number;
  readonly tokens: number;
  readonly minutes: number;
  /** [step, mean loss in nats of the steps since the last entry]. */
  readonly losses: ReadonlyArray<readonly [number, number]>;
}

interface Progress {
  readonly weights: Weights;
  readonly adam: AdamState;
  elapsedMs: number;
  readonly losses: Array<readonly [number, number]>;
}

/** `<s> story </s>` after `<s> story </s>`, and where the stories begin. */
function tokenStream(vocabulary: Vocabulary, stories: readonly string[]): { ids: Int32Array; starts: Int32Array } {
  const ids: number[] = [];
  const starts: number[] = [];
  for (const story of stories) {
    starts.push(ids.length);
    ids.push(START_ID, ...vocabulary.encode(story), END_ID);
  }
  return { ids: Int32Array.from(ids), starts: Int32Array.from(starts) };
}

function drawBatch(random: Random, stream: { ids: Int32Array; starts: Int32Array }): Batch {
  const inputs = new Int32Array(BATCH_SIZE * TIME);
  const targets = new Int32Array(BATCH_SIZE * TIME);
  const last = stream.ids.length - TIME - 1;
  for (let b = 0; b < BATCH_SIZE; b++) {
    const atStory = random() < STORY_START_FRACTION;
    const from = atStory
      ? Math.min(last, stream.starts[Math.floor(random() * stream.starts.length)] as number)
      : Math.floor(random() * last);
    inputs.set(stream.ids.subarray(from, from + TIME), b * TIME);
    targets.set(stream.ids.subarray(from + 1, from + 1 + TIME), b * TIME);
  }
  return { size: BATCH_SIZE, inputs, targets };
}

/** Linear warm-up, then a cosine down to FINAL_FRACTION of the peak. */
function learningRate(step: number): number {
  if (step < WARM_UP_STEPS) return (PEAK_LEARNING_RATE * (step + 1)) / WARM_UP_STEPS;
  const progress = (step - WARM_UP_STEPS) / (STEPS - WARM_UP_STEPS);
  return PEAK_LEARNING_RATE * (FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + Math.cos(Math.PI * progress)));
}

function saveCheckpoint({ weights, adam, elapsedMs, losses }: Progress): void {
  const all = new Map<string, WeightArray>(weights);
  for (const [name, value] of adam.first) all.set(`first.${name}`, value);
  for (const [name, value] of adam.second) all.set(`second.${name}`, value);
  mkdirSync(new URL('.', FILES.checkpoint), { recursive: true });
  writeFileSync(
    FILES.checkpoint,
    writeSafetensors(all, { progress: JSON.stringify({ steps: adam.steps, elapsedMs, losses }) }),
  );
}

function loadCheckpoint(): Progress {
  const { weights: all, metadata } = readSafetensors(readFileSync(FILES.checkpoint));
  const { steps, elapsedMs, losses } = JSON.parse(metadata.progress ?? '') as {
    steps: number;
    elapsedMs: number;
    losses: Array<readonly [number, number]>;
  };
  const withPrefix = (prefix: string): Weights =>
    new Map(
      [...all].filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]),
    );
  const weights = new Map([...all].filter(([name]) => name.startsWith('model.')));
  return { weights, adam: { first: withPrefix('first.'), second: withPrefix('second.'), steps }, elapsedMs, losses };
}

function start(): Progress {
  const weights = initialWeights(CONFIG, seededRandom(WEIGHT_SEED));
  return { weights, adam: initialAdamState(weights), elapsedMs: 0, losses: [] };
}

async function train(resumes: boolean): Promise<void> {
  await tf.setBackend('wasm');
  const vocabulary = corpusVocabulary();
  if (vocabulary.size !== CONFIG.vocabSize) {
    throw new RangeError(
      `train: expected ${CONFIG.vocabSize} words in the corpus, got ${vocabulary.size}. Change the grammar or CONFIG.vocabSize.`,
    );
  }
  const stream = tokenStream(vocabulary, trainingCorpus());
  const progress = resumes && existsSync(FILES.checkpoint) ? loadCheckpoint() : start();
  const { weights, adam } = progress;
  const parameters = [...weights.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  console.log(`${parameters} parameters, ${stream.ids.length} training tokens, from step ${adam.steps} to ${STEPS}`);

  const differentiator = new Differentiator(CONFIG, TIME);
  let lossSum = 0;
  let lineStart = performance.now();
  let savedAt = lineStart;
  while (adam.steps < STEPS) {
    // One generator per step, so a resumed training draws the same batches.
    const batch = drawBatch(seededRandom(BATCH_SEED + adam.steps), stream);
    const { loss, gradients } = differentiator.run(weights, batch);
    adamStep(weights, gradients, adam, learningRate(adam.steps));
    lossSum += loss;
    if (adam.steps % STEPS_PER_LINE === 0) {
      const now = performance.now();
      const lineMs = now - lineStart;
      progress.elapsedMs += lineMs;
      lineStart = now;
      const mean = lossSum / STEPS_PER_LINE;
      lossSum = 0;
      progress.losses.push([adam.steps, Number(mean.toFixed(4))]);
      const tokensPerSecond = (STEPS_PER_LINE * BATCH_SIZE * TIME * 1000) / lineMs;
      const etaMinutes = ((STEPS - adam.steps) * lineMs) / STEPS_PER_LINE / 60_000;
      console.log(
        `step ${adam.steps}/${STEPS}  loss ${mean.toFixed(4)}  ${tokensPerSecond.toFixed(0)} tokens/s  ` +
          `${(progress.elapsedMs / 60_000).toFixed(1)} min  ETA ${etaMinutes.toFixed(1)} min`,
      );
      if (now - savedAt > CHECKPOINT_MS) {
        saveCheckpoint(progress);
        savedAt = now;
      }
    }
  }
  differentiator.dispose();
  saveCheckpoint(progress);
  const log: TrainingLog = {
    parameters,
    steps: STEPS,
    tokens: STEPS * BATCH_SIZE * TIME,
    minutes: Number((progress.elapsedMs / 60_000).toFixed(1)),
    losses: progress.losses.filter(([step]) => step % 100 === 0),
  };
  writeModelFolder(vocabulary, weights, log);
}

function writeModelFolder(vocabulary: Vocabulary, weights: Weights, log: TrainingLog): void {
  const writeJson = (file: URL, value: unknown): void => writeFileSync(file, `${JSON.stringify(value, null, 1)}\n`);
  mkdirSync(new URL('.', FILES.weights), { recursive: true });
  writeFileSync(FILES.weights, writeSafetensors(weights, { format: 'pt' }));
  writeJson(FILES.config, llamaConfig(CONFIG));
  writeJson(FILES.tokenizer, tokenizerJson(vocabulary));
  writeJson(FILES.tokenizerConfig, tokenizerConfig(CONFIG));
  writeJson(FILES.generationConfig, generationConfig());
  writeJson(FILES.trainingLog, log);
}

const { help, resume } = parseArgs({
  options: { resume: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false } },
}).values;
if (help) console.log(HELP);
else {
  await train(resume);
  report(evaluate());
}
