/** How gemm is called: its fourteen arguments, for a whole product or any chunk of it. */
import type { Plan } from '../decompose/contract.ts';
import { K_BLOCK, K_STEP, PANEL } from '../formats/format.ts';
import type { PackedLayout } from '../formats/layout.ts';
import { I16, operandsOf } from '../gemm/carriers.ts';
import { type GemmOptions, SCRATCH_BYTES } from '../gemm/gemm.wasm.ts';
import type { Kernel } from './kernels.ts';
import type { ScratchSizes } from './scratch.ts';
import type { Job } from './threads/job.ts';

/** Bytes of a decomposed row: its integers, those of one K-block among them, its sums and its scales. */
export interface RowBytes {
  readonly q: number;
  readonly qBlock: number;
  readonly sums: number;
  readonly scales: number;
}

export function rowBytes(K: number, paddedK: number, plan: Plan, { carrier }: GemmOptions): RowBytes {
  const qBlock = K_BLOCK * (operandsOf(carrier ?? I16) === 'i8' ? 1 : 2);
  return {
    q: qBlock * Math.ceil(K / K_BLOCK),
    qBlock,
    sums: (4 * paddedK) / K_STEP,
    scales: 4 * Math.ceil(K / (plan.activationBlock === 32 ? K_STEP : K_BLOCK)),
  };
}

/** Panels [first, …) of a product whose rows are decomposed in scratch. */
export interface GemmCall {
  /** Scratch: where the rows lie, and room for a panel per thread. */
  readonly at: ScratchSizes;
  /** Address of the matrix. */
  readonly w: number;
  readonly layout: PackedLayout;
  readonly first: number;
  /** Address of the first panel's bias; 0: none. */
  readonly bias: number;
  readonly y: number;
  readonly yStride: number;
}

/** `count` panels of all rows, on the calling thread. */
export function callGemm(
  gemm: Kernel,
  rows: number,
  count: number,
  { at, w, layout, first, bias, y, yStride }: GemmCall,
): void {
  const { paddedK, panels } = layout;
  const wScale = w + layout.panelBytes + 4 * PANEL * first;
  gemm(at.q, at.sums, at.scales, w, wScale, bias, y, yStride, at.panel, rows, paddedK, panels, first, count);
}

/** Arguments of gemm that may lie elsewhere from call to call. */
const [BIAS, Y] = [5, 6];

/** The same call with other results, and another bias if it had one. */
export const moveGemm = (job: Job, bias: number, y: number): Job => job.move(BIAS, bias).move(Y, y);

/** Describes the call to a job that was started with its rows and panels. */
export function describeGemm(job: Job, perRow: RowBytes, { at, w, layout, first, bias, y, yStride }: GemmCall): Job {
  job.at(at.q, perRow.q).at(at.sums, perRow.sums).at(at.scales, perRow.scales);
  job.at(w).at(w + layout.panelBytes + 4 * PANEL * first, 0, 4 * PANEL);
  job.at(bias, 0, bias && 4 * PANEL);
  job.at(y, yStride, 4 * PANEL).at(yStride);
  job.own(at.panel, SCRATCH_BYTES);
  return job.rows().at(layout.paddedK).at(layout.panels).at(first, 0, 1).panels();
}
