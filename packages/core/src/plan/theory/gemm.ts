/**
 * Latency of y [M,N] = x [M,K] · Wᵀ with quantized weights: dequantized first, against P passes on the integers themselves.
 *
 * Symbols: M rows, N outputs, K reduction; P passes; b bytes of a weight; R rows of a tile; unit of all times: seconds.
 * A model of the machine's own limits: no kernel is faster, and good ones come near.
 */
import type { Accelerator } from './machine.ts';

/** One product. */
export interface ProductShape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Weights in memory, and what multiplies them. */
export interface WeightKind {
  /** Of a weight with its share of scales: 1 + 1/128 for int8 with a bf16 scale per 256, 0.53 for MXFP4. */
  readonly bytes: number;
  /** What a pass multiplies with. */
  readonly unit: 'int8' | 'fp4';
}

/** Which part of the machine a stage keeps busy. */
export type Part = 'memory' | 'vector' | 'matrix';

/** What a product takes. */
export interface Latency {
  /** Seconds that each part is busy. */
  readonly busy: Readonly<Record<Part, number>>;
  /** Of all of it. */
  readonly seconds: number;
  /** The part that is busy longest. */
  readonly limit: Part;
  /** Bytes over the bus of global memory. */
  readonly bytes: number;
}

const TERA = 1e12;
const BF16 = 2;
const F32 = 4;
/** Vector operations per weight that is dequantized: one conversion, one multiplication by its scale. */
const DEQUANTIZE = 2;
/** Vector operations per activation and pass: multiply, round, subtract what the digit is worth; and one for the block's maximum. */
const DECOMPOSE = 3;
const MAXIMUM = 1;
/** Vector operations per output and pass: convert, multiply, add. */
const RECOMBINE = 3;

/** Options of {@link dequantizeFirst} and {@link severalPasses}. */
export interface LatencyOptions {
  /**
   * Tiles that a matrix is cut into, which pass through the parts one after the other: 1 = nothing overlaps, Infinity = all is
   * hidden behind the part that takes longest. Default 16.
   */
  readonly tiles?: number;
}

/**
 * Weights become BF16 first, then one product in BF16.
 *
 *   vector   2 · N · K ÷ vector rate                       convert, multiply by the scale
 *   matrix   ceil(M/R) · R · N · K ÷ BF16 rate
 *   memory   (b + w) · N · K + 2 · M · K + 2 · M · N bytes ÷ bandwidth
 *            decoupled: w = 2 + 2, BF16 is written and read again.  Else w = 0, weights go on chip from unit to unit
 *
 * @returns seconds by {@link pipelined}
 */
export function dequantizeFirst(
  machine: Accelerator,
  { M, N, K }: ProductShape,
  weights: WeightKind,
  options: LatencyOptions = {},
): Latency {
  const between = machine.units === 'decoupled' ? 2 * BF16 : 0;
  return latency(machine, options, {
    vector: DEQUANTIZE * N * K,
    matrix: (fullRows(M, machine) * N * K) / machine.matrixTmacs.bf16,
    bytes: (weights.bytes + between) * N * K + BF16 * M * (K + N),
  });
}

/**
 * MSD: activations are decomposed, weights are multiplied as they are, P times.
 *
 *   vector   (1 + 3P) · M · K + 3P · M · N ÷ vector rate   decompose, recombine: weights are not touched
 *   matrix   ceil(P·M/R) · R · N · K ÷ integer rate        passes are more rows of the same product
 *   memory   b · N · K + 2 · M · K + 2 · M · N bytes; decoupled: + 2 · P · M · (K + 4 · N), digits and int32 sums through memory
 *
 * @throws {@link RangeError} for a pass that the machine has no unit for
 */
export function severalPasses(
  machine: Accelerator,
  { M, N, K }: ProductShape,
  weights: WeightKind,
  passes: number,
  options: LatencyOptions = {},
): Latency {
  const rate = machine.matrixTmacs[weights.unit];
  if (rate === undefined)
    throw new RangeError(`severalPasses: ${machine.name} expected to multiply ${weights.unit}, it has no rate for it.`);
  const between = machine.units === 'decoupled' ? 2 * passes * M * (K + F32 * N) : 0;
  return latency(machine, options, {
    vector: (MAXIMUM + DECOMPOSE * passes) * M * K + RECOMBINE * passes * M * N,
    matrix: (fullRows(passes * M, machine) * N * K) / rate,
    bytes: weights.bytes * N * K + BF16 * M * (K + N) + between,
  });
}

/** Rows that the matrix unit computes: whole tiles. */
const fullRows = (rows: number, { tileRows }: Accelerator): number => Math.ceil(rows / tileRows) * tileRows;

/** @param work operations of vectors, 10¹²ths of products per rate, bytes */
function latency(
  { units, vectorTops, memoryTerabytes }: Accelerator,
  { tiles = 16 }: LatencyOptions,
  work: { readonly vector: number; readonly matrix: number; readonly bytes: number },
): Latency {
  const busy = {
    memory: work.bytes / memoryTerabytes / TERA,
    vector: work.vector / vectorTops / TERA,
    matrix: work.matrix / TERA,
  };
  const parts = Object.keys(busy) as Part[];
  const limit = parts.reduce((a, b) => (busy[b] > busy[a] ? b : a));
  const stages = units === 'same' ? [busy.memory, busy.vector + busy.matrix] : Object.values(busy);
  return { busy, seconds: pipelined(stages, tiles), limit, bytes: work.bytes };
}

/**
 * Time of stages that equal tiles pass through one after the other: the first tile through all of them, the others behind the
 * longest.
 *
 *   T = Σ t / tiles + (1 − 1/tiles) · max t
 *
 * @param seconds of each stage for all tiles
 */
export function pipelined(seconds: readonly number[], tiles: number): number {
  const sum = seconds.reduce((a, b) => a + b, 0);
  return sum / tiles + (1 - 1 / tiles) * Math.max(0, ...seconds);
}
