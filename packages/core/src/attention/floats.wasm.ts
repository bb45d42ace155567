/** Products of f32 rows with f32 panels of 16: Σ of one chain for each row and column, none of them over lanes. */
import { type Func, f32x4, type I32, i32, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, range, tile } from '../wasm/loops.ts';

/** Rows of the register tiles: of all 16 columns. */
export const FLOAT_TILES = [{ rows: 2 }, { rows: 1 }] as const;
const VECTORS = 4;

export interface FloatProducts {
  readonly x: readonly Local<'i32'>[];
  readonly panel: Local<'i32'>;
  readonly steps: I32 | number;
  /** What begins a sum: its first product, or 0 that products are added to. */
  readonly start: 'product' | 'zero';
  /** Given four times an element of x: all ones where its products are left out. Default: none are. */
  readonly hidden?: ((x: Local<'v128'>) => V128) | undefined;
}

/** s = fl(s + fl(x · w)), steps ascending, for each row and group of four columns. x and the panel are moved past it. */
export function floatProducts(f: Func, { x, panel, steps, start, hidden }: FloatProducts): Local<'v128'>[][] {
  const sums = tile(x.length, VECTORS, () => f.let(v128.const16(0)));
  const step = (use: (sum: Local<'v128'>, product: V128) => void) => {
    const w = range(VECTORS).map((g) => f.let(v128.load(panel, 16 * g)));
    for (const [i, pointer] of x.entries()) {
      const one = f.let(v128.load32Splat(pointer));
      const isHidden = hidden && f.let(hidden(one));
      for (const [g, sum] of sums[i].entries()) {
        const product = f32x4.mul(one, w[g]);
        use(sum, isHidden ? v128.andNot(product, isHidden) : product);
      }
      advance(pointer, 4);
    }
    advance(panel, 16 * VECTORS);
  };
  const add = () => step((sum, value) => sum.set(f32x4.add(sum, value)));
  if (start === 'zero') f.repeat(steps, add);
  else {
    step((sum, value) => sum.set(value));
    f.repeat(i32.sub(steps, 1), add);
  }
  return sums;
}
