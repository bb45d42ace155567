/**
 * A kernel call that can be cut into chunks along rows and panels. Every argument is linear in the chunk's position and
 * size, so a chunk's arguments are computed wherever it runs, from a few words and without knowing the kernel.
 */
import { LAYOUT, MAX_ARGS } from './layout.ts';

/** An argument that depends on the chunk; a plain number is the same for all chunks. */
export interface Argument {
  /** Its value for a chunk at row 0 and panel 0. Default 0. */
  readonly at?: number;
  /** Times the thread: scratch of its own. */
  readonly perThread?: number;
  /** Times the rows before the chunk, and times its own rows. */
  readonly perRow?: number;
  readonly timesRows?: number;
  readonly perPanel?: number;
  readonly timesPanels?: number;
}

/** Rows in all, and how many of them a chunk takes. */
export interface RowCut {
  readonly total: number;
  readonly size: number;
}

/**
 * A cut of panels into chunks that get smaller: one half of them in equal chunks, one per thread; then one half of the rest
 * likewise, and so on. What is left after some rounds is cut into twice as many. Few chunks, since each costs its start, and a
 * small one in the end, which is how long threads wait for each other.
 *
 * Before chunk c lie P − floor(P · (parts − j) / (parts · 2^r)) of P panels, r = min(floor(2 c / parts), rounds),
 * j = c − r · parts / 2. No chunk is empty if P is at least parts · 2^rounds.
 */
export interface PanelCut {
  readonly total: number;
  /** Chunks of the last round; twice the threads, or any number if there is no other round. */
  readonly parts: number;
  /** Rounds before the last one. */
  readonly rounds: number;
}

export const chunksOf = ({ parts, rounds }: PanelCut): number => parts + (rounds * parts) / 2;

const { argCount, args } = LAYOUT;
const BASE = args - argCount;

export class Job {
  /** The words of the control block from `argCount` on. */
  readonly words: Int32Array = new Int32Array(BASE + 6 * MAX_ARGS);
  chunks = 0;
  /** Those of `words` that mean something. */
  length = 0;
  #rows: RowCut = { total: 0, size: 1 };
  #panels: PanelCut = { total: 0, parts: 1, rounds: 0 };
  #rowChunks = 0;
  #values: number[] = [];

  /** Describes a call; overwrites what was there. */
  set(values: readonly (number | Argument)[], rows: RowCut, panels: PanelCut): this {
    const { words } = this;
    this.#rows = rows;
    this.#panels = panels;
    this.#rowChunks = Math.ceil(rows.total / rows.size);
    this.chunks = this.#rowChunks * chunksOf(panels);
    this.length = BASE + 6 * values.length;
    this.#values.length = values.length;
    words[0] = values.length;
    words[LAYOUT.chunks - argCount] = this.chunks;
    words[LAYOUT.rowSize - argCount] = rows.size;
    words[LAYOUT.rowTotal - argCount] = rows.total;
    words[LAYOUT.rowChunks - argCount] = this.#rowChunks;
    words[LAYOUT.panelTotal - argCount] = panels.total;
    words[LAYOUT.parts - argCount] = panels.parts;
    words[LAYOUT.rounds - argCount] = panels.rounds;
    for (let i = 0, at = BASE; i < values.length; i++, at += 6) {
      const value = values[i];
      const linear = typeof value === 'number' ? { at: value } : value;
      words[at] = linear.at ?? 0;
      words[at + 1] = linear.perThread ?? 0;
      words[at + 2] = linear.perRow ?? 0;
      words[at + 3] = linear.timesRows ?? 0;
      words[at + 4] = linear.perPanel ?? 0;
      words[at + 5] = linear.timesPanels ?? 0;
    }
    return this;
  }

  /** Arguments of chunk `index` on the calling thread; valid until the next call. */
  argumentsOf(index: number): number[] {
    const { words } = this;
    const values = this.#values;
    const row = (index % this.#rowChunks) * this.#rows.size;
    const rows = Math.min(this.#rows.size, this.#rows.total - row);
    const chunk = Math.floor(index / this.#rowChunks);
    const panel = this.#panelsBefore(chunk);
    const panels = this.#panelsBefore(chunk + 1) - panel;
    for (let i = 0, at = BASE; i < values.length; i++, at += 6)
      values[i] =
        words[at] + words[at + 2] * row + words[at + 3] * rows + words[at + 4] * panel + words[at + 5] * panels;
    return values;
  }

  #panelsBefore(chunk: number): number {
    const { total, parts, rounds } = this.#panels;
    const round = Math.min(Math.floor((2 * chunk) / parts), rounds);
    return total - Math.floor((total * (parts * (1 + round / 2) - chunk)) / (parts * 2 ** round));
  }
}
