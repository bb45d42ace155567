/** Where the chunks of a kernel call lie, along rows and panels; and how a device cuts its calls. */

/** Threads that a backend may have at most, the calling one among them. */
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

/** Words per chunk of a table: first row, rows, first panel, panels, part. */
export const CHUNK_WORDS = 5;

/** Everything in one chunk: `rows` rows, `panels` panels. */
export const whole = (rows = 1, panels = 1): Int32Array => Int32Array.from(rows ? [0, rows, 0, panels, 0] : []);

/** A product of one row that is cut along K. */
export interface Depth {
  /** K-blocks that the first chunk adds up; part 0. */
  readonly first: number;
  /** The others: each is a chunk whose row is its number, of part 1, or 2 for the last one, which may be shorter. */
  readonly rest: number;
  readonly chunks: Int32Array;
}

/**
 * Cuts of calls for the threads there are; tables of their chunks, in the order in which they are claimed. `panelMacs`: multiplications
 * of a row and a panel.
 */
export interface Cuts {
  /** Do threads share rows that are independent of each other? */
  isShared(rows: number, macsPerRow: number): boolean;
  /** Such rows. */
  rows(rows: number, macsPerRow: number): Int32Array;
  /** Rows of a product, all panels of each. @param panels of its smallest matrix */
  productRows(M: number, panelMacs: number, panels: number): RowCut;
  /** Rows that are decomposed, cut like those of their product if that is cut. */
  decomposed(rows: RowCut, K: number): Int32Array;
  /** A product. @param unit panels that stay together */
  product(rows: RowCut, panelMacs: number, panels: number, unit?: number): Int32Array;
  /** One row along K instead; `undefined`: it is not. @param blockMacs multiplications of a K-block */
  depth(blocks: number, blockMacs: number, panels: number): Depth | undefined;
  /** One row of several matrices as one call; `undefined`: nothing is shared. @param panelsOf panels of each */
  joint(panelsOf: readonly number[], panelMacs: number, unit?: number): Int32Array | undefined;
}

/** One thread cuts nothing. */
export const ONE_THREAD: Cuts = {
  isShared: () => false,
  rows: (rows) => whole(rows),
  productRows: (total) => ({ total, size: total }),
  decomposed: ({ total }) => whole(total),
  product: ({ total }, _, panels) => whole(total, panels),
  depth: () => undefined,
  joint: () => undefined,
};
