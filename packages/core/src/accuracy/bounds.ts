/** The proved bounds: of one element that is decomposed, and of every output of a product. */
import {
  alphaOf,
  type Components,
  type DecompositionId,
  type DecompositionOptions,
  limitOf,
  resolveDecomposition,
  TINY,
} from '../decompose/contract.ts';
import type { DeviceName } from '../device-name.ts';
import { K_BLOCK } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import { weightReader } from '../formats/integers.ts';
import { chunkLength } from '../formats/layout.ts';
import { scaleReader } from '../formats/scales.ts';
import type { QuantizedWeights } from '../formats/weights.ts';

/**
 * Proved bound of |x − S·q| for one element of a block, as the f32 contract rounds.     (docs/msd.md, eq. 4 and 9)
 *
 * @param blockMax largest |x| of the (row, K-block); finite
 * @param device 'webgpu' allows for a division of 2.5 ULP                                 (docs/webgpu.md, "Bound")
 */
export function elementBound(
  blockMax: number,
  components: Components,
  decomposition: DecompositionId = 'int8',
  device?: DeviceName,
): number {
  if (blockMax < TINY) return blockMax;
  if (decomposition === 'mxfp4') return alphaOf(blockMax) / 8 ** components;
  return (blockMax / limitOf(components) / 2) * (1 + 2 ** (device === 'webgpu' ? -5 : -6));
}

/** max |x| of values from `begin` on. */
function largest(x: Float32Array, begin: number, end: number): number {
  let max = 0;
  for (let i = begin; i < end; i++) max = Math.max(max, Math.abs(x[i]));
  return max;
}

/** Largest sum that no rounding of it takes to infinity. */
const OVERFLOW = 2 ** 128 * (1 - 2 ** -10);

/**
 * Bound of |y − x·Wᵀ| for every output of the f32 contract, W being the real matrix that `weights` stand for.
 *
 *   Σ_g bound(max |x| of block g) · Σ_k |W[n,k]|   +   (operations on the way) · 2⁻²⁴ · Σ |partial|       (docs/msd.md, eq. 8)
 *
 * Infinity where a partial result may overflow: sums of |partial| from about 3.4e38 on and, with one scale per channel, sums of
 * |x · integer weight| of 256 k before they meet that scale.
 *
 * It covers y up to the bias. A fused end multiplies the error by its slope, and adds the ulps that `activationUlps`
 * states.
 * On `device: 'webgpu'` an operation may round either way, and anything below 2⁻¹²⁶ may become 0.       (docs/webgpu.md, "Bound")
 *
 * @param x f32 [M,K], finite
 * @returns f64 [M,N], the caller's
 */
export function errorBound(
  x: Float32Array,
  weights: QuantizedWeights,
  options: DecompositionOptions & {
    readonly bias?: Float32Array | undefined;
    readonly device?: DeviceName | undefined;
  } = {},
): Float64Array {
  const { id, components, activationBlock } = resolveDecomposition(options, 'errorBound');
  const { bias, device } = options;
  const onGpu = device === 'webgpu';
  const { N, K, blockSize } = weights;
  const scale = scaleReader(weights);
  const M = x.length / K;
  const weight = weightReader(weights);
  const chunk = chunkLength(formats[weights.format], blockSize, activationBlock);
  const xBlock = activationBlock === 'row' ? K : activationBlock;
  const kBlocks = Math.ceil(K / K_BLOCK);
  // Roundings that one partial passes: int -> float, two scales, the sums over chunks and K-blocks, the bias.
  const chunks = Math.ceil(Math.min(K, K_BLOCK) / chunk);
  const inOrder = 5 + chunks + kBlocks;
  // Products with a scale of x may fall below the normal range: one per chunk, or one per K-block.
  const scaled = activationBlock === 32 ? Math.ceil(K / chunk) : kBlocks;
  // A GPU adds up to 64 partial sums of four k and more in any order, and 1 ulp is twice half an ulp.
  const roundings = onGpu ? 2 * (inOrder + Math.min(64, Math.ceil(K / 4))) : inOrder;
  const boundsOf = Array.from({ length: M }, (_, m) =>
    Array.from({ length: Math.ceil(K / xBlock) }, (_, g) =>
      elementBound(largest(x, m * K + g * xBlock, m * K + Math.min(K, (g + 1) * xBlock)), components, id, device),
    ),
  );
  const integerOf = new Float64Array(K);
  const realOf = new Float64Array(K);
  const out = new Float64Array(M * N);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) {
      integerOf[k] = Math.abs(weight(n, k));
      realOf[k] = Math.abs(scale(n, k) * integerOf[k]);
    }
    for (let m = 0; m < M; m++) {
      const bounds = boundsOf[m];
      let decomposition = 0;
      let integers = 0;
      let ofBlock = 0;
      let largestBlock = 0;
      let magnitude = bias ? Math.abs(bias[n]) : 0;
      for (let k = 0; k < K; k++) {
        if (k % K_BLOCK === 0) ofBlock = 0;
        const integer = integerOf[k];
        const real = realOf[k];
        const bound = bounds[Math.floor(k / xBlock)];
        const most = Math.abs(x[m * K + k]) + bound;
        decomposition += bound * real;
        integers += most * integer;
        ofBlock += most * integer;
        largestBlock = Math.max(largestBlock, ofBlock);
        magnitude += most * real;
      }
      // The last term covers results below the normal range, where f32 rounds to a fixed step. A GPU may flush to 0
      // there: terms with such a small weight scale, every partial sum, and a sum over chunks before it is multiplied
      // by its S (2·bound).
      const belowNormal = onGpu
        ? 2 ** -126 * (integers + chunks * bounds.reduce((sum, bound) => sum + 2 * bound, 0) + roundings + K / 4)
        : (roundings + scaled) * 2 ** -149;
      const overflows =
        magnitude >= OVERFLOW || (blockSize === null && activationBlock !== 32 && largestBlock >= OVERFLOW);
      out[m * N + n] = overflows
        ? Number.POSITIVE_INFINITY
        : decomposition + roundings * 2 ** -24 * magnitude * (1 + 2 ** -10) + belowNormal;
    }
  }
  return out;
}
