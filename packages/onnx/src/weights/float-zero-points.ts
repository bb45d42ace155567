/**
 * Zero points that are floats, one for each block [N, blocks]. Kernels take codes: each zero point becomes the nearest code, and what
 * that leaves is the same for all weights of a block, `scale · (code − zero point)`. A second matrix has it: all its weights are 1,
 * its scales are what is left.
 */
import { SCALE_LIMIT } from '@msd/core';
import { floatReader, type TensorRef } from '../read/tensor.ts';
import { bytesOf, type Matrix, matrixKey } from './matrix.ts';
import { putCode } from './numbers.ts';

export interface FloatZeroPoints {
  readonly N: number;
  readonly K: number;
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  /** f32 or float16 [N, blocks], as the zero points are. */
  readonly scales: TensorRef;
  readonly zeroPoints: TensorRef;
}

/** The nearest code; of what lies outside, the last one. */
export const zeroCode = (zeroPoint: number, bits: number): number =>
  Math.max(0, Math.min(2 ** bits - 1, Math.round(zeroPoint)));

/** Values that are looked at at a time. */
const AT_ONCE = 2 ** 16;

/** Do codes say it all? Else a reason why no kernel could, if there is one. */
export function zeroPointCodes({ N, K, bits, blockSize, scales, zeroPoints }: FloatZeroPoints): boolean | string {
  const [readScales, readZeroPoints] = [floatReader(scales), floatReader(zeroPoints)];
  const total = N * Math.ceil(K / blockSize);
  let isExact = true;
  for (let first = 0; first < total; first += AT_ONCE) {
    const count = Math.min(AT_ONCE, total - first);
    const zeros = readZeroPoints(first, count);
    const factors = readScales(first, count);
    for (let i = 0; i < count; i++) {
      const left = zeroCode(zeros[i]!, bits) - zeros[i]!;
      if (!(Math.abs(left * factors[i]!) < SCALE_LIMIT)) return `a zero point is ${zeros[i]}`;
      isExact &&= left === 0;
    }
  }
  return isExact;
}

/** Rows of codes, each from a byte on, as MatMulNBits has them. */
export function zeroPointRows({
  K,
  bits,
  blockSize,
  zeroPoints,
}: FloatZeroPoints): (n: number, count: number) => Uint8Array {
  const read = floatReader(zeroPoints);
  const blocks = Math.ceil(K / blockSize);
  const rowBytes = Math.ceil((blocks * bits) / 8);
  return (n, count) => {
    const zeros = read(n * blocks, count * blocks);
    const codes = new Uint8Array(count * rowBytes);
    for (let i = 0; i < zeros.length; i++)
      putCode(codes, Math.floor(i / blocks) * rowBytes, i % blocks, bits, zeroCode(zeros[i]!, bits));
    return codes;
  };
}

/** Weights of 2 bits that all mean 1: codes 3 beside a zero point of 2. */
const ONES = 0xff;

/** What codes leave of the weights. */
export function zeroPointRest(from: FloatZeroPoints): Matrix {
  const { N, K, bits, blockSize, scales, zeroPoints } = from;
  const blocks = Math.ceil(K / blockSize);
  return {
    key: matrixKey('zero points', [N, K, bits, blockSize], [scales, zeroPoints]),
    format: 'int2',
    N,
    K,
    blockSize,
    storedZeroPoints: false,
    scale: 'f32',
    fileBytes: bytesOf(zeroPoints),
    tensors: [scales, zeroPoints],
    open() {
      const [readScales, readZeroPoints] = [floatReader(scales), floatReader(zeroPoints)];
      return (n, count, into) => {
        const factors = readScales(n * blocks, count * blocks);
        const zeros = readZeroPoints(n * blocks, count * blocks);
        return {
          format: 'int2',
          N: count,
          K,
          blockSize,
          data: into.subarray(0, (count * blocks * blockSize) / 4).fill(ONES),
          scales: Float32Array.from(factors, (factor, i) => factor * (zeroCode(zeros[i]!, bits) - zeros[i]!)),
        };
      };
    },
  };
}
