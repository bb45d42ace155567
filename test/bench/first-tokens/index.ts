/**
 * `npm run bench -- first-tokens`: what a first reply costs, and whether a page is as fast as Node: making a session, its first
 * prompt, and every token after it, in fresh processes and pages that take turns.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeModel } from '@msd/onnx/write';
import { FILES } from '../../../examples/story-model/src/files.ts';
import { CONFIG } from '../../../examples/story-model/src/model.ts';
import { decoderGraph } from '../../../examples/story-model/src/onnx-graph.ts';
import { quantizedLinears } from '../../../examples/story-model/src/quantize.ts';
import { readSafetensors } from '../../../examples/story-model/src/safetensors.ts';
import { describeMachine } from '../environments.ts';
import type { Clock } from '../measure.ts';
import { DECODERS, type DecoderShape, scaled } from '../models/decoder.ts';
import { writeDecoder } from '../models/decoder-files.ts';
import { openPlace, type Place } from './places.ts';
import { writeFirstTokens } from './report.ts';
import type { Trace } from './trace.ts';

/** The trained one, or a seeded one by its shape. */
export const MODELS = ['story', ...DECODERS.map(({ name }) => name)];
export const PROVIDERS = ['msd', 'wasm'] as const;

export interface FirstTokensOptions {
  readonly models: readonly string[];
  readonly layers: number | undefined;
  readonly scale: number;
  readonly places: readonly Place[];
  readonly providers: readonly (typeof PROVIDERS)[number][];
  readonly prompt: number;
  readonly tokens: number;
  /** MB/s at which pages download the model; absent: they have it. */
  readonly rate: number | undefined;
  readonly rounds: number;
  readonly clock: Clock;
  readonly out: string;
  readonly log: (message: string) => void;
}

/** @returns the report */
export async function measureFirstTokens(options: FirstTokensOptions): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'msd-first-tokens-'));
  mkdirSync(options.out, { recursive: true });
  let report = '';
  try {
    for (const name of options.models) report = await measureModel(name, folder, options);
  } finally {
    rmSync(folder, { recursive: true });
  }
  return report;
}

async function measureModel(model: string, folder: string, options: FirstTokensOptions): Promise<string> {
  const { places, providers, rounds, prompt, tokens, rate, clock, out, log } = options;
  const { file, shape } = model === 'story' ? storyFile(folder) : seededFile(model, folder, options);
  const request = { shape, prompt, tokens, rate };
  const [load] = loadavg();
  const opened = await Promise.all(places.map((place) => openPlace(place, file, clock, rate)));
  const sides = places.flatMap((place, i) =>
    providers.map((provider) => ({ place, provider, open: opened[i]!, traces: [] as Trace[] })),
  );
  try {
    for (let round = 0; round < rounds; round++)
      for (const { place, provider, open, traces } of sides) {
        log(`${model}: ${round + 1} of ${rounds}: ${provider} in ${place}`);
        traces.push(await open.trace({ ...request, provider }));
      }
  } finally {
    for (const place of opened) await place.close();
  }
  const logits = new Set(
    sides
      .filter(({ provider }) => provider === 'msd')
      .flatMap(({ traces }) => traces.map((each) => each.logits.join())),
  );
  if (logits.size > 1)
    throw new Error(`first-tokens: ${model}, expected the same logits everywhere, got ${[...logits].join('; ')}.`);
  const name = `${shape.name}-L${shape.layers}-H${shape.hiddenSize}`;
  return writeFirstTokens(out, {
    name,
    request,
    date: new Date().toISOString(),
    machine: describeMachine(),
    load: Number(load!.toFixed(2)),
    versions: { node: process.versions.node, v8: process.versions.v8 },
    clock,
    traces: sides.map(({ place, provider, traces }) => ({ place, provider, traces })),
  });
}

interface ModelFile {
  readonly file: string;
  readonly shape: DecoderShape;
}

function storyFile(folder: string): ModelFile {
  const { weights } = readSafetensors(readFileSync(FILES.weights));
  const file = join(folder, 'story.onnx');
  writeFileSync(file, writeModel(decoderGraph(CONFIG, weights, quantizedLinears(weights))));
  return { file, shape: { ...CONFIG, name: 'story', biases: false } };
}

function seededFile(name: string, folder: string, { layers, scale }: FirstTokensOptions): ModelFile {
  const shape = scaled(DECODERS.find((each) => each.name === name)!, {
    ...(layers !== undefined && { layers }),
    scale,
  });
  const { request, files } = writeDecoder({
    folder: join(folder, name),
    shape,
    embedding: 'int4',
    packaging: 'single',
  });
  return { file: join(request.folder, files[0]!), shape };
}
