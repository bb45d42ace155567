/**
 * Codes and a scale for one block of weights.
 *
 *   lost = Σ importance[k] · (w[k] − scale · (code[k] − zero))²
 *
 * Rounding to nearest takes the scale from the largest weight. The search tries scales around that one, in both directions of
 * symmetric codes (−8 … 7 has one more step below zero) and, with zero points, narrower ranges. For the codes that follow from each
 * the best scale is known in closed form, so what is compared is not the trial's error but that of the best scale:
 *
 *   Σ i·w² − (Σ i·w·q)² / Σ i·q²,   q = code − zero
 *
 * The best trial's scale is rounded as the file keeps it, and the codes are those nearest to the weights with it. Where rounding to
 * nearest loses less, it stays.
 */
import { fromFp16, toFp16 } from '@msd/core';
import { roundHalfEven } from '@msd/core/program';

export interface BlockShape {
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly isAsymmetric: boolean;
  /** Scales are kept as float16. */
  readonly isHalf: boolean;
  /** Without: round to nearest. */
  readonly isSearched: boolean;
}

/** Divisors of the largest magnitude, relative to what puts it on the last code. */
const TRIALS: Readonly<Record<2 | 4 | 8, readonly number[]>> = {
  2: [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.15, 1.3, 1.5, 1.75],
  4: [0.82, 0.87, 0.91, 0.95, 1, 1.04, 1.08, 1.12, 1.16, 1.2, 1.25, 1.32],
  8: [0.985, 1, 1.015, 1.03],
};

/** How far ranges with a zero point are narrowed at either end. */
const SHRUNK: Readonly<Record<2 | 4 | 8, readonly number[]>> = {
  2: [1, 0.9, 0.8, 0.7, 0.6, 0.5],
  4: [1, 0.95, 0.9, 0.84, 0.78],
  8: [1, 0.985],
};

const REFINEMENTS = 3;

/** A block of weights. */
export interface Block {
  readonly values: Float32Array;
  /** Where it begins in them. Default 0. */
  readonly at?: number;
  /** At most a block. */
  readonly count: number;
  /** Of each value, from `at` on; absent: all count the same. */
  readonly importance?: Float32Array | undefined;
}

/** Looks for the codes of one block after another; the last result is in its fields. */
export class BlockSearch {
  readonly shape: BlockShape;
  /** Codes from 0 on, of the values of the block. */
  readonly codes: Uint8Array;
  scale = 0;
  zero = 0;
  /** Σ importance · error², of the result and of rounding to nearest. */
  lost = 0;
  lostByRounding = 0;
  /** As the file keeps a scale. */
  readonly kept: (scale: number) => number;
  readonly #last: number;
  #block: Block & { readonly at: number } = { values: new Float32Array(0), at: 0, count: 0 };
  #bestGain = 0;
  #bestScale = 0;
  #bestZero = 0;

  constructor(shape: BlockShape) {
    this.shape = shape;
    this.kept = shape.isHalf ? (scale) => fromFp16(toFp16(scale)) : Math.fround;
    this.codes = new Uint8Array(shape.blockSize);
    this.#last = 2 ** shape.bits - 1;
  }

  run({ values, at = 0, count, importance }: Block): void {
    this.#block = { values, at, count, importance };
    const { isAsymmetric, isSearched, bits } = this.shape;
    let [least, most] = [0, 0];
    for (let i = 0; i < count; i++) {
      const value = values[at + i]!;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    const half = (this.#last + 1) / 2;
    if (isAsymmetric) this.#cover(least, most);
    else {
      // Of equal magnitudes the one that comes first, as round to nearest of @msd/core has it.
      let peak = 0;
      for (let i = 0; i < count; i++) if (Math.abs(values[at + i]!) > Math.abs(peak)) peak = values[at + i]!;
      this.scale = this.kept(Math.fround(peak / -half));
      this.zero = half;
    }
    this.lostByRounding = this.lost = this.#code(this.scale, this.zero);
    if (!isSearched || this.scale === 0 || this.lost === 0) return;
    const [scale, zero, lost] = [this.scale, this.zero, this.lost];
    this.#bestGain = -1;
    if (isAsymmetric) {
      for (const low of SHRUNK[bits])
        for (const high of SHRUNK[bits]) {
          const step = (most * high - least * low) / this.#last;
          const near = -(least * low) / step;
          for (const each of [Math.floor(near), Math.ceil(near)])
            this.#try(step, Math.max(0, Math.min(this.#last, each)));
        }
    } else {
      const peak = Math.max(-least, most);
      for (const trial of TRIALS[bits]) {
        this.#try(peak / (half * trial), half);
        this.#try(-peak / (half * trial), half);
      }
    }
    for (let i = 0; i < REFINEMENTS; i++) {
      const before = this.#bestGain;
      this.#try(this.#bestScale, this.#bestZero);
      if (this.#bestGain <= before) break;
    }
    this.scale = this.kept(this.#bestScale);
    this.zero = this.#bestZero;
    this.lost = this.#code(this.scale, this.zero);
    if (this.lost < lost) return;
    // Rounded as the file keeps it, the best scale is not always better.
    [this.scale, this.zero] = [scale, zero];
    this.lost = this.#code(scale, zero);
  }

  /** The range of the block, stretched to include 0, over all codes. */
  #cover(least: number, most: number): void {
    const scale = this.kept(Math.fround((most - least) / this.#last));
    this.scale = scale;
    this.zero = scale === 0 ? (this.#last + 1) / 2 : Math.min(this.#last, Math.max(0, roundHalfEven(-least / scale)));
  }

  #try(scale: number, zero: number): void {
    const { values, at, count, importance } = this.#block;
    const inverse = 1 / scale;
    if (!Number.isFinite(inverse)) return;
    const [lowest, highest] = [-zero, this.#last - zero];
    let [cross, square] = [0, 0];
    for (let i = 0; i < count; i++) {
      const value = values[at + i]!;
      let q = Math.floor(value * inverse + 0.5);
      if (q < lowest) q = lowest;
      else if (q > highest) q = highest;
      const weighted = importance === undefined ? q : importance[at + i]! * q;
      cross += weighted * value;
      square += weighted * q;
    }
    if (square === 0) return;
    const gain = (cross * cross) / square;
    if (gain <= this.#bestGain) return;
    this.#bestGain = gain;
    this.#bestScale = cross / square;
    this.#bestZero = zero;
  }

  /** The nearest codes. @returns what they lose */
  #code(scale: number, zero: number): number {
    const { codes } = this;
    const { values, at, count, importance } = this.#block;
    codes.fill(zero);
    let lost = 0;
    for (let i = 0; i < count; i++) {
      const value = values[at + i]!;
      const code = scale === 0 ? zero : Math.min(this.#last, Math.max(0, roundHalfEven(value / scale) + zero));
      codes[i] = code;
      const off = value - scale * (code - zero);
      lost += (importance === undefined ? 1 : importance[at + i]!) * off * off;
    }
    return lost;
  }
}
