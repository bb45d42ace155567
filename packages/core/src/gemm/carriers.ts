/**
 * Carriers: how the integers of activations are multiplied with the codes of weights. All of them form the same exact
 * sum a[c] = Σ q·(w − z), so which one runs never shows in a result.
 *
 *   i16   q as one int16: one pass of i32x4.dot_i16x8_s, 2 k per 32-bit lane. SIMD128, everywhere.
 *   i8    q as one or two int8 digits, q = 254·d1 + d2, each times the raw codes; 4 k per 32-bit lane, in one instruction
 *         of relaxed SIMD. Codes are its second operand. All engines treat 0..127 there in the same way; for weights of
 * 8 bits, the treatment of the other values has to be known (wasm/features.ts).
 */
import type { Operands } from '../decompose/decompose.wasm.ts';
import {
  type CodeReader,
  eachGroup,
  K_STEP,
  stepVectors,
  type WeightFormat,
  type WeightVariant,
} from '../formats/format.ts';
import { negatedZeroCodes32, zeroCodes16 } from '../formats/zero-points.ts';
import { type Func, type I32, i16x8, i32, i32x4, type Local, relaxed, type V128, v128 } from '../wasm/emitter.ts';
import type { ByteOperand } from '../wasm/features.ts';
import { range } from '../wasm/loops.ts';

/** A carrier and what its kernels are specialised for. */
export type CarrierOptions = { readonly id: 'i16' } | I8Options;
export interface I8Options {
  readonly id: 'i8';
  /** int8 operands that an activation is split into. */
  readonly digits: 1 | 2;
  /** How the engine treats weights of 8 bits; `null`: not exactly, so codes have to be smaller. */
  readonly operand: ByteOperand | null;
  /** Replaces the relaxed dot in tests, for operand forms that this CPU does not have. */
  readonly dot?: typeof relaxed.dotI8x16I7x16AddS;
}

export const I16: CarrierOptions = { id: 'i16' };

/** What decompose writes for a carrier. */
export const operandsOf = (carrier: CarrierOptions): Operands =>
  carrier.id === 'i16' ? 'i16' : carrier.digits === 1 ? 'i8' : 'i8x2';

/** Can the i8 carrier read such weights at all? Blocks of 16 have no Σq of their own, which its codes need. */
export const fitsI8 = ({ blockSize }: WeightVariant): boolean => blockSize === null || blockSize >= K_STEP;

/** A block of packed or widened weights, once its zero codes are known. */
export interface BlockReader {
  /** Operands of the groups that lie in vector `v` of a step: operand 0, and 1 if there are two. */
  groups(vector: Local<'v128'>, v: number): (operand: number) => V128[];
  /** What the (last) accumulators of the groups start from, or have too much; given Σx of the chunk in every lane. Absent: zero. */
  readonly start?: ((sum: V128) => V128[]) | undefined;
}

export interface Carrier {
  /** In kernel ids. */
  readonly name: string;
  /** k of a step of a tile. */
  readonly stepK: 2 | 4;
  /** 32-bit words of x that a step takes. */
  readonly words: 1 | 2;
  /** Operands that codes are split into: word i of x meets operand i, or all words the only one. */
  readonly operands: 1 | 2;
  /** Operands are eight bytes of two columns, words 64 bits, and an accumulator has two parts of a sum for each column. */
  readonly quads?: true | undefined;
  /** Accumulators of an output: one for each word, or one in all. */
  readonly sums: 1 | 2;
  /** Does the head of a widened block hold negated zero codes (i32) after its scales? */
  readonly widensZeroCodes: boolean;
  /** Opens the weights of a kernel, and puts its constants into locals: call once, outside of the loops. */
  open(f: Func, vectors: number): OpenCarrier;
  /** acc + Σ over the lane's k, or the sum alone. */
  dot(x: V128, w: V128, acc?: V128): V128;
  /** Is `start` what sums of whole chunks have too much, to be taken off? Then it is made by shifts alone. */
  readonly surplus?: boolean | undefined;
}
export interface OpenCarrier {
  /** What tiles read; `zeroCodes` is where a block has them. */
  block(zeroCodes: I32): BlockReader;
  /** Σ q·(w − z) · 2^shift of each group from its accumulators. */
  integers(acc: readonly (readonly V128[])[]): V128[];
  /** Powers of two that remain in the sums of the groups. */
  readonly shift: readonly number[];
  /** What Σx of a chunk is multiplied by, beforehand, for tiles to start from it; 0: nothing is done beforehand. */
  readonly timesSums: number;
  /** What widening reads: vectors of a packed step, one list per step of a tile; and what it keeps of a block. */
  widening(zeroCodes: I32): { groups(vector: Local<'v128'>, v: number): V128[][]; readonly zeroCodes: readonly V128[] };
}

