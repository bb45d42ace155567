/** Attention, bound: keys and values go into the cache, scores and outputs come from what it holds. */
import type { ArenaHandle } from '../arena.ts';
import { arenaHandle } from '../arguments.ts';
import { checkAttentionOperands, checkOutApart, OUT_OPERAND } from '../attention-arguments.ts';
import { runReference } from '../attention-reference-call.ts';
import type { AttentionSpec, AttentionWork, BoundWork } from '../device.ts';
import { Runtime } from './runtime.ts';

export const attentionSpec: AttentionSpec = {
  wasm(runtime, work, operands) {
    if (!(runtime instanceof Runtime)) throw new TypeError('attention: expected the runtime of a WASM device.');
    return new AttentionCall(runtime, work, checkAttentionOperands(work, operands, arenaHandle));
  },
};

class AttentionCall implements BoundWork<ArenaHandle> {
  readonly kernels: readonly string[] = ['attention'];
  readonly byteLengths: readonly number[];
  readonly #runtime: Runtime;
  readonly #work: AttentionWork;
  readonly #addresses: number[];

  constructor(runtime: Runtime, work: AttentionWork, byteLengths: readonly number[]) {
    this.#runtime = runtime;
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
    const out = runReference(this.#work, this.#runtime.pages, copies, 'float32');
    arena.write(arena.at(this.#addresses[OUT_OPERAND], out.byteLength), out);
  }
}
