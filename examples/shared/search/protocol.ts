/** What a page that searches by meaning and its two workers say to each other. */

export type Side = 'stock' | 'msd';

/** As they are shown. */
export const SIDES: readonly Side[] = ['stock', 'msd'];

export interface Hit {
  readonly index: number;
  /** Cosine. */
  readonly score: number;
}

/** @typeParam Load what a worker has to know to load its model */
export type Request<Load> =
  | { readonly type: 'load'; readonly options: Load }
  | { readonly type: 'index'; readonly sentences: readonly string[] }
  | { readonly type: 'query'; readonly id: number; readonly text: string }
  | { readonly type: 'cancel' };

/** @typeParam Costs what a worker says about itself when it has read all sentences */
export type Reply<Costs> =
  | { readonly type: 'download'; readonly loaded: number; readonly total: number }
  | { readonly type: 'loaded'; readonly milliseconds: number; readonly report: string }
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'indexed'; readonly milliseconds: number; readonly costs: Costs }
  | { readonly type: 'cancelled' }
  | {
      readonly type: 'hits';
      readonly id: number;
      readonly milliseconds: number;
      readonly hits: readonly Hit[];
      /** The query's embedding: the page compares the two sides. */
      readonly embedding: Float32Array;
    }
  | { readonly type: 'failed'; readonly message: string };
