/** The page's side of one environment. The command line calls what it leaves in `page$`. */

import * as ort from 'onnxruntime-web/wasm';
import { LayerSource } from './engines/engine.ts';
import { liteRtEngine } from './engines/litert.ts';
import { loadLlama, type TokenTimes, type WholeModel, wholeModelResult } from './engines/llama.ts';
import { msdEngine } from './engines/msd.ts';
import { ortEngine } from './engines/ort.ts';
import { type TfCore, type TfWasm, tfjsEngine } from './engines/tfjs.ts';
import { wasmBytes } from './memory-probe.ts'; // before the engines
import { GGUF_WEIGHTS } from './models/gguf.ts';
import { gaussian } from './models/random.ts';
import { msdDecoder } from './msd-only.ts';
import type { PeakReply } from './peak-worker.ts';
import { type Opened, openEngines, type Request, runSections, type SuiteResult } from './request.ts';
import type { WholeModelResult } from './results.ts';
import type { PeakWorker, Suite } from './suite.ts';

export interface PageRequest extends Request {
  /** Versions of the packages, which their files do not tell. */
  readonly packageVersions: Readonly<Record<string, string>>;
}

/** Bytes of all WebAssembly memories of the page. */
export interface PageMemory {
  readonly label: string;
  readonly start: number;
  readonly afterLoad: number;
  readonly afterRun: number;
}

export type PageResult = SuiteResult & {
  readonly absent: Record<string, string>;
  readonly wholeModels: readonly WholeModelResult[];
};

const PEERS = new URL('./peers/node_modules', import.meta.url).href;
const WORKSPACE = new URL('../node_modules', import.meta.url).href;

function startWorker(): PeakWorker {
  const worker = new Worker(new URL('./peak-worker.ts', import.meta.url), { type: 'module' });
  return {
    ask: (request) =>
      new Promise<PeakReply>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(request);
      }),
    stop: () => worker.terminate(),
  };
}

/** llama.cpp's whole models, and MSD on the same linear layers, in turns. */
async function measureWholeModels({ timings, log }: Suite, { threads, engines }: Request): Promise<WholeModelResult[]> {
  const results: WholeModelResult[] = [];
  for (const weights of GGUF_WEIGHTS) {
    const label = `llama.cpp ${weights}`;
    const msd = await msdDecoder(weights, threads);
    let llama: WholeModel | undefined;
    let refusal = '';
    if (engines.includes('llama')) {
      log(label);
      llama = await loadLlama(PEERS, weights, threads).catch((error: unknown) => {
        refusal = error instanceof Error ? error.message : String(error);
        log(`${label}: ${refusal}`);
        return undefined;
      });
    }
    await llama?.sample();
    for (const model of msd) await model.sample();
    const samples = [llama, ...msd].map((): TokenTimes[] => []);
    for (let round = 0; round < timings.rounds; round++)
      for (const [i, model] of [llama, ...msd].entries()) if (model) samples[i]!.push(await model.sample());
    if (llama)
      results.push(wholeModelResult({ label, weights, threads, engine: 'llama' }, llama.prefillTokens(), samples[0]!));
    else
      results.push({
        label,
        weights,
        threads,
        engine: 'llama',
        macsPerToken: 0,
        notMeasured: refusal || 'not asked for',
      });
    for (const [i, model] of msd.entries())
      results.push(wholeModelResult(model, model.prefillTokens(), samples[i + 1]!));
    await llama?.release();
    for (const model of msd) await model.release();
  }
  return results;
}

function open({ engines, threads, packageVersions }: PageRequest): Promise<Opened> {
  return openEngines(
    engines,
    {
      msd: () => msdEngine(packageVersions.msd ?? 'unknown', threads > 1 ? [1, threads] : [1]),
      ort: async () => ortEngine(ort, threads),
      litert: () => liteRtEngine(PEERS, packageVersions.litert ?? 'unknown', threads),
      tfjs: () => {
        const { tf } = globalThis as unknown as { tf: TfCore & { wasm: TfWasm } };
        return tfjsEngine(tf, tf.wasm, `${WORKSPACE}/@tensorflow/tfjs-backend-wasm/dist/`, threads);
      },
    },
    {},
  );
}

async function runRequest(request: PageRequest): Promise<PageResult> {
  const { threads, rounds, sampleMs } = request;
  const log = (message: string) => console.log(`  ${message}`);
  const { engines, absent } = await open(request);
  const workers = Array.from({ length: threads }, startWorker);
  const suite = { engines, workers, timings: { rounds, sampleMs, warmMs: 100 }, log };
  const result = await runSections(suite, request);
  const wholeModels = request.sections.includes('whole-models') ? await measureWholeModels(suite, request) : [];
  for (const worker of workers) worker.stop();
  return { ...result, absent, wholeModels };
}

/** One engine with one format alone in a fresh page: a layer of 4096² is loaded, and run once. */
async function measureMemory(request: PageRequest, id: string, M: number): Promise<PageMemory | undefined> {
  const { engines } = await open(request);
  const engine = engines[0];
  const variant = engine?.variants.find((other) => other.id === id);
  if (!engine || !variant) return undefined;
  const source = new LayerSource([{ name: 'memory', K: 4096, N: 4096 }]);
  const start = wasmBytes();
  const loaded = await engine.load(variant, source, M);
  const afterLoad = wasmBytes();
  await loaded.compute(gaussian(M * 4096, 1));
  return { label: variant.label, start, afterLoad, afterRun: wasmBytes() };
}

/** Ids of the columns that an engine has, asked for carriers left out. */
const variantIds = async (request: PageRequest): Promise<string[]> =>
  (await open(request)).engines.flatMap(({ variants }) => variants.flatMap(({ id, carrier }) => (carrier ? [] : [id])));

Object.assign(globalThis, { page$: { runRequest, measureMemory, variantIds } });
