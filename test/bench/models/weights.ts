/**
 * Weights that every engine gets alike: one symmetric quantization per format, positive scales, codes that all of them
 * can hold (int8 within ±127), block scales that are exact in fp16. Speed does not depend on what a trained model holds.
 */
import type { QuantizedWeights } from '@msd/core';
import { fromFp16, toFp16 } from '../../../packages/core/src/formats/fp16.ts';
import type { LayerShape } from '../shapes.ts';
import { gaussian, generator } from './random.ts';

/** As the engines' own formats: per channel without a suffix, else k per scale. */
export type WeightsId = 'fp32' | 'int8' | 'int8/32' | 'int4' | 'int4/32';

/** One layer's matrix [N,K]: float for `fp32`, else codes and scales. */
export interface LayerWeights extends LayerShape {
  readonly id: WeightsId;
  readonly blockSize: number | null;
  /** Codes [N,K], symmetric around 0; for `fp32` empty. */
  readonly codes: Int8Array;
  /** f32 [N, blocks]; for `fp32` empty. */
  readonly scales: Float32Array;
  /** f32 [N,K], only for `fp32`. */
  readonly floats: Float32Array;
}

const LIMIT: Record<Exclude<WeightsId, 'fp32'>, number> = { int8: 127, 'int8/32': 127, int4: 7, 'int4/32': 7 };

const POOL = 2 ** 16;
let pool: Float32Array | undefined;

/** Gaussian weights [N,K] of variance 1/K: a chain of such layers neither grows nor fades. Drawn from a pool, for speed. */
export function layerFloats({ K, N }: LayerShape, seed: number): Float32Array {
  pool ??= gaussian(POOL, 1);
  const scale = 1 / Math.sqrt(K);
  const out = new Float32Array(N * K);
  const next = generator(seed);
  for (let i = 0; i < out.length; i++) out[i] = pool[Math.floor(POOL * next())]! * scale;
  return out;
}

/** @param floats f32 [N,K], see {@link layerFloats} */
export function layerWeights(shape: LayerShape, id: WeightsId, floats: Float32Array): LayerWeights {
  const { K, N } = shape;
  const none = new Float32Array(0);
  if (id === 'fp32') return { ...shape, id, blockSize: null, codes: new Int8Array(0), scales: none, floats };
  const blockSize = id.endsWith('/32') ? 32 : null;
  const length = blockSize ?? K;
  const limit = LIMIT[id];
  const codes = new Int8Array(N * K);
  const scales = new Float32Array((N * K) / length);
  for (let b = 0; b < scales.length; b++) {
    const begin = b * length;
    let max = 0;
    for (let i = begin; i < begin + length; i++) max = Math.max(max, Math.abs(floats[i]!));
    const scale = blockSize ? fromFp16(toFp16(max / limit)) : Math.fround(max / limit);
    scales[b] = scale;
    for (let i = begin; i < begin + length; i++)
      codes[i] = Math.max(-limit, Math.min(limit, Math.round(floats[i]! / scale)));
  }
  return { ...shape, id, blockSize, codes, scales, floats: none };
}

/** Two codes per byte, even k in the low nibble, `offset` added first. */
export function nibbles(codes: Int8Array, offset: number): Uint8Array {
  const out = new Uint8Array(codes.length / 2);
  for (let i = 0; i < out.length; i++)
    out[i] = ((codes[2 * i]! + offset) & 15) | (((codes[2 * i + 1]! + offset) & 15) << 4);
  return out;
}

/** As @msd/core takes them. */
export function toMsd({ id, K, N, blockSize, codes, scales }: LayerWeights): QuantizedWeights {
  if (id === 'int8' || id === 'int8/32') return { format: 'int8', N, K, blockSize, data: codes, scales };
  if (id === 'int4/32') return { format: 'int4', N, K, blockSize, data: nibbles(codes, 8), scales };
  throw new RangeError(`toMsd: ${id} is not a format of @msd/core.`);
}

/** [N,K] -> [K,N]. */
export function transpose<T extends Float32Array | Int8Array>(values: T, N: number, K: number): T {
  const out = new (values.constructor as new (length: number) => T)(N * K);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) out[k * N + n] = values[n * K + k]!;
  return out;
}

/** The real matrix, row by row: `row(n)` is overwritten by the next call. */
export function rowReader({ id, K, blockSize, codes, scales, floats }: LayerWeights): (n: number) => Float64Array {
  const row = new Float64Array(K);
  const length = blockSize ?? K;
  return (n) => {
    if (id === 'fp32') row.set(floats.subarray(n * K, (n + 1) * K));
    else for (let k = 0, i = n * K; k < K; k++, i++) row[k] = codes[i]! * scales[Math.floor(i / length)]!;
    return row;
  };
}
