/**
 * Arena: where a backend's bytes live. Blocks of whole 64-byte lines out of one WebAssembly heap: its own, or one that
 * somebody else manages, so that operands lie where another library put them.
 */
import { BackendUnavailableError } from '../errors.ts';
import { type Heap, LINE, OwnHeap } from './heap.ts';

/** Bytes [ptr, ptr + byteLength) of an arena. Views into it die when the memory grows: take them late, never keep them. */
export interface ArenaHandle {
  readonly arena: Arena;
  readonly ptr: number;
  readonly byteLength: number;
}

export interface ArenaOptions {
  /** Memory to start with; it grows on demand. */
  readonly initialBytes?: number;
  /** Asks for memory that workers can work on; {@link Arena.shared} says whether the engine had it. Default false. */
  readonly shared?: boolean;
  /** Guards every buffer with canaries; {@link Arena.check} names the one that was overrun. */
  readonly debug?: boolean;
  /** Uses this heap instead of a memory of its own; `initialBytes` and `shared` then have no effect. */
  readonly heap?: Heap;
}

interface Buffer {
  /** The block that the heap gave. */
  readonly block: number;
  readonly bytes: number;
  readonly label: string;
  readonly byteLength: number;
}

const CANARY = 0xa5;
const lines = (bytes: number) => Math.ceil(bytes / LINE) * LINE;

export class Arena {
  readonly debug: boolean;
  readonly #heap: Heap;
  /** Added to requests of a foreign heap: a line to align with, and one that kernels may read past the end. */
  readonly #slack: number;
  /** By address handed out. */
  #buffers = new Map<number, Buffer>();
  #usedBytes = 0;
  /** The buffer that the last part was found in. */
  #around = 0;

  constructor({ initialBytes = 0, shared = false, debug = false, heap }: ArenaOptions = {}) {
    this.#heap = heap ?? new OwnHeap(initialBytes, shared);
    this.#slack = heap ? 2 * LINE : 0;
    this.debug = debug;
  }

  /**
   * The arena's own memory. When it outgrows what it could reserve, another memory replaces it, with the same bytes at
   * the same addresses.
   */
  get memory(): WebAssembly.Memory {
    return this.#heap.memory;
  }

  /** Can workers use it? Not if the heap belongs to somebody else, who may move it without notice. */
  get shared(): boolean {
    return this.#heap instanceof OwnHeap && this.#heap.shared;
  }

