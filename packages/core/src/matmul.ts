import type { MatmulOptions, Operand, PreparedWeights } from './backends/backend.ts';

/**
 * `prepared.backend.matmul(x, prepared, options)`: y = x · Wᵀ (+ bias) with `components` int8 components per activation.
 *
 * @param x [M,K] row-major, of `options.xType`
 * @returns `options.out`, or a fresh Float32Array [M,N] (Uint16Array for an `outType` of half precision) that is the caller's
 * @see docs/msd.md, eq. 5-7
 * @example
 * const y = matmul(Float32Array.of(1, 2), prepared, { components: 2 });
 */
export function matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand {
  return prepared.backend.matmul(x, prepared, options);
}
