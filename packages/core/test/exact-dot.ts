/** What the relaxed dot computes where it takes whole bytes, exactly and in SIMD128 alone: for CPUs that take them otherwise. */

import { i16x8, i32x4, type V128, v128 } from '../src/wasm/emitter.ts';
import type { ByteOperand } from '../src/wasm/features.ts';

const lanes = (from: number[]) => from.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte));
const UPPER = [...lanes([2, 3]), ...lanes([2, 3])];

/** acc + Σ of 4 products per lane of signed bytes with bytes that `operand` says how to take. */
export const exactDot =
  (operand: ByteOperand) =>
  (signed: V128, codes: V128, acc: V128): V128 => {
    const widen = operand === 'unsigned' ? i16x8.extendLowU : i16x8.extendLowS;
    const half = (of: (vector: V128) => V128) => i32x4.dotI16x8S(i16x8.extendLowS(of(signed)), widen(of(codes)));
    const low = half((vector) => vector);
    const high = half((vector) => v128.shuffle(vector, vector, UPPER));
    const even = v128.shuffle(low, high, lanes([0, 2, 4, 6]));
    const odd = v128.shuffle(low, high, lanes([1, 3, 5, 7]));
    return i32x4.add(acc, i32x4.add(even, odd));
  };
