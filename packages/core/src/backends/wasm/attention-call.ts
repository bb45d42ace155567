/** Attention, bound: keys and values go into the cache, scores and outputs come from what it holds. */
import type { ArenaHandle } from '../arena.ts';
import { checkOutApart, OUT_OPERAND } from '../attention-arguments.ts';
import { runReference } from '../attention-reference-call.ts';
import type { AttentionWork } from '../device.ts';
import type { PageDevice } from '../kv-cache.ts';
import type { Runtime } from './runtime.ts';

export class AttentionCall {
  readonly kernels: readonly string[] = ['attention'];
  readonly byteLengths: readonly number[];
  readonly #runtime: Runtime;
  readonly #pages: PageDevice<ArenaHandle>;
  readonly #work: AttentionWork;
  readonly #addresses: number[];

  constructor(runtime: Runtime, pages: PageDevice<ArenaHandle>, work: AttentionWork, byteLengths: readonly number[]) {
    this.#runtime = runtime;
    this.#pages = pages;
    this.#work = work;
    this.byteLengths = byteLengths;
    this.#addresses = byteLengths.map(() => 0);
  }

  set(operand: number, { ptr }: ArenaHandle): void {
    this.#addresses[operand] = ptr;
  }

  prepare(): void {}

  run(): void {
    const { arena } = this.#runtime;
    checkOutApart(this.byteLengths, this.#addresses);
    const copies = this.byteLengths.map((bytes, i) =>
      bytes === 0 && i !== OUT_OPERAND
        ? undefined
        : new Uint8Array(arena.memory.buffer, this.#addresses[i], bytes).slice().buffer,
    );
    const out = runReference(this.#work, this.#pages, copies, 'float32');
    arena.write(arena.at(this.#addresses[OUT_OPERAND], out.byteLength), out);
  }
}
