/** One side of the comparison, in a worker: loads a sentence encoder, reads all sentences, answers queries. */
import type { Hit, Reply, Request } from './protocol.ts';

/** A loaded sentence encoder. */
export interface Encoder<Costs> {
  /** Length of an embedding. */
  readonly width: number;
  /** @returns [sentences, width], one row of length 1 after the other */
  embed(sentences: readonly string[], kind: 'query' | 'passage'): Promise<Float32Array>;
  costs(): Costs;
  /** What MSD did to the model; empty without it. */
  readonly report: string;
  /** Milliseconds of loading, if not all from the request on. */
  readonly loadMs?: number;
}

const BATCH = 16;
const HITS = 6;

/**
 * Answers the page's requests, one after the other: an engine runs one model at a time.
 *
 * @param load makes the encoder; `onDownload` may be told bytes
 */
export function serve<Load, Costs>(
  load: (options: Load, onDownload: (loaded: number, total: number) => void) => Promise<Encoder<Costs>>,
  explain: (error: unknown) => string = String,
): void {
  let encoder: Encoder<Costs> | undefined;
  let vectors = new Float32Array(0);
  let isCancelled = false;
  let turn: Promise<void> = Promise.resolve();
  const reply = (message: Reply<Costs>) => postMessage(message);

  addEventListener('message', ({ data }: MessageEvent<Request<Load>>) => {
    if (data.type === 'cancel') {
      isCancelled = true;
      return;
    }
    turn = turn.then(() => handle(data)).catch((error: unknown) => reply({ type: 'failed', message: explain(error) }));
  });

  async function handle(request: Exclude<Request<Load>, { type: 'cancel' }>): Promise<void> {
    const start = performance.now();
    if (request.type === 'load') {
      encoder = await load(request.options, (loaded, total) => reply({ type: 'download', loaded, total }));
      reply({ type: 'loaded', milliseconds: encoder.loadMs ?? performance.now() - start, report: encoder.report });
      return;
    }
    if (!encoder) throw new Error('No model is loaded. Reload the page.');
    if (request.type === 'index') return index(encoder, request.sentences);
    const embedding = await encoder.embed([request.text], 'query');
    const hits = nearest(embedding, vectors, HITS);
    reply({ type: 'hits', id: request.id, milliseconds: performance.now() - start, hits, embedding });
  }

  async function index(own: Encoder<Costs>, sentences: readonly string[]): Promise<void> {
    isCancelled = false;
    const start = performance.now();
    const found = new Float32Array(sentences.length * own.width);
    for (let done = 0; done < sentences.length; done += BATCH) {
      reply({ type: 'progress', done, total: sentences.length });
      await new Promise((resolve) => setTimeout(resolve)); // lets a cancel in
      if (isCancelled) return reply({ type: 'cancelled' });
      found.set(await own.embed(sentences.slice(done, done + BATCH), 'passage'), done * own.width);
    }
    vectors = found;
    const milliseconds = performance.now() - start;
    await own.embed(sentences.slice(0, 1), 'query'); // a first call with one sentence compiles: no query should pay for it
    reply({ type: 'progress', done: sentences.length, total: sentences.length });
    reply({ type: 'indexed', milliseconds, costs: own.costs() });
  }
}

/** The rows that point most nearly the same way as the query. All have length one. */
export function nearest(query: Float32Array, vectors: Float32Array, count: number): Hit[] {
  const width = query.length;
  const scores: Hit[] = [];
  for (let index = 0; index * width < vectors.length; index++) {
    let score = 0;
    for (let k = 0; k < width; k++) score += query[k]! * vectors[index * width + k]!;
    scores.push({ index, score });
  }
  return scores.sort((a, b) => b.score - a.score).slice(0, count);
}
