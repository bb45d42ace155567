/** Seeded inputs for tests: the same everywhere, so that a failure can be repeated from its message. */
import { formats } from '../src/formats/index.ts';
import { type FormatId, type QuantizedWeights, quantizeWeights } from '../src/index.ts';
import { gaussians, type Random } from './seeded.ts';

export { gaussian, gaussians, type Random, random } from './seeded.ts';

export interface WeightShape {
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly asymmetric: boolean;
  readonly scale?: 'f32' | 'f16';
}

/** Quantized Gaussian weights; block maxima of either sign, hence scales of either sign. */
export const randomWeights = (next: Random, shape: WeightShape): QuantizedWeights =>
  quantizeWeights(gaussians(next, shape.N * shape.K), shape);

/** Codes, scales and zero points drawn over all they can hold, not only what a quantizer writes. */
export function rawWeights(
  next: Random,
  { format, N, K, blockSize, asymmetric, scale: form }: WeightShape,
  scale: () => number,
): QuantizedWeights {
  const blocks = blockSize ? Math.ceil(K / blockSize) : 1;
  const codes = N * (blockSize ? blocks * blockSize : K);
  const bytes = (length: number) => Uint8Array.from({ length }, () => Math.floor(256 * next()));
  const { bits } = formats[format];
  const data = bytes((codes * bits) / 8);
  const zeroPoints = asymmetric ? bytes(N * Math.ceil((blocks * bits) / 8)) : undefined;
  const scales =
    format === 'mxfp4'
      ? Uint8Array.from({ length: N * blocks }, () => Math.floor(next() * 216))
      : form === 'f16' && blockSize
        ? Uint16Array.from({ length: N * blocks }, () => Math.floor(next() * 0x7c00) | (next() < 0.5 ? 0x8000 : 0))
        : Float32Array.from({ length: N * blocks }, scale);
  return { format, N, K, blockSize, data, scales, ...(zeroPoints && { zeroPoints }) };
}

/** First index where the two differ in any bit (NaN equals NaN), or -1. */
export const firstDifference = (got: ArrayLike<number>, want: ArrayLike<number>): number =>
  Array.from(got).findIndex((value, i) => !Object.is(value, want[i]));
