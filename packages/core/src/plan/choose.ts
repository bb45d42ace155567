/** Planner rules: what runs for a shape. Nothing chosen here changes bits. */
import { PANEL } from '../formats/format.ts';
import type { GemmShape } from '../gemm/registry.ts';
import { MAX_CHUNKS, type PanelCut, type RowCut } from './cut.ts';

/** Widening a panel once pays from 8 rows on; below, tiles unpack in registers.      (docs/msd.md, section 6) */
export function gemmShapeFor(M: number): GemmShape {
  return M === 1 ? 'gemv' : M < 8 ? 'smallM' : 'gemm';
}

/** Work of a chunk, in multiplications: claiming one costs less than a hundredth of it. */
const CHUNK_MACS = 2 ** 17;
/**
 * Work of the last chunks, in times of that: of less, more chunks cost more than their evenness gains. Of one row it is more, since
 * `gemv` has to find its streams of weights anew in every K-block of every chunk.
 */
const LATE_CHUNK = 4;
const LATE_CHUNK_OF_ROW = 32;

/** Halvings of what is left, as many as are any use and as leave no more than MAX_CHUNKS chunks in all. */
const roundsFor = (threads: number, rowChunks: number): number =>
  Math.min(4, Math.floor(MAX_CHUNKS / (threads * rowChunks)) - 2);

/**
 * How threads share the panels of a matmul; `undefined`, hence one thread, where the work is too little.
 * @param rowChunks chunks that its rows are cut into, too
 * @param unit panels that stay together
 */
export function cutPanels(
  M: number,
  K: number,
  panels: number,
  threads: number,
  chunkMacs: number = CHUNK_MACS,
  rowChunks = 1,
  unit = 1,
): PanelCut | undefined {
  const atMost = (macs: number) => Math.min(Math.ceil(panels / unit), Math.floor((M * K * PANEL * panels) / macs));
  const [leaves, ends, late] =
    M === 1 ? ([4, threads, LATE_CHUNK_OF_ROW] as const) : ([2, 2 * threads, LATE_CHUNK] as const);
  const last = Math.min(atMost(chunkMacs), ends);
  if (threads === 1 || last < 2) return undefined;
  const most = last === ends ? atMost(late * chunkMacs) : 0;
  let rounds = 0;
  while (rounds < roundsFor(threads, rowChunks) && last * leaves ** (rounds + 1) <= most) rounds++;
  return { total: panels, unit, early: threads, leaves, rounds, last };
}

/** Rows that a panel's widening is worth, and that register tiles of 2, 3, 4 and 6 rows fill. */
const ROW_STEP = 12;

/** How threads share the rows of a matmul as well, where it has too few panels for them. */
export function cutRows(M: number, K: number, panels: number, threads: number, chunkMacs: number = CHUNK_MACS): RowCut {
  const wanted = Math.ceil((4 * threads) / panels);
  const byWork = Math.floor((M * K * PANEL * panels) / chunkMacs);
  const chunks = Math.min(wanted, byWork, Math.floor(MAX_CHUNKS / (4 * threads)));
  if (threads === 1 || chunks < 2) return { total: M, size: M };
  return { total: M, size: Math.min(M, ROW_STEP * Math.ceil(M / chunks / ROW_STEP)) };
}

/** To decompose an element takes as long as so many multiplications. */
const ELEMENT_MACS = 16;

/** How threads share the rows that are decomposed. */
export const cutElements = (M: number, K: number, threads: number, chunkMacs?: number): RowCut =>
  cutShared(M, K * ELEMENT_MACS, threads, chunkMacs);

/** How threads share rows that have nothing to do with each other. */
export function cutShared(rows: number, macsPerRow: number, threads: number, chunkMacs: number = CHUNK_MACS): RowCut {
  const chunks = Math.min(rows, 4 * threads, Math.floor((rows * macsPerRow) / chunkMacs));
  return { total: rows, size: threads === 1 || chunks < 2 ? rows : Math.ceil(rows / chunks) };
}
