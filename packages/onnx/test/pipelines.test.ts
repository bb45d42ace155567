/**
 * Pipelines of Transformers.js with `import '@msd/onnx/transformers'` against the same ones without: in Node, where plain means
 * onnxruntime-node.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as hf from '@huggingface/transformers';
import type * as Ort from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionReport } from '../src/register.ts';
import { CLOSE, relativeL2 } from './close.ts';
import { serveFiles } from './file-server.ts';
import { gaussian, random } from './models.ts';
import { argMax } from './text.ts';
import { FOLDERS } from './transformers-folders.ts';
import { IMAGE, writeFolder } from './transformers-models.ts';

// As Transformers.js finds it; its own `create` is kept to have both side by side.
const require = createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers'));
const { InferenceSession } = require('onnxruntime-node') as typeof Ort;
const stock = InferenceSession.create;
const { reportOf } = await import('../src/transformers.node.ts');
const takenOver = InferenceSession.create;

/** Texts may differ where plain's own choice is this close. */
const MARGIN = 0.02;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-pipelines-'));
  for (const [name, model] of Object.entries(FOLDERS)) writeFolder(folder, name, model);
  hf.env.allowRemoteModels = false;
  hf.env.localModelPath = folder;
});
afterAll(() => rmSync(folder, { recursive: true }));

const open = (task: string, model: string, options: object = {}): Promise<hf.Pipeline> =>
  hf.pipeline(task, model, { device: 'cpu', dtype: 'q4', session_options: { logSeverityLevel: 3 }, ...options });

/** Logits of every step of a text. */
type Steps = { readonly rows: readonly Float32Array[] }[];

/** Leaves the logits as they are. */
class Recorder extends hf.LogitsProcessor {
  readonly #steps: Steps;

  constructor(steps: Steps) {
    super();
    this.#steps = steps;
  }

  override _call(_: bigint[][], logits: hf.Tensor): hf.Tensor {
    const [count, width] = logits.dims as [number, number];
    const data = logits.data as Float32Array;
    this.#steps.push({ rows: Array.from({ length: count }, (_, i) => data.slice(i * width, (i + 1) * width)) });
    return logits;
  }
}

/** What `generate` is given to write `count` tokens, the same ones each time. */
type Write = (count: number, more?: object) => object;
type Use = (pipe: hf.Pipeline, write: Write) => Promise<unknown>;

/** The same with stock sessions and with MSD's: answers, and what they were chosen from. */
async function both(task: string, model: string, use: Use, options: object = {}) {
  const results: { answer: unknown; steps: Steps }[] = [];
  let reports: Record<string, SessionReport> = {};
  for (const create of [stock, takenOver]) {
    InferenceSession.create = create;
    const pipe = await open(task, model, options);
    const steps: Steps = [];
    const answer = await use(pipe, (count, more) => {
      const processors = new hf.LogitsProcessorList();
      processors.push(new Recorder(steps));
      return { max_new_tokens: count, do_sample: false, logits_processor: processors, ...more };
    });
    await pipe.dispose();
    results.push({ answer, steps });
    reports = reportOf(pipe);
    if (create === stock) expect(reports).toEqual({});
  }
  const [plain, msd] = results as [(typeof results)[0], (typeof results)[0]];
  if (agree(plain.steps, msd.steps)) expectSame(msd.answer, plain.answer);
  for (const report of Object.values(reports)) {
    expect(report.nodes.some(({ where }) => where === 'msd')).toBe(true);
    expect(report.memory).toMatchObject({ packedBytes: 0, wasmBytes: 0 });
  }
  return { names: Object.keys(reports).sort(), answer: plain.answer, steps: plain.steps };
}

/** Do they say the same to the end? Where they part, plain has to have been of two minds. */
function agree(plain: Steps, msd: Steps): boolean {
  for (const [i, { rows }] of plain.entries())
    for (const [row, logits] of rows.entries()) {
      const got = msd[i]!.rows[row]!;
      expect(relativeL2(got, logits)).toBeLessThan(CLOSE);
      const [want, other] = [argMax(logits), argMax(got)];
      if (want === other) continue;
      expect(logits[want]! - logits[other]!).toBeLessThanOrEqual(MARGIN);
      return false;
    }
  expect(msd).toHaveLength(plain.length);
  return true;
}

