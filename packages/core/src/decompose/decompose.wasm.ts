/**
 * decompose_<operands>_[mxfp4_]<components>_<activationBlock>: f32 activations -> integers with one scale per block, WebAssembly
 * SIMD128.
 *
 * x       f32 [M,K]                row-major, any K
 * q       [ceil(K/256), M, 256]    zero past K up to a multiple of 32, then not written. Operands i16: int16. i8, i8x2: one or two
 *                                  int8 digits, for every 4 k the higher ones, then the lower ones, in the order k, k+2, k+1, k+3
 *                                  (formats/format.ts)
 * sums    i32 [M, ceil32(K)/32]    Σq over 32 k
 * scale   f32 [ceil(K/256), M]     S; NaN for a block with NaN or Inf, 0 for a block below 2⁻¹⁰⁰: q is 0 in both.
 *                                  Row scales are repeated for every K-block; blocks of 32: [ceil(K/32), M]. Blocks lie
 *                                  scaleStride = 4·M bytes apart, or 4 times the rows of all threads, which decompose a few each
 *
 * Two passes over a block that lies in L1: its maximum over the bit patterns (as integers, so that no NaN is lost), then
 * q = clamp(rne(fl(x · fl(1/S)))), the f32 contract; or the E2M1 codes of one or two MXFP4 passes, q = 8·d1 + d2.
 */
import { K_BLOCK, K_STEP } from '../formats/format.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import {
  type F32,
  f32,
  f32x4,
  type I32,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  type Module,
  type V128,
  v128,
} from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { type Decomposition, digitsOf, everyDecomposition, limitOf, MXFP4_STEPS } from './contract.ts';
import {
  bytesInQuads,
  digitSplitter,
  INFINITY_BITS,
  inverseOf,
  overLanes,
  ROUNDING,
  scaleOrSpecial,
  wordsInTurn,
} from './integers.wasm.ts';

/** What a carrier multiplies: q as one int16, or its int8 digits. */
export type Operands = 'i16' | 'i8' | 'i8x2';

export const decomposeId = ({ id, components, activationBlock }: Decomposition, operands: Operands = 'i16'): string =>
  `decompose_${operands}_${id === 'mxfp4' ? 'mxfp4_' : ''}${components}_${activationBlock}`;

const ARGS = ['x', 'q', 'sums', 'scale', 'scaleStride', 'M', 'K'] as const;

