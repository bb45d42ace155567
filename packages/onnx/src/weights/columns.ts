/**
 * int8 or uint8 weights with one scale, or one per output channel, as MatMulInteger, DequantizeLinear and QLinearMatMul have them:
 * [K, N] as ONNX multiplies, or [N, K] where the file has them transposed. A packed matrix is read by rows [n, k], so columns are
 * gathered through the cache, blocks of both.
 */
import { INT8, UINT8 } from '../data-types.ts';
import { elementCount, partReader, type TensorRef, tensorBytes, tensorFloats, tensorRange } from '../read/tensor.ts';
import { bytesOf, type Matrix, type MatrixRows, matrixKey } from './matrix.ts';

export interface Columns {
  readonly N: number;
  readonly K: number;
  /** N · K elements of int8 or uint8, in memory [K, N], or [N, K] if `byRows`. */
  readonly data: TensorRef;
  readonly byRows?: boolean;
  /** What multiplies: each a number, or a tensor of one or N floats (f32 or fp16). */
  readonly scales: readonly (TensorRef | number)[];
  /** One or N, of the type of `data`. Absent: 0. */
  readonly zeroPoints: TensorRef | undefined;
}

/** Of which tensors `columnsMatrix` makes no matrix; `undefined` if it does. */
export function refusedColumns({ N, K, data, scales, zeroPoints }: Columns): string | undefined {
  if (!(N > 0 && K > 0)) return `weights have shape [${data.dims.join(', ')}]`;
  const isEach = (tensor: TensorRef): boolean => [1, N].includes(elementCount(tensor)) && alongOneDimension(tensor);
  const wrong = scales.find((scale): scale is TensorRef => typeof scale !== 'number' && !isEach(scale));
  if (wrong) return `scales have shape [${wrong.dims.join(', ')}]`;
  if (zeroPoints && !isEach(zeroPoints)) return `zero points have shape [${zeroPoints.dims.join(', ')}]`;
  return undefined;
}

const alongOneDimension = ({ dims }: TensorRef): boolean => dims.filter((dim) => dim !== 1).length <= 1;

export function columnsMatrix({ N, K, data, byRows = false, scales, zeroPoints }: Columns): Matrix {
  const isSigned = data.elemType === INT8;
  const zeros = storedZeroPoints(isSigned, zeroPoints);
  const tensors = scales.filter((scale): scale is TensorRef => typeof scale !== 'number');
  const numbers = scales.filter((scale) => typeof scale === 'number');
  return {
    key: matrixKey('columns', [N, K, byRows, numbers], [data, zeroPoints, ...tensors]),
    format: 'int8',
    N,
    K,
    blockSize: null,
    storedZeroPoints: zeros !== undefined,
    scale: 'f32',
    fileBytes: bytesOf(data, zeroPoints, ...tensors),
    tensors: [data, ...tensors, ...(zeroPoints ? [zeroPoints] : [])],
    open() {
      const read = bytesReader(data, { N, K, byRows });
      const scale = productOf(
        tensors.map((tensor) => tensorFloats(tensor)),
        numbers,
      );
      return (n, count, into): ReturnType<MatrixRows> => {
        const bytes = read(n, count, into);
        const part = <T extends Uint8Array | Int8Array | Float32Array>(of: T): T =>
          of.length === 1 ? of : (of.subarray(n, n + count) as T);
        return {
          format: 'int8',
          N: count,
          K,
          blockSize: null,
          data: isSigned ? new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length) : bytes,
          scales: part(scale),
          ...(zeros && { zeroPoints: part(zeros) }),
        };
      };
    },
  };
}

/** Zero points as @msd/core wants them: none where weights are symmetric, which is 128 for uint8. */
function storedZeroPoints(isSigned: boolean, tensor: TensorRef | undefined): Uint8Array | Int8Array | undefined {
  const bytes = tensor ? new Uint8Array(tensorBytes(tensor)) : new Uint8Array(1);
  if (bytes.every((zero) => zero === (isSigned ? 0 : 128))) return undefined;
  return isSigned ? new Int8Array(bytes.buffer) : bytes;
}

