/** A page in JavaScript memory: keys and values come out as floats. */
import { type KvType, PAGE_KEYS, type ResolvedKvShape } from './contract.ts';
import { inverseOf } from './kv-format.ts';
import { BYTES, elementOffset, type PageLayout, paddedHead, pageLayout } from './page.ts';

/** K or V of a page: where its elements lie, and in which array. */
export class Elements {
  readonly size: number;
  readonly type: KvType;
  readonly array: Float32Array | Int16Array | Uint8Array;
  /** What is added to a code in memory: bytes have no sign. */
  readonly bias: number;
  readonly #shift: number;
  /** An element lies at the sum of both, in bytes. */
  readonly #ofKey: Int32Array;
  readonly #ofChannel: Int32Array;

  constructor(buffer: ArrayBuffer, type: KvType, size: number, byte: (key: number, channel: number) => number) {
    this.size = size;
    this.type = type;
    this.bias = type === 'int8' ? 128 : 0;
    this.#shift = Math.log2(BYTES[type]);
    const kinds = { float: Float32Array, int16: Int16Array, int8: Uint8Array };
    this.array = new kinds[type](buffer);
    this.#ofKey = Int32Array.from({ length: PAGE_KEYS }, (_, key) => byte(key, 0));
    this.#ofChannel = Int32Array.from({ length: size }, (_, channel) => byte(0, channel) - byte(0, 0));
  }

  /** Of an element in `array`. @param headAt bytes before the head */
  index(headAt: number, key: number, channel: number): number {
    return (headAt + this.#ofKey[key] + this.#ofChannel[channel]) >> this.#shift;
  }

  get(headAt: number, key: number, into: Float32Array, to: number): void {
    for (let i = 0; i < this.size; i++) into[to + i] = this.array[this.index(headAt, key, i)] - this.bias;
  }
}

export class PageView {
  readonly bytes: Uint8Array;
  readonly shape: ResolvedKvShape;
  readonly layout: PageLayout;
  readonly keys: Elements;
  readonly values: Elements;
  readonly #floats: Float32Array;

  /** @param page its number: page 0 is laid out differently */
  constructor(shape: ResolvedKvShape, page: number) {
    const layout = pageLayout(shape, page);
    const { headSize, valueSize, kvHeads } = shape;
    const { keyType, valueType } = layout;
    this.shape = shape;
    this.layout = layout;
    const buffer = new ArrayBuffer(kvHeads * layout.byteLength);
    this.bytes = new Uint8Array(buffer);
    this.#floats = new Float32Array(buffer);
    const depth = paddedHead(headSize);
    this.keys = new Elements(
      buffer,
      keyType,
      headSize,
      (key, channel) => layout.k + elementOffset(keyType, key, channel, depth),
    );
    // Lanes are channels, and steps run along keys: the offset is a sum all the same.
    this.values = new Elements(
      buffer,
      valueType,
      valueSize,
      (key, channel) => layout.v + elementOffset(valueType, channel, key, PAGE_KEYS),
    );
  }

  /** Keys as JavaScript floats: the elements of `present`. @param factors of page 0, where K is integers */
  floatKeys(head: number, count: number, into: Float32Array, to: number, factors: Float32Array): void {
    const { headSize } = this.shape;
    const at = head * this.layout.byteLength;
    const scales = this.part(head, this.layout.ks, count);
    for (let key = 0; key < count; key++) {
      const begin = to + key * headSize;
      this.keys.get(at, key, into, begin);
      if (this.layout.keyType === 'float') continue;
      for (let j = 0; j < headSize; j++) into[begin + j] = Math.fround(into[begin + j] * scales[key]) * factors[j];
    }
  }

  floatValues(head: number, count: number, into: Float32Array, to: number): void {
    const { valueSize } = this.shape;
    const at = head * this.layout.byteLength;
    const scales = this.part(head, this.layout.vs, count);
    for (let key = 0; key < count; key++) {
      const begin = to + key * valueSize;
      this.values.get(at, key, into, begin);
      if (this.layout.valueType !== 'float') for (let c = 0; c < valueSize; c++) into[begin + c] *= scales[key];
    }
  }

  /** Of page 0. */
  factors(head: number): Float32Array {
    return this.part(head, this.layout.kc, this.shape.headSize).slice();
  }

  /** Of page 0: factors that were given. */
  setFactors(head: number, factors: Float32Array): void {
    this.part(head, this.layout.kc, factors.length).set(factors);
    this.part(head, this.layout.ic, factors.length).set(inverseOf(factors));
  }

  /** Floats of a head, from a byte of its page on. */
  part(head: number, byte: number, length: number): Float32Array {
    const from = (head * this.layout.byteLength + byte) / 4;
    return this.#floats.subarray(from, from + length);
  }
}
