/** Floats as float16 holds them. */
import { roundHalfEven } from '../../../numbers.ts';
import type { MoreLanes } from '../lanes.ts';

/** Of infinity, of 2⁻¹⁴, the smallest normal float16, and of 2¹⁶, which is too large for it. */
const [INFINITY_BITS, NORMAL_BITS, LARGE_BITS] = [0x7f800000, 0x38800000, 0x47800000];
/** Bits that float16 has less. */
const LOST = 13;

/** Half to even; infinite from 65520 on. NaN stays what it is. */
export function half<V>(f: MoreLanes<V>, x: V): V {
  const bits = f.bits(x);
  const size = f.andInt(bits, f.int(0x7fffffff));
  const odd = f.andInt(f.shiftRight(size, LOST), f.int(1));
  const added = f.addInt(f.addInt(size, f.int(2 ** (LOST - 1) - 1)), odd);
  const normal = f.andInt(added, f.int(-(2 ** LOST)));
  // Floats of [0.5, 1) have the steps of subnormal float16, 2⁻²⁴.
  const step = f.constant(0.5);
  const subnormal = f.bits(f.sub(f.rounded(f.add(f.float(size), step)), step));
  const finite = f.select(f.lessInt(size, f.int(NORMAL_BITS)), subnormal, normal);
  const numbers = f.select(f.lessInt(finite, f.int(LARGE_BITS)), finite, f.int(INFINITY_BITS));
  const all = f.select(f.lessInt(f.int(INFINITY_BITS), size), size, numbers);
  return f.float(f.orInt(f.xorInt(bits, size), all));
}

export function half64(x: number): number {
  if (!(Math.abs(x) < 65520)) return x * Infinity;
  const step = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(x)))) - 10);
  return x === 0 ? x : roundHalfEven(x / step) * step;
}
