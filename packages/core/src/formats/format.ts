/**
 * What a weight format defines: how kernels read it, and how a file's bytes become panels.
 *
 * Packed layout, the same for every format (docs/msd.md, "Packed weights"):
 *
 *   [K / 256 K-blocks][N / 16 panels][blocks: head, then steps]
 *
 *   head   16 scales (f32, fp16 or E8M0) if blockwise, then 16 zero codes (1 byte each) if stored
 *   step   16 rows x 4 k as unsigned codes. Byte i of lane r of a vector belongs to (row r, k + [0, 2, 1, 3][i]) of the groups of
 *          four rows that lie in it, lowest bits first: of 8 bits one (group g in vector g), of 4 two, of 2 all four.
 *
 * A lane is the operand of i32x4.relaxed_dot_i8x16_i7x16_add_s; its even bytes and its odd bytes are those of
 * i32x4.dot_i16x8_s. With the activations of the same k splatted to all lanes, either adds to four *different* outputs: no
 * horizontal sums, and a block's scales apply to four outputs per instruction.
 */
import type { Func, Local, V128 } from '../wasm/emitter.ts';
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

/** What a kernel is specialised for, in addition to the format. */
export interface WeightVariant {
  /** `null` = one scale per output channel. */
  readonly blockSize: number | null;
  /** Zero points lie in the heads; otherwise the format's symmetric one holds. */
  readonly storedZeroPoints: boolean;
  /** Form of the scales in the heads; per channel they are f32. */
  readonly scale: ScaleId;
}

/** Which of the four k of a lane each of its bytes holds. */
export const QUAD = [0, 2, 1, 3] as const;

/** The form in which codes are needed. */
export interface CodeOptions {
  /** 8: one operand, lanes of 4 k as bytes. 16: two operands, lanes of 2 k as 16-bit integers: (k, k+1), then (k+2, k+3). */
  readonly laneBits: 8 | 16;
  readonly nested: Nesting;
}

/**
 * How vectors hold the groups that share a byte. Nested, each takes one operation; the sums are told apart once per chunk, by
 * subtracting neighbours.
 *
 *   false   one group, alone: up to two operations
 *   low     vector i holds groups 0 … i as they lie there, Σ code[j] · 2^(bits·j): a mask, or nothing for whole bytes
 *   high    vector i holds groups i … last, brought down: a shift, and no register for a mask
 */
export type Nesting = false | 'low' | 'high';

export interface CodeReader {
  /** The code that means 0, unless zero codes are stored. */
  readonly zeroCode: number;
  /** As requested, or `false` if the format does not support it. */
  readonly nested: Nesting;
  /** The groups that lie in a vector of a step, as operand 0 or 1. */
  groups(vector: Local<'v128'>): (operand: number) => V128[];
}

/** A file's rows, addressed by byte. */
export interface SourceRows {
  readonly view: DataView;
  readonly rowBytes: number;
  readonly N: number;
  /** Valid k per row; blockwise rows are padded to whole blocks, and all of that may be read. */
  readonly readableK: number;
  /** 0x80808080 turns signed bytes q into codes q + 128; otherwise 0. */
  readonly flip: number;
}

export interface WeightFormat {
  readonly id: FormatId;
  readonly bits: 2 | 4 | 8;
  /** Bits of the unsigned bytes that a dot product takes. With 8, it matters how the engine treats the top bit. */
  readonly operandBits: 7 | 8;
  /** Smallest and largest block size; powers of two. */
  readonly blockSizes: readonly [min: number, max: number];
  readonly perChannel: boolean;
  readonly scaleIds: readonly ScaleId[];
  /** May zero points be stored? */
  readonly asymmetric: boolean;
  /** Zero point of symmetric weights, in the units of `code`. */
  readonly symmetricZeroPoint: number;
  /** Packed codes and zero points are those of `code` plus this: unsigned. */
  readonly packedOffset: number;
  /** k per scaled integer sum, the `chunk` of the f32 contract. A block never shares a chunk with another one. */
  chunkSize(blockSize: number | null): number;
  /** Can vectors of bytes be nested? */
  readonly nests: boolean;
  /**
   * Are codes looked up in a table? That takes longer than multiplying them, so panels are widened from two rows on.
   */
  readonly table: boolean;
  /** Call it once, outside of the loops: constants go into locals. */
  codes(f: Func, options: CodeOptions): CodeReader;
  /** Packs `kCount` k of 16 rows from (n, k) into steps at `out[at…]`. Rows past N repeat the last one: their scale is 0. */
  packSteps(source: SourceRows, n: number, k: number, kCount: number, out: Uint32Array, at: number): void;
  /** Weight (n, k), and the zero point of its block, in the units of the file: for references and tests. */
  code(data: Uint8Array | Int8Array, rowBytes: number, n: number, k: number): number;
  zeroPoint(zeroPoints: Uint8Array | Int8Array, blocks: number, n: number, block: number): number;
}

const GROUPS = [0, 1, 2, 3] as const;
/** One value per group of four rows. */
export const eachGroup = <T>(value: (g: 0 | 1 | 2 | 3) => T): T[] => GROUPS.map(value);

/** Byte offset of row n (the last one again past N) in the source. */
export const rowOffset = ({ rowBytes, N }: SourceRows, n: number): number => Math.min(n, N - 1) * rowBytes;

/** Vectors of a step, and groups of four rows that lie in each of them. */
export const stepVectors = ({ bits }: Pick<WeightFormat, 'bits'>): number => bits / 2;
export const stepBytes = (format: Pick<WeightFormat, 'bits'>): number => 16 * stepVectors(format);
