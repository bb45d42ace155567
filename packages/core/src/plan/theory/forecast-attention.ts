/**
 * What a call of attention on a cache is expected to take here. Units and method are those of forecast.ts: vector operations, and the
 * bytes of keys and values.
 */
import type { KvType } from '../../attention/contract.ts';
import type { MachinePeaks } from '../../peaks/measure.ts';
import { KV_BYTES, PAGE_KEYS, roundUp, TASK_ROWS } from './facts.ts';
import { type Forecast, forecastOf, hasFastDot, operationsPerNanosecond } from './forecast.ts';

/** One call. */
export interface AttentionCall {
  readonly type: KvType;
  /** Sequences; default 1. */
  readonly batch?: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Of keys and values. */
  readonly headSize: number;
  /** Queries of each sequence. */
  readonly rows: number;
  /** Keys in all, with those that the call adds. */
  readonly keys: number;
  /** Does a query see keys after its own? Default: not. */
  readonly seesAll?: boolean;
  /** Default 1. */
  readonly threads?: number;
}

/** Operations per vector of 8 products of keys, or of values: a dot and an addition, twice for int16; 4 products at a time for floats. */
const PRODUCTS: Readonly<Record<KvType, number>> = { int16: 4.5, int8: 2.3, float: 4.6 };
/** A vector of int8 keys is unpacked for the two rows of a tile. */
const UNPACK_INT8 = 0.95;
/** The same with relaxed dots of one instruction, two components, in times of such a dot. Not measured. */
const PRODUCTS_I8 = 2.2;
/** One row alone has fewer sums that do not wait for each other. */
const ALONE: Readonly<Record<KvType, number>> = { int16: 1.05, int8: 1.1, float: 1.1 };
/** Operations per key and head: maximum, exponential, sum, and its integer with the scale of V. */
const SOFTMAX: Readonly<Record<KvType, number>> = { int16: 14.8, int8: 12.5, float: 8.4 };
/** Operations per row, whatever it sees: its query's integers, its maximum and sum. */
const ROW = 400;
/** Operations per element of a key or value that is stored. */
const STORED = 3;
/** Microseconds of a call. */
const CALL = 1.6;
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
 */
export function forecastAttention(peaks: MachinePeaks, call: AttentionCall): Forecast {
  const { type, batch = 1, heads, kvHeads, headSize, rows, keys, seesAll = false, threads = 1 } = call;
  const group = heads / kvHeads;
  const tileRows = Math.max(1, Math.min(rows, Math.floor(TASK_ROWS / group)));
  const rate = operationsPerNanosecond(peaks.dotGmacs);
  const { seen, early, tasks } = pairs(rows, keys, tileRows, seesAll);
  const perKvHead = tileRows * group;
  const products = (kind: KvType): number => {
    if (kind === 'int8' && hasFastDot(peaks)) return (8 * PRODUCTS_I8 * rate) / peaks.relaxedDotGmacs!;
    const unpack = kind === 'int8' ? (UNPACK_INT8 * Math.ceil(perKvHead / 2)) / perKvHead : 0;
    return (PRODUCTS[kind] + unpack) * (perKvHead === 1 ? ALONE[kind] : 1);
  };
  const scores = ((seen - early) * products(type) + early * products('float')) * (headSize / 8);
  const values = seen * products(type) * (headSize / 8);
  const each = scores + values + seen * SOFTMAX[type] + rows * ROW;
  const stored = 2 * Math.min(rows, keys) * headSize * STORED;
  const sharing = Math.min(threads, kvHeads * batch * Math.max(tasks, group));
  const parts = {
    decompose: (batch * kvHeads * stored) / rate / 1e3,
    multiply: (batch * kvHeads * group * each) / rate / 1e3 / sharing,
    read: (batch * kvHeads * tasks * keys * 2 * headSize * KV_BYTES[type]) / peaks.readGigabytes / 1e3,
    call: CALL,
  };
  // Softmax reads nothing, so that less can hide behind it.
  return forecastOf(parts, Math.hypot);
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
