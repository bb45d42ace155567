/** The device that is worked on now: what went wrong on it, and how to start again once it is lost. */
import { BackendUnavailableError, GpuError } from '../errors.ts';
import { forgetRefused, type Live, start, watch } from './live.ts';
import type { WebGpuOptions } from './options.ts';
import { requestDevice } from './request.ts';

export class Session {
  readonly options: WebGpuOptions;
  #live: Live;
  #restoring: Promise<void> | undefined;
  /** What went wrong in work that nobody waited for. */
  #failure: Error | undefined;
  /** Settled once the device has answered for all that was recorded. */
  #answered: Promise<void> = Promise.resolve();
  #disposed = false;

  private constructor(options: WebGpuOptions, live: Live) {
    this.options = options;
    this.#live = live;
  }

  /** @throws {@link BackendUnavailableError} where there is no WebGPU, no adapter or no device */
  static async open(options: WebGpuOptions): Promise<Session> {
    const device = options.device ?? (await requestDevice(options));
    return new Session(options, await start(device, options.features ?? {}));
  }

  get live(): Live {
    return this.#live;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  checkDisposed(): void {
    if (this.#disposed) throw new RangeError('matmul: the backend has been disposed of.');
  }

  /** Also throws what went wrong in work that nobody waited for, once. */
  checkUsable(): void {
    this.checkDisposed();
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
  }

  /** @throws {@link BackendUnavailableError} if the device is lost */
  checkLive(): Live {
    const { lost } = this.#live;
    if (!lost) return this.#live;
    const next = this.options.device ? 'Create a backend with a new device' : 'Prepare the weights again';
    throw new BackendUnavailableError(`matmul: the GPU device was lost (${lost.reason}): ${lost.message} ${next}.`);
  }

  /** Records; what the device has to say about it is thrown by the next call. */
  watched(id: string, record: () => void): void {
    const live = this.#live;
    const scopes = watch(live.device);
    try {
      record();
    } finally {
      const answer = scopes.end().then((problem) => {
        if (!problem) return;
        forgetRefused(live, problem);
        this.#failure ??= new GpuError(`record: the GPU refused ${id}: ${problem.message}`);
      });
      this.#answered = this.#answered.then(() => answer);
    }
  }

  /** Resolves when everything that was submitted so far is done. */
  async finished(): Promise<void> {
    await Promise.all([this.#live.device.queue.onSubmittedWorkDone(), this.#answered]);
    this.checkUsable();
    this.checkLive();
  }

  /** A device that works: after a loss another one, unless it was given. @param dropped what lay on the old one is gone */
  async restored(dropped: () => void): Promise<Live> {
    if (!this.#live.lost) return this.#live;
    if (this.options.device) this.checkLive();
    this.#restoring ??= (async () => {
      dropped();
      const live = await start(await requestDevice(this.options), this.options.features ?? {});
      if (this.#disposed) live.device.destroy();
      this.checkDisposed();
      this.#live = live;
    })().finally(() => {
      this.#restoring = undefined;
    });
    await this.#restoring;
    return this.#live;
  }

  /** Frees every buffer of its own; destroys the device too if that is its own. */
  dispose(): void {
    const { device, scratch, params, codeTables, readbacks, pipelines } = this.#live;
    this.#disposed = true;
    pipelines.clear();
    for (const owner of [scratch, params, codeTables, readbacks]) owner.dispose();
    if (!this.options.device) device.destroy();
  }
}
