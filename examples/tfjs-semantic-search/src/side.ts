/** One worker, as the page sees it. */
import type { BackendName, Format, Memory, Reply, Request, Side } from './protocol.ts';

type ReplyOf<T extends Reply['type']> = Extract<Reply, { type: T }>;

export class SideWorker {
  readonly side: Side;
  readonly #worker: Worker;
  /** Waiting for a reply of a type, oldest first. */
  readonly #waiting: {
    readonly types: readonly Reply['type'][];
    resolve(reply: Reply): void;
    reject(error: Error): void;
  }[] = [];
  onProgress: (done: number, total: number) => void = () => {};

  constructor(side: Side) {
    this.side = side;
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
    this.#worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => this.#receive(data));
    this.#worker.addEventListener('error', ({ message }) => this.#receive({ type: 'failed', message }));
  }

  load(backend: BackendName, format: Format): Promise<ReplyOf<'loaded'>> {
    const base = new URL('.', document.baseURI).href;
    return this.#ask({ type: 'load', side: this.side, backend, format, base }, 'loaded');
  }

  /** @returns undefined if it was cancelled */
  async index(sentences: readonly string[]): Promise<{ milliseconds: number; memory: Memory } | undefined> {
    const reply = await this.#ask({ type: 'index', sentences }, 'indexed', 'cancelled');
    return reply.type === 'indexed' ? reply : undefined;
  }

  search(id: number, text: string): Promise<ReplyOf<'hits'>> {
    return this.#ask({ type: 'query', id, text }, 'hits');
  }

  cancel(): void {
    this.#worker.postMessage({ type: 'cancel' } satisfies Request);
  }

  terminate(): void {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.splice(0)) reject(new DOMException('The worker was stopped.', 'AbortError'));
  }

  #ask<T extends Reply['type']>(request: Request, ...types: T[]): Promise<ReplyOf<T>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ types, resolve: resolve as (reply: Reply) => void, reject });
      this.#worker.postMessage(request);
    });
  }

  #receive(reply: Reply): void {
    if (reply.type === 'progress') {
      this.onProgress(reply.done, reply.total);
      return;
    }
    const [first] = this.#waiting;
    if (!first) return;
    if (reply.type === 'failed') this.#waiting.shift()!.reject(new Error(reply.message));
    else if (first.types.includes(reply.type)) this.#waiting.shift()!.resolve(reply);
  }
}
