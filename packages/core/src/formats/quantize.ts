/** Float weights -> codes and scales, round to nearest; and back, for references only. */

import { roundHalfEven } from '../numbers.ts';
import { type CodebookId, codebookIds } from './codebook.ts';
import { quantizeCodebook } from './codebook-quantize.ts';
import { writeCode } from './codes.ts';
import { K_STEP } from './format.ts';
import { toFp16 } from './fp16.ts';
import { formats } from './index.ts';
import { weightReader } from './integers.ts';
import { fileLayout } from './layout.ts';
import { quantizeMxfp4 } from './mxfp4-quantize.ts';
import { scaleKinds, scaleReader } from './scales.ts';
import { validateShape, validateWeights } from './validate.ts';
import type { FormatId, QuantizedWeights } from './weights.ts';

export interface QuantizeOptions {
  readonly N: number;
  readonly K: number;
  readonly format: FormatId;
  /** Default `null` (per channel) for int8, 64 for nf4 and fp4, 32 for the others. */
  readonly blockSize?: number | null;
  /** Store a zero point per block (or channel) instead of centring the range. Default false. */
  readonly asymmetric?: boolean;
  /** Form of int4's and int8's block scales: 'f32' (default) or 'f16', to which they are then rounded first. */
  readonly scale?: 'f32' | 'f16';
  /**
   * How mxfp4 chooses a block's power of two: 'ocp' (default; floor(log2 max) − 2, so that elements beyond 6 saturate) or
   * 'mse' (that or the next one up, whichever leaves the smaller squared error).
   */
  readonly scaleRule?: 'ocp' | 'mse';
}

/**
 * Quantizes w f32 [N,K] row-major.
 *
 * Symmetric: the value of largest magnitude gets the most negative code, so that all levels are used (scales may be
 * negative). Asymmetric: the block's range, stretched to include 0, is laid over all codes.
 *
 * @returns arrays that the caller owns
 * @throws {@link RangeError} for shapes that do not fit and weights that are not finite
 * @example
 * const weights = quantizeWeights(Float32Array.of(1, 2, 3, 4), { N: 2, K: 2, format: 'int8' });
 */
export function quantizeWeights(w: Float32Array, options: QuantizeOptions): QuantizedWeights {
  const { N, K, format: id, asymmetric = false } = options;
  const { blockSize = formats[id]?.perChannel ? null : isCodebook(id) ? 64 : K_STEP } = options;
  const shape = { format: id, N, K, blockSize };
  validateShape(shape, 'quantizeWeights');
  if (asymmetric && !formats[id].asymmetric)
    throw new RangeError(`quantizeWeights: ${id} has no zero points; leave asymmetric out.`);
  if (w.length !== N * K)
    throw new RangeError(`quantizeWeights: w expected ${N * K} values for [N=${N},K=${K}], got ${w.length}.`);
  for (let i = 0; i < w.length; i++)
    if (!Number.isFinite(w[i])) throw new RangeError(`quantizeWeights: w[${i}] is ${w[i]}; weights have to be finite.`);

  if (id === 'mxfp4') {
    const weights = quantizeMxfp4(w, options);
    validateWeights(weights, 'quantizeWeights');
    return weights;
  }
  if (isCodebook(id)) {
    const weights = quantizeCodebook(w, id, { N, K, blockSize: blockSize as number });
    validateWeights(weights, 'quantizeWeights');
    return weights;
  }
  const { bits } = formats[id];
  const levels = 2 ** bits;
  const { blocks, dataBytes, rowBytes, scaleCount, zeroPointBytes } = fileLayout(shape);
  const data = new Uint8Array(dataBytes);
  const fp16 = options.scale === 'f16' && blockSize !== null;
  const scales = fp16 ? new Uint16Array(scaleCount) : new Float32Array(scaleCount);
  const zeroPoints = asymmetric ? new Uint8Array(zeroPointBytes) : undefined;
  const codes = new Uint8Array(blockSize ?? K);
  for (let n = 0; n < N; n++)
    for (let b = 0; b < blocks; b++) {
      const begin = blockSize ? b * blockSize : 0;
      const values = w.subarray(n * K + begin, n * K + Math.min(K, blockSize ? begin + blockSize : K));
      const { scale: ideal, zero } = asymmetric ? coverRange(values, levels) : centre(values, levels);
      scales[n * blocks + b] = fp16 ? toFp16(ideal) : ideal;
      const scale = fp16 ? scaleKinds.f16.value(scales[n * blocks + b]) : ideal;
      if (zeroPoints) writeCode(zeroPoints, n * (zeroPointBytes / N), b, bits, zero);
      writeCodes(values, scale, zero, levels - 1, codes);
      packCodes(codes, bits, data, n * rowBytes + (begin * bits) / 8);
    }
  // int8 codes 0..255 stand for q − 128: hand out the signed view that everyone expects.
  const signed = (codes: Uint8Array) => {
    for (let i = 0; i < codes.length; i++) codes[i] ^= 0x80;
    return new Int8Array(codes.buffer);
  };
  const weights: QuantizedWeights = {
    ...shape,
    data: bits === 8 ? signed(data) : data,
    scales,
    ...(zeroPoints && { zeroPoints: bits === 8 ? signed(zeroPoints) : zeroPoints }),
  };
  validateWeights(weights, 'quantizeWeights');
  return weights;
}

const isCodebook = (id: FormatId): id is CodebookId => codebookIds.includes(id as CodebookId);

/** Codes of a block: round(value / scale) + zero within 0 … last; what the row lacks is `zero`. */
function writeCodes(values: Float32Array, scale: number, zero: number, last: number, codes: Uint8Array): void {
  const count = scale === 0 ? 0 : values.length;
  for (let i = 0; i < count; i++) codes[i] = Math.min(last, Math.max(0, roundHalfEven(values[i] / scale) + zero));
  codes.fill(zero, count);
}

/** Lowest bits first, from byte `at` on. */
function packCodes(codes: Uint8Array, bits: 2 | 4 | 8, data: Uint8Array, at: number): void {
  if (bits === 8) data.set(codes, at);
  else
    for (let i = 0; i < codes.length; at++) {
      let byte = 0;
      for (let shift = 0; shift < 8; shift += bits) byte |= codes[i++] << shift;
      data[at] = byte;
    }
}

function centre(values: Float32Array, levels: number): { scale: number; zero: number } {
  let peak = 0;
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i]) > Math.abs(peak)) peak = values[i];
  return { scale: Math.fround(peak / (-levels / 2)), zero: levels / 2 };
}

function coverRange(values: Float32Array, levels: number): { scale: number; zero: number } {
  const min = values.reduce((a, b) => Math.min(a, b), 0);
  const max = values.reduce((a, b) => Math.max(a, b), 0);
  const scale = Math.fround((max - min) / (levels - 1));
  return { scale, zero: scale === 0 ? levels / 2 : Math.min(levels - 1, Math.max(0, roundHalfEven(-min / scale))) };
}

/** The real matrix f32 [N,K] that `weights` stand for. For references and comparisons: MSD itself never expands weights. */
export function dequantizeWeights(weights: QuantizedWeights): Float32Array {
  validateWeights(weights, 'dequantizeWeights');
  const { N, K } = weights;
  const scale = scaleReader(weights);
  const weight = weightReader(weights);
  const out = new Float32Array(N * K);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) out[n * K + k] = scale(n, k) * weight(n, k);
  return out;
}
