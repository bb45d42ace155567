/** Planner rules: which kernel runs for a shape. Nothing chosen here changes bits. */
import type { GemmShape } from '../gemm/registry.ts';

/** Widening a panel once pays from 8 rows on; below, tiles unpack in registers.      (docs/msd.md, section 6) */
export function gemmShapeFor(M: number): GemmShape {
  return M === 1 ? 'gemv' : M < 8 ? 'smallM' : 'gemm';
}
