/**
 * Rare forms of operators that nearly every model has: their forms on the device, unusual weights. They come with the
 * family of graphs, or where it says so. If one is missing, its family is fetched and the model is matched again.
 */
import type { elementwiseOnWasm } from '@msd/core/nn';
import type { coded } from './attention/coded.ts';
import type { headNorms } from './attention/head-norms.ts';
import type { dequantizedRows } from './gather-codes.ts';
import type { deviceGather } from './gather-device.ts';
import type { oddNBits } from './nbits-odd.ts';
import type { repeatedNorm } from './norm-repeated.ts';
import type { deviceReductions } from './reduce-device.ts';

export interface Late {
  /** Caches of int8 with scales of the model. */
  readonly coded: typeof coded;
  /** With the family of integers, as DequantizeLinear. */
  readonly dequantizedRows: typeof dequantizedRows;
  readonly elementwise: typeof elementwiseOnWasm;
  readonly gather: typeof deviceGather;
  /** Norms of queries and keys inside of attention: with the rare family. */
  readonly headNorms: typeof headNorms;
  /** MatMulNBits with zero points that are floats, or groups. */
  readonly nBits: typeof oddNBits;
  readonly reductions: typeof deviceReductions;
  readonly repeatedNorm: typeof repeatedNorm;
}

/** Thrown while nodes are matched or planned. */
export class NotFetched extends Error {}

const parts: Partial<Late> = {};

export function addLate(added: Partial<Late>): void {
  Object.assign(parts, added);
}

/** @throws {@link NotFetched} */
export function fetched<Key extends keyof Late>(key: Key): Late[Key] {
  const part = parts[key];
  if (!part) throw new NotFetched(key);
  return part;
}
