/**
 * Attention over a cache of keys and values that stay as they are stored; queries and probabilities are decomposed instead.
 *
 *   scores        Q·Kᵀ   each query, times the channel factors of K, is decomposed; integer GEMM with K
 *   softmax              over all keys that a query may see, with their exact maximum
 *   output        P·V    probabilities, times the scales of V, are decomposed per block of keys; integer GEMM with V
 *
 * This file: the request. docs/attention.md defines the bits.
 */

/**
 * How keys and values are stored.
 *
 *   int16   2 bytes and a scale per key and head: as accurate as the activations. The default
 *   int8    1 byte and a scale per key and head: a loss of 0.4 to 7 % of the output, half the traffic
 *   float   f32 as they come: `present` is exact
 */
export type KvType = 'int16' | 'int8' | 'float';
export const kvTypes: readonly KvType[] = ['int16', 'int8', 'float'];

/** The lowest float: scores of keys that are seen stay above −Infinity. */
export const LOWEST = -3.4028234663852886e38;

/** Largest head size of K: a sum of so many products, of at most 127 · 32258 each, stays below 2³¹. */
export const MAX_HEAD_SIZE = 512;

/** Keys of a page. Blocks of probabilities are pages, too: both sit at absolute positions. */
export const PAGE_KEYS = 64;

/** What a cache holds: for every sequence and KV head, keys of `headSize` and values of `valueSize` elements. */
export interface KvShape {
  readonly batch: number;
  readonly kvHeads: number;
  readonly headSize: number;
  /** Default: `headSize`. */
  readonly valueSize?: number | undefined;
  /** Default: 'int16'. */
  readonly type?: KvType | undefined;
  /**
   * Factor of every channel of K, [kvHeads, headSize]. Default: found from the first keys, then kept. `false`: none.
   * For caches that a model gives scales of its own (k_scale of GroupQueryAttention): those.
   */
  readonly factors?: Float32Array | false | undefined;
  /** Channels of K that rotary embedding turned; the two of a pair share a factor. Default: all. 0: none. */
  readonly rotarySize?: number | undefined;
  /** Pairs are neighbours, not a half apart. Default: false. */
  readonly isInterleaved?: boolean | undefined;
}

/** With its defaults. */
export interface ResolvedKvShape extends KvShape {
  readonly valueSize: number;
  readonly type: KvType;
  /** `undefined`: found from the first keys. */
  readonly factors: Float32Array | false | undefined;
  readonly rotarySize: number;
  readonly isInterleaved: boolean;
}

/** Where rows of heads lie, in elements; the channels of a head lie side by side. */
export interface HeadStrides {
  readonly batch: number;
  readonly row: number;
  readonly head: number;
}

/** [B, M, H·d], or packed beside others: `width` elements from row to row. */
export const rowMajor = (rows: number, size: number, width: number): HeadStrides => ({
  batch: rows * width,
  row: width,
  head: size,
});

/** [B, H, M, d] */
export const headMajor = (heads: number, rows: number, size: number): HeadStrides => ({
  batch: heads * rows * size,
  row: size,
  head: rows * size,
});

/** What is the same in every run. Query m of a sequence is at position `past + m` (or `positions + m`), key t at position t. */
export interface AttentionOp {
  /** Sequences. */
  readonly batch: number;
  /** Queries of each sequence. */
  readonly rows: number;
  /** Keys that a run adds to the cache, of each sequence. 0: it only reads. */
  readonly newKeys: number;
  /** A multiple of `kvHeads`: query head h reads KV head floor(h / (heads / kvHeads)). */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly valueSize: number;
  /** Of scores. Default: 1 / √headSize. */
  readonly scale?: number | undefined;
  /** A query sees no key after its own position. */
  readonly isCausal: boolean;
  /** A query at position p sees keys from p − window + 1 on. Default: all. */
  readonly window?: number | undefined;
  /** c · tanh(score / c). Default: none. */
  readonly softcap?: number | undefined;
  /** Slope of every head: slope · (key − query position) is added to its scores. */
  readonly alibi?: readonly number[] | undefined;
  /** Of the operands `bias` (f32, added to scores after softcap) and `mask` (bool), where there are such operands. */
  readonly bias?: ScoreDims | undefined;
  readonly mask?: ScoreDims | undefined;
  readonly q: HeadStrides;
  readonly k?: HeadStrides | undefined;
  readonly v?: HeadStrides | undefined;
  readonly out: HeadStrides;
}

/** A bias or mask: dense, every dimension the whole or 1. `keys` may be more than there are: those are not looked at. */
export type ScoreDims = readonly [batch: number, heads: number, rows: number, keys: number];

/**
 * A bias or mask as a JavaScript array, since its size changes with every run. A bias is f32 and added; in a mask, 1
 * marks a key that is seen.
 */
export interface ScoreArray<Data extends Float32Array | Uint8Array> {
  readonly dims: ScoreDims;
  readonly data: Data;
}

/** What one run brings. */
export interface AttentionRun<Cache> {
  readonly cache: Cache;
  /** Default: the op's. */
  readonly isCausal?: boolean | undefined;
  /**
   * Keys of each sequence that are valid before the run: new ones are written behind them, and later ones are
   * forgotten. Default: all that the cache has. Without new keys nothing is forgotten, and it only says where queries
   * are.
   */
  readonly past?: readonly number[] | undefined;
  /** How many new keys of each sequence count; those after them are padding. Default: all. */
  readonly counts?: readonly number[] | undefined;
  /**
   * How many queries of each sequence count; outputs of those after them are 0. Default: `counts` if there are as many
   * rows as new keys, else all.
   */
  readonly queries?: readonly number[] | undefined;
  /** Position of the first query of each sequence. Default: `past`. */
  readonly positions?: readonly number[] | undefined;
  /** First key of each sequence that may be seen: left padding. Default: 0. */
  readonly starts?: readonly number[] | undefined;
  readonly bias?: ScoreArray<Float32Array> | undefined;
  readonly mask?: ScoreArray<Uint8Array> | undefined;
}

/**
 * Keys and values of one layer, in pages of {@link PAGE_KEYS} keys that its device owns. Pages that branches share are counted,
 * and copied by whoever writes to one first.
 */
export interface KvCache {
  readonly shape: ResolvedKvShape;
  /** Keys of each sequence. */
  readonly lengths: readonly number[];
  /** Bytes of its pages; those that it shares count in every branch. */
  readonly byteLength: number;
  /** Bytes that it would take in total to hold `keys` keys of each sequence. */
  bytesFor(keys: number): number;
  /**
   * Allocates the pages for `keys` keys of each sequence.
   * @throws {@link BackendUnavailableError} with the bytes; nothing has changed then
   */
  reserve(keys: number): void;
  /** Adds keys and values from JavaScript arrays: f32 [B, kvHeads, keys, d]. */
  append(k: Float32Array, v: Float32Array, keys: number): void;
  /** Keys [0, keys) as floats, [B, kvHeads, keys, d]: what `present` is. */
  keys(keys: number): Float32Array;
  values(keys: number): Float32Array;
  /** Forgets the keys from `length` on; one length, or one of each sequence. */
  truncate(length: number | readonly number[]): void;
  /** Forgets everything, including its channel factors, and frees its pages. */
  reset(): void;
  /** Another cache with the same keys; later changes of one do not show in the other. O(pages), no key is copied. */
  branch(): KvCache;
  /** New order of sequences (beam search): sequence b becomes what `order[b]` was. Shares pages. */
  reorder(order: readonly number[]): void;
  dispose(): void;
}
