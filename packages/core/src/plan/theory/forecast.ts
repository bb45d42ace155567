/**
 * What a product is expected to take here, from the machine's own peaks: how many vector operations its kernel needs, how many bytes
 * it reads. One unit of work is an operation on a vector of 16 bytes; the peak of int16 dots says what one takes, since it is a dot
 * and an addition per 8 products.
 *
 * Counts are of the kernels' inner loops (gemm/, docs/msd.md, section 6); what loads and loops add was measured relative to the peak,
 * on two x86 machines: `npm run bench -- forecast` says how far off that is elsewhere.
 *
 * Planners use this file, so pages with models download it. Other carriers, threads and explanations are in
 * explained.ts.
 */
import type { FormatId } from '../../formats/weights.ts';
import type { MachinePeaks } from '../../peaks/measure.ts';
import { chunkOf, FORMAT_FACTS, K_STEP, PANEL, packedBytes, roundUp, SLICE_ROWS, WIDENED_ROWS } from './facts.ts';
import type { ProductShape } from './gemm.ts';

/** What a call is made of. `read` goes on while `multiply` does. */
export type CallPart = 'decompose' | 'multiply' | 'read' | 'call';

/** What a call is expected to take. Microseconds. */
export interface CallTime {
  readonly microseconds: number;
  readonly parts: Readonly<Record<CallPart, number>>;
}

/** A product with packed weights. */
export interface PackedProduct extends ProductShape {
  readonly format: FormatId;
  /** k that share a scale; null = one per channel. */
  readonly blockSize: number | null;
}

/** A dot, an addition, and what loads cost beside them in a tile: kernels of many rows reach 0.94 of the peak. */
const DOT = 2 / 0.94;
/** Of a vector of weights that a tile unpacks for its two rows: a load that extends, a mask or shift, a lookup. */
const UNPACK = { byte: 0.95, codes: 1, table: 3.4 } as const;
/** The same into scratch, once for all rows, with the store. */
const WIDEN = 3.3;
/** Work on an accumulator after a chunk: convert, scale, add. */
const FLUSH = 3;
/** int16 products of a vector: 4 outputs, 2 k. */
const [OUTPUTS, PAIR] = [4, 2];
/** Rows that share what a tile unpacks. */
const TILE_ROWS = 2;

/** To decompose an element takes as long as so many products of int16 (plan/share.ts). */
const ELEMENT_PRODUCTS = 16;
/** Microseconds of a bound call, whatever it does. */
const CALL = 0.4;

/**
 * How long a bound product takes on int16 dots and one thread.
 *
 *   operations   per vector of 8 products: dot + unpack / rows that share it + flush / (chunk / 2)
 *   multiply     operations · products / 8 · (4 / dot peak)
 *   read         packed bytes of the weights, once per slice of 256 rows, ÷ bandwidth
 *   decompose    16 products' time per element of x
 *   total        call + decompose + (multiply³ + read³)^(1/3): where both are near, neither hides the other
 *
 * @param peaks of one thread; `readGigabytes` is what all threads get together, of as many bytes as are read again and again: one
 * matrix, or all weights of a model
 * @param each nanoseconds per product
 */
export function int16Product(peaks: MachinePeaks, product: PackedProduct, each = int16Dots(peaks, product)): CallTime {
  const { M, N, K, format, blockSize } = product;
  return productTime({
    decompose: (ELEMENT_PRODUCTS * M * K) / peaks.dotGmacs / 1e3,
    multiply: (productsOf(product) * each) / 1e3,
    read: (Math.ceil(M / SLICE_ROWS) * packedBytes(format, blockSize, N, K)) / peaks.readGigabytes / 1e3,
    call: CALL,
  });
}

/** Products with the columns and k that weights are padded to. */
export const productsOf = ({ M, N, K }: ProductShape): number => M * roundUp(N, PANEL) * roundUp(K, K_STEP);

function int16Dots({ dotGmacs }: MachinePeaks, { M, format, blockSize }: PackedProduct): number {
  const [, kind] = FORMAT_FACTS[format];
  const rows = Math.max(1, M);
  // Tables of few rows are widened, too.
  const widens = M >= WIDENED_ROWS || (M > 1 && kind === 'table');
  const unpack = widens ? WIDEN / rows : (UNPACK[kind] * Math.ceil(rows / TILE_ROWS)) / rows;
  const operations = DOT + unpack + (FLUSH * PAIR) / chunkOf(format, blockSize);
  return operations / (OUTPUTS * PAIR) / operationsPerNanosecond(dotGmacs);
}

/** A dot and an addition per 8 products. */
export const operationsPerNanosecond = (dotGmacs: number): number => dotGmacs / OUTPUTS;

/** Time of two things at once: the longer hides the shorter, but less so if both are alike. */
const together = (a: number, b: number): number => Math.cbrt(a ** 3 + b ** 3);

export const productTime = (parts: CallTime['parts']): CallTime => timeOf(parts, together);

/** @param overlap time of what multiplies and what is read for it */
export const timeOf = (parts: CallTime['parts'], overlap: (multiply: number, read: number) => number): CallTime => ({
  microseconds: parts.call + parts.decompose + overlap(parts.multiply, parts.read),
  parts,
});
