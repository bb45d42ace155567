/** Where the slots of a step lie whose calls JavaScript makes itself. */
import type { ArenaHandle } from '@msd/core';
import type { Slot } from '../ops/lowering.ts';

export class Places {
  readonly #slots: readonly Slot[];
  readonly #handleOf: (slot: Slot) => ArenaHandle;
  readonly #handles: ArenaHandle[] = [];

  /** @param slots all that calls are bound to */
  constructor(slots: readonly (Slot | undefined)[], handleOf: (slot: Slot) => ArenaHandle) {
    this.#slots = slots.filter((slot) => slot !== undefined);
    this.#handleOf = handleOf;
  }

  /**
   * Do they lie elsewhere than at the last call of this method? They do after a program got another block; then calls
   * are bound again.
   */
  hasMoved(): boolean {
    let moved = false;
    for (let i = 0; i < this.#slots.length; i++) {
      const handle = this.#handleOf(this.#slots[i]!);
      moved ||= this.#handles[i] !== handle;
      this.#handles[i] = handle;
    }
    return moved;
  }

  /** Valid until memory grows. */
  floats(slot: Slot): Float32Array {
    const handle = this.#handleOf(slot);
    return handle.arena.float32(handle);
  }
}
