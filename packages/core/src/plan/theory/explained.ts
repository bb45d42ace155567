/**
 * Forecasts for every carrier, any threads and all types of keys and values, in words: what limits the speed, and how
 * much of the time it takes. They answer "what do you expect, and why".
 */
import type { KvType } from '../../attention/contract.ts';
import type { MachinePeaks } from '../../peaks/measure.ts';
import { FORMAT_FACTS, SHARED_PRODUCTS, WIDENED_I8, WIDENED_ROWS } from './facts.ts';
import {
  type CallPart,
  type CallTime,
  int16Product,
  operationsPerNanosecond,
  type PackedProduct,
  productsOf,
  productTime,
} from './forecast.ts';
import { type CachedAttention, FLOATS, int16Attention, type KvCost } from './forecast-attention.ts';

/** An expectation, in microseconds. */
export interface Forecast extends CallTime {
  /** The largest part. */
  readonly limit: CallPart;
  /** Why so long, in a sentence. */
  readonly why: string;
}

/** A product with packed weights, and how it is multiplied. */
export interface ProductWithWeights extends PackedProduct {
  /** As the kernel's id says. Default: i8 where relaxed dots are a single instruction. */
  readonly carrier?: 'i16' | 'i8' | undefined;
  /** Default 2. */
  readonly components?: 1 | 2 | undefined;
  /** Default 1; little work stays on one. */
  readonly threads?: number | undefined;
  /** Nanoseconds per product on one thread, with weights at hand, where that was measured. Default: by the kernel's operations. */
  readonly nanoseconds?: number | undefined;
}

/** One call of attention. */
export interface AttentionCall extends CachedAttention {
  readonly type: KvType;
}

/**
 * Relaxed dots: what a vector of weights takes beside its dots, one per component, in times of a dot. Where a dot is several
 * instructions, all of it is as much slower.
 */
const BESIDE_I8 = { byte: 0.2, codes: 1, table: 1.5 } as const;
const [FEW_ROWS, WIDENED] = [0.45, 0.3];
/** In times of the other dot's rate. */
const ONE_INSTRUCTION = 2.1;

/** Microseconds of a hand-over to other threads. */
const SHARE = 1.5;
/** How close to a perfect gain several threads come. */
const SHARED = 0.93;

/** A dot and an addition; a vector of keys is unpacked for the two rows of a tile. */
const INT8: KvCost = { products: 2.3, shared: 0.95, alone: 1.1, softmax: 12.5, stored: 7.5, bytes: 1, call: 1.6 };
/** The same with relaxed dots of one instruction, two components, in times of such a dot. Not measured. */
const PRODUCTS_I8 = 2.2;

/** {@link int16Product} for any carrier and threads, explained. */
export function forecastProduct(peaks: MachinePeaks, product: ProductWithWeights): Forecast {
  const { carrier = hasFastDot(peaks) ? 'i8' : 'i16', threads = 1 } = product;
  const { nanoseconds = carrier === 'i8' ? int8Dots(peaks, product) : undefined } = product;
  const alone = int16Product(peaks, product, nanoseconds);
  if (threads === 1 || productsOf(product) < SHARED_PRODUCTS) return explained(alone);
  const { decompose, multiply, read, call } = alone.parts;
  const sharing = threads * SHARED;
  return explained(
    productTime({ decompose: decompose / sharing, multiply: multiply / sharing, read, call: call + SHARE }),
  );
}

/** Is a relaxed dot one instruction here? `auto` takes it then (backends/wasm/routes.ts). */
const hasFastDot = ({ dotGmacs, relaxedDotGmacs = 0 }: MachinePeaks): boolean =>
  relaxedDotGmacs >= ONE_INSTRUCTION * dotGmacs;

/** Nanoseconds per product: a dot per component. */
function int8Dots(peaks: MachinePeaks, { M, format, components = 2 }: ProductWithWeights): number {
  const kind = FORMAT_FACTS[format][1];
  const few = M === 1 ? BESIDE_I8[kind] : FEW_ROWS;
  const isFew = M < (kind === 'table' ? WIDENED_ROWS : WIDENED_I8);
  return (components + (isFew ? few : WIDENED)) / (peaks.relaxedDotGmacs ?? peaks.dotGmacs);
}

/** {@link int16Attention} for any type, explained. */
export const forecastAttention = (peaks: MachinePeaks, call: AttentionCall): Forecast =>
  explained(int16Attention(peaks, call, costOf(call.type, peaks)));

function costOf(type: KvType, peaks: MachinePeaks): KvCost | undefined {
  if (type !== 'int8') return type === 'float' ? FLOATS : undefined;
  if (!hasFastDot(peaks)) return INT8;
  const dots = (8 * PRODUCTS_I8) / peaks.relaxedDotGmacs!;
  return { ...INT8, products: dots * operationsPerNanosecond(peaks.dotGmacs), shared: 0, alone: 1 };
}

function explained({ microseconds, parts }: CallTime): Forecast {
  const limit = (Object.keys(parts) as CallPart[]).reduce((a, b) => (parts[b] > parts[a] ? b : a));
  const share = Math.round((100 * parts[limit]) / microseconds);
  return { microseconds, parts, limit, why: `${WHY[limit]} (${Math.min(100, share)} %)` };
}

const WHY: Readonly<Record<CallPart, string>> = {
  decompose: 'it turns activations into integers',
  multiply: 'it multiplies as fast as the vector unit can',
  read: 'it waits for bytes from memory',
  call: 'it is so little that the call itself counts',
};
