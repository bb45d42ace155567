/**
 * What a number format or a decomposition leaves of a row, in float64: every function returns the values that a machine would
 * multiply, bit for bit, so a simulated product is one float64 product of them.
 */
import {
  alphaOf,
  E2M1_DOUBLED,
  floorLog2,
  fromE4M3,
  fromFp16,
  MXFP4_STEPS,
  roundHalfEven,
  roundToE2M1,
  toE2M1,
  toE4M3,
  toFp16,
} from '@msd/core/numerics';

/** Elements that share a scale in the OCP's formats. */
export const MX_BLOCK = 32;

/** f32 values as BF16 has them, half to even. NaN stays one. */
export function bf16Values(values: ArrayLike<number>): Float32Array {
  const rounded = new Float32Array(values);
  const words = new Uint32Array(rounded.buffer);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    words[i] = (word & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  }
  return rounded;
}

/** Values as FP16 has them, half to even; infinite from 65520 on. */
export function fp16Values(values: ArrayLike<number>): Float32Array {
  const rounded = new Float32Array(values.length);
  for (let i = 0; i < rounded.length; i++) rounded[i] = fromFp16(toFp16(values[i]!));
  return rounded;
}

/** An element of a microscaling format: how it rounds a value that its block's scale has divided. */
export interface MxElement {
  readonly name: 'E2M1' | 'E4M3';
  /** Exponent of its largest value. */
  readonly maxExponent: number;
  readonly round: (value: number) => number;
}

export const E2M1: MxElement = {
  name: 'E2M1',
  maxExponent: 2,
  round: (value) => (Number.isNaN(value) ? value : E2M1_DOUBLED[toE2M1(value)]! / 2),
};
export const E4M3: MxElement = { name: 'E4M3', maxExponent: 8, round: (value) => fromE4M3(toE4M3(value)) };

/**
 * How the scale of a block is found: `floor` is the OCP's, 2^(floor(log2 max) − maxExponent), which cuts off what lies above the
 * largest element; `ceil` takes the next power of two where that would happen.
 */
export type ScaleRule = 'floor' | 'ceil';

/** Values of MXFP4 (E2M1) or MXFP8 (E4M3): blocks of 32, a power of two as their scale (E8M0: 2⁻¹²⁷ to 2¹²⁷). */
export function mxValues(
  values: ArrayLike<number>,
  { maxExponent, round }: MxElement,
  rule: ScaleRule = 'floor',
  block = MX_BLOCK,
): Float64Array {
  const largest = round(Infinity);
  return perBlock(values, block, (max) => {
    const floor = floorLog2(max) - maxExponent;
    const exponent = rule === 'ceil' && max / 2 ** floor > largest ? floor + 1 : floor;
    const scale = 2 ** Math.min(127, Math.max(-127, exponent));
    return (value) => scale * round(value / scale);
  });
}

/** Values of P balanced base-254 digits with one scale per block, max / (127 · 254^(P−1)).              (docs/msd.md, eq. 1–3) */
export function int8Passes(values: ArrayLike<number>, passes: number, block: number): Float64Array {
  const limit = 127 * 254 ** (passes - 1);
  return perBlock(values, block, (max) => {
    const S = max / limit;
    return (value) => S * Math.min(limit, Math.max(-limit, roundHalfEven(value / S)));
  });
}

/** Values of the paper's MXFP4 passes: E2M1 digits of a block whose alpha = 2^ceil(log2 max) is mapped to 4. (docs/msd.md, eq. 9) */
export function mxfp4Passes(values: ArrayLike<number>, passes: number, block = MX_BLOCK): Float64Array {
  return perBlock(values, block, (max) => {
    const first = (8 * alphaOf(max)) / MXFP4_STEPS;
    return (value) => {
      let [rest, step, sum] = [value, first, 0];
      for (let pass = 0; pass < passes; pass++) {
        const part = step * roundToE2M1(rest / step);
        sum += part;
        rest -= part;
        step /= 8;
      }
      return sum;
    };
  });
}

/** Rounds each block with what its largest magnitude says; zeros stay. */
function perBlock(
  values: ArrayLike<number>,
  block: number,
  rounding: (max: number) => (value: number) => number,
): Float64Array {
  const rounded = new Float64Array(values.length);
  for (let begin = 0; begin < values.length; begin += block) {
    const end = Math.min(values.length, begin + block);
    let max = 0;
    for (let i = begin; i < end; i++) max = Math.max(max, Math.abs(values[i]!));
    if (max === 0) continue;
    const round = rounding(max);
    for (let i = begin; i < end; i++) rounded[i] = round(values[i]!);
  }
  return rounded;
}
