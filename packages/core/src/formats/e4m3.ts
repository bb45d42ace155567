/**
 * FP8 E4M3 (OCP, "FN"): 4 bits of exponent, 3 of significand, subnormals down to 2⁻⁹, largest 448, no Inf, NaN 0x7f.
 *
 * The elements of MXFP8. No kernel takes it: it is what MXFP4 passes are compared with.
 */
import { floorLog2, roundHalfEven } from '../numbers.ts';

const NAN = 0x7f;
const LARGEST = 0x7e; // 448

/** Value of a bit pattern. */
export function fromE4M3(bits: number): number {
  const magnitude = bits & 0x7f;
  if (magnitude === NAN) return Number.NaN;
  const exponent = magnitude >> 3;
  const value = exponent === 0 ? magnitude * 2 ** -9 : (8 + (magnitude & 7)) * 2 ** (exponent - 10);
  return bits & 0x80 ? -value : value;
}

/** Bit pattern of a value, half to even; what is beyond 448, Inf too, becomes 448. */
export function toE4M3(value: number): number {
  if (Number.isNaN(value)) return NAN;
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  const magnitude = Math.min(448, Math.abs(value));
  // Above 2^e the steps are 2^(e − 3); subnormals have those of 2⁻⁶. A carry runs into the exponent by itself.
  const exponent = magnitude === 0 ? -6 : Math.max(-6, floorLog2(magnitude));
  const steps = roundHalfEven(magnitude / 2 ** (exponent - 3));
  return sign | Math.min(LARGEST, steps + ((exponent + 6) << 3));
}
