/** Both specifications of decompose, in plain loops: the float64 mathematics and the f32 contract. Nobody optimises this. */
import { roundHalfEven } from '../numbers.ts';
import { alphaOf, type Decomposition, limitOf, MXFP4_STEPS, roundToE2M1, TINY } from './contract.ts';

/** Integers and scales of [M,K] activations. */
export interface Decomposed {
  readonly M: number;
  readonly K: number;
  /** [M,K] */
  readonly q: Int16Array;
  /** k per scale. */
  readonly block: number;
  /** [M, ceil(K / block)]; NaN where the block holds NaN or Inf, 0 where its maximum is below 2⁻¹⁰⁰ */
  readonly scales: Float64Array;
}

export type Arithmetic = 'float64' | 'float32';

/** @param x f32 [M,K] row-major */
export function decompose(
  x: ArrayLike<number>,
  M: number,
  K: number,
  { id, components, activationBlock }: Decomposition,
  arithmetic: Arithmetic,
): Decomposed {
  const fl = arithmetic === 'float32' ? Math.fround : (value: number) => value;
  const limit = limitOf(components);
  const scaleOf = (max: number) => (id === 'mxfp4' ? alphaOf(max) / MXFP4_STEPS : fl(max / limit));
  const quantize = (value: number, S: number) => {
    if (id === 'mxfp4') {
      const y = fl(value * (1 / (8 * S))); // a power of two
      const d1 = roundToE2M1(y);
      return 8 * d1 + (components === 2 ? roundToE2M1(8 * (y - d1)) : 0);
    }
    const steps = arithmetic === 'float32' ? fl(value * fl(1 / S)) : value / S;
    return Math.min(limit, Math.max(-limit, roundHalfEven(steps)));
  };
  const block = activationBlock === 'row' ? K : activationBlock;
  const blocks = Math.ceil(K / block);
  const q = new Int16Array(M * K);
  const scales = new Float64Array(M * blocks);
  for (let m = 0; m < M; m++)
    for (let g = 0; g < blocks; g++) {
      const begin = m * K + g * block;
      const end = m * K + Math.min(K, (g + 1) * block);
      let max = 0;
      let finite = true;
      for (let i = begin; i < end; i++) {
        finite &&= Number.isFinite(x[i]);
        max = Math.max(max, Math.abs(x[i]));
      }
      const S = !finite ? Number.NaN : max < TINY ? 0 : scaleOf(max);
      scales[m * blocks + g] = S;
      if (S > 0) for (let i = begin; i < end; i++) q[i] = quantize(x[i], S); // else q stays 0
    }
  return { M, K, block, q, scales };
}
