/** Planner rules: what runs for a shape. Nothing chosen here changes bits. */
import { PANEL } from '../formats/format.ts';
import type { GemmShape } from '../gemm/registry.ts';

/** Widening a panel once pays from 8 rows on; below, tiles unpack in registers.      (docs/msd.md, section 6) */
export function gemmShapeFor(M: number): GemmShape {
  return M === 1 ? 'gemv' : M < 8 ? 'smallM' : 'gemm';
}

/** Work of a chunk, in multiplications: claiming one costs less than a hundredth of it. */
const CHUNK_MACS = 2 ** 17;
/** Chunks per thread: a thread on a slow core holds the others up by at most one. */
const CHUNKS_PER_THREAD = 16;

/** Panels per chunk of a matmul; all of them, hence one thread, where the work is too little to share. */
export function panelsPerChunk(
  M: number,
  K: number,
  panels: number,
  threads: number,
  chunkMacs: number = CHUNK_MACS,
): number {
  const byWork = Math.floor((M * K * PANEL * panels) / chunkMacs);
  const chunks = Math.min(panels, byWork, CHUNKS_PER_THREAD * threads);
  return threads === 1 || chunks < 2 ? panels : Math.ceil(panels / chunks);
}