/** Numbers within what MSD promises, the rest to the letter. */
function expectSame(got: unknown, want: unknown): void {
  const [gotNumbers, wantNumbers]: [number[], number[]] = [[], []];
  const apart = (numbers: number[]) => (_: string, value: unknown) => {
    if (typeof value !== 'number' || Number.isInteger(value)) return value;
    numbers.push(value);
    return 'a number';
  };
  expect(JSON.stringify(got, apart(gotNumbers))).toBe(JSON.stringify(want, apart(wantNumbers)));
  expect(relativeL2(gotNumbers, wantNumbers)).toBeLessThan(CLOSE);
}

const PROMPT = 'Once upon a time';

describe('text', () => {
  it.each(['story', 'decoder', 'chunks'])('is written and streamed: %s', async (model) => {
    const { names, answer, steps } = await both('text-generation', model, async (pipe, write) => {
      const pieces: string[] = [];
      const streamer = new hf.TextStreamer(pipe.tokenizer, {
        skip_prompt: true,
        callback_function: (text) => pieces.push(text),
      });
      return [await pipe(PROMPT, write(24, { streamer })), pieces];
    });
    expect(names).toEqual(['model']);
    expect(steps).toHaveLength(24);
    expect((answer as string[][])[1]!.length).toBeGreaterThan(1);
  });

  it.each(['story', 'decoder'])('goes on in a second turn with the cache of the first: %s', async (model) => {
    const { steps } = await both('text-generation', model, async ({ model, tokenizer }, write) => {
      const first = tokenizer(PROMPT);
      const cached = { return_dict_in_generate: true };
      const one = (await model.generate({ ...first, ...write(8, cached) })) as Generated;
      const text = `${tokenizer.decode(one.sequences[0]!, { skip_special_tokens: true })} and then`;
      const past_key_values = one.past_key_values;
      const two = (await model.generate({ ...tokenizer(text), past_key_values, ...write(8, cached) })) as Generated;
      const said = [one, two].map(({ sequences }) => tokenizer.batch_decode(sequences));
      await two.past_key_values.dispose();
      return said;
    });
    expect(steps).toHaveLength(16);
  });

  it.each(['story', 'decoder'])('is written in beams: %s', async (model) => {
    const use: Use = (pipe, write) => pipe(PROMPT, write(8, { num_beams: 2 }));
    const { steps } = await both('text-generation', model, use);
    expect(steps).toHaveLength(8);
  });

  it.each(['story', 'decoder'])('is written for two prompts of different length at once: %s', async (model) => {
    const { answer, steps } = await both('text-generation', model, async ({ model, tokenizer }, write) => {
      tokenizer.padding_side = 'left';
      const feeds = tokenizer([PROMPT, 'The cat'], { padding: true });
      return tokenizer.batch_decode((await model.generate({ ...feeds, ...write(8) })) as hf.Tensor);
    });
    expect(answer).toHaveLength(2);
    expect(steps[0]!.rows).toHaveLength(2);
  });
});

interface Generated {
  readonly sequences: hf.Tensor;
  readonly past_key_values: { dispose(): Promise<void> };
}

describe('encoders with a merged decoder', () => {
  it.each(['translation', 'text2text-generation', 'summarization'])('write text: %s', async (task) => {
    const { names, steps } = await both(task, 'translator', (pipe, write) => pipe([PROMPT, 'The cat sat'], write(10)));
    expect(names).toEqual(['decoder_model_merged', 'model']);
    expect(steps.length).toBeGreaterThan(0);
  });

  it('may have each module in a format of its own', async () => {
    const dtype = { encoder_model: 'fp32', decoder_model_merged: 'q4' } as const;
    const use: Use = (pipe, write) => pipe(PROMPT, write(6));
    const { names } = await both('text2text-generation', 'translator', use, { dtype });
    // Nothing in the encoder is quantized: it stays what it was.
    expect(names).toEqual(['decoder_model_merged']);
  });

  it('hear speech, in chunks as well', async () => {
    const sound = gaussian(random(5), 24_000).map((value, i) => 0.1 * value + Math.sin(i / 20));
    const { names } = await both('automatic-speech-recognition', 'speech', async (pipe, write) => [
      await pipe(sound.subarray(0, 16_000), write(8)),
      await pipe(sound, write(8, { chunk_length_s: 1 })),
    ]);
    expect(names).toEqual(['decoder_model_merged', 'model']);
  });
});

