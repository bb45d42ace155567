/** Float weights -> mxfp4. Elements round half to even and saturate at ±6, as in ONNX. */
import { floorLog2 } from '../numbers.ts';
import { writeCode } from './codes.ts';
import { E2M1_DOUBLED } from './mxfp4.ts';
import type { QuantizeOptions } from './quantize.ts';
import type { QuantizedWeights } from './weights.ts';

const BLOCK = 32;
const MAX_CODE = 254; // 2¹²⁷; 255 is NaN

/**
 * E2M1 code of a value: nearest, ties to the even code, ±6 from there on. Negative values that round to zero keep their sign.
 * The midpoints belong to the neighbour whose last bit is 0: 0.25 -> 0, 0.75 -> 1, 1.25 -> 1, 1.75 -> 2, 2.5 -> 2, 3.5 -> 4, 5 -> 4.
 */
export function toE2M1(value: number): number {
  const doubled = Math.min(12, Math.abs(value) * 2);
  let code = 0;
  while (code < 7) {
    const middle = (E2M1_DOUBLED[code] + E2M1_DOUBLED[code + 1]) / 2;
    if (doubled < middle || (doubled === middle && code % 2 === 0)) break;
    code++;
  }
  return value < 0 || Object.is(value, -0) ? code | 8 : code;
}

/** Squared error of a block at scale 2^(code − 127). */
function squaredError(values: Float32Array, code: number): number {
  const scale = 2 ** (code - 127);
  return values.reduce((sum, value) => sum + (value - (scale * E2M1_DOUBLED[toE2M1(value / scale)]) / 2) ** 2, 0);
}

function scaleCode(values: Float32Array, rule: 'ocp' | 'mse'): number {
  const max = values.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
  if (max === 0) return 0;
  const ocp = Math.min(MAX_CODE, Math.max(1, floorLog2(max) - 2 + 127));
  if (rule === 'ocp' || ocp === MAX_CODE) return ocp;
  return squaredError(values, ocp + 1) < squaredError(values, ocp) ? ocp + 1 : ocp;
}

/** @internal by `quantizeWeights`, which has checked w. */
export function quantizeMxfp4(w: Float32Array, { N, K, scaleRule = 'ocp' }: QuantizeOptions): QuantizedWeights {
  const blocks = Math.ceil(K / BLOCK);
  const data = new Uint8Array(N * blocks * (BLOCK / 2));
  const scales = new Uint8Array(N * blocks);
  for (let n = 0; n < N; n++)
    for (let b = 0; b < blocks; b++) {
      const values = w.subarray(n * K + b * BLOCK, n * K + Math.min(K, (b + 1) * BLOCK));
      const code = scaleCode(values, scaleRule);
      scales[n * blocks + b] = code;
      const scale = 2 ** (code - 127);
      const at = (n * blocks + b) * (BLOCK / 2);
      for (const [i, value] of values.entries()) writeCode(data, at, i, 4, toE2M1(value / scale));
    }
  return { format: 'mxfp4', N, K, blockSize: BLOCK, data, scales };
}
