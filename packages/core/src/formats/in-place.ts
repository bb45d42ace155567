/**
 * Codes that are multiplied where they lie in a 16-bit lane: a mask per vector and no shift. Group g then carries a factor of
 * 2^shift[g], which leaves room for 32 products; the zero point is taken off the accumulators before they start.
 */
import { type Func, type I32, i16x8, i32, i32x4, type V128, v128 } from '../wasm/emitter.ts';
import { type BlockReader, type CodeReader, eachGroup, K_STEP, type WeightVariant } from './format.ts';
import { negatedZeroPoints32, zeroPointLanes16 } from './zero-points.ts';

export interface PackedLanes {
  readonly bits: 2 | 4;
  /** Zero point of symmetric weights. */
  readonly symmetric: number;
  /** The step's lanes: codes of the four groups, group 0 lowest. */
  load(ptr: I32, offset: number): V128;
}

/** The bits of a lane that hold group g. */
const groupMask = (bits: number, g: number) => (2 ** bits - 1) << (bits * g);

/** For M = 1 and small M: as few instructions as possible. */
export function inPlaceCodes(
  f: Func,
  { bits, symmetric, load }: PackedLanes,
  { storedZeroPoints }: WeightVariant,
): CodeReader {
  // |code − zero point| · 32258 · 32 · 2^shift must stay below 2³¹. Symmetric int4 fits with 2⁸ (8 · …), a stored zero
  // point of 15 does not, so groups 2 and 3 come down by two codes first; 2-bit codes always fit.
  const comesDown = bits === 4 && storedZeroPoints;
  const shift = [0, bits, comesDown ? 0 : 2 * bits, 0] as const;
  const masks = [0, 1, 2].map((g) => (comesDown && g === 2 ? undefined : f.let(v128.const16(groupMask(bits, g)))));
  const constant = storedZeroPoints ? undefined : f.let(i32x4.splat(i32.const(-symmetric)));
  const last = (step: V128) => i16x8.shrU(step, 3 * bits);
  const vectors = (step: V128): V128[] => [
    ...masks.map((mask, g) => (mask ? v128.and(step, mask) : v128.and(i16x8.shrU(step, bits * g), masks[0] as V128))),
    last(step),
  ];
  const scaled = (vector: V128, g: number) => (shift[g] ? i32x4.shl(vector, shift[g]) : vector);
  return {
    shift,
    block: (zeroPoints): BlockReader => {
      const negated = storedZeroPoints ? negatedZeroPoints32(f, zeroPoints) : undefined;
      return {
        step: (ptr, offset) => vectors(f.let(load(ptr, offset))),
        start: (sum) => {
          if (negated) return eachGroup((g) => scaled(i32x4.mul(sum, negated[g]), g));
          const correction = f.let(i32x4.mul(sum, constant as V128));
          return eachGroup((g) => scaled(correction, g));
        },
      };
    },
  };
}

/** The weights themselves, for panels that are widened once. */
export function shiftedCodes(
  f: Func,
  { bits, symmetric, load }: PackedLanes,
  { storedZeroPoints }: WeightVariant,
): CodeReader {
  const mask = f.let(v128.const16(groupMask(bits, 0)));
  const zeroLanes = f.let(v128.const16(symmetric));
  return {
    shift: [0, 0, 0, 0],
    block: (zeroPoints) => {
      const zero = storedZeroPoints ? zeroPointLanes16(f, zeroPoints, false) : eachGroup(() => zeroLanes);
      return {
        step: (ptr, offset) => {
          const step = f.let(load(ptr, offset));
          return eachGroup((g) => i16x8.sub(v128.and(i16x8.shrU(step, bits * g), mask), zero[g]));
        },
      };
    },
  };
}

/** k per integer sum: blocks of 16 have their own, longer ones one per 32. */
export const inPlaceChunk = (blockSize: number | null): number => Math.min(blockSize ?? K_STEP, K_STEP);
