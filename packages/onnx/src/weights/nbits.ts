/** Weights as MatMulNBits has them: rows of packed codes, block after block. */
import type { FormatId } from '@msd/core';
import { FLOAT16 } from '../data-types.ts';
import { floatsOf, halvesIn, partReader, type TensorRef, tensorByteLength } from '../read/tensor.ts';
import { bytesOf, type Matrix, matrixKey } from './matrix.ts';

export interface NBits {
  readonly format: FormatId;
  readonly bits: 2 | 4 | 8;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number;
  /** [N, blocks, blockSize · bits / 8] */
  readonly data: TensorRef;
  /** f32 or float16 [N, blocks]; what is float16 stays it in packed memory. */
  readonly scales: TensorRef;
  /** Packed like `data`, rows padded to bytes; or floats [N, blocks], of which it takes the nearest codes. */
  readonly zeroPoints: TensorRef | undefined;
}

/** Reads rows of packed codes, each from a byte on. */
type ReadCodes = (n: number, count: number) => Uint8Array;

/** @param floats reads zero points that are floats */
export function nBitsMatrix(nBits: NBits, floats?: () => ReadCodes): Matrix {
  const { format, N, K, blockSize, data, scales, zeroPoints } = nBits;
  const isHalf = scales.elemType === FLOAT16;
  const tensors = [data, scales, ...(zeroPoints ? [zeroPoints] : [])];
  return {
    key: matrixKey('nbits', [format, N, K, blockSize], [data, scales, zeroPoints]),
    format,
    N,
    K,
    blockSize,
    storedZeroPoints: zeroPoints !== undefined,
    scale: isHalf ? 'f16' : 'f32',
    fileBytes: bytesOf(data, scales, zeroPoints),
    tensors,
    ...(!floats && { stored: tensors }),
    open() {
      const [readData, readScales] = [partReader(data), partReader(scales)];
      const readZeroPoints = zeroPoints && (floats?.() ?? zeroPointReader(nBits, zeroPoints));
      const [dataRow, scaleRow] = [tensorByteLength(data) / N, tensorByteLength(scales) / N];
      let staged = new Uint8Array(0);
      return (n, count, into) => {
        if (staged.length < scaleRow * count) staged = new Uint8Array(scaleRow * count);
        const scaleBytes = readScales(n * scaleRow, count * scaleRow, staged);
        return {
          format,
          N: count,
          K,
          blockSize,
          data: readData(n * dataRow, count * dataRow, into),
          scales: isHalf ? halvesIn(scaleBytes) : floatsOf(scaleBytes),
          ...(readZeroPoints && { zeroPoints: readZeroPoints(n, count) }),
        };
      };
    },
  };
}

function zeroPointReader({ N }: NBits, zeroPoints: TensorRef): ReadCodes {
  const read = partReader(zeroPoints);
  const rowBytes = tensorByteLength(zeroPoints) / N;
  return (n, count) => read(n * rowBytes, count * rowBytes);
}
