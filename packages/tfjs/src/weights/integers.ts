/** Matrices of stored integers, packed as they are; and 16 bits of half floats. */
import type { QuantizedWeights } from '@msd/core';
import { type Packed, packPlanes } from '../pack.ts';
import type { MatrixSpec } from '../spec.ts';
import { codesInUse, type StoredCodes } from './source.ts';
import { type MatrixView, rowMajor, split } from './view.ts';

/** Signed integers d = code − zero with real = scale · d + offset. */
export interface Zero {
  readonly zero: number;
  readonly offset: number;
}

/** How far min + zero · scale may be from 0 and still be 0: what rounding both to f32 may have done, times two. */
const NUDGED = 2 ** -22;

/**
 * A product is Σ x′·(scale · d), with the decomposed x′, plus offset · Σ x with x itself. Its error is Σ |x − x′|·|real − offset|:
 * so the offset must not put a large d beside it that it cancels.                               (docs/tfjs.md, "Zeros and offsets")
 *
 * - real 0 is a level: it is d = 0, and there is no offset. That is what converters write whenever 0 is in the range.
 * - it lies between two levels: d = 0 is the nearer one, the offset half a level at most.
 * - it lies outside of the levels in use: d = 0 is in their middle, or so near to it that |real − offset| ≤ |real| for each.
 */
export function zeroOf(
  { scale, min }: { scale: number; min: number },
  low: number,
  high: number,
  levels: number,
): Zero {
  const at = (zero: number): Zero => ({ zero, offset: min + zero * scale });
  if (low === high) return at(low);
  const real = -min / scale;
  const nearest = Math.round(real);
  if (nearest >= 0 && nearest < levels && Math.abs(min + nearest * scale) <= NUDGED * Math.abs(min))
    return { zero: nearest, offset: 0 };
  const middle = Math.ceil((low + high) / 2);
  if (real <= low) return at(Math.min(middle, Math.floor(2 * low - real)));
  if (real >= high) return at(Math.max(middle, Math.ceil(2 * high - real)));
  return at(nearest);
}

export function encodeCodes(stored: StoredCodes, view: MatrixView): Packed<MatrixSpec> {
  const { batchShape } = view;
  const levels = stored.kind === 'uint8' ? 2 ** 8 : 2 ** 16;
  const { values, scale, min } = ascending(stored, levels);
  const { low, high } = codesInUse(values);
  const { zero, offset } = zeroOf({ scale, min }, low, high, levels);
  const step = low === high ? 1 : scale; // nothing is multiplied by the scale of one value, which may be any
  const matrices = split(rowMajor(values, view), view);
  if (values instanceof Uint8Array)
    return packPlanes(
      matrices.map((codes) => bytePlane(codes as Uint8Array, view, step, zero, zero !== 128)),
      { batchShape, planes: 1, offset },
    );
  // 256·(high − high₀) + (low − low₀) = code − zero. Both planes store zero points, or neither.
  const hasZeros = zero !== 128 * 257;
  const parts = matrices.flatMap((codes) => [
    bytePlane(bytesOf(codes as Uint16Array, 8), view, 256 * step, zero >> 8, hasZeros),
    bytePlane(bytesOf(codes as Uint16Array, 0), view, step, zero & 0xff, hasZeros),
  ]);
  return packPlanes(parts, { batchShape, planes: 2, offset });
}

/** The same values with a scale above 0. */
function ascending(
  { values, scale, min }: StoredCodes,
  levels: number,
): { values: Uint8Array | Uint16Array; scale: number; min: number } {
  if (scale > 0) return { values, scale, min };
  if (scale === 0) return { values: values.slice().fill(0), scale: 1, min };
  return { values: values.map((code) => levels - 1 - code), scale: -scale, min: min + (levels - 1) * scale };
}

/** Eight bits of each code, from `shift` up. */
function bytesOf(codes: Uint16Array, shift: number): Uint8Array {
  const out = new Uint8Array(codes.length);
  for (let i = 0; i < codes.length; i++) out[i] = codes[i]! >> shift;
  return out;
}

/** Codes 0..255 with one scale and zero point for all. */
function bytePlane(
  data: Uint8Array,
  { N, K }: MatrixView,
  scale: number,
  zero: number,
  hasZeros: boolean,
): QuantizedWeights {
  const scales = new Float32Array(N).fill(scale);
  const zeroPoints = hasZeros ? new Uint8Array(N).fill(zero) : undefined;
  return { format: 'int8', N, K, blockSize: null, data, scales, ...(zeroPoints && { zeroPoints }) };
}

/** 256·127 + 127: the largest code whose two signed bytes exist on both sides. */
const INT16_LEVELS = 32639;

/** Per channel, code = 256·high + low with signed bytes. */
export function int16Planes(values: Float32Array, { N, K }: MatrixView): QuantizedWeights[] {
  const [high, low] = [new Int8Array(N * K), new Int8Array(N * K)];
  const [highScales, lowScales] = [new Float32Array(N), new Float32Array(N)];
  for (let n = 0; n < N; n++) {
    let max = 0;
    for (let i = n * K; i < (n + 1) * K; i++) max = Math.max(max, Math.abs(values[i]!));
    const scale = Math.fround(max / INT16_LEVELS);
    lowScales[n] = scale;
    highScales[n] = 256 * scale;
    for (let i = n * K; i < (n + 1) * K; i++) {
      const code = scale ? Math.max(-INT16_LEVELS, Math.min(INT16_LEVELS, Math.round(values[i]! / scale))) : 0;
      low[i] = code; // the lower eight bits, signed
      high[i] = (code - low[i]!) / 256;
    }
  }
  const shape = { format: 'int8', N, K, blockSize: null } as const;
  return [
    { ...shape, data: high, scales: highScales },
    { ...shape, data: low, scales: lowScales },
  ];
}
