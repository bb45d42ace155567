/** Matrices made of others: with their k in another order, or some of their rows. */
import { type Matrix, made } from './matrix.ts';

/**
 * A matrix of 8 bits whose k are in another order than in its file: convolutions have taps inside of channels, rows the other way round.
 *
 * @param order which k of the file each k is; `undefined`: they are as they should be
 */
export function reordered(matrix: Matrix, order: Int32Array | undefined): Matrix {
  if (!order) return matrix;
  return made(matrix, {
    key: JSON.stringify([matrix.key, order.join()]),
    open() {
      const rows = matrix.open();
      const before = new Uint8Array(order.length);
      return (n, count, into) => {
        const weights = rows(n, count, into);
        const { data } = weights;
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        const out = into.subarray(0, bytes.length);
        for (let at = 0; at < bytes.length; at += order.length) {
          before.set(bytes.subarray(at, at + order.length));
          for (let k = 0; k < order.length; k++) out[at + k] = before[order[k]!]!;
        }
        const isSigned = data instanceof Int8Array;
        return { ...weights, data: isSigned ? new Int8Array(out.buffer, out.byteOffset, out.length) : out };
      };
    },
  });
}

/** Rows [first, first + N) as a matrix of their own. */
export function someRows(matrix: Matrix, first: number, N: number): Matrix {
  if (N === matrix.N) return matrix;
  return made(matrix, {
    key: JSON.stringify([matrix.key, first, N]),
    N,
    fileBytes: (matrix.fileBytes / matrix.N) * N,
    open() {
      const rows = matrix.open();
      return (n, count, into) => rows(first + n, count, into);
    },
  });
}
