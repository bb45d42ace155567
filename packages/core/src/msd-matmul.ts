/**
 * The whole algorithm on one screen: y = x · Wᵀ is decompose -> gemm -> recombine.
 *
 * With `float64` this is the mathematics, against which bounds are proved. With `float32` it rounds where the contract
 * says, and every kernel has to give the same bits.                                              (docs/msd.md, eq. 5-7)
 */
import { activation32, activation64 } from './activations/activations.reference.ts';
import type { ActivationId } from './activations/contract.ts';
import { type DecompositionOptions, resolveDecomposition } from './decompose/contract.ts';
import { type Arithmetic, decompose } from './decompose/decompose.reference.ts';
import { K_BLOCK } from './formats/format.ts';
import { formats } from './formats/index.ts';
import { chunkLength } from './formats/layout.ts';
import { scaleReader } from './formats/scales.ts';
import type { QuantizedWeights } from './formats/weights.ts';
import { integerDot, integersOf } from './gemm/gemm.reference.ts';

export interface ReferenceOptions extends DecompositionOptions {
  readonly M: number;
  readonly bias?: Float32Array | undefined;
  readonly activation?: ActivationId | undefined;
  /** f32 [M,N] */
  readonly multiply?: Float32Array | undefined;
  /** f32 [M,N] */
  readonly residual?: Float32Array | undefined;
  readonly arithmetic?: Arithmetic;
}

/**
 * @param x f32 [M,K] row-major
 * @returns [M,N], the caller's; f32 values if `arithmetic` is 'float32'
 */
export function msdMatmul(x: Float32Array, weights: QuantizedWeights, options: ReferenceOptions): Float64Array {
  const { M, bias, activation, multiply, residual, arithmetic = 'float64' } = options;
  const { N, K, blockSize } = weights;
  const ws = scaleReader(weights);
  const fl = arithmetic === 'float32' ? Math.fround : (value: number) => value;
  const activate = arithmetic === 'float32' ? activation32 : activation64;
  const decomposition = resolveDecomposition(options, 'msdMatmul');
  const { activationBlock } = decomposition;
  const chunk = chunkLength(formats[weights.format], blockSize, activationBlock);
  const integers = integersOf(weights);

  const { q, scales: S, block } = decompose(x, M, K, decomposition, arithmetic);
  const xScale = (m: number, k: number) => S[m * Math.ceil(K / block) + Math.floor(k / block)];
  const kBlocks = Math.ceil(K / K_BLOCK);
  const y = new Float64Array(M * N);
  for (let m = 0; m < M; m++)
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let g = 0; g < kBlocks; g++) {
        const end = Math.min(K, (g + 1) * K_BLOCK);
        let t = 0;
        for (let k = g * K_BLOCK; k < end; k += chunk) {
          const acc = integerDot(q, m * K, integers, n * K, k, Math.min(k + chunk, end));
          const w = ws(n, k);
          if (activationBlock === 32) t = fl(t + fl(fl(fl(acc) * w) * xScale(m, k)));
          else t = blockSize ? fl(t + fl(fl(acc) * w)) : fl(acc);
        }
        const s = xScale(m, g * K_BLOCK);
        const u = activationBlock === 32 ? t : blockSize ? fl(t * s) : fl(fl(t * s) * ws(n, 0));
        sum = g === 0 ? u : fl(sum + u);
      }
      const at = m * N + n;
      if (bias) sum = fl(sum + bias[n]);
      if (activation) sum = activate(activation, sum);
      if (multiply) sum = fl(sum * multiply[at]);
      y[at] = residual ? fl(sum + residual[at]) : sum;
    }
  return y;
}
