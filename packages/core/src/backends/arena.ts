/**
 * Arena: where a backend's bytes live. One WebAssembly.Memory, first-fit blocks of whole 64-byte lines, grown page by
 * page to what is needed. Memory never shrinks: dropping the arena is the only way to give it back to the system.
 */
import { BackendUnavailableError } from '../errors.ts';

/** Bytes [ptr, ptr + byteLength) of an arena. Views into it die when the memory grows: take them late, never keep them. */
export interface ArenaHandle {
  readonly arena: Arena;
  readonly ptr: number;
  readonly byteLength: number;
}

export interface ArenaOptions {
  /** Memory to start with; it grows on demand. */
  readonly initialBytes?: number;
  /** Guards every buffer with canaries; {@link Arena.check} names the one that was overrun. */
  readonly debug?: boolean;
}

interface Block {
  ptr: number;
  bytes: number;
}
interface Buffer extends Block {
  readonly label: string;
  readonly byteLength: number;
}

const PAGE = 65536;
const LINE = 64;
const MAX_BYTES = 2 ** 32 - PAGE;
const CANARY = 0xa5;
const lines = (bytes: number) => Math.ceil(bytes / LINE) * LINE;

export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly debug: boolean;
  /** Sorted by address, never adjacent. The last one may end below the memory's end. */
  #free: Block[] = [];
  /** By address handed out. */
  #buffers = new Map<number, Buffer>();
  #top: number = LINE; // address 0 stays unused: it means "none" to kernels

  constructor({ initialBytes = 0, debug = false }: ArenaOptions = {}) {
    const pages = Math.max(1, Math.ceil(Math.min(initialBytes + 2 * LINE, MAX_BYTES) / PAGE));
    try {
      this.memory = new WebAssembly.Memory({ initial: pages });
    } catch (cause) {
      throw new BackendUnavailableError(`arena: no memory of ${pages * PAGE} bytes to be had.`, { cause });
    }
    this.debug = debug;
  }

  /** Bytes in live buffers, rounding and canaries included. */
  get usedBytes(): number {
    let sum = 0;
    for (const { bytes } of this.#buffers.values()) sum += bytes;
    return sum;
  }

  /** Size of the WebAssembly memory. */
  get byteLength(): number {
    return this.memory.buffer.byteLength;
  }

  /**
   * @param label what it is for: canary reports name it
   * @returns 64-byte aligned; contents undefined. `free` gives it back
   * @throws {@link RangeError} for a size that is no byte count; {@link BackendUnavailableError} if memory runs out
   */
  alloc(byteLength: number, label = 'buffer'): ArenaHandle {
    if (!Number.isSafeInteger(byteLength) || byteLength < 0)
      throw new RangeError(`arena: ${label} expected a byte length, got ${byteLength}.`);
    const guard = this.debug ? LINE : 0;
    const bytes = Math.max(LINE, lines(byteLength)) + 2 * guard;
    const start = this.#take(bytes, label);
    const ptr = start + guard;
    this.#buffers.set(ptr, { ptr: start, bytes, label, byteLength });
    if (this.debug) this.#guards(ptr, byteLength, (guards) => guards.fill(CANARY));
    return { arena: this, ptr, byteLength };
  }

  /** @throws {@link RangeError} if the handle is not (or no longer) one of this arena's buffers */
  free({ arena, ptr }: ArenaHandle): void {
    const buffer = arena === this ? this.#buffers.get(ptr) : undefined;
    if (!buffer)
      throw new RangeError(
        `arena: free expected a live buffer of this arena, got address ${ptr}. Was it freed before?`,
      );
    if (this.debug) this.#check(ptr, buffer);
    this.#buffers.delete(ptr);
    this.#give({ ptr: buffer.ptr, bytes: buffer.bytes });
  }

  /** A fresh view; dies when the memory grows. */
  float32({ ptr, byteLength }: ArenaHandle): Float32Array {
    return new Float32Array(this.memory.buffer, ptr, byteLength / 4);
  }

  /** A fresh view; dies when the memory grows. */
  bytes({ ptr, byteLength }: ArenaHandle): Uint8Array {
    return new Uint8Array(this.memory.buffer, ptr, byteLength);
  }

  /** Is this handle inside one of the arena's live buffers? */
  owns({ arena, ptr, byteLength }: ArenaHandle): boolean {
    if (arena !== this) return false;
    const exact = this.#buffers.get(ptr);
    if (exact) return byteLength <= exact.byteLength;
    for (const [start, buffer] of this.#buffers)
      if (ptr >= start && ptr + byteLength <= start + buffer.byteLength) return true;
    return false;
  }

  /**
   * Debug arenas: looks at the canaries around every buffer.
   * @throws {@link Error} naming the buffer that something wrote past
   */
  check(): void {
    if (this.debug) for (const [ptr, buffer] of this.#buffers) this.#check(ptr, buffer);
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
    const missing = Math.ceil((end - this.byteLength) / PAGE);
    if (missing <= 0) return;
    const problem = `arena: ${label} needs ${end} bytes of memory in all, and has ${this.byteLength}`;
    if (end > MAX_BYTES) throw new BackendUnavailableError(`${problem}; WebAssembly addresses 4 GiB.`);
    try {
      this.memory.grow(missing);
    } catch (cause) {
      throw new BackendUnavailableError(`${problem}; the engine gives no more.`, { cause });
    }
  }

  /** The bytes around a buffer, its rounding included. */
  #guards(ptr: number, byteLength: number, use: (guards: Uint8Array) => void): void {
    const end = ptr + Math.max(LINE, lines(byteLength)) + LINE;
    use(new Uint8Array(this.memory.buffer, ptr - LINE, LINE));
    use(new Uint8Array(this.memory.buffer, ptr + byteLength, end - ptr - byteLength));
  }

  #check(ptr: number, { label, byteLength }: Buffer): void {
    this.#guards(ptr, byteLength, (guards) => {
      const at = guards.findIndex((byte) => byte !== CANARY);
      if (at >= 0)
        throw new Error(
          `arena: something wrote past ${label} [${ptr}, ${ptr + byteLength}), at ${guards.byteOffset + at}.`,
        );
    });
  }
}
