/**
 * How the integers of queries and weights are multiplied with stored keys and values, on gemm's tile.
 *
 *   int16   both digits of an integer as i16, each times the stored i16: two exact sums
 *   int8    what gemm's carriers do with its int8 panels: the integer as one i16, or its digits as bytes where that is faster.
 *           For i16 many rows unpack a panel once, as those of gemm do
 */
import { limitOf } from '../decompose/contract.ts';
import {
  bytesInQuads,
  digitSplitter,
  inverseOf,
  overLanes,
  ROUNDING,
  scaleOrSpecial,
  wordsInTurn,
} from '../decompose/integers.wasm.ts';
import type { WeightVariant } from '../formats/format.ts';
import { int8 } from '../formats/int8.ts';
import { type CarrierOptions, carrierOf, I16 } from '../gemm/carriers.ts';
import type { Unroll } from '../gemm/registry.ts';
import { type Tile, type TilePanel, tileProducts } from '../gemm/tile.wasm.ts';
import {
  type Func,
  f32,
  f32x4,
  type I32,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  type V128,
  v128,
} from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';

export type IntegerType = 'int16' | 'int8';

/** Rows and groups of four columns of the register tiles: eight accumulators. */
export interface TileSize {
  readonly rows: number;
  readonly vectors: 2 | 4;
}

/** What reads stored integers, its constants in locals. */
export interface IntegerReader extends PanelReader {
  /** Bytes of an integer of a row. */
  readonly bytes: number;
  /** For so many rows and more. */
  readonly wide?: (PanelReader & { readonly rows: number }) | undefined;
  /** Writes the integers of floats. @returns Σ of them, where somebody needs it */
  decompose(row: Row): I32 | undefined;
  /** The same of floats that are not below 0: weights of a page, all of their higher digits before the lower ones. */
  decomposeWeights(row: Row): I32 | undefined;
  /** Where 16 integers of weights lie. */
  readonly ofWeights: Vectors;
  /**
   * The same of one float beside zeros. What is alone is the largest integer of its scale, whatever it is.
   * @param to 16 integers
   */
  writeAlone(to: I32): I32 | undefined;
}

/** Offsets of vectors, and the bytes from one group of them to the next. */
export interface Vectors {
  readonly offsets: readonly number[];
  readonly step: number;
}

/** How a panel meets rows. */
export interface PanelReader {
  /** Neighbours of a lane: what a step of a tile takes. */
  readonly stepK: number;
  /** Bytes between the digits of a step of weights; absent: there are none. */
  readonly digitBytes?: number | undefined;
  readonly tiles: readonly TileSize[];
  /**
   * Gets a panel ready.
   * @param along how many neighbours of each lane, a multiple of those that are stored together
   * @param scratch 32 bytes for each of them
   * @returns where tiles read it
   */
  open(panel: I32, along: I32, scratch: I32): I32;
  /**
   * Σ integers · stored as floats, of each row and group.
   * @param sums where Σ of each row's integers is
   */
  products(size: TileSize, products: Products): V128[][];
}

interface Products {
  /** Moved past the row. */
  readonly x: readonly Local<'i32'>[];
  /** Bytes between the words of a step; default: they are neighbours. */
  readonly apart?: number | undefined;
  /** Moved past the steps. */
  readonly panel: Local<'i32'>;
  readonly first: number;
  /** A last turn may take steps that follow: integers are zeros there, up to a multiple of 16. */
  readonly steps: I32;
  readonly sums: readonly I32[];
}

/** Floats that become integers, 16 at a time. */
export interface Row {
  readonly from: I32;
  readonly to: I32;
  readonly sixteens: I32 | number;
  /** 1 / S in every lane. */
  readonly inverse: Local<'v128'>;
}

/** How integers are made, 16 at a time. */
interface Making extends Pick<Vectors, 'step'> {
  /** What is added to a float, and what its bits then have more than the integer that `store` gets. */
  readonly toInteger: V128;
  readonly more: V128;
  /** That the sum of 16 has too much; default: 0. */
  readonly surplus?: number;
  /** Writes 16 integers, given as two vectors of i16; may give a vector of i32 that adds up to their sum. */
  readonly store: (eights: readonly Local<'v128'>[], to: I32) => V128 | undefined;
}

export interface ReaderOptions {
  readonly type: IntegerType;
  /** Of int8; default i16. */
  readonly carrier?: CarrierOptions | undefined;
  /** Steps per turn of int8 by the carrier i16; default 1. */
  readonly unroll?: Unroll | undefined;
}

