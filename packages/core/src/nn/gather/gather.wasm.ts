/**
 * gather: rows of bytes by index. gather_rows_<format>: rows of a table as f32. WebAssembly SIMD128.
 *
 * x           rows of rowBytes, `rows` of them; xStep bytes further on, the next `rows`, `outer` times in all
 * indices     i32 [count]; negative ones count from the end; what is no row gives zeros, and nothing is read for it
 * y           rows one after the other: outer x count
 *
 * table       rows of rowBytes: halves, or codes of 4 or 8 bits; `columns` of them
 * scales      rows of scaleStride bytes, a scale per block of blockSize codes (a multiple of 2)
 * zeroPoints  codes, zeroStride of them per row; without them every one is `zeroPoint`
 */
import { type HalfType, halves } from '../../formats/half.ts';
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import {
  type Func,
  f32x4,
  type I32,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  type V128,
  v128,
} from '../../wasm/emitter.ts';
import { advance, range } from '../../wasm/loops.ts';
import { copyRun, fillRun } from '../copy/runs.wasm.ts';
import type { BlockRows, Table } from './table.ts';

const ARGS = ['x', 'xStep', 'indices', 'y', 'outer', 'count', 'rows', 'rowBytes'] as const;

export const gatherKernel: KernelSpec<undefined, (typeof ARGS)[number]> = {
  family: 'gather',
  args: ARGS,
  id: () => 'gather',
  trial: (_, at) => ({
    ...{ x: at, xStep: 0, indices: at + 16384, y: at + 32768 },
    ...{ outer: 1, count: 16, rows: 16, rowBytes: 1024 },
  }),
  emit(module) {
    module.func('gather', i32Params(ARGS), (f, p) => {
      f.repeat(p.outer, () => {
        const indices = f.let(p.indices);
        f.repeat(p.count, () => {
          byIndex(f, indices, p.rows, {
            row: (row) => copyRun(f, f.let(i32.add(p.x, i32.mul(row, p.rowBytes))), f.let(p.y), p.rowBytes),
            none: () => fillRun(f, f.let(p.y), v128.const16(0), p.rowBytes),
          });
          advance(p.y, p.rowBytes);
        });
        advance(p.x, p.xStep);
      });
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export const gatherVariants = (): Iterable<undefined> => [undefined];

/** Reads an index, and goes on to the next. */
function byIndex(f: Func, indices: Local<'i32'>, rows: I32, then: { row: (row: I32) => void; none: () => void }): void {
  const index = f.let(i32.load(indices));
  const row = f.let(i32.add(index, i32.select(i32.shrU(index, 31), rows, 0)));
  f.when(i32.ltU(row, rows), () => then.row(row), then.none);
  advance(indices, 4);
}

const ROW_ARGS = [
  'table',
  'indices',
  'y',
  'count',
  'rows',
  'columns',
  'rowBytes',
  'scales',
  'scaleStride',
  'zeroPoints',
  'zeroStride',
  'zeroPoint',
  'blockSize',
] as const;
type RowArgs = Readonly<Record<(typeof ROW_ARGS)[number], Local<'i32'>>>;

export const gatherRowsKernels: KernelSpec<Table['format'], (typeof ROW_ARGS)[number]> = {
  family: 'gather_rows',
  args: ROW_ARGS,
  id(format) {
    if (typeof format === 'string') return `gather_rows_${format}`;
    const { bits, signed, scales, zeroPoints } = format;
    return `gather_rows_${signed ? 'int' : 'uint'}${bits}_${scales}${zeroPoints ? '_zp' : ''}`;
  },
  trial: (_, at) => ({
    ...{ table: at, indices: at + 16384, y: at + 32768, count: 8, rows: 8, columns: 256, rowBytes: 1024 },
    ...{ scales: at, scaleStride: 32, zeroPoints: at, zeroStride: 8, zeroPoint: 0, blockSize: 32 },
  }),
  emit(module, format) {
    module.func(gatherRowsKernels.id(format), i32Params(ROW_ARGS), (f, p) => {
      const write = rowCode(f, format, p);
      f.repeat(p.count, () => {
        const bytes = f.let(i32.shl(p.columns, 2));
        byIndex(f, p.indices, p.rows, {
          row: write,
          none: () => fillRun(f, f.let(p.y), v128.const16(0), bytes),
        });
        advance(p.y, bytes);
      });
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export function* gatherRowsVariants(): Generator<Table['format']> {
  for (const type of ['f32', 'f16', 'bf16'] as const) yield type;
  for (const bits of [4, 8] as const)
    for (const signed of [false, true])
      for (const scales of ['f32', 'f16', 'bf16'] as const)
        for (const zeroPoints of [undefined, 'flat'] as const)
          yield { kind: 'blocks', bits, signed, blockSize: 32, scales, zeroPoints };
}

/** Emits the row of a table; constants go into locals once. */
function rowCode(f: Func, format: Table['format'], p: RowArgs): (row: I32) => void {
  const source = (row: I32) => f.let(i32.add(p.table, i32.mul(row, p.rowBytes)));
  if (format === 'f32') return (row) => copyRun(f, source(row), f.let(p.y), p.rowBytes);
  if (typeof format !== 'string') return blocksCode(f, format, p, source);
  const widen = halves[format].widen(f);
  return (row) => {
    const [from, to] = [source(row), f.let(p.y)];
    f.repeat(i32.shrU(p.columns, 2), () => {
      f.storeV128(to, widen(f.let(v128.load16x4S(from))));
      advance(from, 8);
      advance(to, 16);
    });
    f.repeat(i32.and(p.columns, 3), () => {
      f.storeI32(to, i32x4.extractLane(widen(f.let(i32x4.extendLowI16x8S(v128.load16Splat(from)))), 0));
      advance(from, 2);
      advance(to, 4);
    });
  };
}

function blocksCode(f: Func, format: BlockRows, p: RowArgs, source: (row: I32) => Local<'i32'>): (row: I32) => void {
  const [scaleAt, sixteen] = [scaleCode(f, format), sixteenCode(f, format)];
  const { bits } = format;
  return (row) => {
    const [from, to] = [source(row), f.let(p.y)];
    const scales = f.let(i32.add(p.scales, i32.mul(row, p.scaleStride)));
    const zeroIndex = f.let(i32.mul(row, p.zeroStride));
    const left = f.let(p.columns);
    f.loopWhile(
      () => left,
      () => {
        const scale = f.let(scaleAt(scales));
        const zero = f.let(format.zeroPoints ? codeAt(f, format, p.zeroPoints, zeroIndex) : p.zeroPoint);
        const zeros = f.let(i16x8.splat(zero));
        const count = f.let(i32.minU(left, p.blockSize));
        f.repeat(i32.shrU(count, 4), () => {
          for (const [i, four] of sixteen(from, zeros).entries())
            f.storeV128(to, f32x4.mul(f32x4.convertI32x4S(four), scale), 16 * i);
          advance(from, 2 * bits);
          advance(to, 64);
        });
        // What is left starts at a byte.
        const at = f.let(i32.const(0));
        f.repeat(i32.and(count, 15), () => {
          const value = f32x4.convertI32x4S(i32x4.splat(i32.sub(codeAt(f, format, from, at), zero)));
          f.storeI32(to, i32x4.extractLane(f32x4.mul(value, scale), 0));
          advance(at, 1);
          advance(to, 4);
        });
        advance(from, bits === 8 ? at : i32.shrU(at, 1));
        left.set(i32.sub(left, count));
        advance(scales, format.scales === 'f32' ? 4 : 2);
        advance(zeroIndex, 1);
      },
    );
  };
}

/** A scale in all lanes. */
function scaleCode(f: Func, { scales }: BlockRows): (at: I32) => V128 {
  if (scales === 'f32') return (at) => v128.load32Splat(at);
  const widen = halves[scales as HalfType].widen(f);
  return (at) => widen(f.let(i32x4.extendLowI16x8S(v128.load16Splat(at))));
}

/** Code number `at`, as it is, sign and all. */
function codeAt(f: Func, { bits, signed }: BlockRows, codes: I32, at: I32): Local<'i32'> {
  const byte = i32.load8U(i32.add(codes, bits === 8 ? at : i32.shrU(at, 1)));
  const code = f.let(bits === 8 ? byte : i32.and(i32.shrU(byte, i32.shl(i32.and(at, 1), 2)), 15));
  if (signed) code.set(i32.sub(i32.xor(code, 2 ** (bits - 1)), 2 ** (bits - 1)));
  return code;
}

/** Emits sixteen codes less their zero point, in vectors of four. */
function sixteenCode(f: Func, { bits, signed }: BlockRows): (from: I32, zeros: V128) => V128[] {
  const [mask, bias] = [0x0f0f, 0x0808].map((pattern) => f.let(v128.const16(pattern)));
  const nibbles = (bytes: V128): V128 => {
    const pairs = range(8).flatMap((i) => [i, 16 + i]);
    const codes = v128.shuffle(v128.and(bytes, mask), i8x16.shrU(bytes, 4), pairs);
    return signed ? i8x16.sub(v128.xor(codes, bias), bias) : codes;
  };
  const extend = signed ? [i16x8.extendLowS, i16x8.extendHighS] : [i16x8.extendLowU, i16x8.extendHighU];
  return (from, zeros) => {
    const codes = f.let(bits === 8 ? v128.load(from) : nibbles(f.let(v128.load64Zero(from))));
    return extend.flatMap((half) => {
      const eight = f.let(i16x8.sub(half(codes), zeros));
      return [i32x4.extendLowI16x8S(eight), i32x4.extendHighI16x8S(eight)];
    });
  };
}
