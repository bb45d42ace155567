/**
 * windows_<kind>_f32: sums, means or maxima of windows of an image with its channels last. WebAssembly SIMD128.
 *
 *   y[i,j,c] = clamp(Σ_t x[i,j,t,c] · w[t,c] + bias[c])   mean: Σ_t x / (down · across);  max: the largest x
 *
 * x      f32, of lines xLine and columns xColumn bytes apart; taps lie tapLine and tapColumn bytes apart
 * w      f32 [down, across, channels], rows of taps wLine bytes apart
 * bias   f32 [channels]; 0 = none
 * y      f32 [lines, columns, channels], overwritten; lines yLine bytes apart
 * least, most    of y, as bits of an f32; for 'weighted' alone
 *
 * All channels of a position before the next one: x lies that way, and w stays in the cache. Weighted windows go two columns at a time,
 * which read w once for both. Channels left over are computed by ones: nothing is read or written past the last one.
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import { type Func, f32, f32x4, type I32, i32, i32x4, type Local, v128 } from '../../wasm/emitter.ts';
import { advance, each, range } from '../../wasm/loops.ts';
import type { WindowsOp } from './contract.ts';

const ARGS = [
  'x',
  'xLine',
  'xColumn',
  'tapLine',
  'tapColumn',
  'w',
  'wLine',
  'bias',
  'y',
  'yLine',
  'lines',
  'columns',
  'channels',
  'down',
  'across',
  'least',
  'most',
] as const;

/** Vectors that go through the taps together. */
const VECTORS = [4, 1] as const;

export type WindowKind = WindowsOp['kind'];

