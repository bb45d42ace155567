/** What the page and its two workers say to each other. */

export type Side = 'stock' | 'msd';
export type BackendName = 'wasm' | 'cpu';
export type Format = 'int8' | 'int4';

export interface Memory {
  /** `tf.memory()`. */
  readonly tensors: number;
  /** What the WebAssembly heap has grown by. */
  readonly heap: number;
  /** File bytes that the model keeps in JavaScript. */
  readonly files: number;
}

export interface Hit {
  readonly index: number;
  /** Cosine. */
  readonly score: number;
}

export type Request =
  | {
      readonly type: 'load';
      readonly side: Side;
      readonly backend: BackendName;
      readonly format: Format;
      readonly base: string;
    }
  | { readonly type: 'index'; readonly sentences: readonly string[] }
  | { readonly type: 'query'; readonly id: number; readonly text: string }
  | { readonly type: 'cancel' };

export type Reply =
  | { readonly type: 'loaded'; readonly milliseconds: number; readonly report: string }
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'indexed'; readonly milliseconds: number; readonly memory: Memory }
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
