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
      : form === 'f16' && blockSize && formats[format].scaleIds.includes('f16')
        ? Uint16Array.from({ length: N * blocks }, () => Math.floor(next() * 0x7c00) | (next() < 0.5 ? 0x8000 : 0))
        : Float32Array.from({ length: N * blocks }, scale);
  return { format, N, K, blockSize, data, scales, ...(zeroPoints && { zeroPoints }) };
}

/** Any finite f32 magnitude from 2^least to 2^most, either sign; 0, the ends themselves and their like now and then. */
function anyMagnitude(next: Random, least: number, most: number): number {
  const sign = next() < 0.5 ? -1 : 1;
  const special = [0, 2 ** -149, 2 ** -126, 2 ** least, 2 ** most * (1 - 2 ** -24)];
  if (next() < 0.15) return sign * Math.min(special[Math.floor(next() * special.length)], 2 ** most * (1 - 2 ** -24));
  return sign * Math.fround(2 ** (least + next() * (most - least)));
}

/** Weights with scales from the smallest denormal to the largest that is allowed, and codes that are all alike now and then. */
export function extremeWeights(next: Random, shape: WeightShape): QuantizedWeights {
  const weights = rawWeights(next, shape, () => anyMagnitude(next, -149, 90));
  const fill = [0x00, 0xff, 0x80, 0x7f, 0x88][Math.floor(next() * 10)];
  if (fill !== undefined) weights.data.fill(fill);
  return weights;
}

/** Rows of f32 from denormals to the largest, each around a magnitude of its own, with elements that are far from it. */
export function extremes(next: Random, M: number, K: number): Float32Array {
  const x = new Float32Array(M * K);
  for (let m = 0; m < M; m++) {
    const own = -149 + next() * 277;
    for (let k = 0; k < K; k++)
      x[m * K + k] =
        next() < 0.02
          ? anyMagnitude(next, -149, 128)
          : anyMagnitude(next, Math.max(-149, own - 8), Math.min(128, own + 1));
  }
  return x;
}

/** First index where the two differ in any bit (NaN equals NaN), or -1. */
export const firstDifference = (got: ArrayLike<number>, want: ArrayLike<number>): number =>
  Array.from(got).findIndex((value, i) => !Object.is(value, want[i]));
