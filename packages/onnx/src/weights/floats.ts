/**
 * Weights that the file keeps in float and the session quantizes while it loads: rows at a time, so that neither a second copy of
 * the matrix nor more than one slab of its floats ever exists.
 */
import { type QuantizedWeights, quantizeWeights } from '@msd/core';
import { FLOAT16 } from '../data-types.ts';
import { floatReader, floatsOf, partReader, type TensorRef } from '../read/tensor.ts';
import { bytesOf, type Matrix, type MatrixRows, matrixKey, type RoundingError } from './matrix.ts';

export type FloatFormat = 'int8' | 'int4';

export interface Floats {
  readonly format: FloatFormat;
  readonly N: number;
  readonly K: number;
  /** float32 or float16: [N, K], or [K, N] with `isTransposed`. */
  readonly tensor: TensorRef;
  readonly isTransposed: boolean;
  /** What all of them are multiplied by: Gemm's alpha. */
  readonly times?: number | undefined;
  /**
   * int8, too, has a scale for each 32 k: rows of convolutions have a few weights that are far larger than the others, and lose three
   * times as much with one scale each.
   */
  readonly inBlocks?: boolean | undefined;
  /** Which k of the file each k of the matrix is. Not with `isTransposed`. */
  readonly order?: Int32Array | undefined;
}

/** k that share a scale, unless all of a row do. */
const BLOCK = 32;

export function floatMatrix(floats: Floats): Matrix {
  const { format, N, K, tensor, isTransposed, times = 1, order, inBlocks = false } = floats;
  const blockSize = format === 'int8' && !inBlocks ? null : BLOCK;
  const sums = new RowSums();
  return {
    key: matrixKey('floats', [format, blockSize, N, K, isTransposed, times, order?.join()], [tensor]),
    format,
    N,
    K,
    blockSize,
    storedZeroPoints: false,
    scale: 'f32',
    fileBytes: bytesOf(tensor),
    tensors: [tensor],
    open: () => quantizer(floats, blockSize, sums),
    rounding: () => sums.error(),
  };
}

function quantizer(floats: Floats, blockSize: number | null, sums: RowSums): MatrixRows {
  const { format, K, times = 1, order } = floats;
  const readRows = floatRows(floats);
  let slab = new Float32Array(0);
  return (n, count) => {
    if (slab.length < count * K) slab = new Float32Array(count * K);
    const rows = slab.subarray(0, count * K);
    readRows(n, count, rows);
    if (order) for (let at = 0; at < rows.length; at += K) reorder(rows.subarray(at, at + K), order);
    if (times !== 1) for (let i = 0; i < rows.length; i++) rows[i]! *= times;
    const weights = quantizeWeights(rows, { N: count, K, format, blockSize });
    sums.add(rows, weights);
    return weights;
  };
}

/** Fills `out` with rows [n, n + count) of [N, K]. */
export type ReadFloats = (n: number, count: number, out: Float32Array) => void;

/** What reading rows of a float matrix takes to know. */
export type FloatMatrix = Pick<Floats, 'N' | 'K' | 'tensor' | 'isTransposed'>;

/** Rows of a matrix [N, K], which may lie in the file as [K, N]: no more than a window of it is in memory. */
export const floatRows = (matrix: FloatMatrix): ReadFloats =>
  matrix.isTransposed ? columnReader(matrix) : rowReader(matrix);

function rowReader({ tensor, K }: FloatMatrix): ReadFloats {
  if (tensor.elemType === FLOAT16) {
    const read = floatReader(tensor);
    return (n, count, out) => out.set(read(n * K, count * K));
  }
  const read = partReader(tensor);
  return (n, count, out) => {
    // Straight into place where the source has no memory of its own.
    const bytes = read(4 * n * K, 4 * count * K, new Uint8Array(out.buffer, out.byteOffset, out.byteLength));
    if (bytes.buffer !== out.buffer) out.set(floatsOf(bytes));
  };
}

/** Columns that are read at a time: a file's lines are then long enough to be worth a read each. */
const WINDOW_BYTES = 2 ** 22;

function columnReader({ tensor, N, K }: FloatMatrix): ReadFloats {
  const read = floatReader(tensor);
  const width = Math.min(N, Math.max(16, Math.floor(WINDOW_BYTES / (4 * K))));
  let [window, begin, end] = [new Float32Array(0), 0, 0];
  const load = (n: number) => {
    [begin, end] = [n, Math.min(N, n + width)];
    if (window.length === 0) window = new Float32Array(width * K);
    for (let k = 0; k < K; k++) {
      const values = read(k * N + begin, end - begin);
      for (let i = 0; i < values.length; i++) window[i * K + k] = values[i]!;
    }
  };
  return (n, count, out) => {
    for (let done = 0; done < count; ) {
      const at = n + done;
      if (at < begin || at >= end) load(at);
      const part = Math.min(count - done, end - at);
      out.set(window.subarray((at - begin) * K, (at - begin + part) * K), done * K);
      done += part;
    }
  };
}

function reorder(row: Float32Array, order: Int32Array): void {
  const before = row.slice();
  for (let k = 0; k < row.length; k++) row[k] = before[order[k]!]!;
}

/** Adds up squares, row by row. */
class RowSums {
  #lost = 0;
  #all = 0;
  #worst = 0;

  add(real: Float32Array, { N, K, blockSize, data, scales }: QuantizedWeights): void {
    const blocks = blockSize === null ? 1 : Math.ceil(K / blockSize);
    const length = blockSize ?? K;
    for (let n = 0; n < N; n++) {
      let [lost, all] = [0, 0];
      for (let b = 0; b < blocks; b++) {
        const scale = scales[n * blocks + b]!;
        const [from, last] = [n * K + b * length, Math.min(length, K - b * length)];
        const codes = (n * blocks + b) * length;
        for (let i = 0; i < last; i++) {
          const code = data instanceof Int8Array ? data[codes + i]! : nibble(data, codes + i) - 8;
          const value = real[from + i]!;
          const off = value - code * scale;
          lost += off * off;
          all += value * value;
        }
      }
      this.#lost += lost;
      this.#all += all;
      if (lost > 0) this.#worst = Math.max(this.#worst, lost / all);
    }
  }

  error(): RoundingError {
    const relativeL2 = this.#lost > 0 ? Math.sqrt(this.#lost / this.#all) : 0;
    return { relativeL2, worstRow: Math.sqrt(this.#worst) };
  }
}

const nibble = (codes: Uint8Array, i: number): number => (codes[i >> 1]! >> (4 * (i & 1))) & 15;