/** Call it outside of loops. */
export function integerReader(f: Func, { type, carrier = I16, unroll = 1 }: ReaderOptions): IntegerReader {
  const toInteger = f.let(f32x4.const(ROUNDING));
  return type === 'int16' ? digitsByInt16(f, toInteger) : byInt8(f, toInteger, carrier, unroll);
}

function digitsByInt16(f: Func, toInteger: V128): IntegerReader {
  const split = digitSplitter(f);
  const base = f.let(f32x4.const(254));
  const tile = (vectors: number): Tile => ({
    stepK: 2,
    words: 2,
    operands: 1,
    sums: 2,
    dot: (x, w, acc) => (acc ? i32x4.add(acc, i32x4.dotI16x8S(x, w)) : i32x4.dotI16x8S(x, w)),
    integers: (acc) =>
      acc.map(([high, low]) => f32x4.add(f32x4.mul(f32x4.convertI32x4S(high), base), f32x4.convertI32x4S(low))),
    vectors,
    loads: vectors,
    stepBytes: 64,
    kUnroll: 1, // two steps: 2 to 6 % slower
    abreast: 1,
    apart: false,
  });
  const reader = { groups: (vector: Local<'v128'>) => () => [vector] };
  const making = (split: Splitter, far = 0) => ({
    toInteger,
    store(eights: readonly Local<'v128'>[], to: I32) {
      for (const [i, eight] of eights.entries()) storeDigits(f, to, split(eight), { at: 16 * i, far });
      return undefined;
    },
  });
  const any: Making = { ...making(split), more: toInteger, step: 64 };
  const positive: Making & Vectors = {
    ...making(positiveSplitter(f), INT16_DIGITS),
    ...moreBy(f, toInteger, MORE),
    step: 32,
    offsets: [0, 16, INT16_DIGITS, INT16_DIGITS + 16],
  };
  return {
    bytes: 4,
    stepK: 2,
    digitBytes: INT16_DIGITS,
    tiles: [
      { rows: 2, vectors: 2 },
      { rows: 1, vectors: 4 },
    ],
    open: (panel) => panel,
    products: ({ vectors }, { panel, ...chunk }) =>
      sumsOf(f, tile(vectors), { reader, weights: panel }, { ...chunk, start: () => undefined }),
    decompose: (row) => integersOf(f, any, row),
    decomposeWeights: (row) => integersOf(f, positive, row),
    ofWeights: positive,
    writeAlone(to) {
      writeAlone(f, to, positive, [limitOf(1)]);
      return undefined;
    },
  };
}

/** That the higher digits of a page's weights take. */
const INT16_DIGITS = 2 * PAGE_KEYS;
const INT8_DIGITS = PAGE_KEYS;

type Splitter = (eight: Local<'v128'>) => readonly V128[];

/** Higher and lower digits, so far apart; 0: words of both in turn. */
function storeDigits(
  f: Func,
  to: I32,
  digits: readonly V128[],
  { at, far }: Readonly<Record<'at' | 'far', number>>,
): void {
  const vectors = far ? digits : wordsInTurn(digits[0], digits[1]);
  for (const [i, vector] of vectors.entries()) f.storeV128(to, vector, far ? at + far * i : 2 * at + 16 * i);
}

/** First half-words of the vectors; default: 0. */
function writeAlone(f: Func, to: I32, { offsets }: Vectors, values: readonly number[]): void {
  for (const [i, offset] of offsets.entries()) {
    const value = values[i] ?? 0;
    f.storeV128(to, v128.const(value & 255, value >> 8, ...range(14).map(() => 0)), offset);
  }
}

/** What integers of weights are split from is more than they are by so much. */
const MORE = 129;

/** Makes integers that are so much more. */
const moreBy = (f: Func, toInteger: V128, more: number) => ({
  more: f.let(i32x4.sub(toInteger, i32x4.splat(i32.const(more)))),
  surplus: 16 * more,
});

/**
 * Digits of q = 0 ... 32258, given u = q + 129: d1 = floor((q + 127) / 254) = floor((u + 2 floor(u / 256)) / 256), d2 = q - 254 d1. What V8
 * makes of the q15mulr that digits of either sign take is five instructions, and weights are made over and over.
 */
