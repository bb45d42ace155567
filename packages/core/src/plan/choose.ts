/** Planner rules: which kernel runs for a shape. Nothing chosen here changes bits. */
import type { GemmShape } from '../gemm/registry.ts';

/** Widening a panel once pays from 5 rows on, or from 8; below, tiles unpack in registers.      (docs/msd.md, section 6) */
export function gemmShapeFor(M: number): GemmShape {
  return M === 1 ? 'gemv' : M < 5 ? 'smallM' : M < 8 ? 'midM' : 'gemm';
}
