/** A Worker that questions are put to, of a page or of node:worker_threads. */
import { BackendUnavailableError } from '@msd/core';
import { checkSignal, Watch } from '../execute/abort.ts';
import { type Answered, type Answers, type Asked, type Kind, type Questions, receivedError } from './messages.ts';

/** A Worker of a page or of Node. */
export interface AnyWorker {
  postMessage(message: unknown, transfer: never): void;
  terminate(): unknown;
}

/** One of Node's. */
interface NodeWorker extends AnyWorker {
  on(event: string, listener: (value: unknown) => void): void;
  ref(): void;
  unref(): void;
}

interface NodeThreads {
  readonly Worker: new (url: URL, options: object) => NodeWorker;
}

interface NodeProcess {
  readonly type?: string;
  getBuiltinModule?(name: string): unknown;
}

/** Without an import that bundlers would follow; undefined in pages, also in Electron's. */
function nodeThreads(): NodeThreads | undefined {
  const { process } = globalThis as { process?: NodeProcess };
  if (process?.type === 'renderer') return undefined;
  return process?.getBuiltinModule?.('node:worker_threads') as NodeThreads | undefined;
}

/** In the form that Vite, webpack and esbuild's plugins know. */
export function startThread(): AnyWorker {
  const node = nodeThreads();
  if (node) return new node.Worker(new URL('./thread.js', import.meta.url), { execArgv: [], name: 'msd session' });
  return new Worker(new URL('./thread.js', import.meta.url), { type: 'module', name: 'msd session' });
}

interface Waiting {
  resolve(answer: never): void;
  reject(error: Error): void;
}

/** Questions and their answers. */
export class Line {
  readonly #worker: AnyWorker;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;
  #gone: Error | undefined;

  /** @param hear gets messages that answer nothing */
  constructor(worker: AnyWorker, hear: (message: Answered) => void) {
    this.#worker = worker;
    const message = (said: unknown) => this.#answered(said as Answered, hear);
    const gone = (reason: unknown) => this.#end(reason);
    if ('on' in worker) {
      const node = worker as NodeWorker;
      node.on('message', message);
      node.on('error', (error) => gone((error as Error).message));
      node.on('exit', (code) => gone(`it exited with code ${code}`));
      // A session alone keeps no process from ending.
      node.unref();
      return;
    }
    const page = worker as Worker;
    page.addEventListener('message', ({ data }) => message(data));
    page.addEventListener('error', (event) => gone(event.message));
    page.addEventListener('messageerror', () => gone('it could not read a message'));
  }

  /** @param signal stops it: the Worker answers with an AbortError */
  async ask<K extends Kind>(
    kind: K,
    question: Questions[K],
    moved?: Iterable<ArrayBuffer>,
    signal?: AbortSignal,
  ): Promise<Answers[K]> {
    if (this.#gone) throw this.#gone;
    new Watch(kind, checkSignal(kind, signal)).check();
    const id = ++this.#last;
    const answer = new Promise<Answers[K]>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const stop = () => this.tell({ stop: id });
    (this.#worker as Partial<NodeWorker>).ref?.();
    try {
      this.#post({ id, kind, question } as Asked, moved);
      signal?.addEventListener('abort', stop);
      return await answer;
    } catch (error) {
      // The reason itself stayed here.
      if (signal?.aborted && (error as Error).name === 'AbortError') (error as Error).cause = signal.reason;
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) (this.#worker as Partial<NodeWorker>).unref?.();
    }
  }

  /** Says what is not answered. */
  tell(message: Asked): void {
    if (!this.#gone) this.#post(message);
  }

  /** Ends the Worker. */
  end(error: Error): void {
    this.#gone ??= error;
    this.#worker.terminate();
  }

  #post(message: Asked, moved: Iterable<ArrayBuffer> = []): void {
    this.#worker.postMessage(message, [...moved] as never);
  }

  #answered(message: Answered, hear: (message: Answered) => void): void {
    if (!('id' in message)) hear(message);
    else if ('error' in message) this.#waiting.get(message.id)?.reject(receivedError(message.error));
    else this.#waiting.get(message.id)?.resolve(message.answer as never);
  }

  #end(reason: unknown): void {
    this.#gone ??= new BackendUnavailableError(
      `worker: its Worker, expected it to run, got its end: ${reason || 'no reason given by the engine'}. A page's Content-Security-Policy has to allow worker-src 'self'; a bundler that does not know new Worker(new URL(…)) needs the option worker.`,
    );
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
  }
}