function positiveSplitter(f: Func): (u: Local<'v128'>) => Local<'v128'>[] {
  const [base, more] = [254, MORE].map((lane) => f.let(v128.const16(lane)));
  return (u) => {
    const once = f.let(i16x8.shrS(u, 8));
    const high = f.let(i16x8.shrS(i16x8.add(i16x8.add(u, once), once), 8));
    return [high, f.let(i16x8.sub(i16x8.sub(u, more), i16x8.mul(high, base)))];
  };
}

function byInt8(f: Func, toInteger: V128, options: CarrierOptions, unroll: Unroll): IntegerReader {
  const isWhole = options.id === 'i16';
  const kUnroll = isWhole ? unroll : 1;
  const apart = isWhole && kUnroll === 1;
  const ones = f.let(v128.const16(1));
  const carrier = carrierOf(options, int8, PER_CHANNEL, { widen: false, apart, crowded: apart });
  const { block, integers } = carrier.open(f, 4);
  const reader = block(i32.const(0));
  const sumOf = (eights: readonly V128[]) => eights.map((eight) => i32x4.dotI16x8S(eight, ones)).reduce(i32x4.add);
  const whole: Making & Vectors = {
    toInteger,
    more: toInteger,
    step: 32,
    offsets: [0, 16],
    store(eights, to) {
      for (const [i, eight] of eights.entries()) f.storeV128(to, eight, 16 * i);
      return sumOf(eights);
    },
  };
  const any = isWhole ? whole : signedBytes();
  const positive = isWhole ? whole : positiveBytes();

  function signedBytes(): Making {
    const [split, inQuads] = [digitSplitter(f), bytesInQuads(f)];
    return {
      toInteger,
      more: toInteger,
      step: 32,
      store(eights, to) {
        const [a, b] = eights.map(split);
        const bytes = a.map((digit, i) => inQuads(i8x16.narrowI16x8S(digit, b[i])));
        storeDigits(f, to, bytes, { at: 0, far: 0 });
        return sumOf(eights);
      },
    };
  }

  /**
   * Sums are whole here, so that digits of any base will do, and those to base 256 are bytes: given u = q + 128, the higher one is that of u, and the
   * lower one that of u with the other sign.
   */
  function positiveBytes(): Making & Vectors {
    const [lower, sign] = [0xff, 0x8080].map((lane) => f.let(v128.const16(lane)));
    const inQuads = bytesInQuads(f);
    const narrow = (eights: readonly V128[]) => inQuads(i8x16.narrowI16x8U(eights[0], eights[1]));
    return {
      toInteger,
      ...moreBy(f, toInteger, 128),
      step: 16,
      offsets: [0, INT8_DIGITS],
      store(eights, to) {
        f.storeV128(to, narrow(eights.map((eight) => i16x8.shrU(eight, 8))));
        f.storeV128(to, v128.xor(narrow(eights.map((eight) => v128.and(eight, lower))), sign), INT8_DIGITS);
        return sumOf(eights);
      },
    };
  }

  const tile = (vectors: number, ofBytes: boolean): Tile => ({
    ...carrier,
    integers: ofBytes ? (acc) => acc.map(([high, low]) => i32x4.add(i32x4.shl(high, 8), low)) : integers,
    vectors,
    loads: vectors,
    stepBytes: 64,
    kUnroll,
    abreast: 1,
    apart,
  });
  return {
    bytes: 2,
    stepK: 4,
    tiles: [isWhole ? { rows: 2, vectors: 4 } : { rows: 3, vectors: 2 }, { rows: 1, vectors: 4 }],
    open: (panel) => panel,
    wide: isWhole ? wideInt8(f, kUnroll) : undefined,
    digitBytes: isWhole ? undefined : INT8_DIGITS,
    products: ({ vectors }, { panel, sums, ...chunk }) => {
      const starts = sums.map((sum) => reader.start?.(f.let(i32x4.splat(sum))).map((vector) => f.let(vector)));
      const start = (_: number, i: number, g: number) => starts[i]?.[g];
      return sumsOf(f, tile(vectors, !!chunk.apart), { reader, weights: panel }, { ...chunk, start }).map((row) =>
        row.map(f32x4.convertI32x4S),
      );
    },
    decompose: (row) => integersOf(f, any, row),
    decomposeWeights: (row) => integersOf(f, positive, row),
    ofWeights: positive,
    writeAlone(to) {
      const most = limitOf(2);
      writeAlone(f, to, positive, isWhole ? [most] : [most >> 8, most & 255]);
      return i32.const(most);
    },
  };
}

