/**
 * The bytes of a page: {@link PAGE_KEYS} keys and values of one layer, sequence and KV head, as the kernels read them.
 *
 *   K       [4 panels of 16 keys][steps][16 keys x s channels]           float: s = 1; int16: 2, int16; int8: 4, codes q + 128
 *   V       [panels of 16 channels][steps][16 channels x s keys]         the same elements
 *   ks, vs  f32 [64]                                                     scale of each key and value; floats have none
 *   kc, ic  f32 [headSize]                                               page 0: factors of the channels of K, and 1 / kc
 *
 * K of page 0 is float, whatever the type, because factors are computed from it. A lane of a vector is a key (of K) or
 * a channel (of V): queries and probabilities are multiplied with them without a transposition, and no sum runs over
 * lanes. Pages begin as zeros, which only padding ever reads.
 */
import { roundUp } from '../formats/layout.ts';
import { type KvShape, type KvType, PAGE_KEYS } from './contract.ts';

/** Keys or channels that lie side by side. */
export const PANEL = 16;
/** Pages and what kernels work on begin at such addresses. */
export const LINE = 64;

/** Of an element. */
export const BYTES: Readonly<Record<KvType, number>> = { int16: 2, int8: 1, float: 4 };
/** Neighbours of a lane. */
export const perLane = (type: KvType): number => 4 / BYTES[type];

/** How many elements rows of a cache have in memory. */
export const paddedHead = (headSize: number): number => roundUp(headSize, 4);
export const paddedValue = (valueSize: number): number => roundUp(valueSize, PANEL);

/** Where everything lies in a page, in bytes. */
export interface PageLayout {
  readonly keyType: KvType;
  readonly valueType: KvType;
  readonly k: number;
  readonly v: number;
  readonly ks: number;
  readonly vs: number;
  /** Page 0 only. */
  readonly kc: number;
  readonly ic: number;
  readonly byteLength: number;
}

export function pageLayout(
  { type = 'int16', headSize, valueSize = headSize }: Pick<KvShape, 'type' | 'headSize' | 'valueSize'>,
  page: number,
): PageLayout {
  const keyType = page === 0 ? 'float' : type;
  const k = PAGE_KEYS * paddedHead(headSize) * BYTES[keyType];
  const v = PAGE_KEYS * paddedValue(valueSize) * BYTES[type];
  const factors = page === 0 ? 4 * paddedHead(headSize) : 0;
  const scales = k + v;
  const first = scales + 2 * 4 * PAGE_KEYS;
  const byteLength = roundUp(first + 2 * factors, LINE);
  return {
    keyType,
    valueType: type,
    k: 0,
    v: k,
    ks: scales,
    vs: scales + 4 * PAGE_KEYS,
    kc: first,
    ic: first + factors,
    byteLength,
  };
}

/** In which byte of a lane each of four neighbours lies: gemm's order (formats/format.ts). */
const BYTE_OF = [0, 2, 1, 3] as const;

/**
 * Bytes from the beginning of K or V to an element.
 * @param lane key of K, channel of V
 * @param along channel of K, key of V
 * @param length of what steps run along, padded: channels of K, keys of V
 */
export function elementOffset(type: KvType, lane: number, along: number, length: number): number {
  const neighbours = perLane(type);
  const step = Math.floor(lane / PANEL) * (length / neighbours) + Math.floor(along / neighbours);
  const inLane = along % neighbours;
  return 4 * (PANEL * step + (lane % PANEL)) + (type === 'int8' ? BYTE_OF[inLane] : BYTES[type] * inLane);
}
