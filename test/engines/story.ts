/** The story model's logits in one engine, all of them in one hash: ONNX Runtime's plain binary, one thread, MSD in it. */
import { type MsdProvider, register, reportOf } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web';
import { argMax } from '../../examples/story-model/src/forward.ts';
import type { DecoderConfig } from '../../examples/story-model/src/model-folder.ts';
import { DecoderSession } from '../../packages/cli/src/run/decoder.ts';
import { threadPool } from '../../packages/core/dist/threads/pool.js';
import { usePoolForTests } from './carrier-runs.ts';

export interface StoryOptions {
  /** Path of the ONNX file; a page takes the file of that name from its own server. */
  readonly model: string;
  readonly config: DecoderConfig;
  /** Token ids of each. */
  readonly prompts: readonly (readonly number[])[];
  /** Greedy tokens after each prompt. */
  readonly tokens: number;
  /** MSD's options of each run over all prompts. */
  readonly runs: readonly Omit<MsdProvider, 'name'>[];
}

export interface StoryRun {
  readonly options: StoryOptions['runs'][number];
  /** FNV-1a over the bits of all logits of all tokens. */
  readonly hash: string;
  /** MSD's, the calling one included. */
  readonly threads: number | undefined;
  /** How many logits that are. */
  readonly logits: number;
  /** Kernels of the quantized products, at the last token. */
  readonly kernels: readonly string[];
}

const NAN_BITS = 0x7fc00000;

export async function runStory({ model, config, prompts, tokens, runs }: StoryOptions): Promise<StoryRun[]> {
  ort.env.wasm.numThreads = 1;
  register(ort);
  usePoolForTests(threadPool);
  const path = typeof process === 'undefined' ? `/onnx/${model.split(/[\\/]/).at(-1)}` : model;
  const results: StoryRun[] = [];
  for (const options of runs) {
    const provider: MsdProvider = { name: 'msd', ...options };
    const session = await ort.InferenceSession.create(path, { executionProviders: [provider] });
    const decoder = new DecoderSession(session, config);
    let hash = 0x811c9dc5;
    let count = 0;
    for (const prompt of prompts) {
      decoder.reset();
      let input = prompt;
      for (let token = 0; token < tokens; token++) {
        const logits = (await decoder.read(input)).slice();
        count += logits.length;
        const bits = new Uint32Array(logits.buffer);
        for (const [i, value] of logits.entries())
          hash = Math.imul(hash ^ (Number.isNaN(value) ? NAN_BITS : bits[i]), 0x01000193) >>> 0;
        input = [argMax(logits)];
      }
    }
    const { nodes = [], threads } = reportOf(session) ?? {};
    const products = nodes.filter(({ opType, where }) => opType === 'MatMulNBits' && where === 'msd');
    const kernels = [...new Set(products.flatMap(({ kernel = [] }) => kernel))];
    results.push({
      options,
      hash: hash.toString(16).padStart(8, '0'),
      threads: threads?.count,
      logits: count,
      kernels: kernels.sort(),
    });
    await decoder.release();
  }
  return results;
}