describe('encoders', () => {
  const texts = ['The cat sat on the mat .', 'A dog'];

  it('embed: mean of the tokens, of length one', async () => {
    const { answer } = await both('feature-extraction', 'embedder', async (pipe) =>
      ((await pipe(texts, { pooling: 'mean', normalize: true })) as hf.Tensor).tolist(),
    );
    for (const row of answer as number[][]) expect(Math.hypot(...row)).toBeCloseTo(1, 5);
  });

  it.each(['text-classification', 'sentiment-analysis'])('classify: %s', async (task) => {
    await both(task, 'classifier', (pipe) => pipe(texts, { top_k: 3 }));
  });

  it('classify by labels that are given then', async () => {
    const labels = ['cat', 'dog', 'time'];
    await both('zero-shot-classification', 'entailment', async (pipe) => [
      await pipe(texts[0], labels),
      await pipe(texts, labels, { multi_label: true }),
    ]);
  });

  it('name tokens', async () => {
    await both('token-classification', 'tagger', (pipe) => pipe(texts[0]));
  });

  it('see', async () => {
    const image = (seed: number, side: number) =>
      new hf.RawImage(
        Uint8ClampedArray.from(gaussian(random(seed), side * side * 3), (x) => 128 + 60 * x),
        side,
        side,
        3,
      );
    await both('image-classification', 'pictures', (pipe) => pipe([image(1, IMAGE), image(2, 50)], { top_k: 3 }));
  });
});

describe('models of a hub', () => {
  it('are fetched with progress, kept, and opened again with nothing but what was kept', async () => {
    const files = Object.fromEntries(
      (readdirSync(join(folder, 'chunks'), { recursive: true }) as string[])
        .filter((path) => path.includes('.'))
        .map((path) => [
          `/some/chunks/resolve/main/${path}`,
          new Uint8Array(readFileSync(join(folder, 'chunks', path))),
        ]),
    );
    const hub = await serveFiles(files);
    const cached = join(folder, 'cache');
    Object.assign(hf.env, { allowRemoteModels: true, remoteHost: `${hub.base}/`, cacheDir: cached });
    const seen: { create: unknown; events: Set<string> }[] = [];
    const use: Use = (pipe, write) => pipe(PROMPT, write(6));
    await both('text-generation', 'some/chunks', use, {
      get progress_callback() {
        // Both start with nothing.
        rmSync(cached, { recursive: true, force: true });
        const events = new Set<string>();
        seen.push({ create: InferenceSession.create, events });
        return (event: { status: string; file?: string }) => events.add(`${event.status} ${event.file ?? ''}`);
      },
    });
    await hub.close();
    expect(seen.map(({ create }) => create)).toEqual([stock, takenOver]);
    expect([...seen[1]!.events].sort()).toEqual([...seen[0]!.events].sort());
    for (const file of ['model_q4.onnx', 'model_q4.onnx_data', 'model_q4.onnx_data_1'])
      expect(seen[1]!.events).toContain(`done onnx/${file}`);
    expect(existsSync(cached)).toBe(true);
    const { steps } = await both('text-generation', 'some/chunks', use, { local_files_only: true });
    expect(steps).toHaveLength(6);
    hf.env.allowRemoteModels = false;
  });

  it('are missing with the words of Transformers.js', async () => {
    const said = [];
    for (const create of [stock, takenOver]) {
      InferenceSession.create = create;
      said.push(await open('text-generation', 'nothing').then(String, String));
    }
    expect(said[1]).toBe(said[0]);
  });
});
