import type { CodebookId } from './codebook.ts';

/** Names of weight formats, the same in types, files, CLI flags and kernel ids. */
export type FormatId = 'int8' | 'int4' | 'mxfp4' | 'int2' | CodebookId;

/** Shape and format of a matrix, without its elements. */
export interface WeightShape {
  readonly format: FormatId;
  /** Output channels. */
  readonly N: number;
  /** Reduction length. */
  readonly K: number;
  /** Consecutive k that share one scale: a power of two from 16 up (mxfp4: 32); `null` = one per output channel, or one for the whole matrix (int8 only). */
  readonly blockSize: number | null;
}

/**
 * A quantized weight matrix [N,K], as files store it: `real = scale · (q − zeroPoint)`.
 *
 * Blockwise matrices are padded along K to whole blocks, as in GGUF and ONNX MatMulNBits; what the padding holds does
 * not matter. `blocks = ceil(K / blockSize)`, per channel `blocks = 1`.
 */
export interface QuantizedWeights extends WeightShape {
  /**
   * - `int4`: `Uint8Array` [N, blocks, blockSize / 2], codes 0..15, even k in the low nibble.
   * - `int2`: `Uint8Array` [N, blocks, blockSize / 4], codes 0..3, lowest bits first.
   * - `mxfp4`: `Uint8Array` [N, blocks, 16], E2M1 codes, even k in the low nibble (ONNX, gpt-oss).
   * - `nf4`, `fp4`, and `nf4low`, `fp4low`, what these leave: `Uint8Array` [N, blocks, blockSize / 2], codes of {@link codebooks}, even k in the low nibble (bitsandbytes
   *   has it in the high one).
   * - `int8`: `Int8Array` (signed), or `Uint8Array` (codes 0..255, held as q − 128): [N, K] per channel,
   *   [N, blocks, blockSize] blockwise.
   */
  readonly data: Uint8Array | Int8Array;
  /**
   * [N, blocks]: `Float32Array`, or `Uint16Array` of fp16 bits (blocks of int4 and int8), or `Uint8Array` of E8M0 codes
   * (mxfp4). Those of `nf4` and its like are a block's largest magnitude times the codebook's step. They keep that form in memory. Where `blockSize` is `null` a single value may stand for all rows. Finite and below 2⁹⁰ in magnitude; negative scales are fine.
   */
  readonly scales: Float32Array | Uint16Array | Uint8Array;
  /**
   * In the units of `data`. `int4` and `int2`: `Uint8Array` [N, ceil(blocks · bits / 8)], lowest bits first; `int8`: same class
   * as `data`, [N, blocks], or a single one where `blockSize` is `null`. Absent = symmetric: 8 for int4, 2 for int2, 0 for signed int8, 128 for unsigned int8.
   */
  readonly zeroPoints?: Uint8Array | Int8Array;
}
