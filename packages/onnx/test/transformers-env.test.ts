/** What the entry for Transformers.js makes of Transformers.js's `env`. */
import { UnsupportedError } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { isLogged } from '../src/log.ts';
import type { OrtModule } from '../src/ort.ts';
import { checkSameCopy, followLogLevel, type TransformersEnv, whenFetched } from '../src/transformers-env.ts';

const moduleOf = (env: object): OrtModule => ({ env }) as unknown as OrtModule;

describe('two copies of onnxruntime-web', () => {
  const wasm = {};
  const env = { backends: { onnx: { wasm, versions: { web: '1.31.0-dev.1' } } } };

  it('are told from one', () => {
    expect(() => checkSameCopy(env, moduleOf({ wasm }))).not.toThrow();
  });

  it('are named, with what to do: two versions', () => {
    const check = () => checkSameCopy(env, moduleOf({ wasm: {}, versions: { web: '1.30.0' } }));
    expect(check).toThrow(UnsupportedError);
    expect(check).toThrow(/Transformers.js uses \(1.31.0-dev.1\), got another one \(1.30.0\).*npm ls onnxruntime-web/);
  });

  it('are named, with what to do: one version twice, as in Vite’s dev server', () => {
    const check = () => checkSameCopy(env, moduleOf({ wasm: {}, versions: { web: '1.31.0-dev.1' } }));
    expect(check).toThrow(/@msd\/onnx\/vite.*optimizeDeps\.exclude.*transformers\.web\.js/);
  });

  it('are named where nothing is known of them', () => {
    expect(() => checkSameCopy({ backends: { onnx: {} } }, moduleOf({}))).toThrow(/\(unknown\)/);
  });
});

describe('what is said', () => {
  const levels = ['verbose', 'info', 'warning', 'error', 'fatal'] as const;
  const loudest = (ort: OrtModule): string => levels.find((level) => isLogged(ort, level))!;

  it.each([
    [10, 'verbose'],
    [20, 'info'],
    [30, 'warning'],
    [35, 'error'],
    [40, 'error'],
    [50, 'fatal'],
  ])('is as loud as Transformers.js at %d', (logLevel, want) => {
    // The level of ONNX Runtime, one step quieter, counts no more.
    const ort = moduleOf({ logLevel: 'fatal' });
    followLogLevel(ort, { logLevel, backends: { onnx: {} } });
    expect(loudest(ort)).toBe(want);
  });

  it.each([
    ['verbose', 'verbose'],
    ['warning', 'info'],
    ['error', 'warning'],
    ['fatal', 'fatal'],
    [undefined, 'warning'],
  ])('follows ONNX Runtime’s level %s, where nobody gets at Transformers.js’s', (logLevel, want) => {
    const ort = moduleOf({ logLevel });
    followLogLevel(ort);
    expect(loudest(ort)).toBe(want);
  });
});

describe('files that Transformers.js fetches', () => {
  const asked: unknown[] = [];
  const fetched: unknown[] = [];
  const env: TransformersEnv = {
    backends: { onnx: {} },
    async fetch(this: unknown, ...args) {
      asked.push([this, ...args]);
      return new Response('');
    },
  };
  whenFetched(env, () => fetched.push(asked.length));

  it('are noticed where they are quantized models, and fetched as they were', async () => {
    const names = ['model_q4', 'decoder_model_merged_quantized', 'model_int8', 'model_uint8', 'model_bnb4'];
    const others = ['model', 'model_fp16', 'model_q4f16', 'model_q4.onnx_data'];
    const init = {};
    for (const name of [...names, ...others]) await env.fetch!(`https://host/onnx/${name}.onnx?download=true`, init);
    expect(fetched).toHaveLength(names.length);
    expect(asked).toHaveLength(names.length + others.length);
    expect(asked[0]).toEqual([env, 'https://host/onnx/model_q4.onnx?download=true', init]);
  });

  it('are not, where an environment cannot fetch', () => {
    const without: TransformersEnv = { backends: { onnx: {} } };
    whenFetched(without, () => {});
    expect(without.fetch).toBeUndefined();
  });
});
