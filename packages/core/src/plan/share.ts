/**
 * How threads share a kernel call: in chunks along rows and panels. Pure arithmetic, done once when a call is bound; a
 * thread that runs a chunk reads where it lies. A page with one thread does not load this file.
 */
import { CHUNK_WORDS, type Cuts, type Depth, MAX_CHUNKS, type RowCut } from './cut.ts';

/**
 * A cut of panels into chunks that get smaller: one half of them, or three quarters, in equal chunks, one per thread; then as much of
 * the rest likewise, and so on. What is left after some rounds is cut evenly. There are few chunks, since starting one
 * costs time, and the last ones are small, since threads wait for the last chunk to end.
 *
 * Before chunk c lie U − floor(U · rest) of U units; with r = min(floor(c / early), rounds), j = c − r · early,
 * rest = (leaves · early − (leaves − 1) · j) / (early · leaves^(r+1)) if r < rounds, else (last − j) / (last · leaves^r).
 * No chunk is empty if U is at least last · leaves^rounds.
 */
export interface PanelCut {
  readonly total: number;
  /** Panels that stay together, all but the last chunk have whole units. */
  readonly unit: number;
  /** Rounds before the last one, and the chunks of each. */
  readonly rounds: number;
  readonly early: number;
  /** 1 / leaves of what there was is left by a round. */
  readonly leaves: 2 | 4;
  /** Chunks of the last round: the threads, or twice as many; or any number if there is no other round. */
  readonly last: number;
}

/** All panels in one chunk. */
export const uncut = (total: number): PanelCut => ({ total, unit: 1, rounds: 0, early: 1, leaves: 2, last: 1 });

export const rowChunksOf = ({ total, size }: RowCut): number => (total === 0 ? 0 : Math.ceil(total / size));

/** Of each chunk, in the order in which they are claimed: first row, rows, first panel, panels, part. Rows go first. */
export function chunkTable(rows: RowCut, panels: PanelCut): Int32Array {
  const rowChunks = rowChunksOf(rows);
  const panelChunks = panels.rounds * panels.early + panels.last;
  const table = new Int32Array(CHUNK_WORDS * rowChunks * panelChunks);
  let at = 0;
  for (let chunk = 0; chunk < panelChunks; chunk++) {
    const panel = panelsBefore(panels, chunk);
    const count = panelsBefore(panels, chunk + 1) - panel;
    for (let row = 0; row < rows.total; row += rows.size, at += CHUNK_WORDS)
      table.set([row, Math.min(rows.size, rows.total - row), panel, count, 0], at);
  }
  return table;
}

/**
 * The same for one row of several matrices that lie side by side, each from a whole unit on: their panels are cut as if they were one
 * matrix's. A chunk that reaches from one matrix into the next is as many chunks.
 *
 * @param panelsOf panels of each matrix
 * @param cut of {@link unitsOf} all of them
 */
export function jointTable(panelsOf: readonly number[], cut: PanelCut): Int32Array {
  const chunks: number[] = [];
  for (let chunk = 0; chunk < cut.rounds * cut.early + cut.last; chunk++) {
    const [from, to] = [panelsBefore(cut, chunk), panelsBefore(cut, chunk + 1)];
    let begin = 0;
    panelsOf.forEach((panels, part) => {
      const first = Math.max(from, begin);
      const count = Math.min(to, begin + panels) - first;
      if (count > 0) chunks.push(0, 1, first - begin, count, part);
      begin += unitsOf([panels], cut.unit);
    });
  }
  return Int32Array.from(chunks);
}

/** Panels that matrices take which begin at whole units. */
export const unitsOf = (panelsOf: readonly number[], unit: number): number =>
  panelsOf.reduce((sum, panels) => sum + unit * Math.ceil(panels / unit), 0);

function panelsBefore({ total, unit, rounds, early, leaves, last }: PanelCut, chunk: number): number {
  const units = Math.ceil(total / unit);
  const round = Math.min(Math.floor(chunk / early), rounds);
  const j = chunk - round * early;
  const rest =
    round < rounds
      ? Math.floor((units * (leaves * early - (leaves - 1) * j)) / (early * leaves ** (round + 1)))
      : Math.floor((units * (last - j)) / (last * leaves ** round));
  return Math.min(total, unit * (units - rest));
}

/** Work of a chunk, in multiplications: claiming one costs less than a hundredth of it. */
const CHUNK_MACS = 2 ** 17;
/**
 * Work of the last chunks, as a multiple of that: with less, more chunks would cost more than they gain by being even.
 * For one row it is more, since `gemv` has to find its streams of weights again in every K-block of every chunk.
 */
const LATE_CHUNK = 4;
const LATE_CHUNK_OF_ROW = 32;

/** How often the rest is halved: as often as it helps, with at most MAX_CHUNKS chunks in all. */
const roundsFor = (threads: number, rowChunks: number): number =>
  Math.min(4, Math.floor(MAX_CHUNKS / (threads * rowChunks)) - 2);

/**
 * How threads share the panels of a matmul; `undefined`, hence one thread, where the work is too little.
 * @param panelMacs multiplications of a row and a panel
 * @param rowChunks chunks that its rows are cut into, too
 * @param unit panels that stay together
 */
