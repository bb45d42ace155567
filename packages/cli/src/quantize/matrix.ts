/** A float matrix becomes codes, scales and zero points: rows at a time, straight into the file of weights. */
import { setImmediate as turn } from 'node:timers/promises';
import { quantizeWeights } from '@msd/core';
import { type ByteRange, type FloatMatrix, floatRows, halfBitsOf } from '@msd/onnx/model';
import type { WeightsFile } from '../edit/weights-file.ts';
import { Descent } from './descent.ts';
import type { FormatName } from './form.ts';
import type { Moments } from './moments.ts';
import { BlockSearch } from './search.ts';

/** A matrix [N, K] to quantize. */
export interface FloatWeights extends FloatMatrix {
  /** What all of it is multiplied by: Gemm's alpha. */
  readonly times: number;
  /** Which k of the file each k is. */
  readonly order: Int32Array | undefined;
}

/** How it is kept. */
export interface CodeShape {
  readonly format: FormatName;
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly isAsymmetric: boolean;
  readonly isHalf: boolean;
  /**
   * `blocks`: MatMulNBits and GatherBlockQuantized; unsigned codes, the last block of a row filled up, zero points packed by rows.
   * `elements`: DequantizeLinear; codes of K alone, signed without zero points, zero points one behind the other.
   */
  readonly layout: 'blocks' | 'elements';
}

export interface SearchOptions {
  /** Without: round to nearest. */
  readonly isSearched: boolean;
  /** What the activations are like, where somebody measured it. */
  readonly moments: Moments | undefined;
}

/** What was lost: sums of squares, weighted by what the activations are like where that is known. */
export interface Loss {
  readonly signal: number;
  readonly lost: number;
  /** By rounding to nearest, in the same form. */
  readonly lostByRounding: number;
}

export interface Codes extends Loss {
  readonly blocks: number;
  readonly data: ByteRange;
  readonly scales: ByteRange;
  readonly zeros: ByteRange | undefined;
}

/** Weights from here on overflow where they are multiplied. */
const LIMIT = 2 ** 90;
/** Weights that are read at a time. */
const SLAB = 2 ** 17;

/** Between two slabs: how many weights are done; throws to stop. */
export type OnSlab = (weights: number) => void;

/**
 * Quantizes a matrix.
 *
 * @returns its tensors in `to`; or a reason why it stays as it is, and then nothing of it is in `to`
 */
export async function quantizeMatrix(
  weights: FloatWeights,
  shape: CodeShape,
  options: SearchOptions,
  to: WeightsFile,
  onSlab: OnSlab,
): Promise<Codes | string> {
  const { N, K } = weights;
  const { bits, blockSize, isAsymmetric, isHalf, layout } = shape;
  const blocks = Math.ceil(K / blockSize);
  const coder = shape.format === 'mxfp4' ? new MxCoder(options.isSearched, layout) : new Coder(shape, weights, options);
  const rowCodes = layout === 'blocks' ? blocks * blockSize : K;
  const scales = new Float32Array(N * blocks);
  const zeros = isAsymmetric ? new Uint8Array(N * blocks) : undefined;
  const read = rowReader(weights);
  const count = Math.max(1, Math.min(N, Math.floor(SLAB / K)));
  const rows = new Float32Array(count * K);
  const begin = to.begin();
  for (let n = 0; n < N; n += count) {
    const some = Math.min(count, N - n);
    const slab = rows.subarray(0, some * K);
    read(n, some, slab);
    const wrong = slab.findIndex((value) => !(Math.abs(value) < LIMIT));
    if (wrong >= 0) {
      to.rewind(begin);
      return `weight [${n + Math.floor(wrong / K)}, ${wrong % K}] is ${slab[wrong]}`;
    }
    const codes = new Uint8Array(some * rowCodes);
    for (let row = 0; row < some; row++)
      coder.row(slab.subarray(row * K, (row + 1) * K), {
        codes: codes.subarray(row * rowCodes, (row + 1) * rowCodes),
        scales: scales.subarray((n + row) * blocks, (n + row + 1) * blocks),
        zeros: zeros?.subarray((n + row) * blocks, (n + row + 1) * blocks),
      });
    // Signed where nothing says what stands for 0.
    const middle = layout === 'elements' && !isAsymmetric ? 2 ** (bits - 1) : 0;
    to.append(packed(codes, bits, middle));
    await turn();
    onSlab(some * K);
  }
  const data = to.range(begin);
  const factors = to.tensor(isHalf ? halfBitsOf(scales) : scales);
  const points = zeros && to.tensor(layout === 'blocks' ? packedRows(zeros, bits, N, blocks) : packed(zeros, bits, 0));
  const { signal, lost, lostByRounding } = coder;
  return { blocks, data, scales: factors, zeros: points, signal, lost, lostByRounding };
}

