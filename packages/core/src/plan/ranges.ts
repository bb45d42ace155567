/** The pieces that a product is computed in: slices of rows, ranges of columns. The bits do not depend on either. */
import { PANEL } from '../formats/format.ts';
import { MOST_ROWS } from '../gemm/options.ts';

/** Rows per slice: activations of a slice stay in L2, and working buffers are bounded whatever M is. */
export const SLICE_ROWS: number = MOST_ROWS;
/** Result bytes that are computed before they are copied, or before their end is applied. */
const RANGE_BYTES = 2 ** 19;

/** Rows of the slices of M rows, from the first to the last. */
export const slicesOf = (M: number): number[] =>
  Array.from({ length: Math.ceil(M / SLICE_ROWS) }, (_, i) => Math.min(SLICE_ROWS, M - i * SLICE_ROWS));

/** Columns that are computed together, by panel. */
export interface ColumnRange {
  readonly first: number;
  readonly panels: number;
  /** Gemm writes them where the caller wants them; otherwise to scratch, from where they are delivered. */
  readonly direct: boolean;
  /** Those that exist: the last panel may reach past N. */
  readonly width: number;
}

/** Panels whose results, for `rows` rows, are computed before anything else reads them. */
export const panelsPerRange = (rows: number, panels: number): number =>
  Math.min(panels, Math.max(1, Math.floor(RANGE_BYTES / (4 * PANEL * Math.max(1, rows)))));

/**
 * Whole panels are written straight to `out` if it has room for them; everything else is computed in ranges and copied.
 * With a fused end there are ranges, too, so that it finds the results in the cache. The same goes for several rows: every K-block
 * adds to y, which then stays in L2.
 */
export function columnRanges(
  rows: number,
  N: number,
  { direct, hasEnd, threads }: { readonly direct: boolean; readonly hasEnd: boolean; readonly threads: number },
): ColumnRange[] {
  const panels = Math.ceil(N / PANEL);
  const wholePanels = direct ? Math.floor(N / PANEL) : 0;
  const most = panelsPerRange(rows, panels);
  const ranges: ColumnRange[] = [];
  const cut = (first: number, end: number, step: number, direct: boolean) => {
    for (let at = first; at < end; at += step) {
      const count = Math.min(step, end - at);
      ranges.push({ first: at, panels: count, direct, width: Math.min(PANEL * count, N - PANEL * at) });
    }
  };
  // Threads share a range, and take at most half of their part at a time (plan/share.ts). Each end of a range is waited for, and
  // the first copy takes longest, since the system gives the caller's array its memory then: others should have work meanwhile.
  const stepOf = (count: number) => (threads > 1 && rows > 1 ? evenStep(count, 2 * threads * most) : most);
  cut(0, wholePanels, rows > 1 || hasEnd ? stepOf(wholePanels) : wholePanels, true);
  cut(wholePanels, panels, stepOf(panels - wholePanels), false);
  return ranges;
}

/** Of so few ranges as possible, which are as large as each other. */
const evenStep = (panels: number, most: number): number => Math.ceil(panels / Math.ceil(panels / most));
