/** A page in JavaScript memory: keys and values go in as floats, and come out as they are stored. */
import { type KvType, PAGE_KEYS, type ResolvedKvShape } from './contract.ts';
import { findFactors, inverseOf, storeRow } from './kv-format.ts';
import { BYTES, elementOffset, type PageLayout, paddedHead, pageLayout } from './page.ts';

/** Keys and values [0, length) of one KV head, as the cache holds them. */
export interface StoredKv {
  readonly length: number;
  /** The first ones have f32 keys, all others integers. */
  readonly floatKeys: number;
  /** [length, d]: floats, or integers */
  readonly k: Float32Array;
  /** [length] */
  readonly ks: Float32Array;
  /** Channel factors, [d]; only read if there are integer keys */
  readonly kc: Float32Array;
  /** Are integers int8? Their sums are exact in int32, those of int16 take two digits. */
  readonly isInt8: boolean;
  /** Are values f32? */
  readonly floatValues: boolean;
  /** [length, valueSize] */
  readonly v: Float32Array;
  readonly vs: Float32Array;
}

/** K or V of a page: where its elements lie, and in which array. */
class Elements {
  readonly size: number;
  readonly #type: KvType;
  readonly #shift: number;
  readonly #array: Float32Array | Int16Array | Uint8Array;
  /** An element lies at the sum of both, in bytes. */
  readonly #ofKey: Int32Array;
  readonly #ofChannel: Int32Array;
  readonly #codes: Int16Array;

  constructor(buffer: ArrayBuffer, type: KvType, size: number, byte: (key: number, channel: number) => number) {
    this.size = size;
    this.#type = type;
    this.#shift = Math.log2(BYTES[type]);
    const kinds = { float: Float32Array, int16: Int16Array, int8: Uint8Array };
    this.#array = new kinds[type](buffer);
    this.#ofKey = Int32Array.from({ length: PAGE_KEYS }, (_, key) => byte(key, 0));
    this.#ofChannel = Int32Array.from({ length: size }, (_, channel) => byte(0, channel) - byte(0, 0));
    this.#codes = new Int16Array(size);
  }

  /** @returns the row's scale */
  set(headAt: number, key: number, row: Float32Array, inverse?: Float32Array): number {
    const type = this.#type;
    const scale = type === 'float' ? 1 : storeRow(row, type, this.#codes, inverse);
    const codes = type === 'float' ? row : this.#codes;
    const bias = type === 'int8' ? -128 : 0; // taken off: −0 + 0 would be +0
    const at = headAt + this.#ofKey[key];
    for (let i = 0; i < this.size; i++) this.#array[(at + this.#ofChannel[i]) >> this.#shift] = codes[i] - bias;
    return scale;
  }

  get(headAt: number, key: number, into: Float32Array, to: number): void {
    const bias = this.#type === 'int8' ? 128 : 0;
    const at = headAt + this.#ofKey[key];
    for (let i = 0; i < this.size; i++) into[to + i] = this.#array[(at + this.#ofChannel[i]) >> this.#shift] - bias;
  }
}

export class PageView {
  readonly bytes: Uint8Array;
  readonly #floats: Float32Array;
  readonly #shape: ResolvedKvShape;
  readonly #layout: PageLayout;
  readonly #keys: Elements;
  readonly #values: Elements;