/** Rows as the product wants them. */
function rowReader(weights: FloatWeights): (n: number, count: number, out: Float32Array) => void {
  const { K, times, order } = weights;
  const read = floatRows(weights);
  const before = new Float32Array(order ? K : 0);
  return (n, count, out) => {
    read(n, count, out);
    if (times !== 1) for (let i = 0; i < out.length; i++) out[i]! *= times;
    if (!order) return;
    for (let at = 0; at < out.length; at += K) {
      before.set(out.subarray(at, at + K));
      for (let k = 0; k < K; k++) out[at + k] = before[order[k]!]!;
    }
  };
}

/** Where a row's results go. */
interface RowOut {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array | undefined;
}

/** Rows whose loss is measured with all products of channels: that takes as long as three rows of the descent. */
const MEASURED_ROWS = 64;

class Coder implements Loss {
  signal = 0;
  lost = 0;
  lostByRounding = 0;
  readonly #shape: CodeShape;
  readonly #search: BlockSearch;
  readonly #rounding: BlockSearch;
  readonly #importance: Float32Array | undefined;
  readonly #descent: Descent | undefined;
  readonly #measuredEvery: number;
  #rows = 0;

  constructor(shape: CodeShape, { N, K }: FloatWeights, { isSearched, moments }: SearchOptions) {
    this.#shape = shape;
    this.#search = new BlockSearch({ ...shape, isSearched });
    this.#rounding = new BlockSearch({ ...shape, isSearched: false });
    this.#importance = moments?.squares;
    this.#measuredEvery = Math.ceil(N / MEASURED_ROWS);
    const products = isSearched ? moments?.products : undefined;
    const { blockSize, bits } = shape;
    // The scales of 8 bits are good as they are. Fitted to made-up inputs PP-OCRv4 reads a line otherwise.
    const kept = bits === 8 || moments?.isMadeUp ? undefined : this.#search.kept;
    this.#descent = products && new Descent({ K, blockSize, last: 2 ** bits - 1, products, kept });
  }

  row(values: Float32Array, out: RowOut): void {
    const { blockSize } = this.#shape;
    const search = this.#search;
    const importance = this.#importance;
    let [lost, lostByRounding] = [0, 0];
    for (let at = 0, b = 0; at < values.length; at += blockSize, b++) {
      search.run({ values, at, count: Math.min(blockSize, values.length - at), importance });
      out.codes.set(search.codes.subarray(0, Math.min(blockSize, out.codes.length - at)), at);
      out.scales[b] = search.scale;
      if (out.zeros) out.zeros[b] = search.zero;
      lost += search.lost;
      lostByRounding += search.lostByRounding;
    }
    this.#descent?.run(values, out.codes, out.scales, out.zeros);
    const isMeasured = this.#rows++ % this.#measuredEvery === 0;
    if (this.#descent) {
      if (isMeasured) this.#measure(this.#descent, values, out);
      return;
    }
    for (let k = 0; k < values.length; k++) this.signal += (importance ? importance[k]! : 1) * values[k]! ** 2;
    this.lost += lost;
    this.lostByRounding += lostByRounding;
  }

