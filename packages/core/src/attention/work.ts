/**
 * The words in memory that tell the attention kernels what to do: more than arguments can hold, and most stay from run
 * to run. Addresses and strides in bytes, f32 values as bits.
 */
import { type I32, i32 } from '../wasm/emitter.ts';

/** Of a call: what attend reads. */
export const WORK = [
  'q',
  'qBatch',
  'qRow',
  'qHead',
  'out',
  'outBatch',
  'outRow',
  'outHead',
  /** Queries of each sequence, of a task, and tasks that they are. */
  'rows',
  'tileRows',
  'tiles',
  /** Query heads of a KV head. */
  'groups',
  /** Of those, the heads of a task, and tasks that they are. */
  'tileHeads',
  'headTiles',
  'kvHeads',
  'headSize',
  'valueSize',
  /** What scores are multiplied by. */
  'scale',
  'isCausal',
  /** 0: none. */
  'window',
  /** c log2(e) of the soft cap; 0: none. */
  'softcap',
  /** f32 [heads]; 0: none. */
  'sinks',
  'alibi',
  /** Where its element (0, 0, 0, 0) lies, 0: none; steps to the next sequence, head, row, key. */
  'bias',
  'biasBatch',
  'biasHead',
  'biasRow',
  'biasKey',
  'mask',
  'maskBatch',
  'maskHead',
  'maskRow',
  'maskKey',
  /** Not 0: a bias or mask may hide any key. */
  'mayHide',
  /** Addresses of pages, i32 [batch · kvHeads][…], and bytes of one of its rows. */
  'table',
  'tableRow',
  /** {@link SEQUENCE} of each. */
  'sequences',
  /** Of a page: the first one, and all others. */
  'firstV',
  'firstVs',
  'firstKc',
  'v',
  'ks',
  'vs',
  /** Scratch of the first thread, and bytes to the next one's; where each part lies. */
  'scratch',
  'scratchStride',
  'atSpare',
  'atPanel',
  'atX',
  'atQ',
  'atWeights',
  'atP',
  'atBlocks',
  'atFirst',
  'atY',
  'atScores',
] as const;

/** Of a sequence. */
export const SEQUENCE = [
  /** Position of the first query. */
  'position',
  /** Keys that there are, new ones included. */
  'total',
  /** First one that may be seen. */
  'start',
  /** Queries that count. */
  'count',
] as const;

/** Of a call: what append reads. */
export const APPEND = [
  'k',
  'kBatch',
  'kRow',
  'kHead',
  'v',
  'vBatch',
  'vRow',
  'vHead',
  'kvHeads',
  'headSize',
  'valueSize',
  'table',
  'tableRow',
  /** {@link ADDED} of each sequence. */
  'sequences',
  /** 1: factors are found from the keys of page 0. */
  'findsFactors',
  /** RoPE: channels that are rotated, and 1 if neighbours are pairs. */
  'rotarySize',
  'isInterleaved',
  'firstV',
  'firstVs',
  'firstKc',
  'firstIc',
  'v0',
  'ks',
  'vs',
  /** Scratch of the first thread, and bytes to the next one's; where integers lie in it, behind a row of floats. */
  'scratch',
  'scratchStride',
  'atIntegers',
] as const;

/** Of a sequence: keys that it has, and how many come. */
export const ADDED = ['past', 'count'] as const;

/** Reads words by their names. */
export const wordsAt =
  <const N extends readonly string[]>(names: N, at: I32) =>
  (name: N[number]): I32 =>
    i32.load(at, 4 * names.indexOf(name));

/** Writes named words; those that are not named become 0. */
export function setWords<N extends string>(
  words: Int32Array,
  index: number,
  names: readonly N[],
  values: Readonly<Partial<Record<N, number>>>,
): void {
  for (const [i, name] of names.entries()) words[index + i] = values[name] ?? 0;
}
