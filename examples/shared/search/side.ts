/** One worker, as the page sees it. */
import type { Reply, Request } from './protocol.ts';

type ReplyOf<Costs, T extends Reply<Costs>['type']> = Extract<Reply<Costs>, { type: T }>;

export class SideWorker<Load, Costs> {
  readonly #worker: Worker;
  /** Waiting for a reply of a type, oldest first. */
  readonly #waiting: {
    readonly types: readonly Reply<Costs>['type'][];
    resolve(reply: Reply<Costs>): void;
    reject(error: Error): void;
  }[] = [];
  onProgress: (done: number, total: number) => void = () => {};
  onDownload: (loaded: number, total: number) => void = () => {};

  /** @param worker runs `serve`; it is ended with this object */
  constructor(worker: Worker) {
    this.#worker = worker;
    worker.addEventListener('message', ({ data }: MessageEvent<Reply<Costs>>) => this.#receive(data));
    worker.addEventListener('error', ({ message }) =>
      this.#receive({
        type: 'failed',
        message: message || 'The worker’s script could not be loaded: is this computer online?',
      }),
    );
  }

  load(options: Load): Promise<ReplyOf<Costs, 'loaded'>> {
    return this.#ask({ type: 'load', options }, 'loaded');
  }

  /** @returns undefined if it was cancelled */
  async index(sentences: readonly string[]): Promise<ReplyOf<Costs, 'indexed'> | undefined> {
    const reply = await this.#ask({ type: 'index', sentences }, 'indexed', 'cancelled');
    return reply.type === 'indexed' ? reply : undefined;
  }

  search(id: number, text: string): Promise<ReplyOf<Costs, 'hits'>> {
    return this.#ask({ type: 'query', id, text }, 'hits');
  }

  cancel(): void {
    this.#worker.postMessage({ type: 'cancel' } satisfies Request<Load>);
  }

  terminate(): void {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.splice(0)) reject(new DOMException('The worker was stopped.', 'AbortError'));
  }

  #ask<T extends Reply<Costs>['type']>(request: Request<Load>, ...types: T[]): Promise<ReplyOf<Costs, T>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ types, resolve: resolve as (reply: Reply<Costs>) => void, reject });
      this.#worker.postMessage(request);
    });
  }

  #receive(reply: Reply<Costs>): void {
    if (reply.type === 'progress') this.onProgress(reply.done, reply.total);
    else if (reply.type === 'download') this.onDownload(reply.loaded, reply.total);
    else if (reply.type === 'failed') this.#waiting.shift()?.reject(new Error(reply.message));
    else if (this.#waiting[0]?.types.includes(reply.type)) this.#waiting.shift()!.resolve(reply);
  }
}