  /** @param moved called after the memory was replaced: instances and views of the old one are dead */
  onMove(moved: () => void): void {
    if (this.#heap instanceof OwnHeap) this.#heap.onMove = moved;
  }

  /**
   * Replaces the memory by a copy that nobody else writes.
   * @throws {@link BackendUnavailableError} if there is no room for both; nothing has changed then
   */
  move(): void {
    if (this.#heap instanceof OwnHeap) this.#heap.move();
  }

  /** Bytes in live buffers, rounding and canaries included. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Size of the WebAssembly memory. */
  get byteLength(): number {
    return this.memory.buffer.byteLength;
  }

  /**
   * @param label what it is for: canary reports name it
   * @returns 64-byte aligned; contents undefined. `free` gives it back
   * @throws {@link RangeError} for a size that is not a number of bytes; {@link BackendUnavailableError} if memory runs
   * out
   */
  alloc(byteLength: number, label = 'buffer'): ArenaHandle {
    if (!Number.isSafeInteger(byteLength) || byteLength < 0)
      throw new RangeError(`arena: ${label} expected a byte length, got ${byteLength}.`);
    const guard = this.debug ? LINE : 0;
    const bytes = Math.max(LINE, lines(byteLength)) + 2 * guard + this.#slack;
    const block = this.#heap.alloc(bytes, label);
    if (!block) throw new BackendUnavailableError(`arena: ${label} needs ${bytes} bytes; its heap gives no more.`);
    const ptr = lines(block) + guard;
    this.#buffers.set(ptr, { block, bytes, label, byteLength });
    this.#usedBytes += bytes;
    if (this.debug) this.#guards(ptr, byteLength, (guards) => guards.fill(CANARY));
    return { arena: this, ptr, byteLength };
  }

  /**
   * Bytes that somebody else allocated in this memory, the owner of a foreign heap for instance: the owner has to keep
   * them alive as long as the handle is used.
   */
  at(ptr: number, byteLength: number): ArenaHandle {
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
    this.#usedBytes -= buffer.bytes;
    this.#heap.free(buffer.block);
  }

  /**
   * Bytes [begin, begin + byteLength) of a handle: for values that share one buffer.
   * @throws {@link RangeError} if they are not inside it
   */
  part({ ptr, byteLength: size }: ArenaHandle, begin: number, byteLength: number): ArenaHandle {
    if (!(begin >= 0 && byteLength >= 0 && begin + byteLength <= size))
      throw new RangeError(
        `arena: part expected bytes inside a buffer of ${size}, got [${begin}, ${begin + byteLength}).`,
      );
    return { arena: this, ptr: ptr + begin, byteLength };
  }

  /** Copies an array's bytes to the beginning of a buffer. @throws {@link RangeError} if they do not fit */
  write(handle: ArenaHandle, { buffer, byteOffset, byteLength }: ArrayBufferView): void {
    this.#fits('write', byteLength, handle);
    this.bytes(handle).set(new Uint8Array(buffer, byteOffset, byteLength));
  }

  /** Fills an array from the beginning of a buffer. @throws {@link RangeError} if it holds less */
  read(handle: ArenaHandle, { buffer, byteOffset, byteLength }: ArrayBufferView): void {
    this.#fits('read', byteLength, handle);
    new Uint8Array(buffer, byteOffset, byteLength).set(this.bytes(handle).subarray(0, byteLength));
  }

  #fits(where: string, bytes: number, { byteLength }: ArenaHandle): void {
    if (bytes <= byteLength) return;
    throw new RangeError(`${where}: the array expected at most ${byteLength} bytes, as the handle has, got ${bytes}.`);
  }

  /** A fresh view; dies when the memory grows. */
  float32({ ptr, byteLength }: ArenaHandle): Float32Array {
    return new Float32Array(this.memory.buffer, ptr, byteLength / 4);
  }

  /** A fresh view; dies when the memory grows. */
  uint16({ ptr, byteLength }: ArenaHandle): Uint16Array {
    return new Uint16Array(this.memory.buffer, ptr, byteLength / 2);
  }

  /** A fresh view; dies when the memory grows. */
  bytes({ ptr, byteLength }: ArenaHandle): Uint8Array {
    return new Uint8Array(this.memory.buffer, ptr, byteLength);
  }

  /** Is this handle inside one of the arena's live buffers, or anywhere in a heap that somebody else manages? */
  owns({ arena, ptr, byteLength }: ArenaHandle): boolean {
    if (arena !== this) return false;
    if (this.#slack) return ptr > 0 && ptr + byteLength <= this.byteLength;
    const exact = this.#buffers.get(ptr);
    if (exact) return byteLength <= exact.byteLength;
    // Parts are asked for in rows: the values of a program share one block.
    const around = this.#buffers.get(this.#around);
    if (around && ptr >= this.#around && ptr + byteLength <= this.#around + around.byteLength) return true;
    for (const [start, buffer] of this.#buffers)
      if (ptr >= start && ptr + byteLength <= start + buffer.byteLength) {
        this.#around = start;
        return true;
      }
    return false;
  }

  /**
   * Debug arenas: looks at the canaries around every buffer.
   * @throws {@link Error} naming the buffer that something wrote past
   */
  check(): void {
    if (this.debug) for (const [ptr, buffer] of this.#buffers) this.#check(ptr, buffer);
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
