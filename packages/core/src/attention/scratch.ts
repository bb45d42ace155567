/** The working memory of a thread in `attend`: the rows of a task, their integers, sums and scores. All in bytes. */
import { roundUp } from '../formats/layout.ts';
import { type AttentionOp, type KvType, PAGE_KEYS } from './contract.ts';
import { LINE, PANEL, paddedHead, paddedValue } from './page.ts';
import { BLOCK_BYTES, ROW_BYTES } from './rows.wasm.ts';
import { BLOCKS, SCORE_ROW, SIXTEEN } from './task.wasm.ts';

/** Rows that share a page while it lies in the nearest cache, together with their own integers. */
const ROWS = 64;

/** Queries and heads of a task, and how many tasks those of a sequence and KV head are. */
export interface Tiling {
  readonly rows: number;
  readonly heads: number;
  readonly tasks: number;
}

/** @param threads that share the tasks: a single query's heads are shared, too, if there are too few KV heads */
export function tilingFor(
  { batch, rows, heads, kvHeads }: Pick<AttentionOp, 'batch' | 'rows' | 'heads' | 'kvHeads'>,
  threads: number,
): Tiling {
  const groups = heads / kvHeads;
  const tileRows = Math.max(1, Math.min(rows, Math.floor(ROWS / groups)));
  const tiles = Math.ceil(rows / tileRows);
  const wanted = Math.ceil(threads / (batch * kvHeads * Math.max(1, tiles)));
  const tileHeads = Math.ceil(groups / Math.min(groups, wanted));
  return { rows: tileRows, heads: tileHeads, tasks: tiles * Math.ceil(groups / tileHeads) };
}

/** Bytes of an integer of queries and weights: two digits, or one. */
const INTEGER = { int16: 4, int8: 2, float: 0 } as const;

export interface TaskScratch {
  readonly atSpare: number;
  readonly atPanel: number;
  readonly atX: number;
  readonly atQ: number;
  readonly atWeights: number;
  readonly atP: number;
  readonly atBlocks: number;
  readonly atFirst: number;
  readonly atY: number;
  readonly atScores: number;
  readonly byteLength: number;
}

/** @param rows of a task @param pages that a task may see */
export function taskScratch(
  { headSize, valueSize }: Pick<AttentionOp, 'headSize' | 'valueSize'>,
  type: KvType,
  rows: number,
  pages: number,
): TaskScratch {
  let end = 0;
  const place = (bytes: number) => {
    const at = end;
    end += roundUp(bytes, LINE);
    return at;
  };
  const integers = roundUp(paddedHead(headSize), SIXTEEN);
  const blocks = Math.max(rows, BLOCKS);
  place(rows * ROW_BYTES);
  return {
    atSpare: place(3 * 4 * PAGE_KEYS),
    atPanel: place(type === 'int8' ? Math.max(integers, PAGE_KEYS) * 2 * PANEL : 0),
    atX: place((rows + 1) * integers * 4),
    atQ: place(rows * integers * INTEGER[type]),
    atWeights: place(blocks * PAGE_KEYS * 4),
    atP: place(blocks * PAGE_KEYS * INTEGER[type]),
    atBlocks: place(blocks * BLOCK_BYTES),
    atFirst: place(rows * BLOCK_BYTES),
    atY: place(rows * paddedValue(valueSize) * 4),
    atScores: place(rows * pages * SCORE_ROW),
    byteLength: end,
  };
}
