import type { ArenaHandle } from './backends/arena.ts';
import type { MatmulOptions, PreparedWeights } from './backends/backend.ts';

/**
 * `prepared.backend.matmul(x, prepared, options)`: y = x · Wᵀ (+ bias) with `components` int8 components per activation.
 *
 * @param x f32 [M,K] row-major
 * @returns `options.out`, or a fresh Float32Array [M,N] that is the caller's
 * @see docs/msd.md, eq. 5-7
 * @example
 * const y = matmul(Float32Array.of(1, 2), prepared, { components: 2 });
 */
export function matmul(
  x: Float32Array | ArenaHandle,
  prepared: PreparedWeights,
  options?: MatmulOptions,
): Float32Array | ArenaHandle {
  return prepared.backend.matmul(x, prepared, options);
}
