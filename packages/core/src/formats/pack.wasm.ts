/**
 * pack_<4|8>: the codes of rows as a file has them -> steps of 16 rows x 4 k. WebAssembly SIMD128: as fast as memory takes them,
 * many times as fast as JavaScript.
 *
 * from      rows of codes, rowBytes apart, 16 for each panel
 * to        the first step of the first panel; toPanel bytes further on is the next one's
 * blocks    stretches of `sets` times 32 k that have a head between them; toBlock bytes further on is the next one
 * flip      for each byte, whole ones only: 0x80808080 makes codes of signed integers
 */
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { type Func, type I32, i16x8, i32, i32x4, type Local, v128 } from '../wasm/emitter.ts';
import { advance, range, transposed } from '../wasm/loops.ts';
import { PANEL, QUAD } from './format.ts';

/** Bits of a code. */
export type PackedBits = 4 | 8;

const ARGS = ['from', 'rowBytes', 'to', 'toPanel', 'panels', 'blocks', 'toBlock', 'sets', 'flip'] as const;

/** k that one turn takes: 16 or 32 bytes of each row. */
export const SET = 32;

export const packSpec: KernelSpec<PackedBits, (typeof ARGS)[number]> = {
  family: 'pack',
  args: ARGS,
  id: (bits) => `pack_${bits}`,
  trial: (bits, at) => ({
    from: at,
    rowBytes: 32 * bits,
    to: at + 16384,
    toPanel: 8192,
    panels: 1,
    blocks: 2,
    toBlock: 4096,
    sets: 4,
    flip: 0,
  }),
  emit(module, bits) {
    module.func(packSpec.id(bits), i32Params(ARGS), (f, p) => {
      const pack = bits === 4 ? nibbles(f) : wholeBytes(f, p.flip);
      f.repeat(p.panels, () => {
        const [rows, to] = [f.let(p.from), f.let(p.to)];
        f.repeat(p.blocks, () => {
          const out = f.let(to);
          f.repeat(p.sets, () => {
            pack(f.let(rows), p.rowBytes, out);
            advance(rows, (SET * bits) / 8);
            advance(out, (PANEL * SET * bits) / 8);
          });
          advance(to, p.toBlock);
        });
        advance(p.from, i32.mul(p.rowBytes, PANEL));
        advance(p.to, p.toPanel);
      });
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export const packVariants = (): Iterable<PackedBits> => [4, 8];

/** Packs 32 k of 16 rows; moves `row`. */
type PackSet = (row: Local<'i32'>, rowBytes: I32, out: Local<'i32'>) => void;

/** Rows r and r + 4 share bytes, even k lie in the low half of a file's bytes and odd ones in the high half. */
function nibbles(f: Func): PackSet {
  const low = f.let(v128.const16(0x0f0f));
  const high = f.let(v128.const16(0xf0f0));
  return (row, rowBytes, out) => {
    const four = f.let(i32.mul(rowBytes, 4));
    for (const half of range(2)) {
      const lanes = range(4).map(() => {
        const [a, b] = [f.let(v128.load(row)), f.let(v128.load(i32.add(row, four)))];
        const even = f.let(v128.or(v128.and(a, low), v128.and(i16x8.shl(b, 4), high)));
        const odd = f.let(v128.or(v128.and(i16x8.shrU(a, 4), low), v128.and(b, high)));
        advance(row, rowBytes);
        return range(2).map((i) => f.let(v128.shuffle(even, odd, interleaved(2, 8 * i))));
      });
      if (half === 0) advance(row, four);
      for (const i of range(2))
        transposed(
          f,
          lanes.map((pair) => pair[i]),
        ).forEach((step, s) => {
          f.storeV128(out, step, 32 * (4 * i + s) + 16 * half);
        });
    }
  };
}

/** Four rows share a vector of a step. */
function wholeBytes(f: Func, flip: I32): PackSet {
  const flips = f.let(i32x4.splat(flip));
  const order = range(16).map((byte) => (byte & ~3) + QUAD[byte & 3]);
  return (row, rowBytes, out) => {
    for (const group of range(4)) {
      const lanes = range(4).map(() => {
        const halves = range(2).map((i) => {
          const quads = f.let(v128.xor(v128.load(row, 16 * i), flips));
          return f.let(v128.shuffle(quads, quads, order));
        });
        advance(row, rowBytes);
        return halves;
      });
      for (const i of range(2))
        transposed(
          f,
          lanes.map((halves) => halves[i]),
        ).forEach((step, s) => {
          f.storeV128(out, step, 64 * (4 * i + s) + 16 * group);
        });
    }
  };
}

/** Pieces of `bytes` bytes of a and b in turns, from byte `from` on. */
const interleaved = (bytes: number, from: number): number[] =>
  range(16).map((i) => (Math.floor(i / bytes) % 2) * 16 + from + Math.floor(i / (2 * bytes)) * bytes + (i % bytes));