export const windowKernels: KernelSpec<WindowKind, (typeof ARGS)[number]> = {
  family: 'windows',
  args: ARGS,
  id: (kind) => `windows_${kind}_f32`,
  trial: (_, at) => ({
    x: at,
    xLine: 1280,
    xColumn: 128,
    tapLine: 1280,
    tapColumn: 128,
    w: at + 0x8000,
    wLine: 384,
    bias: at + 0xa000,
    y: at + 0xc000,
    yLine: 1024,
    lines: 8,
    columns: 8,
    channels: 32,
    down: 3,
    across: 3,
    least: 0xff800000 | 0,
    most: 0x7f800000,
  }),
  emit(module, kind) {
    module.func(windowKernels.id(kind), i32Params(ARGS), (f, p) => {
      const wTap = f.let(i32.shl(p.channels, 2));
      const count = f.let(f32x4.convertI32x4S(i32x4.splat(i32.mul(p.down, p.across))));
      const ends = { least: f.let(i32x4.splat(p.least)), most: f.let(i32x4.splat(p.most)) };
      f.repeat(p.lines, () => {
        const [x, y] = [f.let(p.x), f.let(p.y)];
        const some = (positions: Positions) => {
          const at = { x: f.let(x), w: f.let(p.w), bias: f.let(p.bias), y: f.let(y) };
          const left = f.let(p.channels);
          for (const vectors of VECTORS) {
            f.repeat(i32.divU(left, 4 * vectors), () => {
              vectorWindows(f, kind, { vectors, positions }, p, at, wTap, { count, ...ends });
              for (const pointer of [at.x, at.w, at.y]) advance(pointer, 16 * vectors);
              f.when(p.bias, () => advance(at.bias, 16 * vectors));
            });
            left.set(i32.remU(left, 4 * vectors));
          }
          f.repeat(left, () => {
            oneWindow(f, kind, positions, p, at, wTap, { count, ...ends });
            for (const pointer of [at.x, at.w, at.y]) advance(pointer, 4);
            f.when(p.bias, () => advance(at.bias, 4));
          });
          for (const _ of range(positions)) {
            advance(x, p.xColumn);
            advance(y, wTap);
          }
        };
        if (kind === 'weighted') {
          f.repeat(i32.shrU(p.columns, 1), () => some(2));
          f.when(i32.and(p.columns, 1), () => some(1));
        } else f.repeat(p.columns, () => some(1));
        advance(p.x, p.xLine);
        advance(p.y, p.yLine);
      });
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export const windowVariants = (): Iterable<WindowKind> => ['weighted', 'mean', 'max'];

/** Columns that go through the taps together. */
type Positions = 1 | 2;
type Args = Readonly<Record<(typeof ARGS)[number], Local<'i32'>>>;
/** In all four lanes: the number of taps, and the ends of what y may be. */
type Lanes = Readonly<Record<'count' | 'least' | 'most', Local<'v128'>>>;
type At = Readonly<Record<'x' | 'w' | 'bias' | 'y', Local<'i32'>>>;

/** Calls `body` for every tap, with pointers to x and to w. */
function eachTap(f: Func, p: Args, at: At, wTap: I32, body: (x: Local<'i32'>, w: Local<'i32'>) => void): void {
  const [xLine, wLine] = [f.let(at.x), f.let(at.w)];
  f.repeat(p.down, () => {
    const [x, w] = [f.let(xLine), f.let(wLine)];
    f.repeat(p.across, () => {
      body(x, w);
      advance(x, p.tapColumn);
      advance(w, wTap);
    });
    advance(xLine, p.tapLine);
    advance(wLine, p.wLine);
  });
}

function vectorWindows(
  f: Func,
  kind: WindowKind,
  { vectors, positions }: { readonly vectors: number; readonly positions: Positions },
  p: Args,
  at: At,
  wTap: I32,
  { count, least, most }: Lanes,
): void {
  const first = (g: number) => f.let(kind === 'max' ? v128.load(at.x, 16 * g) : v128.const16(0));
  const sums = range(positions).map(() => range(vectors).map(first));
  eachTap(f, p, at, wTap, (x, w) => {
    const columns = range(positions).map((i) => (i === 0 ? x : f.let(i32.add(x, p.xColumn))));
    for (const g of range(vectors)) {
      const weight = kind === 'weighted' ? f.let(v128.load(w, 16 * g)) : undefined;
      for (const [i, column] of columns.entries()) {
        const [sum, own] = [sums[i][g], v128.load(column, 16 * g)];
        if (kind === 'max') sum.set(f32x4.max(sum, own));
        else sum.set(f32x4.add(sum, weight ? f32x4.mul(own, weight) : own));
      }
    }
  });
  const rows = range(positions).map((i) => (i === 0 ? at.y : f.let(i32.add(at.y, wTap))));
  each(sums, (sum, i, g) => {
    if (kind === 'mean') sum.set(f32x4.div(sum, count));
    if (kind === 'weighted') {
      f.when(p.bias, () => sum.set(f32x4.add(sum, v128.load(at.bias, 16 * g))));
      sum.set(f32x4.pmin(f32x4.pmax(sum, least), most));
    }
    f.storeV128(rows[i], sum, 16 * g);
  });
}

/** The same with one lane of four. */
function oneWindow(
  f: Func,
  kind: WindowKind,
  positions: Positions,
  p: Args,
  at: At,
  wTap: I32,
  { count, least, most }: Lanes,
): void {
  const one = (pointer: I32) => f32x4.splat(f32.load(pointer));
  for (const i of range(positions)) {
    const [column, y] = [f.let(at.x), f.let(at.y)];
    for (const _ of range(i)) {
      advance(column, p.xColumn);
      advance(y, wTap);
    }
    const sum = f.let(kind === 'max' ? one(column) : v128.const16(0));
    eachTap(f, p, { ...at, x: column }, wTap, (x, w) => {
      if (kind === 'max') sum.set(f32x4.max(sum, one(x)));
      else sum.set(f32x4.add(sum, kind === 'mean' ? one(x) : f32x4.mul(one(x), one(w))));
    });
    if (kind === 'mean') sum.set(f32x4.div(sum, count));
    if (kind === 'weighted') {
      f.when(p.bias, () => sum.set(f32x4.add(sum, one(at.bias))));
      sum.set(f32x4.pmin(f32x4.pmax(sum, least), most));
    }
    f.storeLane32(y, sum, 0);
  }
}
