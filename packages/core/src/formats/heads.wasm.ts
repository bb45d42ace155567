/**
 * heads_<2|4>: scales of rows as a file has them -> heads of blocks, 16 rows each. WebAssembly SIMD128: several times as fast as
 * JavaScript, which would look at each scale twice.
 *
 * from      rows of scales, rowBytes apart, 16 for each panel
 * to        the first head of the first panel; toPanel bytes further on is the next one's
 * heads     so many, from as many scales that follow each other in a row; toHead bytes further on is the next one
 * largest   a vector: the largest bits so far of each lane, without the sign
 */
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { i32, i32x4, load16Lane, maxU16, v128 } from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { PANEL } from './format.ts';

/** Bytes of a scale: fp16 or f32. */
export type HeadBytes = 2 | 4;

const ARGS = ['from', 'rowBytes', 'to', 'toPanel', 'panels', 'heads', 'toHead', 'largest'] as const;

export const headsSpec: KernelSpec<HeadBytes, (typeof ARGS)[number]> = {
  family: 'heads',
  args: ARGS,
  id: (bytes) => `heads_${bytes}`,
  trial: (_, at) => ({
    from: at,
    rowBytes: 64,
    to: at + 16384,
    toPanel: 8192,
    panels: 1,
    heads: 8,
    toHead: 320,
    largest: at + 32768,
  }),
  emit(module, bytes) {
    const [first, next, max] =
      bytes === 4
        ? ([v128.load32Zero, v128.load32Lane, i32x4.maxU] as const)
        : ([v128.load16Splat, load16Lane, maxU16] as const);
    const lanes = 16 / bytes;
    module.func(headsSpec.id(bytes), i32Params(ARGS), (f, p) => {
      const magnitude = f.let(bytes === 4 ? i32x4.splat(i32.const(0x7fffffff)) : v128.const16(0x7fff));
      const largest = f.let(v128.load(p.largest));
      f.repeat(p.panels, () => {
        const [row, to] = [f.let(p.from), f.let(p.to)];
        f.repeat(p.heads, () => {
          const at = f.let(row);
          for (const group of range(PANEL / lanes)) {
            const scales = f.local('v128');
            for (const lane of range(lanes)) {
              scales.set(lane === 0 ? first(at) : next(at, scales, lane));
              advance(at, p.rowBytes);
            }
            f.storeV128(to, scales, 16 * group);
            largest.set(max(largest, v128.and(scales, magnitude)));
          }
          advance(row, bytes);
          advance(to, p.toHead);
        });
        advance(p.from, i32.mul(p.rowBytes, PANEL));
        advance(p.to, p.toPanel);
      });
      f.storeV128(p.largest, largest);
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export const headsVariants = (): Iterable<HeadBytes> => [2, 4];
