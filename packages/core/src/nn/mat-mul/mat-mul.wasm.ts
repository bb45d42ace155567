/**
 * mat_mul_f32: float times float, both operands as they are. WebAssembly SIMD128.
 *
 *   y[b,m,n] = Σ_k a[b,m,k] · w[b,k,n]        from +0, k ascending, one rounding per operation: no bit depends on a tile
 *
 * a       f32, rows aRow bytes apart, matrices aBatch bytes apart (0: one for all)
 * w       f32 [K,N], rows wRow bytes apart, matrices wBatch bytes apart (0: one for all)
 * y       f32, rows yRow bytes apart, matrices yBatch bytes apart; overwritten
 * N       columns in all; first and count say which panels of 32 columns to compute, the last one may be narrower
 *
 * Vectors hold four columns, so there are no sums over lanes and w is read as it lies. Columns left over are computed by ones:
 * nothing is read or written past N. A row that is alone adds to y in memory while rows of w stream by side by side: 1.2 to 1.7
 * times as fast as a tile that steps down w, whose short pieces the hardware cannot foresee. Where w lies in the nearest caches anyway, the
 * tile is 1.04 to 1.24 times as fast.
 */
import type { KernelSpec } from '../../kernel-spec.ts';
import { f32, f32x4, type I32, i32, type Local, v128 } from '../../wasm/emitter.ts';
import { advance, each, range, tile } from '../../wasm/loops.ts';

/** Columns that threads share products by. */
export const COLUMNS = 32;
/**
 * Rows of w that a row of a goes through together, and vectors of each. Eight run out of registers: half as fast. Rows that are
 * whole pages apart fall into the same lines of the first cache: two of them are 1.5 times as fast as four.
 */
const STREAMS = [4, 2, 1] as const;
const STREAM_VECTORS = 4;
const PAGE = 4096;
/** Weights of at most so many bytes stay in the nearest caches. */
const NEAR_BYTES = 2 ** 16;
/** Register tiles: eight accumulators each. */
const TILES = [
  { rows: 4, vectors: 2 },
  { rows: 1, vectors: 8 },
] as const;

const ARGS = [
  'a',
  'aRow',
  'aBatch',
  'w',
  'wRow',
  'wBatch',
  'y',
  'yRow',
  'yBatch',
  'batch',
  'M',
  'N',
  'K',
  'first',
  'count',
] as const;

