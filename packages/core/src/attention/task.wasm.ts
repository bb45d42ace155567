/**
 * One task of attend: the queries of a tile, of one sequence and some heads of one KV head. For the stages: where
 * everything of it lies.
 */
import { type Func, type I32, i32, type Local } from '../wasm/emitter.ts';
import { PAGE_KEYS } from './contract.ts';
import { BLOCK_BYTES, type Column, ROW_BYTES } from './rows.wasm.ts';
import { SEQUENCE, WORK, wordsAt } from './work.ts';

export interface Task {
  readonly word: (name: (typeof WORK)[number]) => I32;
  readonly sequence: (name: (typeof SEQUENCE)[number]) => I32;
  /** Which sequence, first query head, and first query of the tile. */
  readonly batch: Local<'i32'>;
  readonly firstHead: Local<'i32'>;
  readonly first: Local<'i32'>;
  /** Heads of the KV head's group, queries, and rows: those times heads. */
  readonly heads: Local<'i32'>;
  readonly queries: Local<'i32'>;
  readonly count: Local<'i32'>;
  /** Addresses of the pages. */
  readonly table: Local<'i32'>;
  /** Padded sizes. */
  readonly headSize: Local<'i32'>;
  readonly valueSize: Local<'i32'>;
  /** Pages that some row sees: the first one, and how many; no row sees keys from `end` on. */
  readonly firstPage: Local<'i32'>;
  readonly pages: Local<'i32'>;
  readonly end: Local<'i32'>;
  /** Every row sees the keys from here to there. */
  readonly seenFrom: Local<'i32'>;
  readonly seenTo: Local<'i32'>;
  /** Scratch, a row after the other: words, queries, their integers, weights of a page, their integers and what is known of them, sums, scores. */
  readonly rows: Column;
  /** Scales or weights of a page, for a moment; what of the first page's scales is used; and the first key's integer. */
  readonly spare: Local<'i32'>;
  /** Of int8: an unpacked panel. */
  readonly panel: Local<'i32'>;
  readonly x: Column;
  readonly q: Column;
  readonly weights: Column;
  readonly p: Column;
  readonly blocks: Column;
  /** Those of the first key. */
  readonly firstBlocks: Column;
  readonly y: Column;
  readonly scores: Column;
}

/**
 * Bytes of a row's scores of a page. The scores of all rows lie side by side, page after page. If each row had the
 * scores of all pages together, they would be read in short pieces far apart, which no prefetcher follows.
 */
export const SCORE_ROW: number = 4 * PAGE_KEYS;

/** Blocks of weights that a task has room for at least: a single row has those of so many pages at once. */
export const BLOCKS = 4;

/** Integers of a row are made 16 at a time. */
export const SIXTEEN = 16;

export function openTask(f: Func, work: I32, task: I32, thread: I32, bytes: number): Task {
  const word = wordsAt(WORK, work);
  const scratch = f.let(i32.add(word('scratch'), i32.mul(thread, word('scratchStride'))));
  const part = f.let(i32.divU(task, word('tiles')));
  const pair = f.let(i32.divU(part, word('headTiles')));
  const skipped = f.let(i32.mul(i32.remU(part, word('headTiles')), word('tileHeads')));
  const heads = f.let(i32.sub(word('groups'), skipped));
  heads.set(i32.minU(heads, f.let(word('tileHeads'))));
  const batch = f.let(i32.divU(pair, word('kvHeads')));
  const first = f.let(i32.mul(i32.remU(task, word('tiles')), word('tileRows')));
  const queries = f.let(i32.sub(word('rows'), first));
  queries.set(i32.minU(queries, f.let(word('tileRows'))));
  const headSize = f.let(i32.and(i32.add(word('headSize'), 3), -4));
  const valueSize = f.let(i32.and(i32.add(word('valueSize'), 15), -16));
  const integers = f.let(i32.and(i32.add(headSize, SIXTEEN - 1), -SIXTEEN));
  const at = (
    name: 'atSpare' | 'atPanel' | 'atX' | 'atQ' | 'atWeights' | 'atP' | 'atBlocks' | 'atFirst' | 'atY' | 'atScores',
  ) => f.let(i32.add(scratch, word(name)));
  const spare = at('atSpare');
  return {
    word,
    sequence: wordsAt(SEQUENCE, f.let(i32.add(word('sequences'), i32.mul(batch, 4 * SEQUENCE.length)))),
    batch,
    firstHead: f.let(i32.add(i32.mul(i32.remU(pair, word('kvHeads')), word('groups')), skipped)),
    heads,
    first,
    queries,
    count: f.let(i32.mul(queries, heads)),
    table: f.let(i32.add(word('table'), i32.mul(pair, word('tableRow')))),
    headSize,
    valueSize,
    firstPage: f.let(i32.const(0)),
    pages: f.let(i32.const(0)),
    end: f.let(i32.const(0)),
    seenFrom: f.let(i32.const(0)),
    seenTo: f.let(i32.const(-1)),
    rows: { at: scratch, stride: ROW_BYTES },
    spare,
    panel: at('atPanel'),
    x: { at: at('atX'), stride: f.let(i32.shl(integers, 2)) },
    q: { at: at('atQ'), stride: f.let(i32.mul(integers, bytes)) },
    weights: { at: at('atWeights'), stride: 4 * PAGE_KEYS },
    p: { at: at('atP'), stride: PAGE_KEYS * bytes },
    blocks: { at: at('atBlocks'), stride: BLOCK_BYTES },
    firstBlocks: { at: at('atFirst'), stride: BLOCK_BYTES },
    y: { at: at('atY'), stride: f.let(i32.shl(valueSize, 2)) },
    scores: { at: at('atScores'), stride: SCORE_ROW },
  };
}
