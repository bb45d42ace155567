/**
 * How a kernel call is cut into chunks, along rows and panels. Pure arithmetic: chunks are listed once, where a call is bound;
 * whoever runs one reads where it lies.
 */

export const MAX_THREADS = 64;
/** Of a call, rows times panels. */
export const MAX_CHUNKS = 256;
/** Matrices that one call multiplies with, each with arguments of its own. */
export const MAX_PARTS = 4;

/** Rows in all, and how many of them a chunk takes. */
export interface RowCut {
  readonly total: number;
  readonly size: number;
}

/**
 * A cut of panels into chunks that get smaller: one half of them, or three quarters, in equal chunks, one per thread; then as much of
 * the rest likewise, and so on. What is left after some rounds is cut evenly. Few chunks, since each costs its start, and a
 * small one in the end, which is how long threads wait for each other.
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

/** Words per chunk of a {@link chunkTable}. */
export const CHUNK_WORDS = 5;

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
