/**
 * One side of the comparison, in a worker with a module of ONNX Runtime and a heap of its own. Both workers run this code; the
 * one for MSD has imported `@msd/onnx/transformers` before.
 */

import { env, pipeline, type TextGenerationPipeline, TextStreamer } from '@huggingface/transformers';
import { explain } from '../../shared/explain.ts';
import { codeBytes, Download, setUpOnnxRuntime } from '../../shared/transformers.ts';
import { wasmMemoryBytes } from '../../story-model/src/wasm-memory.ts'; // first: counts from here on
import { openSource } from './open-source.ts';
import type { LoadRequest, Reply, Request } from './protocol.ts';

/** What only the side with MSD can say. */
export interface Engine {
  setThreads(threads: number): void;
  report(generator: TextGenerationPipeline): {
    readonly report: string;
    readonly summary: string;
    readonly isLeft: boolean;
  };
}

/** The page draws no faster than this. */
const MESSAGE_MS = 40;

const reply = (message: Reply) => postMessage(message);

/** Answers the page's requests, one after the other. */
export function serve(engine: Engine): void {
  // WebKit evaluates a worker's first module once more when another file of the bundle imports from it. Only one may answer.
  const scope = globalThis as { isServed?: boolean };
  if (scope.isServed) return;
  scope.isServed = true;
  let generator: TextGenerationPipeline | undefined;
  let turn: Promise<void> = Promise.resolve();

  async function load(request: LoadRequest): Promise<void> {
    setUpOnnxRuntime(env, request.base, request.threads);
    engine.setThreads(request.threads);
    const { model, options } = openSource(request);
    const download = new Download((loaded, total) => reply({ type: 'progress', loaded, total }));
    generator = await pipeline('text-generation', model, {
      ...options,
      dtype: request.dtype,
      device: 'wasm',
      progress_callback: download.follow,
    });
    reply({
      type: 'loaded',
      startMs: download.sinceArrival,
      isChat: Boolean(generator.tokenizer.chat_template),
      ortVersion: env.backends.onnx.versions?.web ?? 'unknown',
    });
  }

  async function write(own: TextGenerationPipeline, prompt: string, tokens: number): Promise<void> {
    const ids: number[] = [];
    const times: number[] = [];
    let text = '';
    let told = { tokens: 0, at: 0 };
    const tell = (now: number) => {
      reply({ type: 'wrote', times: times.slice(told.tokens), text });
      text = '';
      told = { tokens: times.length, at: now };
    };
    const input = own.tokenizer.chat_template ? [{ role: 'user', content: prompt }] : prompt;
    const room = roomFor(own, prompt);
    const start = performance.now();
    const streamer = new TextStreamer(own.tokenizer, {
      skip_prompt: true,
      token_callback_function: ([id]) => {
        ids.push(Number(id));
        times.push(performance.now() - start);
      },
      callback_function: (piece) => {
        text += piece;
        const now = performance.now() - start;
        if (now - told.at > MESSAGE_MS) tell(now);
      },
    });
    await own(input, { max_new_tokens: Math.min(tokens, room), do_sample: false, add_special_tokens: true, streamer });
    tell(performance.now() - start);
    reply({ type: 'written', ids, times, memory: wasmMemoryBytes(), code: codeBytes(), ...engine.report(own) });
  }

  async function handle(request: Request): Promise<void> {
    if (request.type === 'load') return load(request);
    if (!generator) throw new Error('No model is loaded. Press Write again.');
    if (request.type === 'write') return write(generator, request.prompt, request.tokens);
    const text = generator.tokenizer.decode([...request.ids], { skip_special_tokens: true });
    reply({ type: 'text', text });
  }

  addEventListener('message', ({ data }: MessageEvent<Request>) => {
    turn = turn.then(() => handle(data)).catch((error: unknown) => reply({ type: 'failed', message: explain(error) }));
  });
}

/**
 * How many tokens fit behind the opening.
 *
 * @throws RangeError when not even two do
 */
function roomFor({ tokenizer, model }: TextGenerationPipeline, prompt: string): number {
  const { max_position_embeddings: most } = model.config as { readonly max_position_embeddings?: number };
  if (most === undefined) return Number.POSITIVE_INFINITY;
  const length = tokenizer.encode(prompt).length;
  if (most - length < 2)
    throw new RangeError(`The opening has ${length} tokens, and the model reads at most ${most}: shorten it.`);
  return most - length;
}
