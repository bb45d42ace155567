/**
 * Memory of intermediate values. Plans of one session share it, for runs come one after the other: a plan gives each value a
 * place for as long as it lives, once; a run then allocates nothing.
 */
import type { ArenaHandle } from '@msd/core';
import type { Device } from '@msd/core/program';

/** Bytes [begin, end) of a chunk. */
export interface Place {
  readonly chunk: number;
  readonly begin: number;
  readonly end: number;
}

const LINE = 64;
const SMALLEST_CHUNK = 2 ** 16;

/** Chunks of a device's memory. They never move, so addresses in plans stay good; they go all at once. */
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

  add(byteLength: number): void {
    this.#chunks.push(this.#device.alloc(Math.max(SMALLEST_CHUNK, byteLength), 'intermediates'));
  }

  /** @param byteLength of the value, without the rounding of its place */
  at({ chunk, begin }: Place, byteLength: number): ArenaHandle {
    return this.#device.part(this.#chunks[chunk]!, begin, byteLength);
  }

  /** Gives everything back; no plan may be run again. */
  clear(): void {
    for (const chunk of this.#chunks) this.#device.free(chunk);
    this.#chunks = [];
  }
}

/** Who lies where at one point of a plan. */
export class Layout {
  readonly #space: Space;
  /** By chunk, sorted by address. */
  readonly #taken: Place[][] = [];

  /** @param taken places that are taken from the beginning */
  constructor(space: Space, taken: readonly Place[]) {
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

  free(place: Place): void {
    const list = this.#taken[place.chunk]!;
    list.splice(list.indexOf(place), 1);
  }

  #insert(place: Place): Place {
    const list = (this.#taken[place.chunk] ??= []);
    const at = list.findIndex(({ begin }) => begin > place.begin);
    list.splice(at < 0 ? list.length : at, 0, place);
    return place;
  }
}
