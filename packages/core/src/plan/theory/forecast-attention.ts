/**
 * What a call of attention is expected to take here. Units and method are those of forecast.ts: vector operations, and the
 * bytes of keys and values.
 */
import type { MachinePeaks } from '../../peaks/measure.ts';
import { PAGE_KEYS, roundUp, TASK_ROWS } from './facts.ts';
import { type CallTime, operationsPerNanosecond, timeOf } from './forecast.ts';

/** One call. */
export interface CachedAttention {
  /** Sequences; default 1. */
  readonly batch?: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Of keys and values. */
  readonly headSize: number;
  /** Queries of each sequence. */
  readonly rows: number;
  /** Keys in all. */
  readonly keys: number;
  /** Of them, those that the call adds. Default: one for each query. */
  readonly newKeys?: number;
  /** Does a query see keys after its own? Default: not. */
  readonly seesAll?: boolean;
  /** Default 1. */
  readonly threads?: number;
}

/** What a type of keys and values takes. */
export interface KvCost {
  /** Operations per vector of 8 products of keys, or of values; of it what the two rows of a tile share. */
  readonly products: number;
  readonly shared?: number;
  /** One row alone has fewer sums that do not wait for each other: so many times as much. */
  readonly alone: number;
  /** Operations per key and head: maximum, exponential, sum, and its integer with the scale of V. */
  readonly softmax: number;
  /** Operations per element that is stored. */
  readonly stored: number;
  /** Of an element. */
  readonly bytes: number;
  /** Microseconds of a call; queries of floats are taken as they are. */
  readonly call: number;
}

/** A dot and an addition for each digit of a query. */
const INT16: KvCost = { products: 4.5, alone: 1.05, softmax: 14.8, stored: 6.5, bytes: 2, call: 1.6 };
/** Keys of the first page are floats, whatever the type: 4 products at a time. */
export const FLOATS: KvCost = { products: 4.6, alone: 1.1, softmax: 8.4, stored: 4.5, bytes: 4, call: 1.2 };
/** Operations per row, whatever it sees: its query's integers, its maximum and sum. */
const ROW = 400;
/** Keys that are scored together. */
const SIXTEEN = 16;

/**
 *   scores   rows · keys · d products; those with the first 64 keys are of floats, whatever the type
 *   values   as many
 *   softmax  operations per row and key
 *   read     keys and values once per task (64 rows of queries and heads), partly hidden: √(all the rest² + read²)
 *
 * Rows of a task go through the same keys: up to those that the last one sees, in whole sixteens.
 *
 * @param peaks of one thread; `readGigabytes` of as many bytes as the cache has
 * @param cost of keys and values; default: int16
 */
export function int16Attention(peaks: MachinePeaks, call: CachedAttention, cost: KvCost = INT16): CallTime {
  const { batch = 1, heads, kvHeads, headSize, rows, keys, seesAll = false, threads = 1 } = call;
  const { newKeys = Math.min(rows, keys) } = call;
  const group = heads / kvHeads;
  const tileRows = Math.max(1, Math.min(rows, Math.floor(TASK_ROWS / group)));
  const microseconds = (operations: number): number => operations / operationsPerNanosecond(peaks.dotGmacs) / 1e3;
  const { seen, early, tasks } = pairs(rows, keys, tileRows, seesAll);
  const perKvHead = tileRows * group;
  const products = ({ products: own, shared = 0, alone }: KvCost): number =>
    (own + (shared * Math.ceil(perKvHead / 2)) / perKvHead) * (perKvHead === 1 ? alone : 1);
  const scores = (2 * seen - early) * products(cost) + early * products(FLOATS);
  const each = scores * (headSize / 8) + seen * cost.softmax + rows * ROW;
  const caches = batch * kvHeads;
  const parts = {
    decompose: microseconds(caches * 2 * newKeys * headSize * cost.stored),
    // A batch of none has nothing to share, and one thread for it.
    multiply: microseconds(caches * group * each) / Math.max(1, Math.min(threads, caches * Math.max(tasks, group))),
    read: (caches * tasks * keys * 2 * headSize * cost.bytes) / peaks.readGigabytes / 1e3,
    call: cost.call,
  };
  // Softmax reads nothing, so that less can hide behind it.
  return timeOf(parts, Math.hypot);
}

/** Pairs of a query and a key that are computed, those with keys of the first page, and tasks that the queries are cut into. */
function pairs(rows: number, keys: number, tileRows: number, seesAll: boolean) {
  let [seen, early, tasks] = [0, 0, 0];
  for (let first = 0; first < rows; first += tileRows, tasks++) {
    const count = Math.min(tileRows, rows - first);
    const last = seesAll ? keys : Math.min(keys, keys - rows + first + count);
    const rounded = roundUp(last, SIXTEEN);
    seen += count * rounded;
    early += count * Math.min(rounded, PAGE_KEYS);
  }
  return { seen, early, tasks };
}
