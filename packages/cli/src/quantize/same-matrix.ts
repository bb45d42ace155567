/** Do two tensors hold the same matrix? Exporters write a tied head as a second, transposed copy of its embedding. */
import { floatRows } from '@msd/onnx/model';
import type { FloatMatrixOf } from './targets.ts';

const SLAB = 2 ** 17;

export function isSameMatrix(a: FloatMatrixOf, b: FloatMatrixOf): boolean {
  const { N, K } = a;
  if (N !== b.N || K !== b.K || a.isHalf !== b.isHalf) return false;
  const [readA, readB] = [a, b].map(({ held, isTransposed }) => floatRows({ N, K, tensor: held.tensor, isTransposed }));
  const count = Math.max(1, Math.min(N, Math.floor(SLAB / K)));
  const [rowsA, rowsB] = [new Float32Array(count * K), new Float32Array(count * K)];
  for (let n = 0; n < N; n += count) {
    const some = Math.min(count, N - n);
    const [x, y] = [rowsA.subarray(0, some * K), rowsB.subarray(0, some * K)];
    readA!(n, some, x);
    readB!(n, some, y);
    if (!x.every((value, i) => value === y[i])) return false;
  }
  return true;
}
