/**
 * How keys and values are stored: the f32 contract, for every device.                                  (docs/attention.md)
 *
 *   K of page 0      f32, as it comes: its keys give the channel factors, whatever a prompt is cut into
 *   K of later ones  x = fl(k · ic),  ic = fl(1 / kc);  S = fl(max |x| / limit),  q = clamp(rne(fl(x · fl(1/S))))   per key and head
 *   V                the same without factors, in every page
 *   factors          kc[j] = largest finite |k[t,j]| of keys 1..63 and of its partner in rotary embedding; 1 below 2⁻¹⁰⁰
 *
 * `float` caches hold f32 everywhere. limit: 32258 of int16, 127 of int8. A row whose maximum is below 2⁻¹⁰⁰ has S = 0 and q = 0,
 * one with NaN or Inf has S = NaN.
 */
import { TINY } from '../decompose/contract.ts';
import { type KvShape, kvTypes, MAX_HEAD_SIZE, type ResolvedKvShape } from './contract.ts';

/**
 * Most sequences, heads, or channels of V: more than any model has, so that a mistake is an error before it takes all
 * memory.
 */
const MOST = 2 ** 16;

/** @throws {@link TypeError}, {@link RangeError} for an impossible shape */
export function resolveKvShape(shape: KvShape, where = 'createKvCache'): ResolvedKvShape {
  if (typeof shape !== 'object' || shape === null)
    throw new TypeError(`${where}: expected { batch, kvHeads, headSize }, got ${String(shape)}.`);
  const { batch, kvHeads, headSize, valueSize = headSize, type = 'int16', isInterleaved = false } = shape;
  const { rotarySize = headSize - (headSize % 2), factors } = shape;
  const count = (name: string, value: unknown, least: number, most = MOST) => {
    if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return;
    throw new RangeError(`${where}: ${name} expected an integer from ${least} to ${most}, got ${String(value)}.`);
  };
  count('batch', batch, 0);
  count('kvHeads', kvHeads, 1);
  count('headSize', headSize, 1, MAX_HEAD_SIZE);
  count('valueSize', valueSize, 1);
  count('rotarySize', rotarySize, 0, headSize);
  if (rotarySize % 2) throw new RangeError(`${where}: rotarySize expected an even number, got ${rotarySize}.`);
  if (!kvTypes.includes(type))
    throw new RangeError(`${where}: type expected 'int16', 'int8' or 'float', got ${String(type)}.`);
  if (typeof isInterleaved !== 'boolean')
    throw new TypeError(`${where}: isInterleaved expected true or false, got ${String(isInterleaved)}.`);
  if (factors) checkFactors(factors, kvHeads * headSize, where);
  return {
    batch,
    kvHeads,
    headSize,
    valueSize,
    type,
    factors: factors || factors === false ? factors : undefined,
    rotarySize,
    isInterleaved,
  };
}

function checkFactors(factors: Float32Array, length: number, where: string): void {
  if (!(factors instanceof Float32Array))
    throw new TypeError(`${where}: factors expected a Float32Array, got ${typeof factors}.`);
  if (factors.length !== length)
    throw new RangeError(`${where}: factors expected ${length} values [kvHeads, headSize], got ${factors.length}.`);
  const at = factors.findIndex((value) => !(value >= TINY && value <= 1 / TINY));
  if (at >= 0)
    throw new RangeError(
      `${where}: factors expected values from 2^-100 to 2^100, got ${factors[at]} at ${at}. Leave a channel of zeros at 1.`,
    );
}

/** The channel that rotary embedding pairs with this one; the channel itself if it is not rotated. */
export function partnerOf(channel: number, { rotarySize, isInterleaved }: ResolvedKvShape): number {
  if (channel >= rotarySize) return channel;
  return isInterleaved ? channel ^ 1 : (channel + rotarySize / 2) % rotarySize;
}

export const inverseOf = (factors: Float32Array): Float32Array => factors.map((value) => 1 / value);
