/**
 * A backend's working buffers. They grow with the largest call and stay; nothing in them outlives a call, so when one has
 * to grow all of them move together: no holes are left between them.
 */
import type { Arena, ArenaHandle } from './arena.ts';

export const SCRATCH_NAMES = ['x', 'q', 'sums', 'scales', 'panel', 'y', 'bias', 'multiply', 'residual'] as const;
export type ScratchName = (typeof SCRATCH_NAMES)[number];
export type ScratchSizes = Readonly<Record<ScratchName, number>>;

const NONE: ScratchSizes = { x: 0, q: 0, sums: 0, scales: 0, panel: 0, y: 0, bias: 0, multiply: 0, residual: 0 };

export class Scratch {
  readonly #arena: Arena;
  #handles: ArenaHandle[] = [];
  #sizes: ScratchSizes = NONE;
  #addresses: ScratchSizes = NONE;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Addresses of buffers of at least these sizes; what they held before is lost. */
  reserve(sizes: ScratchSizes): ScratchSizes {
    const have = this.#sizes;
    let fits = true;
    for (const name of SCRATCH_NAMES) fits &&= sizes[name] <= have[name];
    if (fits) return this.#addresses;
    const grown = { ...NONE };
    for (const name of SCRATCH_NAMES) grown[name] = Math.max(sizes[name], this.#sizes[name]);
    this.dispose();
    const addresses = { ...NONE };
    for (const name of SCRATCH_NAMES) {
      const handle = this.#arena.alloc(grown[name], `scratch ${name}`);
      this.#handles.push(handle);
      addresses[name] = handle.ptr;
    }
    this.#sizes = grown;
    this.#addresses = addresses;
    return addresses;
  }

  /** Addresses that the last call worked on. */
  get addresses(): ScratchSizes {
    return this.#addresses;
  }

  /** Bytes by name. */
  get sizes(): ScratchSizes {
    return this.#sizes;
  }

  dispose(): void {
    for (const handle of this.#handles) this.#arena.free(handle);
    this.#handles = [];
    this.#sizes = NONE;
    this.#addresses = NONE;
  }
}
