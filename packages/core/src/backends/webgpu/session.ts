/** The present device: what went wrong on it, and how to start again after a loss. */
import { BackendUnavailableError, GpuError } from '../../errors.ts';
import { forgetRefused, type Live, start, watch } from './live.ts';
import type { WebGpuOptions } from './options.ts';
import { requestDevice } from './request.ts';

export class Session {
  readonly options: WebGpuOptions;
  #live: Live;
  #restoring: Promise<void> | undefined;
  /** An error in work that nobody waited for. */
  #failure: Error | undefined;
  /** Settled when the device has reported on everything that was recorded. */
  #answered: Promise<void> = Promise.resolve();
  #disposed = false;
  #dropped: () => void = () => {};

  private constructor(options: WebGpuOptions, live: Live) {
    this.options = options;
    this.#live = live;
  }

  /** @param dropped called when everything on the device is gone */
  onLoss(dropped: () => void): void {
    this.#dropped = dropped;
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

  /** Also throws, once, an error of work that nobody waited for. */
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

  /** Does something that the device may refuse later: then the next call throws the error. */
  watched<T>(work: () => T, refused: (message: string) => Error): T {
    const live = this.#live;
    const scopes = watch(live.device);
    try {
      return work();
    } finally {
      const answer = scopes.end().then((problem) => {
        if (!problem) return;
        forgetRefused(live, problem);
        this.#failure ??= refused(problem.message);
      });
      this.#answered = this.#answered.then(() => answer);
    }
  }

  /** Submits what was recorded. */
  submit(): void {
    const { recorder } = this.#live;
    if (!recorder.isOpen) return;
    this.watched(
      () => recorder.submit(),
      (message) => new GpuError(`run: the GPU refused what was recorded: ${message}`),
    );
  }

  /** Resolves when everything that was recorded or submitted so far is done. */
  async finished(): Promise<void> {
    this.submit();
    await this.#live.device.queue.onSubmittedWorkDone();
    await this.answered();
  }

  /** Resolves when the device has reported on everything that was recorded. */
  async answered(): Promise<void> {
    await this.#answered;
    this.checkUsable();
    this.checkLive();
  }

  /** A working device: after a loss a new one, unless the caller passed the device. */
  async restored(): Promise<Live> {
    if (!this.#live.lost) return this.#live;
    if (this.options.device) this.checkLive();
    this.#restoring ??= (async () => {
      this.#dropped();
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
    const { device, recorder, scratch, params, codeTables, readbacks, pipelines } = this.#live;
    this.#disposed = true;
    pipelines.clear();
    for (const owner of [recorder, scratch, params, codeTables, readbacks]) owner.dispose();
    if (!this.options.device) device.destroy();
  }
}