/** Rounded once for each factor. */
function productOf(factors: readonly Float32Array[], numbers: readonly number[]): Float32Array {
  const product = new Float32Array(Math.max(1, ...factors.map(({ length }) => length))).fill(1);
  for (const number of numbers) for (let n = 0; n < product.length; n++) product[n]! *= number;
  for (const factor of factors)
    for (let n = 0; n < product.length; n++) product[n]! *= factor[factor.length === 1 ? 0 : n]!;
  return product;
}

/** Rows [n, n + count) of K bytes each, in `into` if they fit there. */
type ReadRows = (n: number, count: number, into: Uint8Array) => Uint8Array;

/** Reads rows [n, k] of bytes that a file has as [N, K] (`byRows`) or [K, N]. */
export const bytesReader = (data: TensorRef, { N, K, byRows }: Pick<Columns, 'N' | 'K' | 'byRows'>): ReadRows =>
  byRows ? rowsOf(data, K) : columnsOf(data, N, K);

function rowsOf(data: TensorRef, K: number): ReadRows {
  const read = partReader(data);
  return (n, count, into) => read(n * K, count * K, into);
}

function columnsOf(data: TensorRef, N: number, K: number): ReadRows {
  let whole: Uint8Array | undefined;
  return (n, count, into) => {
    whole ??= wholeOf(data);
    const rows = into.length >= count * K ? into.subarray(0, count * K) : new Uint8Array(count * K);
    transposeColumns(whole, N, n, rows, K);
    return rows;
  };
}

/** What is read from a file at a time. */
const PIECE = 2 ** 24;

/** All elements: those in memory as they lie there, those of a file read once, for every strip of columns touches all of them. */
function wholeOf(data: TensorRef): Uint8Array {
  const range = tensorRange(data);
  if (!range || range.source.bytes) return tensorBytes(data);
  const { source, offset, length } = range;
  const whole = new Uint8Array(length);
  for (let begin = 0; begin < length; begin += PIECE) {
    const into = whole.subarray(begin, Math.min(begin + PIECE, length));
    const piece = source.read(offset + begin, into.length, into);
    if (piece.buffer !== whole.buffer) into.set(piece);
  }
  return whole;
}

/** Rows of the file whose lines stay in the first cache beside what is written. */
const BLOCK = 64;

/**
 * Columns [n, n + rows.length / K) of `from` [K, N] become `rows`, each K long. Four by four bytes are exchanged in words: 2 to 3
 * times faster than one by one.
 */
function transposeColumns(from: Uint8Array, N: number, n: number, rows: Uint8Array, K: number): void {
  const source = new DataView(from.buffer, from.byteOffset, from.byteLength);
  const target = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
  const count = rows.length / K;
  const [wholeRows, wholeK] = [count - (count % 4), K - (K % 4)];
  for (let k0 = 0; k0 < wholeK; k0 += BLOCK) {
    const kEnd = Math.min(k0 + BLOCK, wholeK);
    for (let row = 0; row < wholeRows; row += 4)
      for (let k = k0, at = k0 * N + n + row, to = row * K + k0; k < kEnd; k += 4, at += 4 * N, to += 4) {
        const a = source.getUint32(at, true);
        const b = source.getUint32(at + N, true);
        const c = source.getUint32(at + 2 * N, true);
        const d = source.getUint32(at + 3 * N, true);
        const ab0 = (a & 0xff00ff) | ((b & 0xff00ff) << 8);
        const ab1 = ((a >>> 8) & 0xff00ff) | (b & 0xff00ff00);
        const cd0 = (c & 0xff00ff) | ((d & 0xff00ff) << 8);
        const cd1 = ((c >>> 8) & 0xff00ff) | (d & 0xff00ff00);
        target.setUint32(to, (ab0 & 0xffff) | (cd0 << 16), true);
        target.setUint32(to + K, (ab1 & 0xffff) | (cd1 << 16), true);
        target.setUint32(to + 2 * K, (ab0 >>> 16) | (cd0 & 0xffff0000), true);
        target.setUint32(to + 3 * K, (ab1 >>> 16) | (cd1 & 0xffff0000), true);
      }
  }
  for (let row = 0; row < count; row++)
    for (let k = row < wholeRows ? wholeK : 0; k < K; k++) rows[row * K + k] = from[k * N + n + row]!;
}

/** Element types of such weights. */
export const COLUMN_TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([INT8, UINT8]);
