/** Which WGSL gemm kernel runs for a number of rows. Dispatch, tests and benchmarks go through here. */
import { PANEL } from '../formats/format.ts';
import type { WgslKernel } from '../wgsl/wgsl.ts';
import { wgslGemm, wgslGemmId } from './gemm.wgsl.ts';
import { wgslGemv, wgslGemvId } from './gemv.wgsl.ts';
import type { WgslGemmOptions } from './weights.wgsl.ts';

export interface WgslGemmChoice {
  readonly id: string;
  /** Rows that lie together in digits and scales. */
  readonly together: 1 | 4;
  kernel(): WgslKernel;
  /** Workgroups for M rows and `panels` panels of 16 columns. */
  workgroups(M: number, panels: number): number;
}

/** One row of the tile table: the largest M that it is for. */
export const wgslTiles = [
  { upToM: 16, tileM: 16, tileN: 64 },
  { upToM: Number.POSITIVE_INFINITY, tileM: 64, tileN: 64 },
] as const;

export function chooseWgslGemm(M: number, options: WgslGemmOptions): WgslGemmChoice {
  if (M <= 4) {
    const gemv = { ...options, rows: M as 1 | 2 | 3 | 4 };
    return {
      id: wgslGemvId(gemv),
      together: M === 1 ? 1 : 4,
      kernel: () => wgslGemv(gemv),
      workgroups: (_, panels) => panels,
    };
  }
  const { tileM, tileN } = wgslTiles.find(({ upToM }) => M <= upToM)!;
  const tile = { ...options, tileM, tileN };
  return {
    id: wgslGemmId(tile),
    together: 4,
    kernel: () => wgslGemm(tile),
    workgroups: (rows, panels) => Math.ceil(rows / tileM) * Math.ceil((panels * PANEL) / tileN),
  };
}
