/** What a page holds by the specification: keys and values go in as floats, and come out as they are stored. */
import { limitOf, TINY } from '../decompose/contract.ts';
import { roundHalfEven } from '../numbers.ts';
import { PAGE_KEYS, type ResolvedKvShape } from './contract.ts';
import { partnerOf } from './kv-format.ts';
import type { Elements, PageView } from './page-view.ts';

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

/** @returns the row's scale */
function set(elements: Elements, headAt: number, key: number, row: Float32Array, inverse?: Float32Array): number {
  const { type, size, bias, array } = elements;
  if (type === 'float') {
    for (let i = 0; i < size; i++) array[elements.index(headAt, key, i)] = row[i];
    return 1;
  }
  const codes = new Int16Array(size);
  const scale = storeRow(row, type, codes, inverse);
  for (let i = 0; i < size; i++) array[elements.index(headAt, key, i)] = codes[i] + bias;
  return scale;
}

/** @param inverse of the factors; not looked at where K is f32 */
export function setKey(view: PageView, head: number, key: number, row: Float32Array, inverse?: Float32Array): void {
  const { byteLength, ks } = view.layout;
  view.part(head, ks, PAGE_KEYS)[key] = set(view.keys, head * byteLength, key, row, inverse);
}

export function setValue(view: PageView, head: number, key: number, row: Float32Array): void {
  const { byteLength, vs } = view.layout;
  view.part(head, vs, PAGE_KEYS)[key] = set(view.values, head * byteLength, key, row);
}

/** The first keys and values as they are stored, integers or floats, and their scales; of page 0 the factors, too. */
export function readStored(view: PageView, head: number, page: number, into: StoredKv): void {
  const { layout, keys, values } = view;
  const { length, k, ks, kc, v, vs } = into;
  const at = head * layout.byteLength;
  const to = page * PAGE_KEYS;
  const count = Math.min(PAGE_KEYS, length - to);
  if (page === 0) kc.set(view.part(head, layout.kc, kc.length));
  for (let key = 0; key < count; key++) {
    keys.get(at, key, k, (to + key) * keys.size);
    values.get(at, key, v, (to + key) * values.size);
  }
  ks.set(view.part(head, layout.ks, count), to);
  vs.set(view.part(head, layout.vs, count), to);
}

/** Of page 0. */
export const inversesOf = (view: PageView, head: number): Float32Array =>
  view.part(head, view.layout.ic, view.shape.headSize).slice();

/** Of page 0, once key 63 is there. */
export function setFoundFactors(view: PageView): void {
  const { kvHeads, headSize } = view.shape;
  const k = new Float32Array(PAGE_KEYS * headSize);
  for (let head = 0; head < kvHeads; head++) {
    for (let key = 0; key < PAGE_KEYS; key++) view.keys.get(head * view.layout.byteLength, key, k, key * headSize);
    view.setFactors(head, findFactors(k, view.shape));
  }
}

/** @param k f32 [64, headSize] of page 0 */
function findFactors(k: Float32Array, shape: ResolvedKvShape): Float32Array {
  const { headSize } = shape;
  const largest = new Float32Array(headSize);
  for (let i = headSize; i < PAGE_KEYS * headSize; i++) {
    const value = Math.abs(k[i]);
    if (value < Number.POSITIVE_INFINITY) largest[i % headSize] = Math.max(largest[i % headSize], value);
  }
  return largest.map((own, j) => {
    const value = Math.max(own, largest[partnerOf(j, shape)]);
    return value < TINY ? 1 : value;
  });
}

/**
 * A key or value as integers: decompose of one row, where millions of them come from JavaScript.
 *
 * @param inverse of the channel factors
 * @returns the scale: NaN of a row with NaN or Inf
 */
function storeRow(row: Float32Array, type: 'int16' | 'int8', codes: Int16Array, inverse?: Float32Array): number {
  const fl = Math.fround;
  const limit = limitOf(type === 'int16' ? 2 : 1);
  const x = inverse ? row.map((value, j) => value * inverse[j]) : row;
  let max = 0;
  let finite = true;
  for (let i = 0; i < x.length; i++) {
    const size = Math.abs(x[i]);
    finite &&= size < Number.POSITIVE_INFINITY;
    if (size > max) max = size;
  }
  codes.fill(0);
  if (!finite) return Number.NaN;
  if (max < TINY) return 0;
  const scale = fl(max / limit);
  const steps = fl(1 / scale);
  for (let i = 0; i < x.length; i++) codes[i] = Math.min(limit, Math.max(-limit, roundHalfEven(fl(x[i] * steps))));
  return scale;
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