/** How tiles read their weights. */
export interface Reading {
  /** From widened panels. */
  readonly widen: boolean;
  /** Several rows share them, one panel after the other, and what can be added up of x beforehand is (`timesSums`). */
  readonly shared?: boolean;
  /** See `quads` of gemm/options.ts. */
  readonly quads?: true | undefined;
  /** They do so in turns of one step: in a loop for each operand where there are two. */
  readonly apart: boolean;
  /** No register is left for a mask then: 16 columns. */
  readonly crowded?: boolean;
}

export const carrierOf = (
  options: CarrierOptions,
  format: WeightFormat,
  variant: WeightVariant,
  reading: Reading,
): Carrier => (options.id === 'i16' ? i16(format, variant, reading) : i8(options, format, variant, reading));

function i16(format: WeightFormat, variant: WeightVariant, { widen, crowded, shared, quads }: Reading): Carrier {
  const { storedZeroPoints } = variant;
  // Blocks of 16 have no Σq of their own.
  const exact = widen || !fitsI8(variant);
  const surplus = shared && !format.table && !storedZeroPoints;
  return {
    name: 'i16',
    stepK: widen ? 2 : 4,
    words: widen || quads ? 1 : 2,
    operands: widen || quads ? 1 : 2,
    quads,
    sums: 1,
    widensZeroCodes: false,
    surplus,
    dot(x, w, acc) {
      const dot = i32x4.dotI16x8S(x, w);
      return acc ? i32x4.add(acc, dot) : dot;
    },
    open(f) {
      const codes = format.codes(f, { laneBits: 16, nested: exact ? false : crowded ? 'high' : 'low' });
      const perVector = 4 / stepVectors(format);
      const symmetric = exact && !storedZeroPoints ? f.let(v128.const16(codes.zeroCode)) : undefined;
      const zeroLanes = (at: I32) => (symmetric ? eachGroup(() => symmetric) : zeroCodes16(f, at));
      /** Weights themselves. */
      const weights = (at: I32) => {
        const zero = zeroLanes(at);
        return (vector: Local<'v128'>, v: number) => {
          const operands = codes.groups(vector);
          return (operand: number) =>
            operands(operand).map((group, i) => i16x8.sub(group, zero[v * perVector + i] as V128));
        };
      };
      const sums = nestedSums(f, format, codes, variant, { surplus });
      return {
        shift: exact ? NO_SHIFT : sums.shift,
        timesSums: quads ? codes.zeroCode : 0,
        block(at) {
          if (widen) return { groups: asTheyAre };
          if (exact) return { groups: weights(at) };
          if (quads) return { groups: asTheyAre, start: (sum) => eachGroup(() => sum) };
          return { groups: codes.groups, start: sums.start(at) };
        },
        integers: (acc) => (exact ? acc.map(([sum]) => sum as V128) : sums.apart(acc.map(([sum]) => sum as V128))),
        widening(at) {
          const groups = weights(at);
          return { groups: (vector, v) => [0, 1].map(groups(vector, v)), zeroCodes: [] };
        },
      };
    },
  };
}

