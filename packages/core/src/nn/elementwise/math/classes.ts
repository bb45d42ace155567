/** NaN, infinities and numbers told apart by their bits: WGSL may assume that a float is a number. */
import type { MoreLanes } from '../lanes.ts';

const INFINITY_BITS = 0x7f800000;

const magnitudeBits = <V>(f: MoreLanes<V>, x: V): V => f.andInt(f.bits(x), f.int(0x7fffffff));

export const isNotANumber = <V>(f: MoreLanes<V>, x: V): V => f.lessInt(f.int(INFINITY_BITS), magnitudeBits(f, x));
export const isInfinite = <V>(f: MoreLanes<V>, x: V): V => f.equalInt(magnitudeBits(f, x), f.int(INFINITY_BITS));
export const isFiniteFloat = <V>(f: MoreLanes<V>, x: V): V => f.lessInt(magnitudeBits(f, x), f.int(INFINITY_BITS));
