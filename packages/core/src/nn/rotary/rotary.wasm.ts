/**
 * rotary_<half | interleaved>_<positions>: the f32 contract of contract.ts, token by token. WebAssembly SIMD128.
 *
 * x          f32   head h of token t = b·sequence + s lies at t·tokenStride + b·batchStride + h·headStride
 * y          f32   likewise; may be x
 * cos, sin   f32 [cacheRows, half]
 * positions  i32   one per token ('ids'), or that of the first in each sequence ('first'). Past cacheRows: the last row
 * rows       tokens, from firstRow on
 * half       pairs of a head; `rest` elements follow them and are copied
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import { f32x4, type I32, i32, type Local, type V128, v128 } from '../../wasm/emitter.ts';
import { advance, range } from '../../wasm/loops.ts';
import { Row } from '../rows.wasm.ts';
import type { RotaryShape } from './contract.ts';

export interface RotaryKernel {
  readonly interleaved: boolean;
  readonly positions: RotaryShape['positions'];
}

const ARGS = [
  'x',
  'y',
  'cos',
  'sin',
  'positions',
  'firstRow',
  'rows',
  'sequence',
  'heads',
  'tokenStride',
  'batchStride',
  'headStride',
  'half',
  'rest',
  'cacheRows',
] as const;

const idOf = ({ interleaved, positions }: RotaryKernel): string =>
  `rotary_${interleaved ? 'interleaved' : 'half'}_${positions}`;

export const rotaryKernels: KernelSpec<RotaryKernel, (typeof ARGS)[number]> = {
  family: 'rotary',
  args: ARGS,
  id: idOf,

  emit(module, kernel) {
    const { interleaved, positions } = kernel;
    module.func(idOf(kernel), i32Params(ARGS), (f, p) => {
      const rest = new Row(f, p.rest);
      const halfBytes = f.let(i32.shl(p.half, 2));
      const lastRow = f.let(i32.sub(p.cacheRows, 1));
      const token = f.let(p.firstRow);

      f.repeat(p.rows, () => {
        const batch = f.let(i32.divU(token, p.sequence));
        const inSequence = i32.sub(token, i32.mul(batch, p.sequence));
        const position = {
          ids: i32.load(i32.add(p.positions, i32.shl(token, 2))),
          first: i32.add(i32.load(p.positions), inSequence),
          token,
        }[positions];
        const cache = f.let(i32.mul(i32.minU(f.let(position), lastRow), halfBytes));
        const head = f.let(i32.add(i32.mul(token, p.tokenStride), i32.mul(batch, p.batchStride)));
        f.repeat(p.heads, () => {
          const at = {
            x: f.let(i32.add(p.x, head)),
            y: f.let(i32.add(p.y, head)),
            cos: f.let(i32.add(p.cos, cache)),
            sin: f.let(i32.add(p.sin, cache)),
          };
          f.repeat(i32.shrU(p.half, 2), () => turn(at, 4));
          f.repeat(i32.and(p.half, 3), () => turn(at, 1));
          if (!interleaved) for (const pointer of [at.x, at.y]) advance(pointer, halfBytes);
          rest.each([at.x, at.y], (four) => four.store(at.y, four.load(at.x)));
          advance(head, p.headStride);
        });
        advance(token, 1);
      });

      /** Turns four pairs, or one, and moves on. */
      function turn(at: Record<'x' | 'y' | 'cos' | 'sin', Local<'i32'>>, pairs: 1 | 4) {
        const load = pairs === 4 ? v128.load : v128.load32Splat;
        const store = (pointer: I32, value: V128, offset = 0) =>
          pairs === 4 ? f.storeV128(pointer, value, offset) : f.storeLane32(pointer, value, 0, offset);
        const [far, farY] = [at.x, at.y].map((pointer) => i32.add(pointer, interleaved ? 4 * pairs : halfBytes));
        const [near, second] = [f.let(load(at.x)), f.let(load(far))];
        const isMixed = interleaved && pairs === 4;
        const [a, b] = isMixed
          ? [f.let(lanes(near, second, [0, 2, 4, 6])), f.let(lanes(near, second, [1, 3, 5, 7]))]
          : [near, second];
        const [cos, sin] = [f.let(load(at.cos)), f.let(load(at.sin))];
        const turnedA = f.let(f32x4.sub(f32x4.mul(a, cos), f32x4.mul(b, sin)));
        const turnedB = f.let(f32x4.add(f32x4.mul(b, cos), f32x4.mul(a, sin)));
        store(at.y, isMixed ? lanes(turnedA, turnedB, [0, 4, 1, 5]) : turnedA);
        store(farY, isMixed ? lanes(turnedA, turnedB, [2, 6, 3, 7]) : turnedB);
        for (const pointer of [at.x, at.y]) advance(pointer, interleaved ? 8 * pairs : 4 * pairs);
        for (const pointer of [at.cos, at.sin]) advance(pointer, 4 * pairs);
      }
    });
  },

  trial: (_, at) => ({
    ...{ x: at, y: at + 16384, cos: at + 32768, sin: at + 40960, positions: at + 49152 },
    ...{ firstRow: 0, rows: 8, sequence: 8, heads: 4, tokenStride: 1024, batchStride: 0, headStride: 256 },
    ...{ half: 32, rest: 0, cacheRows: 8 },
  }),
};

/** What ships: tests and benchmarks loop over it. */
export function* rotaryVariants(): Generator<RotaryKernel> {
  for (const interleaved of [false, true])
    for (const positions of ['ids', 'first', 'token'] as const) yield { interleaved, positions };
}

/** Of a and b, numbered 0..3 and 4..7. */
const lanes = (a: V128, b: V128, order: number[]): V128 =>
  v128.shuffle(
    a,
    b,
    order.flatMap((lane) => range(4).map((byte) => 4 * lane + byte)),
  );
