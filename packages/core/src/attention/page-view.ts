/** A page in JavaScript memory: keys and values go in as floats, and come out as they are stored. */
import { type KvType, PAGE_KEYS, type ResolvedKvShape } from './contract.ts';
import { findFactors, inverseOf, storedRow } from './kv-format.ts';
import { elementOffset, type PageLayout, paddedHead, pageLayout } from './page.ts';

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

export class PageView {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #shape: ResolvedKvShape;
  readonly #layout: PageLayout;

  /** @param page its number: page 0 is laid out differently */
  constructor(shape: ResolvedKvShape, page: number) {
    this.#shape = shape;
    this.#layout = pageLayout(shape, page);
    this.bytes = new Uint8Array(shape.kvHeads * this.#layout.byteLength);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** @param factors of all heads: those of page 0. Not needed where K is f32 */
  setKey(head: number, key: number, row: Float32Array, factors?: Float32Array): void {
    const { keyType, ks } = this.#layout;
    const { q, scale } =
      keyType === 'float' ? { q: row, scale: 1 } : storedRow(row, keyType, factors && inverseOf(factors));
    for (const [j, value] of q.entries()) this.#set(keyType, this.#keyAt(head, key, j), value);
    this.#set('float', this.#at(head, ks + 4 * key), scale);
  }

  setValue(head: number, key: number, row: Float32Array): void {
    const { valueType, vs } = this.#layout;
    const { q, scale } = valueType === 'float' ? { q: row, scale: 1 } : storedRow(row, valueType);
    for (const [c, value] of q.entries()) this.#set(valueType, this.#valueAt(head, key, c), value);
    this.#set('float', this.#at(head, vs + 4 * key), scale);
  }

  /** As stored: an integer, or a float. */
  key(head: number, key: number, channel: number): number {
    return this.#get(this.#layout.keyType, this.#keyAt(head, key, channel));
  }

  value(head: number, key: number, channel: number): number {
    return this.#get(this.#layout.valueType, this.#valueAt(head, key, channel));
  }

  keyScale(head: number, key: number): number {
    return this.#get('float', this.#at(head, this.#layout.ks + 4 * key));
  }

  valueScale(head: number, key: number): number {
    return this.#get('float', this.#at(head, this.#layout.vs + 4 * key));
  }

  /** Of page 0. */
  factors(head: number): Float32Array {
    return Float32Array.from({ length: this.#shape.headSize }, (_, j) =>
      this.#get('float', this.#at(head, this.#layout.kc + 4 * j)),
    );
  }

  /** Of page 0: factors that were given. */
  setFactors(head: number, factors: Float32Array): void {
    const { kc, ic } = this.#layout;
    const inverse = inverseOf(factors);
    factors.forEach((value, j) => {
      this.#set('float', this.#at(head, kc + 4 * j), value);
      this.#set('float', this.#at(head, ic + 4 * j), inverse[j]);
    });
  }

  /** Of page 0, once key 63 is there. */
  findFactors(): void {
    for (let head = 0; head < this.#shape.kvHeads; head++)
      this.setFactors(
        head,
        findFactors((t, j) => this.key(head, t, j), this.#shape),
      );
  }

  #keyAt(head: number, key: number, channel: number): number {
    const { keyType, k } = this.#layout;
    return this.#at(head, k + elementOffset(keyType, key, channel, paddedHead(this.#shape.headSize)));
  }

  #valueAt(head: number, key: number, channel: number): number {
    const { valueType, v } = this.#layout;
    return this.#at(head, v + elementOffset(valueType, channel, key, PAGE_KEYS));
  }

  #at(head: number, byte: number): number {
    return head * this.#layout.byteLength + byte;
  }

  #set(type: KvType, at: number, value: number): void {
    if (type === 'float') this.#view.setFloat32(at, value, true);
    else if (type === 'int16') this.#view.setInt16(at, value, true);
    else this.#view.setUint8(at, value + 128);
  }

  #get(type: KvType, at: number): number {
    if (type === 'float') return this.#view.getFloat32(at, true);
    return type === 'int16' ? this.#view.getInt16(at, true) : this.#view.getUint8(at) - 128;
  }
}

/** Gathers what pages hold of one head. @param pages at least those of `length` keys */
export function storedKv(shape: ResolvedKvShape, pages: readonly PageView[], head: number, length: number): StoredKv {
  const { headSize, valueSize, type } = shape;
  const [k, v] = [new Float32Array(length * headSize), new Float32Array(length * valueSize)];
  const [ks, vs] = [new Float32Array(length), new Float32Array(length)];
  for (let t = 0; t < length; t++) {
    const page = pages[Math.floor(t / PAGE_KEYS)];
    const key = t % PAGE_KEYS;
    for (let j = 0; j < headSize; j++) k[t * headSize + j] = page.key(head, key, j);
    for (let c = 0; c < valueSize; c++) v[t * valueSize + c] = page.value(head, key, c);
    ks[t] = page.keyScale(head, key);
    vs[t] = page.valueScale(head, key);
  }
  const isFloat = type === 'float';
  return {
    length,
    floatKeys: isFloat ? length : Math.min(length, PAGE_KEYS),
    k,
    ks,
    kc: length > 0 ? pages[0].factors(head) : new Float32Array(headSize),
    isInt8: type === 'int8',
    floatValues: isFloat,
    v,
    vs,
  };
}
