/** Products of f32 rows with f32 panels of 16: Σ of one chain for each row and column, none of them over lanes. */
import type { Unroll } from '../gemm/registry.ts';
import { type Func, f32x4, type I32, i32, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, range, tile } from '../wasm/loops.ts';

/** Rows of the register tiles: of all 16 columns. */
export const FLOAT_TILES = [{ rows: 2 }, { rows: 1 }] as const;
const VECTORS = 4;

export interface FloatProducts {
  readonly x: readonly Local<'i32'>[];
  /** One, or two side by side: a single row waits for its four sums. */
  readonly panels: readonly Local<'i32'>[];
  /** A multiple of four if sums begin with a product. */
  readonly steps: I32;
  /** 2: an engine that keeps the order of operations. It takes four steps per turn then: 8 % faster. */
  readonly unroll: Unroll;
  /** What begins a sum: its first product, or 0 that products are added to. */
  readonly start: 'product' | 'zero';
  /** Given four times an element of x: all ones where its products are left out. Default: none are. */
  readonly hidden?: ((x: Local<'v128'>) => V128) | undefined;
}

/** s = fl(s + fl(x · w)), steps ascending, for each row and group of four columns. x and the panels are moved past it. */
export function floatProducts(f: Func, { x, panels, steps, unroll, start, hidden }: FloatProducts): Local<'v128'>[][] {
  const sums = tile(x.length, VECTORS * panels.length, () => f.let(v128.const16(0)));
  const perTurn = unroll === 1 ? 1 : 4;
  const turn = (count: number, begins = false) => {
    for (const u of range(count)) {
      const vectors = panels.flatMap((panel) => range(VECTORS).map((g) => v128.load(panel, 16 * (VECTORS * u + g))));
      // Those of two panels are loaded right before their products: there is no room for eight of them beside eight sums.
      const w = panels.length === 1 ? vectors.map((vector) => f.let(vector)) : vectors;
      for (const [i, pointer] of x.entries()) {
        const one = f.let(v128.load32Splat(pointer, 4 * u));
        const isHidden = hidden && f.let(hidden(one));
        for (const [g, sum] of sums[i].entries()) {
          const product = f32x4.mul(one, w[g]);
          const value = isHidden ? v128.andNot(product, isHidden) : product;
          sum.set(begins && u === 0 ? value : f32x4.add(sum, value));
        }
      }
    }
    for (const pointer of x) advance(pointer, 4 * count);
    for (const panel of panels) advance(panel, 16 * VECTORS * count);
  };
  const turns = i32.shrU(steps, Math.log2(perTurn));
  if (start === 'product') {
    turn(perTurn, true);
    f.repeat(i32.sub(turns, 1), () => turn(perTurn));
  } else {
    f.repeat(turns, () => turn(perTurn));
    if (perTurn > 1) f.repeat(i32.and(steps, perTurn - 1), () => turn(1));
  }
  return sums;
}