  /** @param page its number: page 0 is laid out differently */
  constructor(shape: ResolvedKvShape, page: number) {
    const layout = pageLayout(shape, page);
    const { headSize, valueSize, kvHeads } = shape;
    const { keyType, valueType } = layout;
    this.#shape = shape;
    this.#layout = layout;
    const buffer = new ArrayBuffer(kvHeads * layout.byteLength);
    this.bytes = new Uint8Array(buffer);
    this.#floats = new Float32Array(buffer);
    const depth = paddedHead(headSize);
    this.#keys = new Elements(
      buffer,
      keyType,
      headSize,
      (key, channel) => layout.k + elementOffset(keyType, key, channel, depth),
    );
    // Lanes are channels, and steps run along keys: the offset is a sum all the same.
    this.#values = new Elements(
      buffer,
      valueType,
      valueSize,
      (key, channel) => layout.v + elementOffset(valueType, channel, key, PAGE_KEYS),
    );
  }

  /** @param inverse of the factors; not looked at where K is f32 */
  setKey(head: number, key: number, row: Float32Array, inverse?: Float32Array): void {
    const at = head * this.#layout.byteLength;
    this.#floats[(at + this.#layout.ks) / 4 + key] = this.#keys.set(at, key, row, inverse);
  }

  setValue(head: number, key: number, row: Float32Array): void {
    const at = head * this.#layout.byteLength;
    this.#floats[(at + this.#layout.vs) / 4 + key] = this.#values.set(at, key, row);
  }

  /** Keys as JavaScript floats: the elements of `present`. @param factors of page 0, where K is integers */
  floatKeys(head: number, count: number, into: Float32Array, to: number, factors: Float32Array): void {
    const { headSize } = this.#shape;
    const at = head * this.#layout.byteLength;
    const scales = this.#part(head, this.#layout.ks, count);
    for (let key = 0; key < count; key++) {
      const begin = to + key * headSize;
      this.#keys.get(at, key, into, begin);
      if (this.#layout.keyType === 'float') continue;
      for (let j = 0; j < headSize; j++) into[begin + j] = Math.fround(into[begin + j] * scales[key]) * factors[j];
    }
  }

  floatValues(head: number, count: number, into: Float32Array, to: number): void {
    const { valueSize } = this.#shape;
    const at = head * this.#layout.byteLength;
    const scales = this.#part(head, this.#layout.vs, count);
    for (let key = 0; key < count; key++) {
      const begin = to + key * valueSize;
      this.#values.get(at, key, into, begin);
      if (this.#layout.valueType !== 'float') for (let c = 0; c < valueSize; c++) into[begin + c] *= scales[key];
    }
  }

  /** The first keys and values as they are stored, integers or floats, and their scales; of page 0 the factors, too. */
  read(head: number, page: number, { length, k, ks, kc, v, vs }: StoredKv): void {
    const at = head * this.#layout.byteLength;
    const to = page * PAGE_KEYS;
    const count = Math.min(PAGE_KEYS, length - to);
    if (page === 0) kc.set(this.#part(head, this.#layout.kc, kc.length));
    for (let key = 0; key < count; key++) {
      this.#keys.get(at, key, k, (to + key) * this.#keys.size);
      this.#values.get(at, key, v, (to + key) * this.#values.size);
    }
    ks.set(this.#part(head, this.#layout.ks, count), to);
    vs.set(this.#part(head, this.#layout.vs, count), to);
  }

  /** Of page 0. */
  factors(head: number): Float32Array {
    return this.#part(head, this.#layout.kc, this.#shape.headSize).slice();
  }

  /** Of page 0. */
  inverses(head: number): Float32Array {
    return this.#part(head, this.#layout.ic, this.#shape.headSize).slice();
  }

  /** Of page 0: factors that were given. */
  setFactors(head: number, factors: Float32Array): void {
    this.#part(head, this.#layout.kc, factors.length).set(factors);
    this.#part(head, this.#layout.ic, factors.length).set(inverseOf(factors));
  }

  /** Of page 0, once key 63 is there. */
  findFactors(): void {
    const { kvHeads, headSize } = this.#shape;
    const k = new Float32Array(PAGE_KEYS * headSize);
    for (let head = 0; head < kvHeads; head++) {
      for (let key = 0; key < PAGE_KEYS; key++) this.#keys.get(head * this.#layout.byteLength, key, k, key * headSize);
      this.setFactors(head, findFactors(k, this.#shape));
    }
  }

  #part(head: number, byte: number, length: number): Float32Array {
    const from = (head * this.#layout.byteLength + byte) / 4;
    return this.#floats.subarray(from, from + length);
  }
}

/** Arrays for `length` keys of a head, before any page was read. */
export function emptyKv({ headSize, valueSize, type }: ResolvedKvShape, length: number): StoredKv {
  const isFloat = type === 'float';
  return {
    length,
    floatKeys: isFloat ? length : Math.min(length, PAGE_KEYS),
    k: new Float32Array(length * headSize),
    ks: new Float32Array(length),
    kc: new Float32Array(headSize),
    isInt8: type === 'int8',
    floatValues: isFloat,
    v: new Float32Array(length * valueSize),
    vs: new Float32Array(length),
  };
}