function i8(
  { digits, operand, dot = relaxed.dotI8x16I7x16AddS }: I8Options,
  format: WeightFormat,
  variant: WeightVariant,
  { widen, shared }: Reading,
): Carrier {
  const { storedZeroPoints } = variant;
  const isByte = format.operandBits === 8;
  const nested = !widen && operand === 'unsigned' && 'low';
  // Sums over whole chunks, times what is the same for all columns: packed, groups that share a byte have their own.
  const addsUp = widen || (shared && format.bits === 8 && !storedZeroPoints);
  const form = isByte ? (operand === 'signed' ? 's' : 'u') : nested && format.nests ? 'u' : '';
  return {
    name: `i8${form}${digits === 2 ? 'x2' : ''}`,
    stepK: 4,
    words: digits,
    operands: 1,
    sums: digits,
    widensZeroCodes: storedZeroPoints,
    dot: (x, w, acc = ZERO) => dot(x, w, acc),
    open(f, vectors) {
      const packed = format.codes(f, { laneBits: 8, nested });
      const top = isByte && operand === 'signed' ? f.let(v128.const16(0x8080)) : undefined;
      const codes: CodeReader = top
        ? {
            zeroCode: 0,
            nested: false,
            groups: (vector) => () =>
              packed
                .groups(vector)(0)
                .map((code) => v128.xor(code, top)),
          }
        : packed;
      // Of several rows 256·d1 − 2·d1: their tiles wait for the units that multiply, which additions need not. 4 % for blocks of 32.
      const base = digits === 2 && !shared ? f.let(i32x4.splat(i32.const(254))) : undefined;
      const whole = (high: V128, low: V128) =>
        base
          ? i32x4.add(i32x4.mul(high, base), low)
          : i32x4.sub(i32x4.add(i32x4.shl(high, 8), low), i32x4.add(high, high));
      const sums = nestedSums(f, format, codes, variant, { less: top ? 128 : 0, starts: !addsUp });
      const timesSums = !addsUp ? 0 : storedZeroPoints ? 1 : -codes.zeroCode;
      return {
        shift: sums.shift,
        timesSums,
        block(head) {
          const groups = widen ? asTheyAre : codes.groups;
          if (!addsUp) return { groups, start: sums.start(head) };
          const kept = () => range(vectors).map((g) => f.let(v128.load(head, 16 * g)));
          if (storedZeroPoints) return { groups, start: startFrom(kept()) };
          return { groups, start: timesSums ? (sum) => eachGroup(() => sum) : undefined };
        },
        integers: (acc) => sums.apart(acc.map(([high, low]) => (low ? whole(high as V128, low) : (high as V128)))),
        widening: (at) => ({
          groups: (vector) => [codes.groups(vector)(0)],
          zeroCodes: storedZeroPoints ? sums.negated(at) : [],
        }),
      };
    },
  };
}

/** Accumulators start from −z·Σq, the surplus of unsigned codes. */
const startFrom = (negated: readonly V128[]) => (sum: V128) => negated.map((zero) => i32x4.mul(sum, zero));

/**
 * Sums over codes as they are, nested or not: what they start from, and how they come apart.
 * @param forms `less`: what the operand has less than the stored code; `starts`: is `start` asked for? `surplus`: as what is taken off
 */
function nestedSums(
  f: Func,
  { bits }: WeightFormat,
  { zeroCode, nested }: CodeReader,
  { storedZeroPoints }: WeightVariant,
  { less = 0, starts = true, surplus }: { less?: number; starts?: boolean; surplus?: boolean | undefined } = {},
) {
  const perByte = nested ? 8 / bits : 1;
  const place = (g: number) => g % perByte;
  const high = nested === 'high';
  const shift = eachGroup((g) => (high ? 0 : bits * place(g)));
  // One for each place in a byte: products do not wait for each other.
  const constants =
    starts && zeroCode && !storedZeroPoints && !surplus
      ? range(perByte).map((own) => {
          const ones = (2 ** (bits * (high ? perByte - own : own + 1)) - 1) / (2 ** bits - 1);
          return f.let(i32x4.splat(i32.const(-zeroCode * ones)));
        })
      : undefined;
  /** What belongs to each group alone, for nested codes. */
  const nest = (single: readonly V128[]): V128[] => {
    const nested = [...single];
    for (const g of high ? range(nested.length).reverse() : range(nested.length))
      if (high && place(g) < perByte - 1) nested[g] = f.let(i32x4.add(nested[g], i32x4.shl(nested[g + 1], bits)));
      else if (!high && place(g)) nested[g] = f.let(i32x4.add(nested[g - 1], i32x4.shl(nested[g], shift[g])));
    return nested;
  };
  /** −(zero code), nested like the codes. */
  const negated = (at: I32): V128[] =>
    nest(negatedZeroCodes32(f, at).map((zero) => (less ? f.let(i32x4.add(zero, i32x4.splat(i32.const(less)))) : zero)));
  return {
    shift,
    negated,
    start(at: I32): BlockReader['start'] {
      if (storedZeroPoints) return startFrom(negated(at));
      if (!starts || !zeroCode) return undefined;
      return (sum) => {
        const nested = constants
          ? constants.map((constant) => f.let(i32x4.mul(sum, constant)))
          : nest(Array(perByte).fill(f.let(i32x4.shl(sum, Math.log2(zeroCode)))));
        return eachGroup((g) => nested[place(g)]);
      };
    },
    apart(acc: readonly V128[]): V128[] {
      if (perByte === 1) return [...acc];
      const whole = acc.map((sum) => f.let(sum));
      return whole.map((sum, g) => {
        if (high) return place(g) < perByte - 1 ? i32x4.sub(sum, i32x4.shl(whole[g + 1], bits)) : sum;
        return place(g) ? i32x4.sub(sum, whole[g - 1]) : sum;
      });
    },
  };
}

const ZERO = v128.const16(0);
const NO_SHIFT = [0, 0, 0, 0] as const;
const asTheyAre: BlockReader['groups'] = (vector) => () => [vector];
