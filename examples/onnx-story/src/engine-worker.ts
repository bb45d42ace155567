/** One worker, as the page sees it: a request at a time. */
import type { LoadRequest, Reply, Request, Side } from './protocol.ts';

type ReplyOf<T extends Reply['type']> = Extract<Reply, { type: T }>;

export class EngineWorker {
  readonly #worker: Worker;
  #waiting: { type: Reply['type']; resolve(reply: Reply): void; reject(error: Error): void } | undefined;
  onProgress: (loaded: number, total: number) => void = () => {};
  onTokens: (times: readonly number[], text: string) => void = () => {};

  constructor(side: Side) {
    // The two lines are written out: bundlers look for this form.
    this.#worker =
      side === 'msd'
        ? new Worker(new URL('./msd.worker.ts', import.meta.url), { type: 'module' })
        : new Worker(new URL('./stock.worker.ts', import.meta.url), { type: 'module' });
    this.#worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => this.#receive(data));
    this.#worker.addEventListener('error', ({ message }) =>
      this.#receive({
        type: 'failed',
        message: message || 'The worker’s script could not be loaded: is this computer online?',
      }),
    );
  }

  load(request: Omit<LoadRequest, 'type' | 'base'>): Promise<ReplyOf<'loaded'>> {
    return this.#ask({ ...request, type: 'load', base: new URL('.', document.baseURI).href }, 'loaded');
  }

  write(prompt: string, tokens: number): Promise<ReplyOf<'written'>> {
    return this.#ask({ type: 'write', prompt, tokens }, 'written');
  }

  async decode(ids: readonly number[]): Promise<string> {
    return (await this.#ask({ type: 'decode', ids }, 'text')).text;
  }

  terminate(): void {
    this.#worker.terminate();
    this.#waiting?.reject(new DOMException('The worker was stopped.', 'AbortError'));
    this.#waiting = undefined;
  }

  #ask<T extends Reply['type']>(request: Request, type: T): Promise<ReplyOf<T>> {
    return new Promise((resolve, reject) => {
      this.#waiting = { type, resolve: resolve as (reply: Reply) => void, reject };
      this.#worker.postMessage(request);
    });
  }

  #receive(reply: Reply): void {
    if (reply.type === 'progress') this.onProgress(reply.loaded, reply.total);
    else if (reply.type === 'wrote') this.onTokens(reply.times, reply.text);
    else {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (reply.type === 'failed') waiting?.reject(new Error(reply.message));
      else if (reply.type === waiting?.type) waiting.resolve(reply);
    }
  }
}
