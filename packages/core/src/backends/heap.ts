/**
 * Heaps that an arena takes its blocks from: its own WebAssembly.Memory, first-fit and grown page by page to what is
 * needed, or one that somebody else manages. Memory never shrinks: dropping it is the only way to give it back.
 *
 * A memory that threads share has a maximum, which the system reserves: the known need plus room for working buffers,
 * not the 4 GiB that phones refuse. A heap that outgrows it moves to a larger memory; addresses stay the same. For a
 * moment there are then two memories, for which gigabytes of weights leave no room: such a heap gets as much room again
 * as it has bytes, if the system allows it.
 */
import { BackendUnavailableError } from '../errors.ts';
import { roundUp } from '../formats/layout.ts';

/**
 * A WebAssembly heap that somebody else manages, for instance another library's. Its owner may grow it; MSD never does.
 */
export interface Heap {
  readonly memory: WebAssembly.Memory;
  /** @returns address of at least `byteLength` bytes, any alignment; 0 if there are none left */
  alloc(byteLength: number, label: string): number;
  free(ptr: number): void;
}

export const LINE = 64;
const PAGE = 65536;
const MAX_BYTES = 2 ** 32 - PAGE;
/**
 * How much a shared memory can grow before the heap has to move; a large one by as much as it has, if the system allows
 * it.
 */
const HEADROOM = 2 ** 28;
/**
 * A memory grows by at least this part of its size: after each growth engines make a new ArrayBuffer, and all views of
 * the old one have to be made again. A cache of keys and values asks for one page for every layer, one after the other.
 */
const GROWTH = 1 / 64;
/**
 * A system that has large pages gives one at the first write to it, if the memory reaches to its end by then. So a memory in which one of them is little
 * grows by whole ones: caches of keys and values that grow it step by step are read 3 % faster.
 */
const LARGE_PAGE = 2 ** 21;
const MUCH = 16 * LARGE_PAGE;

interface Block {
  ptr: number;
  bytes: number;
}

/** Blocks of whole lines in a memory of its own. */
export class OwnHeap implements Heap {
  /** Called after a move to another memory. */
  onMove: () => void = () => {};
  #memory: WebAssembly.Memory;
  #shared: boolean;
  /** Bytes that the memory can grow to. */
  #maximum: number = MAX_BYTES;
  /** Sorted by address, never adjacent. The last one may end below the memory's end. */
  #free: Block[] = [];
  /** Sizes of live blocks by address. */
  #live = new Map<number, number>();
  #top: number = LINE; // address 0 stays unused: it means "none" to kernels

  /** @param shared asks for memory that workers can work on; {@link OwnHeap.shared} says whether the engine had it */
  constructor(initialBytes: number, shared = false) {
    this.#shared = shared;
    this.#memory = this.#newMemory(Math.min(initialBytes + 2 * LINE, MAX_BYTES));
  }

  get memory(): WebAssembly.Memory {
    return this.#memory;
  }

  get shared(): boolean {
    return this.#shared;
  }

  /**
   * Copies everything to another memory of its own. Instances and views of the old one are dead.
   * @throws {@link BackendUnavailableError} if there is no room for both; nothing has changed then
   */
  move(byteLength: number = this.#memory.buffer.byteLength): void {
    const from = new Uint8Array(this.#memory.buffer);
    const memory = this.#newMemory(byteLength);
    new Uint8Array(memory.buffer).set(from);
    this.#memory = memory;
    this.onMove();
  }

  /** Tries a shared memory with room to grow, then one without, then one that is not shared. */
  #newMemory(byteLength: number): WebAssembly.Memory {
    const initial = Math.max(1, Math.ceil(byteLength / PAGE));
    if (this.#shared)
      for (const room of [Math.max(byteLength, HEADROOM), HEADROOM, 0]) {
        const maximum = Math.max(initial, Math.floor(Math.min(byteLength + room, MAX_BYTES) / PAGE));
        try {
          const memory = new WebAssembly.Memory({ initial, maximum, shared: true });
          this.#maximum = maximum * PAGE;
          return memory;
        } catch {
          // the next rung
        }
      }
    try {
      const memory = new WebAssembly.Memory({ initial });
      this.#shared = false;
      this.#maximum = MAX_BYTES;
      return memory;
    } catch (cause) {
      throw new BackendUnavailableError(`arena: no memory of ${initial * PAGE} bytes available.`, { cause });
    }
  }

  /** @param bytes whole lines */
  alloc(bytes: number, label: string): number {
    const ptr = this.#take(bytes, label);
    this.#live.set(ptr, bytes);
    return ptr;
  }

  free(ptr: number): void {
    const bytes = this.#live.get(ptr)!;
    this.#live.delete(ptr);
    this.#give({ ptr, bytes });
  }

  #take(bytes: number, label: string): number {
    const fit = this.#free.findIndex((block) => block.bytes >= bytes);
    if (fit >= 0) {
      const block = this.#free[fit];
      const { ptr } = block;
      block.ptr += bytes;
      block.bytes -= bytes;
      if (block.bytes === 0) this.#free.splice(fit, 1);
      return ptr;
    }
    const ptr = this.#top;
    // One line stays free at the end: kernels may read past the end of a buffer, up to the end of its panel of 16.
    this.#grow(ptr + bytes + LINE, label);
    this.#top = ptr + bytes;
    return ptr;
  }

  #give(block: Block): void {
    const free = this.#free;
    let at = free.findIndex((other) => other.ptr > block.ptr);
    if (at < 0) at = free.length;
    free.splice(at, 0, block);
    for (const i of [at, at - 1]) {
      const [left, right] = [free[i], free[i + 1]];
      if (!left || !right || left.ptr + left.bytes !== right.ptr) continue;
      left.bytes += right.bytes;
      free.splice(i + 1, 1);
    }
    const last = free.at(-1);
    if (last && last.ptr + last.bytes === this.#top) {
      this.#top = last.ptr;
      free.pop();
    }
  }

  #grow(end: number, label: string): void {
    const have = this.#memory.buffer.byteLength;
    const missing = Math.ceil((end - have) / PAGE);
    if (missing <= 0) return;
    const problem = `arena: ${label} needs ${end} bytes of memory in all, and has ${have}`;
    if (end > MAX_BYTES) throw new BackendUnavailableError(`${problem}; WebAssembly addresses 4 GiB.`);
    try {
      if (end > this.#maximum) this.move(end);
      else {
        const wanted = roundUp(Math.max(end, have * (1 + GROWTH)), have < MUCH ? PAGE : LARGE_PAGE);
        this.#growBy(missing, Math.floor((Math.min(wanted, this.#maximum) - have) / PAGE));
      }
    } catch (cause) {
      throw new BackendUnavailableError(`${problem}; the engine gives no more.`, { cause });
    }
  }

  /** Grows by the second number of pages if that is larger and possible, else by the first. */
  #growBy(missing: number, wanted: number): void {
    if (wanted > missing)
      try {
        this.#memory.grow(wanted);
        return;
      } catch {
        // the system has less
      }
    this.#memory.grow(missing);
  }
}
