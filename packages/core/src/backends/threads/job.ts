/**
 * A kernel call that can be cut into chunks along rows and panels. Every argument is linear in the chunk's position and
 * size, so a chunk's arguments are computed wherever it runs, from a few words and without knowing the kernel.
 */
import { LAYOUT, MAX_ARGS } from './layout.ts';

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

export const chunksOf = ({ rounds, early, last }: PanelCut): number => rounds * early + last;

/** All of it in one chunk. */
export const uncut = (total: number): PanelCut => ({ total, unit: 1, rounds: 0, early: 1, leaves: 2, last: 1 });

const { argCount, args } = LAYOUT;
const BASE = args - argCount;

/**
 * Described argument by argument, in the kernel's order: `job.start(rows, panels).at(x, 4 * K).rows().panels()`. It is
 * rewritten with every call and makes no objects: small products notice.
 */
export class Job {
  /** The words of the control block from `argCount` on. */
  readonly words: Int32Array = new Int32Array(BASE + 6 * MAX_ARGS);
  chunks = 0;
  /** Those of `words` that mean something. */
  length = 0;
  #values: number[] = [];

  /** Begins a call; overwrites what was there. */
  start(rows: RowCut, panels: PanelCut): this {
    const { words } = this;
    const rowChunks = Math.ceil(rows.total / rows.size);
    this.chunks = rowChunks * chunksOf(panels);
    this.length = BASE;
    this.#values.length = 0;
    words[0] = 0;
    words[LAYOUT.chunks - argCount] = this.chunks;
    words[LAYOUT.rowSize - argCount] = rows.size;
    words[LAYOUT.rowTotal - argCount] = rows.total;
    words[LAYOUT.rowChunks - argCount] = rowChunks;
    words[LAYOUT.panelTotal - argCount] = panels.total;
    words[LAYOUT.panelUnit - argCount] = panels.unit;
    words[LAYOUT.rounds - argCount] = panels.rounds;
    words[LAYOUT.early - argCount] = panels.early;
    words[LAYOUT.leaves - argCount] = panels.leaves;
    words[LAYOUT.last - argCount] = panels.last;
    return this;
  }

  /** Makes this one the same as another. */
  copy(from: Job): this {
    this.words.set(from.words);
    this.chunks = from.chunks;
    this.length = from.length;
    this.#values.length = 0;
    return this;
  }

  /** An address, or any number, plus so much per row and per panel before the chunk. */
  at(value: number, perRow = 0, perPanel = 0): this {
    return this.#add(value, 0, perRow, 0, perPanel, 0);
  }

  /** Another address for an argument of a described call. */
  move(argument: number, value: number): this {
    this.words[BASE + 6 * argument] = value;
    return this;
  }

  /** An address of each thread's own. */
  own(value: number, perThread: number): this {
    return this.#add(value, perThread, 0, 0, 0, 0);
  }

  /** The chunk's rows, times a number. */
  rows(times = 1): this {
    return this.#add(0, 0, 0, times, 0, 0);
  }

  /** The chunk's panels, times a number. */
  panels(times = 1): this {
    return this.#add(0, 0, 0, 0, 0, times);
  }

  #add(value: number, thread: number, row: number, rows: number, panel: number, panels: number): this {
    const { words, length } = this;
    words[length] = value;
    words[length + 1] = thread;
    words[length + 2] = row;
    words[length + 3] = rows;
    words[length + 4] = panel;
    words[length + 5] = panels;
    this.length = length + 6;
    words[0]++;
    return this;
  }

  /** Arguments of chunk `index` on the calling thread; valid until the next call. */
  argumentsOf(index: number): number[] {
    const { words } = this;
    const values = this.#values;
    const rowChunks = words[LAYOUT.rowChunks - argCount];
    const row = (index % rowChunks) * words[LAYOUT.rowSize - argCount];
    const rows = Math.min(words[LAYOUT.rowSize - argCount], words[LAYOUT.rowTotal - argCount] - row);
    const chunk = Math.floor(index / rowChunks);
    const panel = this.#panelsBefore(chunk);
    const panels = this.#panelsBefore(chunk + 1) - panel;
    for (let i = 0, at = BASE; at < this.length; i++, at += 6)
      values[i] =
        words[at] + words[at + 2] * row + words[at + 3] * rows + words[at + 4] * panel + words[at + 5] * panels;
    return values;
  }

  #panelsBefore(chunk: number): number {
    const { words } = this;
    const total = words[LAYOUT.panelTotal - argCount];
    const unit = words[LAYOUT.panelUnit - argCount];
    const rounds = words[LAYOUT.rounds - argCount];
    const early = words[LAYOUT.early - argCount];
    const leaves = words[LAYOUT.leaves - argCount];
    const last = words[LAYOUT.last - argCount];
    const units = Math.ceil(total / unit);
    const round = Math.min(Math.floor(chunk / early), rounds);
    const j = chunk - round * early;
    const rest =
      round < rounds
        ? Math.floor((units * (leaves * early - (leaves - 1) * j)) / (early * leaves ** (round + 1)))
        : Math.floor((units * (last - j)) / (last * leaves ** round));
    return Math.min(total, unit * (units - rest));
  }
}
