/**
 * Weights of experts as QMoE has them: one tensor [experts, rows, packed K] for all. Each expert is a matrix of its own, and where rows
 * of gates and of what they gate take turns, it is two: a step that needs either reads them side by side.
 */
import { floatReader, partReader, type TensorRef } from '../read/tensor.ts';
import { INTEGER_FORMATS, type Matrix, matrixKey } from './matrix.ts';

export interface ExpertTensors {
  readonly bits: 2 | 4 | 8;
  readonly K: number;
  /** Elements that share a scale in the file; 0 = all of a row. */
  readonly blockSize: number;
  /** uint8 [experts, rows, K · bits / 8] */
  readonly data: TensorRef;
  /** f32 or fp16 [experts, rows, blocks], or [experts, rows]. */
  readonly scales: TensorRef;
  /** uint8 [experts, rows, ceil(blocks · bits / 8)] */
  readonly zeroPoints: TensorRef | undefined;
}

/** Some rows of the tensor, all experts' one after the other. */
export interface ExpertRows {
  readonly first: number;
  readonly count: number;
  /** From one row to the next. */
  readonly stride: number;
}

/** Fewest k that a block may have. */
const SMALLEST: Readonly<Record<2 | 4 | 8, number>> = { 2: 32, 4: 16, 8: 32 };

/** k per scale of the packed matrix; `undefined` if there is none that kernels take. Rows of fewer than 8 bits repeat their scale. */
export function expertBlock({
  bits,
  K,
  blockSize,
}: Pick<ExpertTensors, 'bits' | 'K' | 'blockSize'>): number | null | undefined {
  if (blockSize === 0 && bits === 8) return null;
  let block = blockSize;
  if (block === 0) for (block = 1; K % (2 * block) === 0; ) block *= 2;
  return block >= SMALLEST[bits] ? block : undefined;
}

export function expertMatrix(tensors: ExpertTensors, { first, count: N, stride }: ExpertRows): Matrix {
  const { bits, K, data, scales, zeroPoints } = tensors;
  const format = INTEGER_FORMATS.get(bits)!;
  const blockSize = expertBlock(tensors)!;
  const blocks = blockSize === null ? 1 : Math.ceil(K / blockSize);
  const scalesPerRow = tensors.blockSize === 0 ? 1 : blocks;
  const rowBytes = (K * bits) / 8;
  const packedRowBytes = ((blockSize === null ? K : blocks * blockSize) * bits) / 8;
  const zeroBytes = zeroPoints ? Math.ceil((blocks * bits) / 8) : 0;
  return {
    key: matrixKey('experts', [bits, K, tensors.blockSize, first, N, stride], [data, scales, zeroPoints]),
    format,
    N,
    K,
    blockSize,
    storedZeroPoints: zeroPoints !== undefined,
    scale: 'f32',
    tensors: [data, scales, ...(zeroPoints ? [zeroPoints] : [])],
    fileBytes: N * (rowBytes + 4 * scalesPerRow + zeroBytes),
    open() {
      const [readData, readScales] = [partReader(data), floatReader(scales)];
      const readZeroPoints = zeroPoints && partReader(zeroPoints);
      let staged = new Uint8Array(0);
      return (n, count, into) => {
        const from = first + n * stride;
        const span = (count - 1) * stride + 1;
        const isPacked = stride === 1 && rowBytes === packedRowBytes;
        if (!isPacked && staged.length < span * rowBytes) staged = new Uint8Array(span * rowBytes);
        const rows = readData(from * rowBytes, span * rowBytes, isPacked ? into : staged);
        const values = readScales(from * scalesPerRow, span * scalesPerRow);
        const zeros = readZeroPoints?.(from * zeroBytes, span * zeroBytes);
        return {
          format,
          N: count,
          K,
          blockSize,
          data: isPacked
            ? rows
            : pick(rows, rowBytes, stride, into.subarray(0, count * packedRowBytes), packedRowBytes),
          scales: Float32Array.from(
            { length: count * blocks },
            (_, i) => values[Math.floor(i / blocks) * stride * scalesPerRow + (scalesPerRow === 1 ? 0 : i % blocks)]!,
          ),
          ...(zeros && { zeroPoints: pick(zeros, zeroBytes, stride, new Uint8Array(count * zeroBytes), zeroBytes) }),
        };
      };
    },
  };
}

/** Every `stride`th row, each at the beginning of `width` bytes. */
function pick(rows: Uint8Array, rowBytes: number, stride: number, to: Uint8Array, width: number): Uint8Array {
  for (let at = 0, from = 0; at < to.length; at += width, from += stride * rowBytes)
    to.set(rows.subarray(from, from + rowBytes), at);
  return to;
}
