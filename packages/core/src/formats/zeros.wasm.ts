/**
 * zeros_<4|8>: zero points of rows as a file has them -> heads of blocks, 16 rows each, behind their scales. WebAssembly SIMD128.
 *
 * from      rows of zero points, rowBytes apart, 16 for each panel; of 4 bits, even blocks lie in the low half of a byte
 * to        the first head's of the first panel; toPanel bytes further on is the next one's
 * heads     so many, for as many blocks from `first` on; toHead bytes further on is the next one
 * flip      for each byte: 0x80808080 makes unsigned ones of signed integers
 */
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { i8x16, i32, i32x4, load8Lane, v128 } from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { PANEL } from './format.ts';
import type { PackedBits } from './pack.wasm.ts';

const ARGS = ['from', 'rowBytes', 'to', 'toPanel', 'panels', 'heads', 'toHead', 'first', 'flip'] as const;

export const zerosSpec: KernelSpec<PackedBits, (typeof ARGS)[number]> = {
  family: 'zeros',
  args: ARGS,
  id: (bits) => `zeros_${bits}`,
  trial: (_, at) => ({
    from: at,
    rowBytes: 32,
    to: at + 16384,
    toPanel: 8192,
    panels: 1,
    heads: 8,
    toHead: 336,
    first: 0,
    flip: 0,
  }),
  emit(module, bits) {
    module.func(zerosSpec.id(bits), i32Params(ARGS), (f, p) => {
      const flips = f.let(i32x4.splat(p.flip));
      f.repeat(p.panels, () => {
        const [block, to] = [f.let(p.first), f.let(p.to)];
        f.repeat(p.heads, () => {
          const at = f.let(i32.add(p.from, bits === 4 ? i32.shrU(block, 1) : block));
          const lanes = f.local('v128');
          for (const lane of range(PANEL)) {
            lanes.set(lane === 0 ? v128.load8Splat(at) : load8Lane(at, lanes, lane));
            advance(at, p.rowBytes);
          }
          const shift = i32.shl(i32.and(block, 1), 2);
          const zeros = bits === 4 ? v128.and(i8x16.shrU(lanes, shift), v128.const16(0x0f0f)) : lanes;
          f.storeV128(to, v128.xor(zeros, flips));
          advance(block, 1);
          advance(to, p.toHead);
        });
        advance(p.from, i32.mul(p.rowBytes, PANEL));
        advance(p.to, p.toPanel);
      });
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export const zerosVariants = (): Iterable<PackedBits> => [4, 8];
