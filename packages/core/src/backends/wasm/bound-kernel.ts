/** A kernel call with its arguments, run any number of times: on one thread, or in chunks on all of them. */
import type { KernelCall } from '../../kernel-spec.ts';
import { Job } from '../../threads/job.ts';
import type { Kernel } from './kernels.ts';
import type { Runtime } from './runtime.ts';

export class BoundKernel {
  readonly id: string;
  readonly #job: Job;
  readonly #runtime: Runtime;
  readonly #call: KernelCall;
  #kernel: Kernel | undefined;
  /** Of the memory that `#kernel` works on. */
  #generation = -1;
  readonly #find = (): Kernel => this.#current();

  /**
   * @param chunks table of where they lie, see plan/cut.ts
   * @param parts arguments of each part that chunks are of, where they are more than one
   */
  constructor(
    runtime: Runtime,
    call: KernelCall,
    chunks: Int32Array,
    parts: readonly KernelCall['args'][] = [call.args],
  ) {
    this.id = call.id;
    this.#runtime = runtime;
    this.#call = call;
    this.#job = new Job(parts, chunks);
  }

  /** Do threads share it? */
  get isShared(): boolean {
    return this.#job.chunks > 1;
  }

  /** Says where everything of a part lies. @param addresses by operand */
  place(addresses: readonly number[], scratch?: number, part?: number): void {
    this.#job.place(addresses, scratch, part);
  }

  /**
   * @param repeatable may a chunk be computed twice? Not if the kernel changes what it reads
   * @param meanwhile what the kernel has nothing to do with and only the calling thread can do: done first, while others begin
   * @returns false if a worker was lost in a chunk that may not: do everything again that this kernel reads
   */
  run(repeatable: boolean, meanwhile?: () => void): boolean {
    const job = this.#job;
    if (job.chunks > 1) return this.#runtime.team.run(this.#find, job, this.#runtime.leave, repeatable, meanwhile);
    meanwhile?.();
    if (job.chunks === 1) this.#current()(...job.whole);
    return true;
  }

  /** Emits and compiles the kernel if that was not done yet, and asks the engine to optimise it: the first run waits for that. */
  warmUp(): void {
    this.#runtime.kernels.get(this.#call);
  }

  #current(): Kernel {
    const { kernels } = this.#runtime;
    if (!this.#kernel || this.#generation !== kernels.generation) {
      this.#kernel = kernels.get(this.#call);
      this.#generation = kernels.generation;
      kernels.settle(this.#call);
    }
    return this.#kernel;
  }
}
