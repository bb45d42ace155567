/** Where the operands of a product lie: in the arena, or in arrays of the caller that have to be staged. */
import type { HalfArray } from '../../formats/half.ts';
import type { Arena } from '../arena.ts';
import type { Operand as Given } from '../backend.ts';

/** An address in the arena (0: absent), or an array that has to be copied to scratch and back. */
export type Place = number | Given;

/** 0 absent, 1 in the arena, 2 staged: kernels and working buffers depend on it. */
export type Mode = 0 | 1 | 2;

export const modeOf = (place: Place): Mode => (typeof place === 'number' ? (place ? 1 : 0) : 2);

/** Shared by all operands of a call: has any of them changed since the call last looked? */
export interface Changes {
  any: boolean;
}

/** An operand of a bound product. */
export class Operand {
  readonly #changes: Changes;
  /** In the arena; 0 if it is absent or staged. */
  address = 0;
  staged: Given | undefined;
  mode: Mode = 0;
  /** Set when the address has changed; cleared when kernels have been placed by it. */
  moved = true;

  constructor(changes: Changes) {
    this.#changes = changes;
  }

  set(place: Place): void {
    const address = typeof place === 'number' ? place : 0;
    const mode = modeOf(place);
    if (address !== this.address) this.moved = true;
    if (address !== this.address || mode !== this.mode) this.#changes.any = true;
    this.address = address;
    this.staged = typeof place === 'number' ? undefined : place;
    this.mode = mode;
  }

  /** Drops the reference to an array of the caller; where the operand lies stays known. */
  release(): void {
    this.staged = undefined;
  }

  /** Elements of a staged operand. A view of the arena becomes invalid when its memory grows: take it late. */
  values(arena: Arena): Float32Array | HalfArray {
    const staged = this.staged!;
    return 'arena' in staged ? arena.float32(staged) : staged;
  }
}

/**
 * Where an operand lies, as a handle, as a view of the arena's memory, or in an array of its own.
 * @throws {@link RangeError} for a handle that is no live buffer
 */
export function placeOf(arena: Arena, name: string, operand: Given): Place {
  if (!('arena' in operand)) return operand.buffer === arena.memory.buffer ? operand.byteOffset : operand;
  if (!arena.owns(operand)) throw new RangeError(`matmul: ${name} is not a live buffer of this backend's arena.`);
  return operand.ptr;
}

/**
 * The same for an operand that kernels read to the end of the last panel. A heap of another owner may end before that;
 * then the operand is staged.
 * @param bytes that kernels read
 */
export const wholePlaceOf = (arena: Arena, place: Place, operand: Given, bytes: number): Place =>
  typeof place === 'number' && place + bytes > arena.byteLength ? operand : place;