/** Unpacking is 16 operations per vector of each lane, once; without it every second row has 8 of them. */
const WIDE_ROWS = 5;

/** int8 for the carrier i16, unpacked. */
function wideInt8(f: Func, kUnroll: Unroll): NonNullable<IntegerReader['wide']> {
  const carrier = carrierOf(I16, int8, PER_CHANNEL, { widen: true, apart: false });
  const { block, integers, widening } = carrier.open(f, 4);
  const [reader, packed] = [block(i32.const(0)), widening(i32.const(0))];
  return {
    rows: WIDE_ROWS,
    stepK: carrier.stepK,
    tiles: [
      { rows: 2, vectors: 4 },
      { rows: 1, vectors: 4 },
    ],
    open(panel, along, scratch) {
      const [from, to] = [f.let(panel), f.let(scratch)];
      f.repeat(i32.shrU(along, 2), () => {
        const vectors = range(4).map((v) => packed.groups(f.let(v128.load(from, 16 * v)), v));
        for (const step of [0, 1])
          vectors.forEach((groups, v) => {
            f.storeV128(to, groups[step][0], 64 * step + 16 * v);
          });
        advance(from, 64);
        advance(to, 128);
      });
      return scratch;
    },
    products: ({ vectors }, { panel, ...chunk }) => {
      const tile = { ...carrier, integers, vectors, loads: vectors, stepBytes: 64, kUnroll, abreast: 1, apart: false };
      const products = { ...chunk, start: () => undefined };
      return sumsOf(f, tile, { reader, weights: panel }, products).map((row) => row.map(f32x4.convertI32x4S));
    },
  };
}

/** With the panels of a reader that so many rows take. */
export function withPanels(f: Func, reader: IntegerReader, rows: I32, body: (panels: PanelReader) => void): void {
  const { wide } = reader;
  if (wide)
    f.when(
      i32.geU(rows, wide.rows),
      () => body(wide),
      () => body(reader),
    );
  else body(reader);
}

/** The variant of gemm's int8 that pages have. */
export const PER_CHANNEL: WeightVariant = { blockSize: null, storedZeroPoints: false, scale: 'f32' };

function sumsOf(
  f: Func,
  tile: Tile,
  panel: TilePanel,
  chunk: Omit<Parameters<typeof tileProducts>[3], 'inTurns' | 'steps'> & Pick<Products, 'steps'>,
): V128[][] {
  const { kUnroll } = tile;
  const { steps } = chunk;
  const whole = i32.and(i32.add(steps, kUnroll - 1), -kUnroll);
  const turns = { ...chunk, steps: kUnroll === 1 ? steps : f.let(whole), inTurns: false };
  const [sums] = tileProducts(f, tile, [panel], turns);
  return sums();
}

/** Scale of a row that is one block of integers, and what makes them of its floats. */
export interface RowScale {
  readonly S: Local<'f32'>;
  readonly inverse: Local<'f32'>;
}

/**
 * @param largest bits of the largest magnitude
 * @param limit largest integer: how many components
 */
export function rowScale(f: Func, largest: Local<'i32'>, limit: number = limitOf(2)): RowScale {
  const S = f.let(scaleOrSpecial(largest, f32.div(f32.reinterpretI32(largest), f32.const(limit))));
  return { S, inverse: inverseOf(f, S, S).invS };
}

/**
 * Integers of a row. For a row with NaN or Inf they do not matter: its scale makes it NaN.
 *
 * @returns their sum, if `store` gives any
 */
export function integersOf(
  f: Func,
  { toInteger, more, surplus = 0, step, store }: Making,
  { from, to, sixteens, inverse }: Row,
): I32 | undefined {
  const [read, write] = [f.let(from), f.let(to)];
  const four = (i: number) => i32x4.sub(f32x4.add(f32x4.mul(v128.load(read, 16 * i), inverse), toInteger), more);
  const total = f.let(v128.const16(0));
  let hasSum = false;
  f.repeat(sixteens, () => {
    const eights = [0, 2].map((i) => f.let(i16x8.narrowI32x4S(four(i), four(i + 1))));
    const sum = store(eights, write);
    if (sum) {
      hasSum = true;
      total.set(i32x4.add(total, sum));
    }
    advance(read, 64);
    advance(write, step);
  });
  if (!hasSum) return undefined;
  const sum = overLanes(f, i32x4.add, total);
  return surplus ? i32.sub(sum, i32.mul(sixteens, surplus)) : sum;
}
