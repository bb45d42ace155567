/** Pipelines of Transformers.js, and what is asked of each: run with and without MSD, in Node and in a page. */
import type * as Transformers from '@huggingface/transformers';
import { gaussian, random } from './models.ts';

type Hf = typeof Transformers;

/** Logits of every step of a text. */
export type Steps = { readonly rows: readonly ArrayLike<number>[] }[];

/** What `generate` is given to write `count` tokens, the same ones each time. */
export type Write = (count: number, more?: object) => object;

/** Of one run. */
export interface Ran {
  readonly answer: unknown;
  readonly steps: Steps;
}

export interface PipelineCase {
  readonly name: string;
  readonly task: string;
  /** A folder of transformers-folders.ts. */
  readonly model: string;
  /** Sessions that MSD takes, by their names in Transformers.js. */
  readonly sessions: readonly string[];
  /** @param load options that the pipeline was made with */
  readonly use: (pipe: Transformers.Pipeline, write: Write, hf: Hf, load: object) => Promise<unknown>;
}

const PROMPT = 'Once upon a time';
const TEXTS = ['The cat sat on the mat .', 'A dog'];

const image = ({ RawImage }: Hf, seed: number, side: number): Transformers.RawImage =>
  new RawImage(
    Uint8ClampedArray.from(gaussian(random(seed), side * side * 3), (x) => 128 + 60 * x),
    side,
    side,
    3,
  );

/** A wave as a few of its samples. */
const heard = ({ audio, sampling_rate }: { audio: Float32Array; sampling_rate: number }) => [
  [...audio.subarray(0, 64)],
  audio.length,
  sampling_rate,
];

const both = ['decoder_model_merged', 'model'];

export const CASES: readonly PipelineCase[] = [
  ...['translation', 'text2text-generation', 'summarization'].map((task) => ({
    name: task,
    task,
    model: 'translator',
    sessions: both,
    use: ((pipe, write) => pipe([PROMPT, 'The cat sat'], write(10))) as PipelineCase['use'],
  })),
  {
    name: 'speech that is heard, in chunks as well',
    task: 'automatic-speech-recognition',
    model: 'speech',
    sessions: both,
    async use(pipe, write) {
      const sound = gaussian(random(5), 24_000).map((value, i) => 0.1 * value + Math.sin(i / 20));
      return [await pipe(sound.subarray(0, 16_000), write(8)), await pipe(sound, write(8, { chunk_length_s: 1 }))];
    },
  },
  {
    name: 'embeddings: the mean of the tokens, of length one',
    task: 'feature-extraction',
    model: 'embedder',
    sessions: ['model'],
    use: async (pipe) => ((await pipe(TEXTS, { pooling: 'mean', normalize: true })) as Transformers.Tensor).tolist(),
  },
  ...['text-classification', 'sentiment-analysis'].map((task) => ({
    name: task,
    task,
    model: 'classifier',
    sessions: ['model'],
    use: ((pipe) => pipe(TEXTS, { top_k: 3 })) as PipelineCase['use'],
  })),
  {
    name: 'classes by labels that are given then',
    task: 'zero-shot-classification',
    model: 'entailment',
    sessions: ['model'],
    async use(pipe) {
      const labels = ['cat', 'dog', 'time'];
      return [await pipe(TEXTS[0], labels), await pipe(TEXTS, labels, { multi_label: true })];
    },
  },
  {
    name: 'names of tokens',
    task: 'token-classification',
    model: 'tagger',
    sessions: ['model'],
    use: (pipe) => pipe(TEXTS[0]),
  },
  {
    name: 'answers from a text',
    task: 'question-answering',
    model: 'answerer',
    sessions: ['model'],
    async use(pipe) {
      const ask = pipe as unknown as (question: string, context: string, options?: object) => Promise<unknown>;
      return [await ask('A dog', TEXTS[0]!), await ask('The cat', PROMPT, { top_k: 3 })];
    },
  },
  {
    name: 'words that are left out',
    task: 'fill-mask',
    model: 'guesser',
    sessions: ['model'],
    use: (pipe) => pipe(['The cat <unk> on the mat .', 'A <unk>'], { top_k: 4 }),
  },
  {
    name: 'images by labels that are given then',
    task: 'zero-shot-image-classification',
    model: 'pairs',
    sessions: ['model'],
    use: (pipe, _, hf) => pipe([image(hf, 5, 32), image(hf, 6, 32)], ['cat', 'A dog', 'the mat']),
  },
  {
    name: 'boxes by labels that are given then',
    task: 'zero-shot-object-detection',
    model: 'finder',
    sessions: ['model'],
    use: (pipe, _, hf) => pipe(image(hf, 7, 40), ['cat', 'A dog'], { threshold: 0.4, percentage: true }),
  },
  {
    name: 'classes of images',
    task: 'image-classification',
    model: 'pictures',
    sessions: ['model'],
    use: (pipe, _, hf) => pipe([image(hf, 1, 32), image(hf, 2, 50)], { top_k: 3 }),
  },
  {
    name: 'boxes in an image',
    task: 'object-detection',
    model: 'detector',
    sessions: ['model'],
    use: (pipe, _, hf) => pipe(image(hf, 3, 40), { threshold: 0.3, percentage: true }),
  },
  {
    name: 'what an image shows',
    task: 'image-to-text',
    model: 'captioner',
    sessions: both,
    use: (pipe, write, hf) => pipe(image(hf, 4, 32), write(8)),
  },
  {
    name: 'a voice in one run',
    task: 'text-to-speech',
    model: 'voice',
    sessions: ['model'],
    use: async (pipe) => heard((await pipe(TEXTS[0])) as never),
  },
  {
    name: 'a voice step by step, with a vocoder',
    task: 'text-to-audio',
    model: 'talker',
    sessions: both,
    async use({ model, tokenizer }, _, { AutoModel, Tensor }, load) {
      // The pipeline itself asks for no processor, without which it takes the model for another kind.
      const vocoder = await AutoModel.from_pretrained('vocoder', load);
      const speaker = new Tensor('float32', gaussian(random(8), 8), [1, 8]);
      const { input_ids } = tokenizer(TEXTS[0]!);
      const { spectrogram, waveform } = await model.generate_speech(input_ids!, speaker, { vocoder });
      await vocoder.dispose();
      return [spectrogram.dims, heard({ audio: waveform.data as Float32Array, sampling_rate: 16000 })];
    },
  },
];

/** Asks a pipeline, and lets go of it. */
export async function runCase(
  hf: Hf,
  pipe: Transformers.Pipeline,
  use: PipelineCase['use'],
  load: object,
): Promise<Ran> {
  const steps: Steps = [];
  const answer = await use(pipe, (count, more) => recording(hf, steps, count, more), hf, load);
  await pipe.dispose();
  return { answer, steps };
}

/** Options of `generate` that keep the logits, and leave them as they are. */
export function recording(hf: Hf, steps: Steps, count: number, more: object = {}): object {
  class Recorder extends hf.LogitsProcessor {
    override _call(_: bigint[][], logits: Transformers.Tensor): Transformers.Tensor {
      const [rows, width] = logits.dims as [number, number];
      const data = logits.data as Float32Array;
      steps.push({ rows: Array.from({ length: rows }, (_, i) => data.slice(i * width, (i + 1) * width)) });
      return logits;
    }
  }
  const processors = new hf.LogitsProcessorList();
  processors.push(new Recorder());
  return { max_new_tokens: count, do_sample: false, logits_processor: processors, ...more };
}
