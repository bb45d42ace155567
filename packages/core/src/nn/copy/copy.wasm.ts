/**
 * copy_<kind>_<bytes>: one strided copy. WebAssembly SIMD128. Everything in bytes; steps may be negative.
 *
 *   run        to[0 … bytes) = from[0 … bytes)
 *   fill       to[0 … bytes) = value, four bytes again and again
 *   splat      to[i · size] = from[0]                               0 ≤ i < count
 *   elements   to[i · toStep] = from[i · fromStep]                  0 ≤ i < count
 *   transpose  to[i · toStep + j · 4] = from[j · fromStep + i · 4]  0 ≤ i < rows, 0 ≤ j < columns; 4 x 4 elements at a time
 *
 * count<d>, from<d>, to<d>  for each loop around it, the outermost is 0: turns, and how far both sides go on per turn
 *
 * Nothing else is read or written.
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import { type Func, type I32, i32, i32x4, type Local, v128 } from '../../wasm/emitter.ts';
import { advance, range, transposed } from '../../wasm/loops.ts';
import { copyRun, fillRun } from './runs.wasm.ts';

const ARGS = {
  run: ['from', 'to', 'bytes'],
  fill: ['to', 'value', 'bytes'],
  splat: ['from', 'to', 'count'],
  elements: ['from', 'to', 'count', 'fromStep', 'toStep'],
  transpose: ['from', 'to', 'rows', 'columns', 'fromStep', 'toStep'],
} as const;

export type CopyKind = keyof typeof ARGS;

export interface CopyKernel {
  readonly kind: CopyKind;
  /** Of an element; a run and a fill don't ask. */
  readonly size: 1 | 2 | 4 | 8;
  /** Loops around it. */
  readonly loops: number;
}

const knowsSize = (kind: CopyKind): boolean => kind === 'splat' || kind === 'elements';

const loopArgs = ({ kind, loops }: CopyKernel): string[] =>
  range(loops).flatMap((d) => [`count${d}`, ...(kind === 'fill' ? [] : [`from${d}`]), `to${d}`]);

export const copyKernels: KernelSpec<CopyKernel> = {
  family: 'copy',
  args: (params) => [...ARGS[params.kind], ...loopArgs(params)],
  id: ({ kind, size, loops }) => `copy_${kind}${knowsSize(kind) ? `_${8 * size}` : ''}${loops ? `_${loops}d` : ''}`,
  trial(params, at) {
    const counts = Object.fromEntries(loopArgs(params).map((name) => [name, name.startsWith('count') ? 1 : 0]));
    const [from, to] = [at, at + 32768];
    return {
      ...counts,
      from,
      to,
      value: 0,
      bytes: 4096,
      count: 1024,
      fromStep: 128,
      toStep: 128,
      rows: 32,
      columns: 32,
      ...(params.kind === 'elements' && { fromStep: 16, toStep: 16 }),
    };
  },
  emit(module, params) {
    const { kind, loops } = params;
    module.func(copyKernels.id(params), i32Params([...ARGS[kind], ...loopArgs(params)]), (f, p) => {
      nest(0, p.from, p.to);
      function nest(d: number, from: Local<'i32'>, to: Local<'i32'>) {
        if (d === loops) return emitters[kind](f, { ...p, from, to }, params.size);
        f.repeat(p[`count${d}`], () => {
          nest(d + 1, kind === 'fill' ? from : f.let(from), f.let(to));
          if (kind !== 'fill') advance(from, p[`from${d}`]);
          advance(to, p[`to${d}`]);
        });
      }
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export function* copyVariants(): Generator<CopyKernel> {
  for (const loops of [0, 1, 2, 3])
    for (const kind of ['run', 'fill', 'transpose'] as const) yield { kind, size: 4, loops };
  for (const loops of [0, 1])
    for (const kind of ['splat', 'elements'] as const)
      for (const size of [1, 2, 4, 8] as const) yield { kind, size, loops };
}

type Args = Readonly<Record<string, Local<'i32'>>>;

/** Pointers move: each emitter has its own. */
const emitters: Readonly<Record<CopyKind, (f: Func, p: Args, size: number) => void>> = {
  run: (f, p) => copyRun(f, p.from, p.to, p.bytes),
  fill: (f, p) => fillRun(f, p.to, f.let(i32x4.splat(p.value)), p.bytes),
  splat(f, p, size) {
    const four = { 1: v128.load8Splat, 2: v128.load16Splat, 4: v128.load32Splat, 8: v128.load64Splat }[size]!;
    fillRun(f, p.to, f.let(four(p.from)), i32.mul(p.count, size));
  },
  elements(f, p, size) {
    f.repeat(p.count, () => {
      copyElement(f, p.from, p.to, size);
      advance(p.from, p.fromStep);
      advance(p.to, p.toStep);
    });
  },
  transpose(f, p) {
    const [fromFour, toFour] = [p.fromStep, p.toStep].map((step) => f.let(i32.shl(step, 2)));
    const steps = (step: I32) => [0, 1, 2, 3].map((i) => f.let(i32.mul(step, i)));
    const [fromSteps, toSteps] = [steps(p.fromStep), steps(p.toStep)];
    f.repeat(i32.shrU(p.rows, 2), () => {
      const [from, to] = [f.let(p.from), f.let(p.to)];
      f.repeat(i32.shrU(p.columns, 2), () => {
        const lines = fromSteps.map((step) => f.let(v128.load(i32.add(from, step))));
        for (const [i, column] of transposed(f, lines).entries()) f.storeV128(i32.add(to, toSteps[i]), column);
        advance(from, fromFour);
        advance(to, 16);
      });
      f.repeat(i32.and(p.columns, 3), () => {
        for (const [i, step] of toSteps.entries()) f.storeI32(i32.add(to, step), i32.load(from, 4 * i));
        advance(from, p.fromStep);
        advance(to, 4);
      });
      advance(p.from, 16);
      advance(p.to, toFour);
    });
    f.repeat(i32.and(p.rows, 3), () => {
      const [from, to] = [f.let(p.from), f.let(p.to)];
      f.repeat(p.columns, () => {
        copyElement(f, from, to, 4);
        advance(from, p.fromStep);
        advance(to, 4);
      });
      advance(p.from, 4);
      advance(p.to, p.toStep);
    });
  },
};

function copyElement(f: Func, from: I32, to: I32, size: number): void {
  if (size === 1) f.storeI8(to, i32.load8U(from));
  else if (size === 2) f.storeI16(to, i32.load16U(from));
  else for (const offset of range(size / 4)) f.storeI32(to, i32.load(from, 4 * offset), 4 * offset);
}
