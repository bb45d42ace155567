/**
 * MatMul of two float operands that are both computed, or whose weights a file keeps in float: no decomposition, no
 * quantization.
 *
 *   y[…,m,n] = Σ_k a[…,m,k] · w[…,k,n]          from +0, k ascending, one f32 rounding per operation
 *
 * Leading dimensions broadcast against each other as in ONNX MatMul; a one-dimensional operand is a row (a) or a column (w)
 * whose dimension of 1 is left out of the result.
 */
import { type KernelCall, kernelCall } from '../../kernel-spec.ts';
import { complete, elementCount, type OpSpec, type TensorType } from '../../ops/op.ts';
import { indexOf, stridesOf } from '../../ops/strides.ts';
import { COLUMNS, matMulKernel } from './mat-mul.wasm.ts';

/** Nothing but its operands decides what a MatMul does. */
export type MatMul = Readonly<Record<string, never>>;

/** Leading dimensions, with the strides of both operands over them in matrices; 0 where one is repeated. */
interface Shapes {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly lead: readonly number[];
  readonly a: readonly number[];
  readonly w: readonly number[];
  readonly result: readonly number[];
}

export const matMulOnWasm: OpSpec<MatMul> = {
  name: 'matMul',
  infer(_, [a, w]) {
    return [{ dtype: 'f32', dims: shapesOf(a, w).result }];
  },
  wasm(_, [a, w]) {
    const shapes = shapesOf(a, w);
    const { M, N, K, lead } = shapes;
    if (elementCount(lead) * M * N === 0) return { calls: [], scratchBytes: 0 };
    // Rows of one matrix after the other, all times the same weights, are one matrix of more rows.
    const folds =
      shapes.w.every((stride) => stride === 0) && shapes.a.every((stride, i) => stride !== 0 || lead[i] === 1);
    if (folds) return { calls: [call({ M: M * elementCount(lead), N, K }, 0, 0, 0, 1, 0, 0)], scratchBytes: 0 };
    const inner = lead.at(-1) ?? 1;
    const outer = lead.slice(0, -1);
    const calls: KernelCall[] = [];
    for (let b = 0; b < elementCount(outer); b++) {
      const [aAt, wAt] = [indexOf(b, outer, shapes.a), indexOf(b, outer, shapes.w)];
      calls.push(call(shapes, aAt, wAt, b * inner, inner, shapes.a.at(-1) ?? 0, shapes.w.at(-1) ?? 0));
    }
    return { calls, scratchBytes: 0 };
  },
};

export const matMul = /* @__PURE__ */ complete(matMulOnWasm, {
  reference(_, [a, w], [y], arithmetic) {
    const { M, N, K, lead, ...strides } = shapesOf(a, w);
    const fl = arithmetic === 'float32' ? Math.fround : (value: number) => value;
    for (let b = 0; b < elementCount(lead); b++) {
      const [aAt, wAt] = [M * K * indexOf(b, lead, strides.a), K * N * indexOf(b, lead, strides.w)];
      for (let m = 0; m < M; m++)
        for (let n = 0; n < N; n++) {
          let sum = 0;
          for (let k = 0; k < K; k++) sum = fl(sum + fl(a!.data[aAt + m * K + k] * w!.data[wAt + k * N + n]));
          y.data[(b * M + m) * N + n] = sum;
        }
    }
  },
});

/** `batch` matrices from numbers aAt, wAt and yAt on; threads share rows, or columns where there is only one row. */
function call(
  { M, N, K }: Pick<Shapes, 'M' | 'N' | 'K'>,
  aAt: number,
  wAt: number,
  yAt: number,
  batch: number,
  aStep: number,
  wStep: number,
): KernelCall {
  const byRows = batch === 1 && M > 1;
  const panels = Math.ceil(N / COLUMNS);
  const shared = byRows ? { rows: M, macsPerRow: N * K } : { rows: panels, macsPerRow: batch * M * K * COLUMNS };
  return kernelCall(
    matMulKernel,
    undefined,
    {
      a: { operand: 0, value: 4 * M * K * aAt, perRow: byRows ? 4 * K : 0 },
      aRow: 4 * K,
      aBatch: 4 * M * K * aStep,
      w: { operand: 1, value: 4 * K * N * wAt },
      wRow: 4 * N,
      wBatch: 4 * K * N * wStep,
      y: { operand: 2, value: 4 * M * N * yAt, perRow: byRows ? 4 * N : 0 },
      yRow: 4 * N,
      yBatch: 4 * M * N,
      batch,
      M: byRows ? { rows: 1 } : M,
      N,
      K,
      first: byRows ? 0 : { perRow: 1 },
      count: byRows ? panels : { rows: 1 },
    },
    shared,
  );
}

function shapesOf(a: TensorType | undefined, w: TensorType | undefined): Shapes {
  for (const [name, operand] of Object.entries({ a, w }))
    if (operand?.dtype !== 'f32' || operand.dims.length === 0)
      throw new RangeError(
        `matMul: ${name} expected f32 of at least one dimension, got ${operand ? `${operand.dtype} [${operand.dims}]` : 'nothing'}.`,
      );
  const [left, right] = [a!.dims, w!.dims];
  const K = left.at(-1)!;
  const rows = right.length > 1 ? right.at(-2)! : right[0];
  if (rows !== K) throw new RangeError(`matMul: w expected K=${K} rows like a [${left}], got [${right}].`);
  const [M, N] = [left.length > 1 ? left.at(-2)! : 1, right.length > 1 ? right.at(-1)! : 1];
  const rank = Math.max(left.length, right.length, 2) - 2;
  const padded = (dims: readonly number[]) => {
    const lead = dims.slice(0, -2);
    return [...new Array<number>(rank - lead.length).fill(1), ...lead];
  };
  const [aLead, wLead] = [padded(left), padded(right)];
  const lead = aLead.map((dim, i) => {
    if (dim !== wLead[i] && dim !== 1 && wLead[i] !== 1)
      throw new RangeError(`matMul: leading dimensions expected to broadcast, got [${left}] and [${right}].`);
    return dim === 1 ? wLead[i] : dim;
  });
  const result = [...lead, ...(left.length > 1 ? [M] : []), ...(right.length > 1 ? [N] : [])];
  return { M, N, K, lead, a: stridesOf(aLead), w: stridesOf(wLead), result };
}
