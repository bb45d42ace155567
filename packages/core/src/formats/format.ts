/**
 * What a weight format has to say for itself: how the kernels read it, and how a file's bytes become panels.
 *
 * Packed layout, the same for every format (docs/msd.md, "Packed weights"):
 *
 *   [K / 256 K-blocks][N / 16 panels][blocks: head, then steps]
 *
 *   head   16 scales (f32, fp16 or E8M0) if blockwise, then 16 zero points (1 byte each) if stored
 *   step   16 rows x 2 k; reading it gives four vectors, group g = rows 4g … 4g+3:
 *          lanes i16: (row 4g, k) (row 4g, k+1) (row 4g+1, k) … (row 4g+3, k+1)
 *
 * so that i32x4.dot_i16x8_s with the activation pair (x[k], x[k+1]) splatted to all lanes adds to four *different*
 * outputs: no horizontal sums, and a block's scales apply to four outputs per instruction.
 */
import type { Func, I32, V128 } from '../wasm/emitter.ts';
import type { ByteOperand, QuadReader } from './quads.ts';
import type { ScaleId } from './scales.ts';
import type { FormatId } from './weights.ts';

/** Rows of weights that lie side by side. */
export const PANEL = 16;
/** The K-block of the contract: 32258 · 255 · 256 < 2³¹, so integer sums over it are exact in int32. */
export const K_BLOCK = 256;
/** K is padded to whole multiples of this in packed weights and decomposed activations. */
export const K_STEP = 32;

/** Fewest k that may share a scale (int4). */
export const MIN_BLOCK = 16;

/** What a kernel is specialised for, besides the format. */
export interface WeightVariant {
  /** `null` = one scale per output channel. */
  readonly blockSize: number | null;
  /** Zero points lie in the heads; otherwise the format's symmetric one holds. */
  readonly storedZeroPoints: boolean;
  /** Form of the scales in the heads; per channel they are f32. */
  readonly scale: ScaleId;
}

/** Reads one step at ptr + offset into its four vectors. */
export type StepReader = (ptr: I32, offset: number) => V128[];

/** The codes of one block, once its zero points are known. */
export interface BlockReader {
  /** (weight − zero point) << shift[g] in group g, or (weight + something) << shift[g] if `start` corrects for it. */
  readonly step: StepReader;
  /** What the accumulators of the four groups start from, given Σx of the chunk in every lane. Absent: zero. */
  readonly start?: (sum: V128) => V128[];
}

export interface CodeReader {
  /** Powers of two that remain in the four groups' sums. */
  readonly shift: readonly [number, number, number, number];
  /** @param zeroPoints address of the block's 16 zero points; read only if they are stored */
  readonly block: (zeroPoints: I32) => BlockReader;
}

/** A file's rows, addressed by byte. */
export interface SourceRows {
  readonly view: DataView;
  readonly rowBytes: number;
  readonly N: number;
  /** Valid k per row; blockwise rows are padded to whole blocks, and all of that may be read. */
  readonly readableK: number;
  /** 0x80808080 turns codes 0..255 into q − 128; otherwise 0. */
  readonly flip: number;
}

export interface WeightFormat {
  readonly id: FormatId;
  readonly bits: 2 | 4 | 8;
  /** Smallest and largest block size; powers of two. */
  readonly blockSizes: readonly [min: number, max: number];
  readonly perChannel: boolean;
  readonly scaleIds: readonly ScaleId[];
  /** May zero points be stored? */
  readonly asymmetric: boolean;
  /** Bytes of a step of 16 rows x 2 k. */
  readonly stepBytes: number;
  /** Zero point of symmetric weights, in packed units. */
  readonly symmetricZeroPoint: number;
  /** k per scaled integer sum, the `chunk` of the f32 contract. A block never shares a chunk with another one. */
  chunkSize(blockSize: number | null): number;
  /** As few instructions as possible per step: for M = 1 and small M. Call once, outside of the loops. */
  raw(f: Func, variant: WeightVariant): CodeReader;
  /** The weight itself, for panels that are widened once and then serve many rows. */
  exact(f: Func, variant: WeightVariant): CodeReader;
  /** The codes as bytes, four k at a time, for 8-bit carriers; `operand` is how the engine takes a weight of 8 bits. */
  quads(f: Func, variant: WeightVariant, operand: ByteOperand): QuadReader;
  /** Packs `kCount` k of 16 rows from (n, k) into steps at `out[at…]`. Rows past N repeat the last one: their scale is 0. */
  packSteps(source: SourceRows, n: number, k: number, kCount: number, out: Uint32Array, at: number): void;
  /** Code of weight (n, k) in packed units, and the zero point of its block: for references and tests. */
  code(data: Uint8Array | Int8Array, rowBytes: number, n: number, k: number): number;
  zeroPoint(zeroPoints: Uint8Array | Int8Array, blocks: number, n: number, block: number): number;
}

const GROUPS = [0, 1, 2, 3] as const;
/** One value per group of four rows. */
export const eachGroup = <T>(value: (g: 0 | 1 | 2 | 3) => T): T[] => GROUPS.map(value);

/** Byte offset of row n (the last one again past N) in the source. */
export const rowOffset = ({ rowBytes, N }: SourceRows, n: number): number => Math.min(n, N - 1) * rowBytes;
