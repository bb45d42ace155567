/**
 * A kernel call that can be cut into chunks along rows and panels. Every argument is linear in the chunk's position and
 * size, so a chunk's arguments are computed wherever it runs, from a few words and without knowing the kernel.
 */
import { LAYOUT } from './layout.ts';

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

/** Items along one dimension, and how many of them a chunk takes. */
export interface Cut {
  readonly total: number;
  readonly size: number;
}

const { argCount, args, plane } = LAYOUT;
const BASE = args - argCount;

export class Job {
  /** The words of the control block from `argCount` on. */
  readonly words: Int32Array = new Int32Array(args + 6 * plane - argCount);
  chunks = 0;
  #rows: Cut = { total: 0, size: 1 };
  #panels: Cut = { total: 0, size: 1 };
  #rowChunks = 0;
  #values: number[] = [];

  /** Describes a call; overwrites what was there. */
  set(values: readonly (number | Argument)[], rows: Cut, panels: Cut): this {
    const { words } = this;
    this.#rows = rows;
    this.#panels = panels;
    this.#rowChunks = Math.ceil(rows.total / rows.size);
    this.chunks = this.#rowChunks * Math.ceil(panels.total / panels.size);
    this.#values.length = values.length;
    words[0] = values.length;
    words[LAYOUT.chunks - argCount] = this.chunks;
    words[LAYOUT.rowSize - argCount] = rows.size;
    words[LAYOUT.rowTotal - argCount] = rows.total;
    words[LAYOUT.panelSize - argCount] = panels.size;
    words[LAYOUT.panelTotal - argCount] = panels.total;
    words[LAYOUT.rowChunks - argCount] = this.#rowChunks;
    for (let i = 0, at = BASE; i < values.length; i++, at++) {
      const value = values[i];
      const linear = typeof value === 'number' ? { at: value } : value;
      words[at] = linear.at ?? 0;
      words[at + plane] = linear.perThread ?? 0;
      words[at + 2 * plane] = linear.perRow ?? 0;
      words[at + 3 * plane] = linear.timesRows ?? 0;
      words[at + 4 * plane] = linear.perPanel ?? 0;
      words[at + 5 * plane] = linear.timesPanels ?? 0;
    }
    return this;
  }

  /** Arguments of chunk `index` on the calling thread; valid until the next call. */
  argumentsOf(index: number): number[] {
    const { words } = this;
    const values = this.#values;
    const row = (index % this.#rowChunks) * this.#rows.size;
    const panel = Math.floor(index / this.#rowChunks) * this.#panels.size;
    const rows = Math.min(this.#rows.size, this.#rows.total - row);
    const panels = Math.min(this.#panels.size, this.#panels.total - panel);
    for (let i = 0, at = BASE; i < values.length; i++, at++)
      values[i] =
        words[at] +
        words[at + 2 * plane] * row +
        words[at + 3 * plane] * rows +
        words[at + 4 * plane] * panel +
        words[at + 5 * plane] * panels;
    return values;
  }
}
