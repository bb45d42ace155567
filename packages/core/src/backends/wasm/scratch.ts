/**
 * A device's working buffers, by name. They grow with the largest call and stay. Nothing in them outlives a call, so
 * when one has to grow, all of them move together and leave no holes.
 */
import type { Arena, ArenaHandle } from '../arena.ts';

export class Scratch {
  /** Another number means other addresses. */
  generation = 0;
  readonly #arena: Arena;
  #buffers: Record<string, ArenaHandle> = {};

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /**
   * Makes room for buffers of at least these sizes; what they held before is lost if one has to grow.
   * @throws {@link BackendUnavailableError} if memory runs out; some buffers are gone then. So whoever finds another
   * generation reserves again
   */
  reserve(sizes: Readonly<Record<string, number>>): void {
    if (this.#holds(sizes)) return;
    const have = this.sizes;
    this.dispose();
    for (const name of new Set([...Object.keys(have), ...Object.keys(sizes)])) {
      const bytes = Math.max(have[name] ?? 0, sizes[name] ?? 0);
      if (bytes > 0) this.#buffers[name] = this.#arena.alloc(bytes, `scratch ${name}`);
    }
  }

  /** Called for every bound call: makes no objects. */
  #holds(sizes: Readonly<Record<string, number>>): boolean {
    for (const name in sizes) if (sizes[name] > (this.#buffers[name]?.byteLength ?? 0)) return false;
    return true;
  }

  /** Address of a buffer; 0 if no call has needed it yet. */
  at(name: string): number {
    return this.#buffers[name]?.ptr ?? 0;
  }

  /** Bytes by name. */
  get sizes(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#buffers).map(([name, { byteLength }]) => [name, byteLength]));
  }

  dispose(): void {
    this.generation++;
    for (const handle of Object.values(this.#buffers)) this.#arena.free(handle);
    this.#buffers = {};
  }
}
