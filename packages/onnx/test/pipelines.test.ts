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
import { serveFiles } from './file-server.ts';
import { gaussian, random } from './models.ts';
import { CASES, type PipelineCase, type Ran, recording, runCase } from './pipeline-cases.ts';
import { expectAlike } from './pipeline-compare.ts';
import { FOLDERS, IMAGE_TOKEN } from './transformers-folders.ts';
import { IMAGE, PATCHES, writeFolder } from './transformers-models.ts';

// As Transformers.js finds it; its own `create` is kept to have both side by side.
const require = createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers'));
const { InferenceSession } = require('onnxruntime-node') as typeof Ort;
const stock = InferenceSession.create;
const { reportOf } = await import('../src/transformers.node.ts');
const takenOver = InferenceSession.create;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-pipelines-'));
  for (const [name, model] of Object.entries(FOLDERS)) writeFolder(folder, name, model);
  hf.env.allowRemoteModels = false;
  hf.env.localModelPath = folder;
});
afterAll(() => rmSync(folder, { recursive: true }));

const LOAD = { device: 'cpu', dtype: 'q4', session_options: { logSeverityLevel: 3 } } as const;
const open = (task: string, model: string, options: object = {}): Promise<hf.Pipeline> =>
  hf.pipeline(task, model, { ...LOAD, ...options });

type Use = PipelineCase['use'];

interface Both {
  /** Of all sessions. */
  readonly options?: object;
  /** Of plain ones alone. */
  readonly plain?: object;
  readonly close?: number;
}

/** The same with stock sessions and with MSD's: answers, and what they were chosen from. */
async function both(task: string, model: string, use: Use, { options = {}, plain = {}, close }: Both = {}) {
  const results: Ran[] = [];
  let reports: Record<string, SessionReport> = {};
  for (const create of [stock, takenOver]) {
    InferenceSession.create = create;
    // Read anew each time: options may have accessors.
    const pipe = await open(task, model, create === stock ? { ...options, ...plain } : options);
    results.push(await runCase(hf, pipe, use, LOAD));
    reports = reportOf(pipe);
    if (create === stock) expect(reports).toEqual({});
  }
  const [before, msd] = results as [Ran, Ran];
  expectAlike(msd, before, close);
  for (const report of Object.values(reports)) {
    expect(report.nodes.some(({ where }) => where === 'msd')).toBe(true);
    expect(report.memory).toMatchObject({ packedBytes: 0, wasmBytes: 0 });
  }
  return { names: Object.keys(reports).sort(), reports, ...before };
}

const PROMPT = 'Once upon a time';

describe('text', () => {
  it.each(['story', 'decoder', 'chunks'])('is written and streamed: %s', async (model) => {
    const { names, answer, steps, reports } = await both('text-generation', model, async (pipe, write) => {
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
    // A row of a table and a few numbers: keys and values stay where they are, whatever Transformers.js asks of their tensors.
    expect(reports.model!.bytesCopiedPerCall.intoMsd).toBeLessThan(2048);
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

describe('pipelines', () => {
  it.each(CASES.map((each) => [each.name, each] as const))('%s', async (_, { task, model, sessions, use }) => {
    const { names, answer } = await both(task, model, use);
    expect(names).toEqual(sessions);
    expect(JSON.stringify(answer).length).toBeGreaterThan(20);
  });

  it('may have each module in a format of its own', async () => {
    const dtype = { encoder_model: 'fp32', decoder_model_merged: 'q4' } as const;
    const use: Use = (pipe, write) => pipe(PROMPT, write(6));
    const { names } = await both('text2text-generation', 'translator', use, { options: { dtype } });
    // Nothing in the encoder is quantized: it stays what it was.
    expect(names).toEqual(['decoder_model_merged']);
  });
});

describe('a model that sees and writes', () => {
  it('reads an image between words, and goes on', async () => {
    const pixels = gaussian(random(6), 3 * IMAGE * IMAGE);
    const ids = [1, ...new Array<number>(PATCHES).fill(IMAGE_TOKEN), 20, 21, 22];
    const tensor = (values: readonly number[]): hf.Tensor =>
      new hf.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
    const results: Ran[] = [];
    for (const create of [stock, takenOver]) {
      InferenceSession.create = create;
      const model = await hf.LlavaForConditionalGeneration.from_pretrained('onlooker', LOAD);
      const steps: Ran['steps'] = [];
      const sequences = (await model.generate({
        pixel_values: new hf.Tensor('float32', pixels, [1, 3, IMAGE, IMAGE]),
        input_ids: tensor(ids),
        attention_mask: tensor(ids.map(() => 1)),
        ...recording(hf, steps, 10),
      })) as hf.Tensor;
      results.push({ answer: (sequences.tolist() as bigint[][]).map((row) => row.map(Number)), steps });
      const names = Object.keys(reportOf(model)).sort();
      expect(names).toEqual(create === stock ? [] : ['decoder_model_merged', 'embed_tokens', 'vision_encoder']);
      await model.dispose();
    }
    const [plain, msd] = results as [Ran, Ran];
    expect(plain.steps).toHaveLength(10);
    expectAlike(msd, plain);
  });
});

describe('other formats', () => {
  const use: Use = (pipe, write) => pipe(PROMPT, write(12));
  const all = (more: object = {}) => ({
    session_options: { logSeverityLevel: 3, executionProviders: [{ name: 'msd', claim: 'all', ...more }] },
  });
  const cpu = { session_options: { logSeverityLevel: 3, executionProviders: ['cpu'] } };

  it('q8: what its weights say in floats, for nobody rounds activations to 8 bits', async () => {
    const { names } = await both('text-generation', 'formats', use, {
      options: { dtype: 'q8', ...all() },
      plain: { dtype: 'fp32', ...cpu },
    });
    expect(names).toEqual(['model']);
  });

  it('q8, exact: what onnxruntime says, rounded activations and all', async () => {
    const { names } = await both('text-generation', 'formats', use, {
      options: { dtype: 'q8', ...all({ exact: true }) },
      plain: cpu,
    });
    expect(names).toEqual(['model']);
  });

  it.each([
    ['fp16', []],
    ['q4f16', ['model']],
  ])('%s: the same within halves', async (dtype, sessions) => {
    // A half keeps 11 bits; a layer rounds some ten times in a row.
    const { names } = await both('text-generation', 'formats', use, { options: { dtype }, close: 10 * 2 ** -11 });
    expect(names).toEqual(sessions);
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
      options: {
        get progress_callback() {
          // Both start with nothing.
          rmSync(cached, { recursive: true, force: true });
          const events = new Set<string>();
          seen.push({ create: InferenceSession.create, events });
          return (event: { status: string; file?: string }) => events.add(`${event.status} ${event.file ?? ''}`);
        },
      },
    });
    await hub.close();
    expect(seen.map(({ create }) => create)).toEqual([stock, takenOver]);
    expect([...seen[1]!.events].sort()).toEqual([...seen[0]!.events].sort());
    for (const file of ['model_q4.onnx', 'model_q4.onnx_data', 'model_q4.onnx_data_1'])
      expect(seen[1]!.events).toContain(`done onnx/${file}`);
    expect(existsSync(cached)).toBe(true);
    const { steps } = await both('text-generation', 'some/chunks', use, { options: { local_files_only: true } });
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
