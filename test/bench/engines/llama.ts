/**
 * llama.cpp in WebAssembly (`@wllama/wllama`), whole generated decoders: it offers no single matrix product. Random codes,
 * so what it writes means nothing and is not compared with anything; attention, norms and sampling count into its time.
 */
import { type GgufWeights, ggufDecoder, LLAMA, llamaMacsPerToken } from '../models/gguf.ts';
import { measured, round, type WholeModelResult } from '../results.ts';

/** What is used of `@wllama/wllama`, which is not there when types are checked. */
interface WllamaModule {
  Wllama: new (paths: { default: string }, config: { suppressNativeLog: boolean }) => Wllama;
}
interface Wllama {
  loadModel(blobs: readonly Blob[], options: Record<string, unknown>): Promise<void>;
  createCompletion(options: Record<string, unknown>): Promise<{
    timings?: { prompt_n: number; prompt_ms: number; predicted_n: number; predicted_ms: number };
  }>;
  isMultithread(): boolean;
  getNumThreads(): number;
  exit(): Promise<void>;
}

export const PREFILL_TOKENS = 128;
const DECODE_TOKENS = 32;

export interface TokenTimes {
  /** Milliseconds per token. */
  readonly prefillMs: number;
  readonly decodeMs: number;
}

export interface WholeModel {
  /** Runs a prompt and some tokens. */
  sample(): Promise<TokenTimes>;
  /** Tokens of the prompt, once it ran. */
  prefillTokens(): number;
  release(): void | Promise<void>;
}

/** @param peers URL of the folder that holds `@wllama` */
export async function loadLlama(peers: string, weights: GgufWeights, threads: number): Promise<WholeModel> {
  const { Wllama }: WllamaModule = await import(/* @vite-ignore */ `${peers}/@wllama/wllama/esm/index.js`);
  const wllama = new Wllama({ default: `${peers}/@wllama/wllama/esm/wasm/wllama.wasm` }, { suppressNativeLog: true });
  await wllama.loadModel([new Blob([ggufDecoder(weights)])], {
    n_ctx: LLAMA.context,
    n_batch: PREFILL_TOKENS,
    n_ubatch: PREFILL_TOKENS,
    n_threads: threads,
    n_gpu_layers: 0,
    n_parallel: 1,
    warmup: true,
  });
  if (wllama.getNumThreads() !== threads) {
    const got = wllama.getNumThreads();
    await wllama.exit();
    throw new Error(`wllama: ${threads} threads expected, got ${got}`);
  }
  let turn = 0;
  let tokens = 0;
  return {
    prefillTokens: () => tokens,
    // Its own clocks: a page's would count the way to the worker.
    sample: async () => {
      // Another first letter each time, or the prompt would be found in the cache.
      const letter = String.fromCharCode(97 + (turn++ % 26));
      const prompt = letter + 'abcdefghijklmnopqrstuvwxyz'.repeat(5).slice(0, PREFILL_TOKENS - 2);
      const { timings } = await wllama.createCompletion({
        prompt,
        max_tokens: DECODE_TOKENS,
        temperature: 0,
        ignore_eos: true,
        cache_prompt: false,
      });
      if (!timings || timings.predicted_n < DECODE_TOKENS / 2)
        throw new Error(`wllama: ${DECODE_TOKENS} tokens expected, got ${timings?.predicted_n}`);
      tokens = timings.prompt_n;
      return {
        prefillMs: timings.prompt_ms / timings.prompt_n,
        // The first token comes out of the prompt's own pass.
        decodeMs: timings.predicted_ms / Math.max(1, timings.predicted_n - 1),
      };
    },
    release: () => wllama.exit(),
  };
}

/** What becomes of the samples of a whole model, llama.cpp's or the same matrices elsewhere. */
export function wholeModelResult(
  { label, weights, threads, engine }: Pick<WholeModelResult, 'label' | 'weights' | 'threads' | 'engine'>,
  prefillTokens: number,
  samples: readonly TokenTimes[],
): WholeModelResult {
  const macsPerToken = llamaMacsPerToken();
  const [decode, prefill] = [
    measured(samples.map(({ decodeMs }) => decodeMs)),
    measured(samples.map(({ prefillMs }) => prefillMs)),
  ];
  return {
    label,
    weights,
    threads,
    engine,
    macsPerToken,
    decode,
    decodeGmacs: round(macsPerToken / decode.median / 1e6),
    prefill,
    prefillGmacs: round(macsPerToken / prefill.median / 1e6),
    prefillTokens,
  };
}
