/** A sentence encoder of Transformers.js: both workers run this code; the one for MSD has imported `@msd/onnx/transformers`. */

import { env, type FeatureExtractionPipeline, pipeline } from '@huggingface/transformers';
import { explain } from '../../shared/explain.ts';
import { type Encoder, serve } from '../../shared/search/serve.ts';
import { codeBytes, Download, setUpOnnxRuntime, useOwnModels } from '../../shared/transformers.ts';
import { wasmMemoryBytes } from '../../story-model/src/wasm-memory.ts'; // first: counts from here on
import type { Costs, LoadOptions } from './protocol.ts';

/** What only the side with MSD can say. */
export interface Engine {
  setThreads(threads: number): void;
  report(extractor: FeatureExtractionPipeline): { readonly report: string; readonly isLeft: boolean };
}

/** Models that want to be told what a text is for. */
const PREFIXES = { query: 'query: ', passage: 'passage: ' } as const;
const WANTS_PREFIX = /(^|[/-])e5-/i;

export function serveEncoder(engine: Engine): void {
  serve<LoadOptions, Costs>(async ({ model, threads, base }, onDownload): Promise<Encoder<Costs>> => {
    setUpOnnxRuntime(env, base, threads);
    engine.setThreads(threads);
    if (model === 'toy') useOwnModels(env, new URL('models/', base).pathname);
    const download = new Download(onDownload);
    const extractor = await pipeline('feature-extraction', model, {
      dtype: 'q8',
      device: 'wasm',
      progress_callback: download.follow,
    });
    const loadMs = download.sinceArrival;
    const embed: Encoder<Costs>['embed'] = async (sentences, kind) => {
      const prefix = WANTS_PREFIX.test(model) ? PREFIXES[kind] : '';
      const texts = sentences.map((sentence) => prefix + sentence);
      const output = await extractor(texts, { pooling: 'mean', normalize: true });
      return output.data as Float32Array;
    };
    const width = (await embed(['width'], 'query')).length;
    const { report, isLeft } = engine.report(extractor);
    return {
      width,
      embed,
      loadMs,
      costs: () => ({ memory: wasmMemoryBytes(), code: codeBytes(), isLeft }),
      report,
    };
  }, explain);
}