export function decomposeKernel(module: Module, decomposition: Decomposition, operands: Operands = 'i16'): void {
  const digits = operands === 'i16' ? 0 : operands === 'i8' ? 1 : 2;
  const mxfp4 = decomposition.id === 'mxfp4';
  const limit = mxfp4 ? MXFP4_STEPS : limitOf(decomposition.components);
  const perRow = decomposition.activationBlock === 'row';
  const block = decomposition.activationBlock === 'row' ? K_BLOCK : decomposition.activationBlock;
  module.func(decomposeId(decomposition, operands), i32Params(ARGS), (f, p) => {
    const absMask = f.let(i32x4.splat(i32.const(0x7fffffff)));
    const toInteger = f.let(f32x4.const(ROUNDING));
    const ones = f.let(v128.const16(1)); // inside a loop, V8 would rebuild it each time
    const splitDigits = digits === 2 ? digitSplitter(f) : (q: Local<'v128'>) => [q];
    const inQuads = digits ? bytesInQuads(f) : undefined;
    const bytesPerK = digits || 2;
    const rowBytes = K_BLOCK * bytesPerK; // of a K-block
    const qStride = f.let(i32.mul(p.scaleStride, rowBytes / 4));
    const q = f.let(p.q);

    f.repeat(p.M, () => {
      const left = f.let(p.K);
      const scale = f.let(p.scale);
      const ofRow = perRow ? scaleAndInverse(p.K) : undefined;
      const qBlock = f.let(p.q);
      f.repeat(i32.divU(i32.add(p.K, K_BLOCK - 1), K_BLOCK), () => {
        const oneBlock = () => {
          const count = f.let(i32.minU(left, block));
          const { S, invS, keep } = ofRow ?? scaleAndInverse(count);
          f.storeF32(scale, S);
          quantize(count, invS, keep);
          advance(scale, p.scaleStride);
          left.set(i32.sub(left, count));
        };
        q.set(qBlock);
        if (block === K_BLOCK) oneBlock();
        else f.repeat(i32.divU(i32.add(i32.minU(left, K_BLOCK), block - 1), block), oneBlock);
        advance(qBlock, qStride);
      });
      advance(p.scale, 4);
      advance(p.q, rowBytes);
    });

    function scaleAndInverse(count: I32) {
      const S = f.let(scaleOf(blockMaximum(count)));
      const step = mxfp4 ? f32.mul(S, f32.const(8)) : S; // y = x / (8 S) is in [-8, 8]
      return { S, ...inverseOf(f, S, step) };
    }

    /** max over |x| as bit patterns; reads x at p.x, does not move it. */
    function blockMaximum(count: I32): Local<'i32'> {
      const at = f.let(p.x);
      const max = range(4).map(() => f.let(v128.const16(0)));
      f.repeat(i32.shrU(count, 5), () => {
        for (const i of range(8)) {
          const m = max[i % 4];
          m.set(i32x4.maxU(m, v128.and(v128.load(at, 16 * i), absMask)));
        }
        advance(at, 128);
      });
      f.repeat(i32.shrU(i32.and(count, 31), 2), () => {
        max[0].set(i32x4.maxU(max[0], v128.and(v128.load(at), absMask)));
        advance(at, 16);
      });
      const result = f.let(
        overLanes(f, i32x4.maxU, i32x4.maxU(i32x4.maxU(max[0], max[1]), i32x4.maxU(max[2], max[3]))),
      );
      f.repeat(i32.and(count, 3), () => {
        const bits = f.let(i32.and(i32.load(at), 0x7fffffff));
        result.set(i32.maxU(result, bits));
        advance(at, 4);
      });
      return result;
    }

    function scaleOf(maxBits: Local<'i32'>): F32 {
      // alpha: one more power of two unless the mantissa is zero; alpha / 64 takes 6 off the exponent.
      const alphaBits = i32.and(i32.add(maxBits, 0x7fffff), INFINITY_BITS);
      const S = mxfp4
        ? f32.reinterpretI32(i32.sub(alphaBits, Math.log2(MXFP4_STEPS) << 23))
        : f32.div(f32.reinterpretI32(maxBits), f32.const(limit));
      return scaleOrSpecial(maxBits, S);
    }

    /**
     * Moves p.x, q and p.sums over the block. q = rne(fl(x · invS)): its clamp never acts, |x · invS| <= limit · (1 + 2⁻²²).
     * Adding ROUNDING leaves the integer in a float's lower bits, rounded half to even like `nearest`, in two instructions.
     */
    function quantize(count: I32, invS: Local<'f32'>, keep: Local<'i32'>) {
      const inv = f.let(f32x4.splat(invS));
      const mask = f.let(i32x4.splat(keep)); // the results of NaN and Inf are not integers
      const integers = (x: V128) => {
        const scaled = f32x4.mul(x, inv);
        return i32x4.sub(f32x4.add(mxfp4 ? twoPasses(scaled) : scaled, toInteger), toInteger);
      };
      const four = (offset: number) => integers(v128.load(p.x, offset));
      const narrow = (a: V128, b: V128) => v128.and(i16x8.narrowI32x4S(a, b), mask);
      f.repeat(i32.shrU(count, 5), () => {
        const sum = range(4).map((i) => {
          const eight = f.let(narrow(four(32 * i), four(32 * i + 16)));
          if (!digits) f.storeV128(q, eight, 16 * i);
          return { eight, dot: i32x4.dotI16x8S(eight, ones) };
        });
        if (inQuads)
          for (const half of [0, 2]) {
            const [a, b] = [half, half + 1].map((i) => splitDigits(sum[i].eight));
            const bytes = a.map((digit, i) => inQuads(i8x16.narrowI16x8S(digit, b[i])));
            const vectors = digits === 2 ? wordsInTurn(bytes[0], bytes[1]) : bytes;
            for (const [i, vector] of vectors.entries()) f.storeV128(q, vector, 8 * digits * half + 16 * i);
          }
        f.storeI32(
          p.sums,
          overLanes(
            f,
            i32x4.add,
            sum.map(({ dot }) => dot).reduce((a, b) => i32x4.add(a, b)),
          ),
        );
        advance(p.x, 128);
        advance(q, 32 * bytesPerK);
        advance(p.sums, 4);
      });
      const rest = f.let(i32.and(count, 31));
      f.when(rest, () => {
        const sum = f.let(i32.const(0));
        if (digits) for (const i of range(2 * digits)) f.storeV128(q, v128.const16(0), 16 * i);
        const k = digits ? f.let(i32.const(0)) : undefined;
        if (!digits) {
          // Eight at a time while there are eight, so that rows of 24 or 48 channels are as quick as those of 32.
          const dots = f.let(v128.const16(0));
          f.repeat(i32.shrU(rest, 3), () => {
            const eight = f.let(narrow(four(0), four(16)));
            f.storeV128(q, eight);
            dots.set(i32x4.add(dots, i32x4.dotI16x8S(eight, ones)));
            advance(p.x, 32);
            advance(q, 16);
          });
          sum.set(overLanes(f, i32x4.add, dots));
        }
        f.repeat(digits ? rest : i32.and(rest, 7), () => {
          const one = f.let(integers(f32x4.splat(f32.load(p.x))));
          const vector = narrow(one, one);
          if (k) {
            const lanes = f.let(vector);
            storeDigit(lanes, k);
            sum.set(i32.add(sum, i16x8.extractLaneS(lanes, 0)));
            advance(k, 1);
          } else {
            const integer = f.let(i16x8.extractLaneS(vector, 0));
            f.storeI16(q, integer);
            sum.set(i32.add(sum, integer));
          }
          advance(p.x, 4);
          if (!k) advance(q, 2);
        });
        if (k) advance(q, 32 * digits);
        else {
          f.repeat(i32.and(i32.sub(32, rest), 7), () => {
            f.storeI16(q, i32.const(0));
            advance(q, 2);
          });
          f.repeat(i32.shrU(i32.sub(32, rest), 3), () => {
            f.storeV128(q, v128.const16(0));
            advance(q, 16);
          });
        }
        f.storeI32(p.sums, sum);
        advance(p.sums, 4);
      });
    }

    /** Digits of the first of eight integers, the k-th of the 32 at q. */
    function storeDigit(lanes: Local<'v128'>, k: Local<'i32'>) {
      const inQuad = i32.or(i32.shl(i32.and(k, 1), 1), i32.and(i32.shrU(k, 1), 1));
      const at = f.let(i32.add(i32.add(q, i32.mul(i32.shrU(k, 2), 4 * digits)), inQuad));
      for (const [i, digit] of splitDigits(lanes).entries()) f.storeI8(at, i16x8.extractLaneS(digit, 0), 4 * i);
    }

    /** 8·d1 + d2 as floats; one component leaves d2 out. */
    function twoPasses(scaled: V128): V128 {
      const eight = f32x4.const(8);
      const y = f.let(scaled);
      const d1 = f.let(nearestE2M1(y));
      const first = f32x4.mul(d1, eight);
      if (decomposition.components === 1) return first;
      return f32x4.add(first, nearestE2M1(f.let(f32x4.mul(f32x4.sub(y, d1), eight))));
    }

    /** Doubled E2M1 values 0 1 2 3 4 6 8: steps of one up to 4, of two beyond; ties go to the even code in both. */
    function nearestE2M1(y: Local<'v128'>): V128 {
      const coarse = f32x4.mul(f32x4.nearest(f32x4.mul(y, f32x4.const(0.5))), f32x4.const(2));
      return v128.bitselect(coarse, f32x4.nearest(y), f32x4.gt(f32x4.abs(y), f32x4.const(4)));
    }
  });
}

