/**
 * What a product is expected to take here, from the machine's own peaks: how many vector operations its kernel needs, how many bytes
 * it reads. One unit of work is an operation on a vector of 16 bytes; the peak of int16 dots says what one takes, since it is a dot
 * and an addition per 8 products.
 *
 * Counts are of the kernels' inner loops (gemm/, docs/msd.md, section 6); what loads and loops add was measured relative to the peak,
 * on two x86 machines: `npm run bench -- forecast` says how far off that is elsewhere.
 */
import type { FormatId } from '../../formats/weights.ts';
import type { GemmShape } from '../../gemm/registry.ts';
import type { MachinePeaks } from '../../peaks/measure.ts';
import {
  chunkOf,
  FORMAT_FACTS,
  K_STEP,
  PANEL,
  packedBytes,
  roundUp,
  SHARED_PRODUCTS,
  SLICE_ROWS,
  type Unpacking,
  WIDENED_ROWS,
} from './facts.ts';
import type { ProductShape } from './gemm.ts';

/** What a call is made of. `read` goes on while `multiply` does. */
export type CallPart = 'decompose' | 'multiply' | 'read' | 'call';

/** An expectation, in microseconds. */
export interface Forecast {
  readonly microseconds: number;
  readonly parts: Readonly<Record<CallPart, number>>;
  /** The largest part. */
  readonly limit: CallPart;
  /** Why so long, in a sentence. */
  readonly why: string;
}

/** A product with packed weights. */
export interface ProductWithWeights extends ProductShape {
  readonly format: FormatId;
  /** k that share a scale; null = one per channel. */
  readonly blockSize: number | null;
  /** As the kernel's id says. Default: i8 where relaxed dots are a single instruction. */
  readonly carrier?: 'i16' | 'i8' | undefined;
  /** Default 2. */
  readonly components?: 1 | 2 | undefined;
  /** Default 1; little work stays on one. */
  readonly threads?: number | undefined;
}

/** A dot, an addition, and what loads cost beside them in a tile: kernels of many rows reach 0.94 of the peak. */
const DOT = 2 / 0.94;
/** Of a vector of weights that a tile unpacks for its two rows: a load that extends, a mask or shift, a lookup. */
const UNPACK: Readonly<Record<Unpacking, number>> = { byte: 0.95, codes: 1, table: 3.4 };
/** The same into scratch, once for all rows, with the store. */
const WIDEN = 3.3;
/** What becomes of an accumulator after a chunk: convert, scale, add. */
const FLUSH = 3;
/** int16 products of a vector: 4 outputs, 2 k. */
const [OUTPUTS, PAIR] = [4, 2];
/** Rows that share what a tile unpacks. */
const TILE_ROWS = 2;

/**
 * Relaxed dots: what a vector of weights takes beside its dots, one per component, in times of a dot. Where a dot is several
 * instructions, all of it is as much slower.
 */
const BESIDE_I8 = { byte: 0.2, codes: 1, table: 1.5, fewRows: 0.45, widened: 0.3 } as const;

/** To decompose an element takes as long as so many products of int16 (plan/choose.ts). */
const ELEMENT_PRODUCTS = 16;
/** Microseconds of a bound call, whatever it does, and of a hand-over to other threads. */
const CALL = 0.4;
const SHARE = 1.5;
/** How near to perfect threads share. */
const SHARED = 0.93;

/** In times of the other dot's rate. */
const ONE_INSTRUCTION = 2.1;

/**
 * How long a bound product takes.
 *
 *   operations   per vector of 8 products: dot + unpack / rows that share it + flush / (chunk / 2)                          (i16)
 *   multiply     operations · products / 8 · (4 / dot peak)
 *   read         packed bytes of the weights, once per slice of 256 rows, ÷ bandwidth
 *   decompose    16 products' time per element of x
 *   total        call + decompose + (multiply³ + read³)^(1/3): where both are near, neither hides the other
 *
 * @param peaks of one thread; `readGigabytes` is what all threads get together, of as many bytes as are read again and again: one
 * matrix, or all weights of a model
 */
export function forecastProduct(peaks: MachinePeaks, product: ProductWithWeights): Forecast {
  const { M, N, K, format, blockSize } = product;
  const products = M * roundUp(N, PANEL) * roundUp(K, K_STEP);
  const each = carrierOf(peaks, product) === 'i16' ? i16(peaks, product) : i8(peaks, product);
  const { threads = 1 } = products >= SHARED_PRODUCTS ? product : {};
  const sharing = threads > 1 ? threads * SHARED : 1;
  const slices = Math.ceil(M / SLICE_ROWS);
  const parts = {
    decompose: (ELEMENT_PRODUCTS * M * K) / peaks.dotGmacs / 1e3 / sharing,
    multiply: (products * each) / 1e3 / sharing,
    read: (slices * packedBytes(format, blockSize, N, K)) / peaks.readGigabytes / 1e3,
    call: CALL + (threads > 1 ? SHARE : 0),
  };
  return forecastOf(parts);
}

/** Is a relaxed dot one instruction here? `auto` takes it then (backends/wasm/routes.ts). */
export const hasFastDot = ({ dotGmacs, relaxedDotGmacs = 0 }: MachinePeaks): boolean =>
  relaxedDotGmacs >= ONE_INSTRUCTION * dotGmacs;

const carrierOf = (peaks: MachinePeaks, { carrier }: ProductWithWeights): 'i16' | 'i8' =>
  carrier ?? (hasFastDot(peaks) ? 'i8' : 'i16');

const shapeFor = (M: number): GemmShape => (M === 1 ? 'gemv' : M < WIDENED_ROWS ? 'smallM' : 'gemm');

/** Nanoseconds per product. */
function i16({ dotGmacs }: MachinePeaks, { M, format, blockSize }: ProductWithWeights): number {
  const { unpacking: kind } = FORMAT_FACTS[format];
  const shape = shapeFor(M);
  const widens = shape === 'gemm' || (shape === 'smallM' && kind === 'table');
  const rows = Math.max(1, M);
  const unpack = widens ? WIDEN / rows : (UNPACK[kind] * Math.ceil(rows / TILE_ROWS)) / rows;
  const operations = DOT + unpack + (FLUSH * PAIR) / chunkOf(format, blockSize);
  return operations / (OUTPUTS * PAIR) / operationsPerNanosecond(dotGmacs);
}

/** A dot and an addition per 8 products. */
export const operationsPerNanosecond = (dotGmacs: number): number => dotGmacs / OUTPUTS;

/** Nanoseconds per product: a dot per component. */
function i8(peaks: MachinePeaks, { M, format, components = 2 }: ProductWithWeights): number {
  const beside = {
    gemv: BESIDE_I8[FORMAT_FACTS[format].unpacking],
    smallM: BESIDE_I8.fewRows,
    gemm: BESIDE_I8.widened,
  };
  return (components + beside[shapeFor(M)]) / (peaks.relaxedDotGmacs ?? peaks.dotGmacs);
}

/** What goes on at the same time hides what is shorter, less so where both are alike. */
const together = (a: number, b: number): number => Math.cbrt(a ** 3 + b ** 3);

/** Puts parts together, and says which one decides. @param overlap time of what multiplies and what is read for it */
export function forecastOf(
  parts: Readonly<Record<CallPart, number>>,
  overlap: (multiply: number, read: number) => number = together,
): Forecast {
  const { decompose, multiply, read, call } = parts;
  const microseconds = call + decompose + overlap(multiply, read);
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