export const matMulKernel: KernelSpec<undefined, (typeof ARGS)[number]> = {
  family: 'mat_mul',
  args: ARGS,
  id: () => 'mat_mul_f32',
  trial: (_, at) => ({
    a: at,
    aRow: 256,
    aBatch: 0,
    w: at + 8192,
    wRow: 256,
    wBatch: 0,
    y: at + 32768,
    yRow: 256,
    yBatch: 0,
    batch: 1,
    M: 5,
    N: 64,
    K: 64,
    first: 0,
    count: 2,
  }),
  emit(module) {
    const params = Object.fromEntries(ARGS.map((name) => [name, 'i32'])) as Record<(typeof ARGS)[number], 'i32'>;
    module.func('mat_mul_f32', params, (f, p) => {
      const skipped = i32.shl(p.first, Math.log2(COLUMNS));
      const columns = f.let(i32.minU(f.let(i32.sub(p.N, skipped)), f.let(i32.shl(p.count, Math.log2(COLUMNS)))));
      for (const pointer of [p.w, p.y]) advance(pointer, i32.shl(skipped, 2));
      f.repeat(p.batch, () => {
        const at = { a: f.let(p.a), y: f.let(p.y) };
        const rowsLeft = f.let(p.M);
        for (const { rows, vectors } of TILES) {
          f.repeat(i32.divU(rowsLeft, rows), () => {
            const [w, y, left] = [f.let(p.w), f.let(at.y), f.let(columns)];
            if (rows === 1) f.when(i32.gtU(i32.mul(p.K, p.wRow), NEAR_BYTES), () => stream(at.a, w, y, left));
            for (const width of rows === 1 ? [vectors, 4, 2, 1] : [vectors, 1]) {
              f.repeat(i32.divU(left, 4 * width), () => {
                vectorTile(rows, width, at.a, w, y);
                for (const pointer of [w, y]) advance(pointer, 16 * width);
              });
              left.set(i32.remU(left, 4 * width));
            }
            f.repeat(left, () => {
              scalarTile(rows, at.a, w, y);
              for (const pointer of [w, y]) advance(pointer, 4);
            });
            advance(at.a, i32.mul(p.aRow, rows));
            advance(at.y, i32.mul(p.yRow, rows));
          });
          rowsLeft.set(i32.remU(rowsLeft, rows));
        }
        advance(p.a, p.aBatch);
        advance(p.w, p.wBatch);
        advance(p.y, p.yBatch);
      });

      /** One row, as many columns as are whole turns; moves the pointers past them. */
      function stream(a: I32, w: Local<'i32'>, y: Local<'i32'>, left: Local<'i32'>) {
        const turn = 4 * STREAM_VECTORS;
        const turns = f.let(i32.divU(left, turn));
        const zero = f.let(v128.const16(0));
        const to = f.let(y);
        f.repeat(turns, () => {
          for (const g of range(STREAM_VECTORS)) f.storeV128(to, zero, 16 * g);
          advance(to, 4 * turn);
        });
        const [row, one, rest] = [f.let(w), f.let(a), f.let(p.K)];
        for (const count of STREAMS) {
          const together = i32.divU(rest, count);
          const number = f.let(count === STREAMS[0] ? i32.select(i32.and(p.wRow, PAGE - 1), together, 0) : together);
          f.repeat(number, () => {
            const factors = range(count).map((i) => f.let(v128.load32Splat(one, 4 * i)));
            const rowsOfW = range(count).map((i) => f.let(i32.add(row, i32.mul(p.wRow, i))));
            to.set(y);
            f.repeat(turns, () => {
              for (const g of range(STREAM_VECTORS)) {
                const sum = f.let(v128.load(to, 16 * g));
                for (const [i, pointer] of rowsOfW.entries())
                  sum.set(f32x4.add(sum, f32x4.mul(factors[i], v128.load(pointer, 16 * g))));
                f.storeV128(to, sum, 16 * g);
              }
              for (const pointer of [to, ...rowsOfW]) advance(pointer, 4 * turn);
            });
            advance(one, 4 * count);
            advance(row, i32.mul(p.wRow, count));
          });
          rest.set(i32.sub(rest, i32.mul(number, count)));
        }
        for (const pointer of [w, y]) advance(pointer, i32.mul(turns, 4 * turn));
        left.set(i32.remU(left, turn));
      }

      /** Calls `body` for every k, with pointers to a's rows and to w's row. */
      function eachK(rows: number, a: I32, w: I32, body: (a: Local<'i32'>[], w: Local<'i32'>) => void) {
        const [rowsOfA, row] = [range(rows).map((i) => f.let(i32.add(a, i32.mul(p.aRow, i)))), f.let(w)];
        f.repeat(p.K, () => {
          body(rowsOfA, row);
          for (const pointer of rowsOfA) advance(pointer, 4);
          advance(row, p.wRow);
        });
      }

      function vectorTile(rows: number, vectors: number, a: I32, w: I32, y: I32) {
        const sums = tile(rows, vectors, () => f.let(v128.const16(0)));
        eachK(rows, a, w, (rowsOfA, row) => {
          const four = range(vectors).map((g) => (rows > 1 ? f.let(v128.load(row, 16 * g)) : v128.load(row, 16 * g)));
          for (const [i, pointer] of rowsOfA.entries()) {
            const one = f.let(v128.load32Splat(pointer));
            for (const [g, sum] of sums[i].entries()) sum.set(f32x4.add(sum, f32x4.mul(one, four[g])));
          }
        });
        const rowsOfY = range(rows).map((i) => f.let(i32.add(y, i32.mul(p.yRow, i))));
        each(sums, (sum, i, g) => f.storeV128(rowsOfY[i], sum, 16 * g));
      }

      function scalarTile(rows: number, a: I32, w: I32, y: I32) {
        const sums = range(rows).map(() => f.let(f32.const(0)));
        eachK(rows, a, w, (rowsOfA, row) => {
          const one = f.let(f32.load(row));
          for (const [i, sum] of sums.entries()) sum.set(f32.add(sum, f32.mul(f32.load(rowsOfA[i]), one)));
        });
        for (const [i, sum] of sums.entries()) f.storeF32(i32.add(y, i32.mul(p.yRow, i)), sum);
      }
    });
  },
};

/** What ships: tests and benchmarks loop over it. */
export const matMulVariants = (): Iterable<undefined> => [undefined];
