/**
 * Memory of intermediate values. Plans of one session share it, since runs come one after the other. A plan gives each
 * value a place once; a run then allocates nothing. Values inside a region lie in one block, values between regions in
 * chunks that never move.
 */
import type { ArenaHandle } from '@msd/core';
import type { Device, Program } from '@msd/core/program';

/** Bytes [begin, end) of a chunk. */
export interface Place {
  readonly chunk: number;
  readonly begin: number;
  readonly end: number;
}

const LINE = 64;
const SMALLEST_CHUNK = 2 ** 16;
const SCATTERED_BYTES = 2 ** 24;

/** Chunks of a device's memory. They never move, so addresses in plans stay valid; they are freed all at once. */
export class Space {
  readonly #device: Device<ArenaHandle>;
  #chunks: ArenaHandle[] = [];

  constructor(device: Device<ArenaHandle>) {
    this.#device = device;
  }

  get chunks(): readonly ArenaHandle[] {
    return this.#chunks;
  }

  get byteLength(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  }

  /** True if growing values have left many gaps that are too small for them. */
  get isScattered(): boolean {
    const largest = this.#chunks.reduce((most, chunk) => Math.max(most, chunk.byteLength), 0);
    return this.byteLength > 2 * largest + SCATTERED_BYTES;
  }

  add(byteLength: number): void {
    this.#chunks.push(this.#device.alloc(Math.max(SMALLEST_CHUNK, byteLength), 'intermediates'));
  }

  /** @param byteLength of the value, without the rounding of its place */
  at({ chunk, begin }: Place, byteLength: number): ArenaHandle {
    return this.#device.part(this.#chunks[chunk]!, begin, byteLength);
  }

  /** Frees everything; no plan may be run again. */
  clear(): void {
    for (const chunk of this.#chunks) this.#device.free(chunk);
    this.#chunks = [];
  }
}

/** Which places are taken at one point of a plan. */
export class Layout {
  readonly #space: Space;
  /** By chunk, sorted by address. */
  readonly #taken: Place[][] = [];

  /** @param taken places that are taken from the beginning */
  constructor(space: Space, taken: Iterable<Place>) {
    this.#space = space;
    for (const place of taken) this.#insert(place);
  }

  /** The first gap that is large enough; a new chunk if there is none. */
  place(byteLength: number): Place {
    const bytes = Math.max(LINE, Math.ceil(byteLength / LINE) * LINE);
    for (const [chunk, { byteLength: size }] of this.#space.chunks.entries()) {
      let begin = 0;
      for (const other of this.#taken[chunk] ?? []) {
        if (other.begin - begin >= bytes) return this.#insert({ chunk, begin, end: begin + bytes });
        begin = other.end;
      }
      if (size - begin >= bytes) return this.#insert({ chunk, begin, end: begin + bytes });
    }
    this.#space.add(bytes);
    return this.#insert({ chunk: this.#space.chunks.length - 1, begin: 0, end: bytes });
  }

  #insert(place: Place): Place {
    const list = (this.#taken[place.chunk] ??= []);
    const at = list.findIndex(({ begin }) => begin > place.begin);
    list.splice(at < 0 ? list.length : at, 0, place);
    return place;
  }
}

/** One piece of memory, as large as the largest program needs. */
export class Block {
  readonly #device: Pick<Device<ArenaHandle>, 'alloc' | 'free'>;
  #handle: ArenaHandle | undefined;
  /** As it was last, or of the next one. */
  #byteLength = SMALLEST_CHUNK;
  readonly #bound = new WeakMap<Pick<Program<ArenaHandle>, 'bind'>, ArenaHandle>();

  constructor(device: Pick<Device<ArenaHandle>, 'alloc' | 'free'>) {
    this.#device = device;
  }

  get byteLength(): number {
    return this.#handle?.byteLength ?? 0;
  }

  /**
   * Binds a program to the block, unless it is bound already. A block that is too small is replaced, and programs are
   * bound again when they run.
   */
  bind(program: Pick<Program<ArenaHandle>, 'byteLength' | 'bind'>): void {
    if (!this.#handle || program.byteLength > this.#handle.byteLength) {
      this.leave();
      const byteLength = Math.max(this.#byteLength, program.byteLength);
      // If there is no memory for the new one, the next run has to get one of its own.
      this.#byteLength = SMALLEST_CHUNK;
      this.#handle = this.#device.alloc(byteLength, 'intermediates');
      this.#byteLength = byteLength;
    }
    if (this.#bound.get(program) === this.#handle) return;
    program.bind(this.#handle);
    this.#bound.set(program, this.#handle);
  }

  /** Frees it: the next run gets another one of that size, and programs are bound again, as after a run that outgrew it. */
  leave(): void {
    if (this.#handle) this.#device.free(this.#handle);
    this.#handle = undefined;
  }
}