  #measure(descent: Descent, values: Float32Array, { codes, scales, zeros }: RowOut): void {
    const { blockSize, bits } = this.#shape;
    const middle = 2 ** (bits - 1);
    const off = Float64Array.from(values, (value, k) => {
      const b = Math.floor(k / blockSize);
      return value - scales[b]! * (codes[k]! - (zeros ? zeros[b]! : middle));
    });
    this.signal += descent.form(Float64Array.from(values));
    this.lost += descent.form(off);
    const rounding = this.#rounding;
    for (let at = 0; at < values.length; at += blockSize) {
      const count = Math.min(blockSize, values.length - at);
      rounding.run({ values, at, count });
      for (let i = 0; i < count; i++)
        off[at + i] = values[at + i]! - rounding.scale * (rounding.codes[i]! - rounding.zero);
    }
    this.lostByRounding += descent.form(off);
  }
}

const E2M1_DOUBLED = [0, 1, 2, 3, 4, 6, 8, 12];

/** MXFP4 as 8-bit integers: E2M1's numbers, doubled, and half the block's power of two. The same numbers to the last bit. */
class MxCoder implements Loss {
  signal = 0;
  lost = 0;
  lostByRounding = 0;
  readonly #isSearched: boolean;
  readonly #isPadded: boolean;

  constructor(isSearched: boolean, layout: CodeShape['layout']) {
    this.#isSearched = isSearched;
    this.#isPadded = layout === 'blocks';
  }

  row(values: Float32Array, { codes, scales }: RowOut): void {
    const K = values.length;
    const rounded = (scaleRule: 'ocp' | 'mse') =>
      quantizeWeights(values, { N: 1, K, format: 'mxfp4', blockSize: 32, scaleRule });
    const [plain, best] = [rounded('ocp'), rounded(this.#isSearched ? 'mse' : 'ocp')];
    this.lostByRounding += this.#lossOf(values, plain.data, plain.scales);
    this.lost += this.#lossOf(values, best.data, best.scales);
    for (const value of values) this.signal += value * value;
    const length = this.#isPadded ? codes.length : K;
    for (let k = 0; k < length; k++) codes[k] = 128 + doubled(best.data, k);
    for (let b = 0; b < scales.length; b++) {
      const isZero = values.subarray(32 * b, 32 * (b + 1)).every((value) => value === 0);
      scales[b] = isZero ? 0 : 2 ** (best.scales[b]! - 128);
    }
  }

  #lossOf(values: Float32Array, data: ArrayLike<number>, scales: ArrayLike<number>): number {
    let lost = 0;
    for (let k = 0; k < values.length; k++) lost += (values[k]! - doubled(data, k) * 2 ** (scales[k >> 5]! - 128)) ** 2;
    return lost;
  }
}

function doubled(data: ArrayLike<number>, k: number): number {
  const code = (data[k >> 1]! >> (4 * (k & 1))) & 15;
  const value = E2M1_DOUBLED[code & 7]!;
  return code & 8 ? -value : value;
}

/** Codes less `middle`, the first one in the lowest bits of a byte. */
function packed(codes: Uint8Array, bits: 2 | 4 | 8, middle: number): Uint8Array {
  const mask = 2 ** bits - 1;
  if (bits === 8) return middle === 0 ? codes : codes.map((code) => code - middle);
  const out = new Uint8Array(Math.ceil((codes.length * bits) / 8));
  for (let i = 0; i < codes.length; i++) out[(i * bits) >> 3]! |= ((codes[i]! - middle) & mask) << ((i * bits) & 7);
  return out;
}

/** The same, rows from a byte on each. */
function packedRows(codes: Uint8Array, bits: 2 | 4 | 8, rows: number, columns: number): Uint8Array {
  const rowBytes = Math.ceil((columns * bits) / 8);
  const out = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++)
    out.set(packed(codes.subarray(row * columns, (row + 1) * columns), bits, 0), row * rowBytes);
  return out;
}
