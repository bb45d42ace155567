/**
 * Weights of recurrent layers: one tensor for both directions, of which each is a matrix of its own. Behind a DequantizeLinear they are
 * [directions, rows, K], as LSTM has them; [directions, K, rows] as DynamicQuantizeLSTM has them.
 */

import { dataTypeBits } from '../data-types.ts';
import type { Matcher } from '../passes/matcher.ts';
import { elementCount, partReader, type TensorRef } from '../read/tensor.ts';
import { type Columns, columnsMatrix, refusedColumns } from './columns.ts';
import { computedTensor } from './computed.ts';
import { weightsOf } from './constant.ts';
import { type Matrix, made } from './matrix.ts';

/** A matrix for each direction, or why there is none. */
export function dequantizedDirections(matcher: Matcher, name: string): readonly Matrix[] | string {
  const [count, N, K] = (matcher.info(name)?.dims ?? []) as readonly number[];
  const wrong = wrongCount(count!);
  if (wrong !== undefined) return wrong;
  const weights = weightsOf(matcher, name, true, [count! * N!, K!]);
  if (weights === undefined) return 'weights are not constant';
  if (weights.kind === 'floats') return weights.reason ?? 'weights are floats';
  return perDirection(weights.matrix, count!);
}

/** Rows of both directions, one after the other, as a matrix for each. */
export function perDirection(matrix: Matrix, count: number): readonly Matrix[] | string {
  const N = matrix.N / count;
  return (
    wrongCount(count) ?? Array.from({ length: count }, (_, d) => (count === 1 ? matrix : rowsOf(matrix, d * N, N)))
  );
}

const wrongCount = (count: number): string | undefined =>
  count === 1 || count === 2 ? undefined : `weights of ${count} directions`;

/** Some rows of a matrix, as one of their own. */
export function rowsOf(matrix: Matrix, first: number, N: number): Matrix {
  return made(matrix, {
    key: `${matrix.key} [${first}, ${first + N})`,
    N,
    fileBytes: Math.ceil((matrix.fileBytes * N) / matrix.N),
    open() {
      const rows = matrix.open();
      return (n, count, into) => rows(first + n, count, into);
    },
  });
}

/** A matrix for each direction, scales and zero points of one element or of one for each row. */
export function columnDirections(
  data: TensorRef,
  scales: TensorRef,
  zeroPoints: TensorRef | undefined,
): readonly Matrix[] | string {
  const [count, K, N] = data.dims as readonly [number, number, number];
  const wrong = wrongCount(count);
  if (wrong !== undefined) return wrong;
  const matrices: Matrix[] = [];
  for (let d = 0; d < count; d++) {
    const part = (tensor: TensorRef): TensorRef => (count === 1 ? tensor : partOf(tensor, d, count));
    const columns: Columns = {
      N,
      K,
      data: part(data),
      scales: [part(scales)],
      zeroPoints: zeroPoints && part(zeroPoints),
    };
    const refused = refusedColumns(columns);
    if (refused !== undefined) return refused;
    matrices.push(columnsMatrix(columns));
  }
  return matrices;
}

/** One of `count` equal parts of a tensor. */
function partOf(tensor: TensorRef, d: number, count: number): TensorRef {
  const { name, elemType, dims } = tensor;
  const bytes = dataTypeBits(elemType)! / 8;
  const type = { name: `${name} [${d}]`, elemType, dims: dims.slice(1) };
  const first = (d * elementCount(tensor)) / count;
  return computedTensor(type, [tensor], (begin, length, out) => {
    out.set(partReader(tensor)((first + begin) * bytes, length * bytes));
  });
}
