/** What a gemm kernel is specialised for, its name, and what it is called with (gemm/gemm.wasm.ts). */
import { K_BLOCK, K_STEP, MIN_BLOCK, PANEL, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import { type CarrierOptions, carrierOf, I16, type Reading } from './carriers.ts';

/** A widened panel: 16 rows x 256 k as i16, and at most one head of 16 scales per 16 k. One of bytes takes less. */
export const WIDENED_BYTES: number = K_BLOCK * PANEL * 2 + (K_BLOCK / MIN_BLOCK) * PANEL * 4;
/** Rows that a call may have, if it has several of i8 or widens. */
export const MOST_ROWS = 256;
/** Rows that a call may have with `quads`: it copies a K-block of each to where a widened panel would be. */
export const QUAD_ROWS: number = Math.floor(WIDENED_BYTES / (2 * K_BLOCK));
/** A widened panel, and for each row what its chunks start from. */
export const SCRATCH_BYTES: number = WIDENED_BYTES + 4 * MOST_ROWS * (K_BLOCK / K_STEP);

export interface GemmOptions {
  readonly format: WeightFormat;
  readonly variant: WeightVariant;
  /** Default i16. */
  readonly carrier?: CarrierOptions;
  /** k per activation scale; row scales come as 256. Default 256. */
  readonly activationBlock?: 256 | 32;
  readonly widen: boolean;
  /** Rows of a register tile; rows left over go through tiles of half of it, and so on. */
  readonly tileM: number;
  /**
   * Columns of a register tile. Unless `widen`, the groups of whole vectors of a step: at least 4 of int8, 8 of four bits, 16 of two
   * or with stored zero points. Tiles for rows left over have twice as many where half the rows leave room.
   */
  readonly tileN?: 4 | 8 | 16;
  readonly kUnroll?: 1 | 2 | 4 | 8;
  /** Distant panels that a tile works on in turns, 32 k at a time; 1 if `widen`. See "streams" above. Default 1. */
  readonly streams?: 1 | 2 | 4 | 8;
  /**
   * Bytes become an operand of two columns as they are loaded, eight at a time, and a sum comes in two parts. For `i16`, bytes without
   * stored zero points, and at most QUAD_ROWS rows. What rows leave over goes through tiles of one row less each.
   */
  readonly quads?: true;
  /** How many of them a tile has side by side, sharing its activations. Default 1. */
  readonly abreast?: 1 | 2;
}

export function gemmId(options: GemmOptions): string {
  const {
    format,
    variant,
    carrier = I16,
    activationBlock,
    widen,
    tileM,
    tileN = PANEL,
    kUnroll = 1,
    streams = 1,
    abreast = 1,
    quads,
  } = options;
  const { name } = carrierOf(carrier, format, variant, readingOf(options));
  const scale = variant.scale === 'f16' ? '_f16' : '';
  const block = variant.blockSize ? `_b${Math.min(variant.blockSize, K_BLOCK)}${scale}` : '';
  const flags = `${activationBlock === 32 ? '_a32' : ''}${variant.storedZeroPoints ? '_zp' : ''}${kUnroll > 1 ? `_u${kUnroll}` : ''}${streams > 1 ? `_s${streams}` : ''}${abreast > 1 ? `_a${abreast}` : ''}${quads ? '_quads' : ''}${widen ? '_widen' : ''}`;
  return `gemm_${name}_${format.id}_f32_${tileM}x${tileN}${block}${flags}`;
}

/** Turns of one step are for engines that load the operands of all steps first (backends/wasm/routes.ts, `unroll`). */
export function readingOf({ widen, tileM, tileN = PANEL, kUnroll = 1, streams = 1, quads }: GemmOptions): Reading {
  const apart = !widen && tileM > 1 && kUnroll === 1 && !quads;
  return { quads, widen, shared: tileM > 1 && streams < 2, apart, crowded: apart && tileN === PANEL };
}

/** In this order. */
export const GEMM_ARGS = [
  'x',
  'xSums',
  'xScale',
  'w',
  'wScale',
  'bias',
  'y',
  'yStride',
  'scratch',
  'M',
  'K',
  'panels',
  'first',
  'count',
] as const;
