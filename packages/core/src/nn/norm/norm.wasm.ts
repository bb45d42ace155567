/**
 * norm_<kind>[_skip][_skipbias][_scale][_bias]: what contract.ts says, row by row. WebAssembly SIMD128.
 *
 * x          f32 [rows, n]
 * scale      f32 [n]
 * bias       f32 [n]
 * skip       f32 [skipRows, n]   row r of x goes with row (firstRow + r) mod skipRows
 * skipBias   f32 [n]
 * y          f32 [rows, n]       may be x
 * mean       f32 [rows]          0: not wanted
 * invStdDev  f32 [rows]          0: not wanted
 * sum        f32 [rows, n]       x + skip (+ skipBias), may be x; 0: not wanted, y holds it between the passes
 * epsilon    the bits of an f32
 *
 * A row stays in L1 between its passes: two for rms, three for layer. The addition of `skip` is part of the first.
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import { f32x4, type I32, i32, i32x4, type Local } from '../../wasm/emitter.ts';
import { advance } from '../../wasm/loops.ts';
import { type Four, Row } from '../rows.wasm.ts';

export interface NormKernel {
  readonly kind: 'layer' | 'rms';
  readonly skip: boolean;
  readonly skipBias: boolean;
  readonly scale: boolean;
  readonly bias: boolean;
}

const ARGS = [
  'x',
  'scale',
  'bias',
  'skip',
  'skipBias',
  'y',
  'mean',
  'invStdDev',
  'sum',
  'n',
  'rows',
  'firstRow',
  'skipRows',
  'epsilon',
] as const;

const idOf = ({ kind, skip, skipBias, scale, bias }: NormKernel): string =>
  `norm_${kind}${skip ? '_skip' : ''}${skipBias ? '_skipbias' : ''}${scale ? '_scale' : ''}${bias ? '_bias' : ''}`;

export const normKernels: KernelSpec<NormKernel, (typeof ARGS)[number]> = {
  family: 'norm',
  args: ARGS,
  id: idOf,

  emit(module, kernel) {
    module.func(idOf(kernel), i32Params(ARGS), (f, p) => {
      const row = new Row(f, p.n);
      const rowBytes = f.let(i32.shl(p.n, 2));
      const count = f.let(f32x4.convertI32x4S(i32x4.splat(p.n)));
      const epsilon = f.let(i32x4.splat(p.epsilon));
      const skipRow = f.let(kernel.skip ? i32.remU(p.firstRow, p.skipRows) : i32.const(0));
      const skip = f.let(i32.add(p.skip, i32.mul(skipRow, rowBytes)));
      const z = kernel.skip ? f.let(i32.select(p.sum, p.sum, p.y)) : p.x;
      /** Pointers that walk along the row, from where these stand. */
      const walkers = (...starts: I32[]) => starts.map((start) => f.let(start));

      f.repeat(p.rows, () => {
        const inputs = walkers(p.x, ...(kernel.skip ? [z, skip] : []), ...(kernel.skipBias ? [p.skipBias] : []));
        const readZ = (four: Four) => {
          const [x, at, ...added] = inputs;
          const value = f.let(four.load(x));
          for (const pointer of added) value.set(f32x4.add(value, four.load(pointer)));
          if (kernel.skip) four.store(at, value);
          return value;
        };
        const square = (value: Local<'v128'>) => f32x4.mul(value, value);
        const mean = kernel.kind === 'layer' ? f.let(f32x4.div(row.sum(inputs, readZ), count)) : undefined;
        const [again] = walkers(z);
        const squares = mean
          ? row.sum([again], (four) => square(f.let(f32x4.sub(four.load(again), mean))))
          : row.sum(inputs, (four) => square(readZ(four)));
        const deviation = f32x4.sqrt(f32x4.add(f32x4.div(squares, count), epsilon));
        const invStdDev = f.let(f32x4.div(f32x4.const(1), deviation));
        if (mean) {
          f.when(p.mean, () => {
            f.storeLane32(p.mean, mean, 0);
            advance(p.mean, 4);
          });
        }
        f.when(p.invStdDev, () => {
          f.storeLane32(p.invStdDev, invStdDev, 0);
          advance(p.invStdDev, 4);
        });

        const [from, to] = walkers(z, p.y);
        const [scale] = kernel.scale ? walkers(p.scale) : [];
        const [bias] = kernel.bias ? walkers(p.bias) : [];
        row.each([from, to, ...(scale ? [scale] : []), ...(bias ? [bias] : [])], (four) => {
          const value = f.let(four.load(from));
          if (mean) value.set(f32x4.sub(value, mean));
          value.set(f32x4.mul(value, invStdDev));
          if (scale) value.set(f32x4.mul(value, four.load(scale)));
          if (bias) value.set(f32x4.add(value, four.load(bias)));
          four.store(to, value);
        });

        advance(p.x, rowBytes);
        advance(p.y, rowBytes);
        if (!kernel.skip) return;
        advance(z, rowBytes);
        advance(skip, rowBytes);
        advance(skipRow, 1);
        f.when(i32.geU(skipRow, p.skipRows), () => {
          skipRow.set(i32.const(0));
          skip.set(p.skip);
        });
      });
    });
  },

  trial(_, at) {
    const [n, rows] = [1000, 2];
    const [x, scale, bias, skip, skipBias, y, sum, mean] = Array.from({ length: 8 }, (_, i) => at + 8192 * i);
    const outputs = { y, sum, mean, invStdDev: mean + 4 * rows };
    return { x, scale, bias, skip, skipBias, ...outputs, n, rows, firstRow: 0, skipRows: rows, epsilon: 0 };
  },
};

/** What ships: tests and benchmarks loop over it. */
export function* normVariants(): Generator<NormKernel> {
  for (const kind of ['layer', 'rms'] as const)
    for (const scale of [false, true])
      for (const bias of [false, true])
        for (const [skip, skipBias] of [
          [false, false],
          [true, false],
          [true, true],
        ])
          yield { kind, skip, skipBias, scale, bias };
}
