/** A few cases of every op: what each device has to compute. An op is a line here once it is in nn/index.ts. */
import {
  argMax,
  concat,
  copy,
  elementwise,
  gather,
  gatherRows,
  matMul,
  norm,
  pad,
  reduce,
  rotary,
  slice,
  softmax,
  split,
  transpose,
  windows,
} from '../src/nn/index.ts';
import { type DType, elementCount, type OpSpec, type Tensor, tensorArrays } from '../src/ops/op.ts';
import { gaussian, type Random, random } from './random.ts';

export interface OpCase {
  readonly spec: OpSpec<unknown>;
  readonly op: unknown;
  readonly inputs: readonly (Tensor | undefined)[];
}

/** Values with NaN, infinities and zeros among them. */
function values(next: Random, dtype: DType, dims: readonly number[]): Tensor {
  const special = [Number.NaN, Infinity, -Infinity, 0, -0];
  const one = () => (next() < 0.02 ? special[Math.floor(next() * special.length)] : 3 * gaussian(next));
  const draw = { f32: one, i32: () => Math.floor(next() * 7) - 3, bool: () => (next() < 0.5 ? 0 : 1) }[dtype];
  return { dtype, dims, data: tensorArrays[dtype].from(Array.from({ length: elementCount(dims) }, draw)) };
}

export function opCases(seed = 1): OpCase[] {
  const next = random(seed);
  const f32 = (...dims: number[]) => values(next, 'f32', dims);
  const i32 = (...dims: number[]) => values(next, 'i32', dims);
  const indices = (count: number, below: number): Tensor => ({
    dtype: 'i32',
    dims: [count],
    data: Int32Array.from({ length: count }, () => Math.floor(next() * below)),
  });
  const cases: OpCase[] = [];
  const add = <O>(spec: OpSpec<O>, op: O, ...inputs: (Tensor | undefined)[]) =>
    cases.push({ spec: spec as OpSpec<unknown>, op, inputs });
  const swish = {
    nodes: [
      { fn: 'Silu', args: [0] },
      { fn: 'Mul', args: [2, 1] },
    ],
    outputs: [3],
  } as const;
  add(elementwise, swish, f32(3, 1, 37), f32(2, 37));
  add(elementwise, swish, f32(64, 130), f32(64, 130));
  const both = {
    nodes: [
      { fn: 'Add', args: [0, 1] },
      { fn: 'Less', args: [0, 1] },
    ],
    outputs: [2, 3],
  } as const;
  add(elementwise, both, f32(5, 7), f32());
  add(elementwise, { nodes: [{ fn: 'Abs', args: [0] }], outputs: [1] }, f32(0, 4));
  add(norm, { kind: 'rms', epsilon: 1e-6, sum: true }, f32(9, 48), f32(48), undefined, f32(9, 48), f32(48));
  add(norm, { kind: 'layer', epsilon: 1e-5, mean: true, invStdDev: true }, f32(2, 3, 33), f32(33), f32(33));
  add(softmax, { kind: 'softmax' }, f32(3, 4, 50));
  add(softmax, { kind: 'log_softmax', axes: 2 }, f32(3, 4, 5));
  add(reduce, { kind: 'mean', axes: [1] }, f32(4, 9, 5));
  add(reduce, { kind: 'max', axes: [-1], keepDims: false }, i32(7, 20));
  add(argMax, { kind: 'arg_max', axis: -1 }, f32(6, 100));
  add(rotary, {}, f32(2, 5, 32), f32(20, 4), f32(20, 4), { ...indices(10, 20), dims: [2, 5] });
  add(gather, { axis: 1 }, f32(2, 6, 9), indices(4, 6));
  add(gatherRows, { table: { rows: 6, columns: 20, format: 'f32' } }, f32(6, 20), indices(7, 6));
  add(matMul, {}, f32(2, 3, 17), f32(17, 40));
  add(copy, transpose([4, 5, 6], [2, 0, 1]), f32(4, 5, 6));
  add(copy, slice([9, 8], { starts: [1, 7], ends: [8, 0], steps: [2, -2] }), i32(9, 8));
  add(
    copy,
    concat(
      [
        [2, 3],
        [2, 5],
      ],
      1,
    ),
    f32(2, 3),
    f32(2, 5),
  );
  add(copy, split([6, 4], 0, [1, 5]), f32(6, 4));
  add(copy, pad([3, 4], { before: [1, 0], after: [0, 2], value: 7 }), f32(3, 4));
  const two = { strides: [2, 1], dilations: [1, 2] } as const;
  add(windows, { kind: 'weighted', kernel: [3, 3], ...two }, f32(2, 9, 8, 21), f32(9, 21), f32(21));
  add(windows, { kind: 'mean', kernel: [2, 3], ...two }, f32(1, 6, 7, 18));
  add(windows, { kind: 'max', kernel: [3, 2], ...two }, f32(1, 6, 7, 18));
  return cases;
}