export function cutPanels(
  M: number,
  panelMacs: number,
  panels: number,
  threads: number,
  chunkMacs: number = CHUNK_MACS,
  rowChunks = 1,
  unit = 1,
): PanelCut | undefined {
  const atMost = (macs: number) => Math.min(Math.ceil(panels / unit), Math.floor((M * panelMacs * panels) / macs));
  const [leaves, ends, late] =
    M === 1 ? ([4, threads, LATE_CHUNK_OF_ROW] as const) : ([2, 2 * threads, LATE_CHUNK] as const);
  const last = Math.min(atMost(chunkMacs), ends);
  if (threads === 1 || last < 2) return undefined;
  const most = last === ends ? atMost(late * chunkMacs) : 0;
  let rounds = 0;
  while (rounds < roundsFor(threads, rowChunks) && last * leaves ** (rounds + 1) <= most) rounds++;
  return { total: panels, unit, early: threads, leaves, rounds, last };
}

/** Panels of a thread in a K-block, at least, where columns are cut: 160 KB of int4, in up to eight streams. */
const LONG_RUN = 64;

/**
 * How threads share one row where K is long and N short: one takes the first K-blocks, the others are taken one by one. Cut along
 * columns, every chunk would begin its streams of weights anew after a few KB, in each K-block.
 */
export function cutDepth(
  blocks: number,
  blockMacs: number,
  panels: number,
  threads: number,
  chunkMacs: number = CHUNK_MACS,
): Depth | undefined {
  const isDeep = blocks >= 4 * threads && blocks <= MAX_CHUNKS && blockMacs >= chunkMacs;
  if (threads === 1 || !isDeep || panels >= LONG_RUN * threads) return undefined;
  const first = Math.floor(blocks / threads);
  const rest = blocks - first;
  const chunks = new Int32Array(CHUNK_WORDS * (1 + rest));
  for (let i = 0; i <= rest; i++) {
    const part = i === 0 ? 0 : i < rest ? 1 : 2;
    chunks.set([part && first + i - 1, 1, 0, panels, part], CHUNK_WORDS * i);
  }
  return { first, rest, chunks };
}

/** Rows that a panel's widening is worth, and that register tiles of 2, 3, 4 and 6 rows fill. */
const ROW_STEP = 12;

/** How threads share the rows of a matmul as well, where it has too few panels for them. */
export function cutRows(
  M: number,
  panelMacs: number,
  panels: number,
  threads: number,
  chunkMacs: number = CHUNK_MACS,
): RowCut {
  const wanted = Math.ceil((4 * threads) / panels);
  const byWork = Math.floor((M * panelMacs * panels) / chunkMacs);
  const chunks = Math.min(wanted, byWork, Math.floor(MAX_CHUNKS / (4 * threads)));
  if (threads === 1 || chunks < 2) return { total: M, size: M };
  return { total: M, size: Math.min(M, ROW_STEP * Math.ceil(M / chunks / ROW_STEP)) };
}

/** To decompose an element takes as long as so many multiplications. */
const ELEMENT_MACS = 16;

/** How threads share the rows that are decomposed. */
export const cutElements = (M: number, K: number, threads: number, chunkMacs?: number): RowCut =>
  cutShared(M, K * ELEMENT_MACS, threads, chunkMacs);

/** How threads share rows that are independent of each other. */
export function cutShared(rows: number, macsPerRow: number, threads: number, chunkMacs: number = CHUNK_MACS): RowCut {
  const chunks = Math.min(rows, 4 * threads, Math.floor((rows * macsPerRow) / chunkMacs));
  return { total: rows, size: threads === 1 || chunks < 2 ? rows : Math.ceil(rows / chunks) };
}

/** @param read threads, and the least work of a chunk where it is not the rules'; asked for each cut */
export function cutsFor(read: { readonly count: number; readonly chunkMacs: number | undefined }): Cuts {
  const shared = (rows: number, macsPerRow: number) => cutShared(rows, macsPerRow, read.count, read.chunkMacs);
  const panelsOf = (M: number, panelMacs: number, panels: number, rowChunks?: number, unit?: number) =>
    cutPanels(M, panelMacs, panels, read.count, read.chunkMacs, rowChunks, unit);
  return {
    isShared: (rows, macsPerRow) => shared(rows, macsPerRow).size < rows,
    rows: (rows, macsPerRow) => chunkTable(shared(rows, macsPerRow), uncut(1)),
    productRows: (M, panelMacs, panels) => cutRows(M, panelMacs, panels, read.count, read.chunkMacs),
    decomposed: (rows, K) =>
      chunkTable(rows.size < rows.total ? rows : cutElements(rows.total, K, read.count, read.chunkMacs), uncut(1)),
    product: (rows, panelMacs, panels, unit) =>
      chunkTable(rows, panelsOf(rows.total, panelMacs, panels, rowChunksOf(rows), unit) ?? uncut(panels)),
    depth: (blocks, blockMacs, panels) => cutDepth(blocks, blockMacs, panels, read.count, read.chunkMacs),
    joint(parts, panelMacs, unit = 1) {
      const cut = panelsOf(1, panelMacs, unitsOf(parts, unit), 1, unit);
      return cut && jointTable(parts, cut);
    },
  };
}
