/**
 * Weight scales in files and in heads: f32, fp16, or E8M0 (a power of two in one byte). They stay in that form in
 * memory; kernels widen four at a time, exactly.
 */
import { type Func, f32, f32x4, type I32, i32x4, type V128, v128 } from '../wasm/emitter.ts';
import { fromFp16, widenFinite } from './fp16.ts';
import type { QuantizedWeights } from './weights.ts';

export type ScaleId = 'f32' | 'f16' | 'e8m0';
/** Arrays of scales: f32, fp16 bits, E8M0 codes. */
export type ScaleArray = Float32Array | Uint16Array | Uint8Array;

export interface ScaleKind {
  readonly id: ScaleId;
  readonly bytes: 4 | 2 | 1;
  /** The array class that holds it. */
  readonly array: new (
    buffer: ArrayBufferLike,
    byteOffset?: number,
  ) => ScaleArray;
  /** Real value of a stored element. `prepare` refuses a matrix with a value that is not finite. */
  value(stored: number): number;
  /** Reads the f32 scales of rows 4g … 4g+3 from a head. Constants go into locals once, outside of the loops. */
  reader(f: Func): (head: I32, g: number) => V128;
}

const f32Scales: ScaleKind = {
  id: 'f32',
  bytes: 4,
  array: Float32Array,
  value: (stored) => stored,
  reader: () => (head, g) => v128.load(head, 16 * g),
};

const f16Scales: ScaleKind = {
  id: 'f16',
  bytes: 2,
  array: Uint16Array,
  value: fromFp16,
  reader: (f) => {
    const widen = widenFinite(f);
    return (head, g) => widen(v128.load16x4S(head, 8 * g));
  },
};

const e8m0Scales: ScaleKind = {
  id: 'e8m0',
  bytes: 1,
  array: Uint8Array,
  // 2^(code − 127), halved: the codes that it scales are E2M1 doubled. Code 0 counts as zero, 255 is NaN.
  value: (code) => (code === 255 ? Number.NaN : code === 0 ? 0 : 2 ** (code - 128)),
  reader: (f) => {
    const half = f.let(f32x4.splat(f32.const(0.5)));
    const toTop = f.let(v128.const(...[0, 1, 2, 3].flatMap((lane) => [128, 128, 128, lane])));
    return (head, g) => f32x4.mul(i32x4.shrU(v128.swizzle(v128.load32Splat(head, 4 * g), toTop), 1), half);
  },
};

export const scaleKinds: Readonly<Record<ScaleId, ScaleKind>> = { f32: f32Scales, f16: f16Scales, e8m0: e8m0Scales };

/** The kind that an array of scales is of. */
export function scaleKindOf(scales: ScaleArray): ScaleKind {
  if (scales instanceof Float32Array) return f32Scales;
  return scales instanceof Uint16Array ? f16Scales : e8m0Scales;
}

/** Real scale of weight (n, k), as the kernels use it. */
export function scaleReader({ K, blockSize, scales }: QuantizedWeights): (n: number, k: number) => number {
  const kind = scaleKindOf(scales);
  if (blockSize === null && scales.length === 1) return () => kind.value(scales[0]);
  const blocks = blockSize ? Math.ceil(K / blockSize) : 1;
  return (n, k) => kind.value(scales[n * blocks + (blockSize ? Math.floor(k / blockSize) : 0)]);
}