export interface DecomposeOptions {
  readonly decomposition: Decomposition;
  readonly operands: Operands;
}

export const decomposeSpec: KernelSpec<DecomposeOptions, (typeof ARGS)[number]> = {
  family: 'decompose',
  args: ARGS,
  id: ({ decomposition, operands }) => decomposeId(decomposition, operands),
  emit: (module, { decomposition, operands }) => decomposeKernel(module, decomposition, operands),
  trial: (_, at, rows = 8) => ({
    x: at,
    q: at + 0x8000,
    sums: at + 0xc000,
    scale: at + 0xe000,
    scaleStride: 4 * rows,
    M: rows,
    K: K_BLOCK,
  }),
};

/** What ships: tests and benchmarks loop over it. */
export const decomposeVariants = (): Iterable<DecomposeOptions> =>
  everyDecomposition.flatMap((decomposition) => [
    { decomposition, operands: 'i16' },
    { decomposition, operands: digitsOf(decomposition) === 2 ? 'i8x2' : 'i8' },
  ]);

/** Bytes of a decomposed row: its integers (in all, and of one K-block), its sums and its scales. */
export interface DecomposedRow {
  readonly q: number;
  readonly qBlock: number;
  readonly sums: number;
  readonly scales: number;
}

export function decomposedRow({ decomposition, operands }: DecomposeOptions, K: number): DecomposedRow {
  const qBlock = K_BLOCK * (operands === 'i8' ? 1 : 2);
  const steps = Math.ceil(K / K_STEP);
  const kBlocks = Math.ceil(K / K_BLOCK);
  return {
    q: qBlock * kBlocks,
    qBlock,
    sums: 4 * steps,
    scales: 4 * (decomposition.activationBlock === 32 ? steps : kBlocks),
  };
}
