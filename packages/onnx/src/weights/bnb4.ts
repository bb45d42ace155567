/**
 * Weights as MatMulBnb4 has them: codes of a codebook, and the largest magnitude of each block, both over the matrix as one list. A
 * block may be part of one row and part of the next one: then rows have smaller blocks, and neighbours share a magnitude.
 */
import { codebooks } from '@msd/core';
import { floatReader, partReader, type TensorRef } from '../read/tensor.ts';
import { bytesOf, type Matrix, matrixKey } from './matrix.ts';

export interface Bnb4 {
  readonly format: 'nf4' | 'fp4';
  readonly N: number;
  readonly K: number;
  /** Elements that share a magnitude: a power of two. */
  readonly blockSize: number;
  /** uint8 [N · K / 2], even elements in the high nibble. */
  readonly data: TensorRef;
  /** f32 or fp16 [ceil(N · K / blockSize)] */
  readonly absmax: TensorRef;
}

/** Fewest k that a block of a row may have. */
const SMALLEST = 16;

/** The largest block that divides rows, too: what blocks of rows can be; `undefined` if it is too small. */
export function bnb4Block({ K, blockSize }: Pick<Bnb4, 'K' | 'blockSize'>): number | undefined {
  let block = blockSize;
  while (K % block !== 0) block /= 2;
  return block >= SMALLEST ? block : undefined;
}

/**
 * Matrices that together are the weights: the larger parts of the numbers, and 256 times what these leave. They are the same codes and
 * scales, packed once.
 */
export function bnb4Matrices(bnb4: Bnb4): readonly [Matrix, Matrix] {
  const matrix = largerParts(bnb4);
  const { format, key } = matrix;
  return [
    matrix,
    { ...matrix, key: JSON.stringify([key, 'low']), format: `${format as 'nf4'}low`, fileBytes: 0, bytesOf: key },
  ];
}

function largerParts(bnb4: Bnb4): Matrix {
  const { format, N, K, data, absmax } = bnb4;
  const blockSize = bnb4Block(bnb4)!;
  const { step } = codebooks[format];
  return {
    key: matrixKey('bnb4', [format, N, K, bnb4.blockSize], [data, absmax]),
    format,
    N,
    K,
    blockSize,
    storedZeroPoints: false,
    scale: 'f32',
    fileBytes: bytesOf(data, absmax),
    open() {
      const [readData, readMagnitudes] = [partReader(data), floatReader(absmax)];
      const rowBytes = K / 2;
      return (n, count, into) => {
        const bytes = readData(n * rowBytes, count * rowBytes, into);
        const codes = into.subarray(0, bytes.length);
        for (let i = 0; i < bytes.length; i++) codes[i] = (bytes[i]! >> 4) | (bytes[i]! << 4);
        const first = Math.floor((n * K) / bnb4.blockSize);
        const end = Math.ceil(((n + count) * K) / bnb4.blockSize);
        const magnitudes = readMagnitudes(first, end - first);
        const scales = Float32Array.from({ length: (count * K) / blockSize }, (_, i) => {
          const element = n * K + i * blockSize;
          return step * magnitudes[Math.floor(element / bnb4.blockSize) - first]!;
        });
        return { format, N: count, K, blockSize, data: codes, scales };
      };
    },
  };
}
