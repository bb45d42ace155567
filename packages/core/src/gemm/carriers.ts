/**
 * Carriers: how the integers of activations meet the codes of weights. All of them form the same exact sum
 * a[c] = Σ q·(w − z), so which one runs never shows in a result.
 *
 *   i16   q as one int16: one pass of i32x4.dot_i16x8_s, 2 k per 32-bit lane. SIMD128, everywhere.
 *   i8    q as one or two int8 digits, q = 254·d1 + d2, each times the raw codes; 4 k per 32-bit lane, in one instruction
 *         of relaxed SIMD. Codes are its second operand: every engine takes 0..127 there alike; for weights of 8 bits it
 *         has to be known how it takes the others (backends/features.ts).
 */
import type { Plan } from '../decompose/contract.ts';
import type { Operands } from '../decompose/decompose.wasm.ts';
import { type CodeReader, K_STEP, type StepReader, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import type { ByteOperand } from '../formats/quads.ts';
import { type Func, type I32, i32, i32x4, relaxed, type V128, v128 } from '../wasm/emitter.ts';
import { range } from '../wasm/loops.ts';

/** A carrier and what its kernels are specialised for. */
export type CarrierOptions = { readonly id: 'i16' } | I8Options;
export interface I8Options {
  readonly id: 'i8';
  /** int8 operands that an activation is split into. */
  readonly digits: 1 | 2;
  /** How the engine takes weights of 8 bits; to formats with smaller codes it does not matter. */
  readonly operand: ByteOperand;
  /** Stands in for the relaxed dot in tests: of operands that this CPU does not take. */
  readonly dot?: typeof relaxed.dotI8x16I7x16AddS;
}

export const I16: CarrierOptions = { id: 'i16' };

/** What decompose writes for a carrier. */
export const operandsOf = (carrier: CarrierOptions): Operands =>
  carrier.id === 'i16' ? 'i16' : carrier.digits === 1 ? 'i8' : 'i8x2';

/** |q| ≤ 64 after MXFP4 passes: one digit holds both components. */
export const digitsOf = ({ decomposition, components }: Plan): 1 | 2 => (decomposition === 'mxfp4' ? 1 : components);

/** Can the i8 carrier read such weights at all? Blocks of 16 have no Σq of their own, which its codes need. */
export const fitsI8 = ({ blockSize }: WeightVariant): boolean => blockSize === null || blockSize >= K_STEP;

/** What widening keeps of a block. */
export interface WideningReader {
  block(zeroPoints: I32): { readonly step: StepReader; readonly zeroCodes: readonly V128[] };
}

export interface Carrier {
  /** In kernel ids. */
  readonly name: string;
  /** k in a 32-bit lane of an operand: a step of a tile. */
  readonly stepK: 2 | 4;
  /** Operands of an activation, side by side in x; each output has an accumulator for each. */
  readonly operands: 1 | 2;
  /** Does the head of a widened block hold zero codes (i32) after its scales? */
  readonly widensZeroCodes: boolean;
  /** Opens the weights of a kernel, and puts its constants into locals: call once, outside of the loops. */
  open(f: Func, widen: boolean, vectors: number): OpenCarrier;
  /** acc + Σ over the lane's k, or the sum alone. */
  dot(x: V128, w: V128, acc?: V128): V128;
}
export interface OpenCarrier {
  /** What tiles read: packed steps, or widened ones. */
  readonly tiles: CodeReader;
  /** What widening reads: packed steps. */
  readonly packed: WideningReader;
  /** Σ q·w from the accumulators of the operands. */
  integer(acc: readonly V128[]): V128;
}

export const carrierOf = (options: CarrierOptions, format: WeightFormat, variant: WeightVariant): Carrier =>
  options.id === 'i16' ? i16(format, variant) : i8(options, format, variant);

function i16(format: WeightFormat, variant: WeightVariant): Carrier {
  const needsExact = !fitsI8(variant);
  return {
    name: 'i16',
    stepK: 2,
    operands: 1,
    widensZeroCodes: false,
    dot(x, w, acc) {
      const dot = i32x4.dotI16x8S(x, w);
      return acc ? i32x4.add(acc, dot) : dot;
    },
    open(f, widen, vectors) {
      const codes = widen || needsExact ? format.exact(f, variant) : format.raw(f, variant);
      return {
        tiles: widen ? { shift: NO_SHIFT, block: () => ({ step: widenedStep(vectors) }) } : codes,
        packed: { block: (zeroPoints) => ({ step: codes.block(zeroPoints).step, zeroCodes: [] }) },
        integer: ([acc]) => acc,
      };
    },
  };
}

function i8(
  { digits, operand, dot = relaxed.dotI8x16I7x16AddS }: I8Options,
  format: WeightFormat,
  variant: WeightVariant,
): Carrier {
  const { storedZeroPoints } = variant;
  const form = format.bits === 8 ? operand[0] : ''; // u8 or s8 codes
  return {
    name: `i8${form}${digits === 2 ? 'x2' : ''}`,
    stepK: 4,
    operands: digits,
    widensZeroCodes: storedZeroPoints,
    dot: (x, w, acc = ZERO) => dot(x, w, acc),
    open(f, widen, vectors) {
      const { step, zeroCode, negatedZeroCodes } = format.quads(f, variant, operand);
      const base = digits === 2 ? f.let(i32x4.splat(i32.const(254))) : undefined;
      const constant = zeroCode && !storedZeroPoints ? f.let(i32x4.splat(i32.const(-zeroCode))) : undefined;
      // Accumulators start from −z·Σq, which the codes as they are have too much.
      const startFrom = (negated: readonly V128[]) => (sum: V128) => negated.map((zero) => i32x4.mul(sum, zero));
      const shared = (sum: V128) => {
        const correction = f.let(i32x4.mul(sum, constant as V128));
        return range(vectors).map(() => correction);
      };
      const start = (negated: () => readonly V128[]) =>
        storedZeroPoints ? startFrom(negated()) : constant ? shared : undefined;
      const tiles = widen
        ? (head: I32) => ({
            step: widenedStep(vectors),
            start: start(() => range(vectors).map((g) => f.let(v128.load(head, 16 * g)))),
          })
        : (zeroPoints: I32) => ({ step, start: start(() => negatedZeroCodes(zeroPoints)) });
      return {
        tiles: { shift: NO_SHIFT, block: tiles },
        packed: {
          block: (zeroPoints) => ({ step, zeroCodes: storedZeroPoints ? negatedZeroCodes(zeroPoints) : [] }),
        },
        integer: ([high, low]) => (base ? i32x4.add(i32x4.mul(high, base), low) : high),
      };
    },
  };
}

const ZERO = v128.const16(0);
const NO_SHIFT = [0, 0, 0, 0] as const;
const widenedStep =
  (vectors: number): StepReader =>
  (ptr, offset) =>
    range(vectors).map((g) => v128.load(ptr, offset + 16 * g));
