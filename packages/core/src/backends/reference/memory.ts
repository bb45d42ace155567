/** Where the reference's values lie: plain ArrayBuffers, and bytes of them. */
import type { FloatType } from '../../formats/half.ts';
import { halves } from '../../formats/half.ts';
import type { OperandKind } from '../arguments.ts';

/** Bytes [begin, begin + byteLength) of a buffer of the reference. */
export interface ReferenceHandle {
  readonly buffer: ArrayBuffer;
  readonly begin: number;
  readonly byteLength: number;
}

export const referenceHandle: OperandKind<ReferenceHandle> = {
  name: 'a handle of the reference { buffer, begin, byteLength }',
  half: true,
  is: (operand): operand is ReferenceHandle => 'begin' in operand && 'buffer' in operand,
  place: ({ buffer, begin }) => ({ buffer, begin }),
};

export class ReferenceMemory {
  readonly #live = new Set<ArrayBuffer>();

  alloc(byteLength: number, label = 'buffer'): ReferenceHandle {
    if (!Number.isSafeInteger(byteLength) || byteLength < 0)
      throw new RangeError(`alloc: ${label} expected a byte length, got ${byteLength}.`);
    const buffer = new ArrayBuffer(byteLength);
    this.#live.add(buffer);
    return { buffer, begin: 0, byteLength };
  }

  free({ buffer }: ReferenceHandle): void {
    if (!this.#live.delete(buffer)) throw new RangeError('free: expected a live buffer. Was it freed before?');
  }

  clear(): void {
    this.#live.clear();
  }

  get usedBytes(): number {
    return [...this.#live].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  part({ buffer, begin, byteLength: size }: ReferenceHandle, from: number, byteLength: number): ReferenceHandle {
    if (!(from >= 0 && byteLength >= 0 && from + byteLength <= size))
      throw new RangeError(`part: expected bytes inside a buffer of ${size}, got [${from}, ${from + byteLength}).`);
    return { buffer, begin: begin + from, byteLength };
  }

  write(handle: ReferenceHandle, data: ArrayBufferView): void {
    this.#fits('write', data.byteLength, handle);
    bytesOf(handle).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  read(handle: ReferenceHandle, into: ArrayBufferView): void {
    this.#fits('read', into.byteLength, handle);
    const to = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    to.set(bytesOf(handle).subarray(0, into.byteLength));
  }

  /** @throws {@link RangeError} for a buffer that was freed, or belongs to another reference */
  check(name: string, { buffer }: ReferenceHandle): void {
    if (!this.#live.has(buffer)) throw new RangeError(`bind: ${name} is not a live buffer of this backend.`);
  }

  #fits(where: string, bytes: number, { byteLength }: ReferenceHandle): void {
    if (bytes <= byteLength) return;
    throw new RangeError(`${where}: the array expected at most ${byteLength} bytes, as the handle has, got ${bytes}.`);
  }
}

export const bytesOf = ({ buffer, begin, byteLength }: ReferenceHandle): Uint8Array =>
  new Uint8Array(buffer, begin, byteLength);

/** A copy: handles may begin anywhere. */
export const copyOf = ({ buffer, begin }: ReferenceHandle, byteLength: number): ArrayBuffer =>
  buffer.slice(begin, begin + byteLength);

/** Values of f32, f16 or bf16. */
export function floatsOf(handle: ReferenceHandle, type: FloatType, length: number): Float32Array {
  return type === 'f32'
    ? new Float32Array(copyOf(handle, 4 * length))
    : Float32Array.from(new Uint16Array(copyOf(handle, 2 * length)), halves[type].value);
}
