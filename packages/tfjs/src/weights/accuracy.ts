/**
 * How far packed weights are off the floats that they stand for, measured where it hurts: a small error of the whole matrix may
 * be the loss of all that one input feature says.                                           (docs/tfjs.md, "Accuracy")
 */
import { type FormatId, rowExtent, rowReader } from '@msd/core';
import type { SeenActivations } from '../activations.ts';
import type { Packed } from '../pack.ts';
import { sourcesOf } from '../rows.ts';
import { formatOf } from '../spec.ts';
import { factorsOf } from './powers.ts';

/** A row or a column, and its error relative to its own size. */
export interface Worst {
  readonly index: number;
  readonly error: number;
}

export interface Accuracy {
  /** ‖W − W′‖ / ‖W‖ */
  readonly error: number;
  /** Input feature k (of a table: column): ‖W[k,:] − W′[k,:]‖ / ‖W[k,:]‖ */
  readonly input: Worst;
  /** Output channel n (of a table: row): likewise, relative to what it deviates from its mean. */
  readonly output: Worst;
  /** Output channel of which the largest share of weights is lost, off by half of themselves or more, and that share. */
  readonly lost: Worst;
  /** ‖x·W − x′·W′‖ / ‖x·W‖ for the caller's activations x, which the product sees as x′. */
  readonly measured?: number;
}

/** Squares of 2⁻⁴⁰: input features and weights below that are as good as 0: an input of 10¹² would have to meet them. */
const NOTHING_SQUARED = 2 ** -80;
/** Errors below are f32's own. */
const ROUNDING = 2 ** -20;

/**
 * @param rows the floats: [batch…][N,K] of a matrix, [rows, columns] of a table
 * @param x activations, for a matrix without batches
 */
export function accuracyOf({ spec, data }: Packed, rows: Float32Array, x?: SeenActivations): Accuracy {
  const { rows: N, columns: K } = rowExtent(spec);
  const sources = sourcesOf(spec, new Uint8Array(data.buffer));
  const features = { error: new Float64Array(sources.length * K), size: new Float64Array(sources.length * K) };
  const products = x && sources.length === 1 ? { error: 0, size: 0 } : undefined;
  let [output, lost, error, size]: [Worst, Worst, number, number] = [NONE, NONE, 0, 0];
  const factors = factorsOf(spec);
  const met = products && { x: x!.x, seen: x!.seen(factors) };
  const row = new Float32Array(K);
  sources.forEach((bytes, index) => {
    const read = rowReader(spec, bytes);
    for (let n = 0; n < N; n++) {
      read(n, row);
      if (factors) for (let k = 0; k < K; k++) row[k]! *= factors[k]!;
      const own = rows.subarray((index * N + n) * K, (index * N + n + 1) * K);
      const sums = compare(row, own, index * K, features);
      const at = index * N + n;
      output = worse(output, at, relative(sums.error, sums.size, sums.size - sums.sum ** 2 / K));
      lost = worse(lost, at, sums.count ? sums.lost / sums.count : 0);
      error += sums.error;
      size += sums.size;
      if (products) addProducts(met!, row, own, products);
    }
  });
  let input = NONE;
  features.error.forEach((own, k) => {
    if (features.size[k]! > N * NOTHING_SQUARED) input = worse(input, k, relative(own, features.size[k]!));
  });
  const measured = products && { measured: relative(products.error, products.size) };
  return { error: size ? Math.sqrt(error / size) : 0, input, output, lost, ...measured };
}

const NONE: Worst = { index: 0, error: 0 };

const worse = (worst: Worst, index: number, error: number): Worst => (error > worst.error ? { index, error } : worst);

/** Root of error / of; what f32 rounds anyway is none. */
const relative = (error: number, size: number, of = size): number =>
  error <= size * ROUNDING ** 2 ? 0 : Math.sqrt(error / Math.max(of, 0));

interface Sums {
  readonly error: number;
  readonly size: number;
  readonly sum: number;
  /** Weights that are not 0, and those of them that are lost. */
  readonly count: number;
  readonly lost: number;
}

function compare(
  got: Float32Array,
  want: Float32Array,
  at: number,
  { error: errors, size: sizes }: { readonly error: Float64Array; readonly size: Float64Array },
): Sums {
  let error = 0;
  let size = 0;
  let sum = 0;
  let count = 0;
  let lost = 0;
  for (let k = 0; k < got.length; k++) {
    const value = want[k]!;
    const difference = got[k]! - value;
    const square = value * value;
    const wrong = difference * difference;
    error += wrong;
    size += square;
    sum += value;
    errors[at + k]! += wrong;
    sizes[at + k]! += square;
    if (square > NOTHING_SQUARED) {
      count++;
      if (4 * wrong >= square) lost++;
    }
  }
  return { error, size, sum, count, lost };
}

function addProducts(
  { x, seen }: { readonly x: Float32Array; readonly seen: Float32Array },
  got: Float32Array,
  want: Float32Array,
  sums: { error: number; size: number },
): void {
  const K = want.length;
  for (let at = 0; at < x.length; at += K) {
    let error = 0;
    let size = 0;
    for (let k = 0; k < K; k++) {
      const term = x[at + k]! * want[k]!;
      error += seen[at + k]! * got[k]! - term;
      size += term;
    }
    sums.error += error ** 2;
    sums.size += size ** 2;
  }
}

/** Largest relative error of an input feature or output channel, and largest share of lost weights, that a form may have. */
const LIMITS: Readonly<Record<'fine' | 'coarse', { readonly error: number; readonly lost: number }>> = {
  fine: { error: 1 / 4, lost: 1 / 3 },
  /** 4 bits are off by 0.1 everywhere. */
  coarse: { error: 3 / 4, lost: 1 / 2 },
};
const COARSE: readonly string[] = ['int4', 'mxfp4', 'nf4', 'fp4'] satisfies FormatId[];
/** Of the product with the caller's activations. */
const MEASURED = { fine: 1 / 20, coarse: 1 / 4 };

/** Why weights should not be kept in this form; `undefined` = they may. 2 bits are kept as they are: whoever asks for them knows. */
export function whyInaccurate({ spec }: Packed, accuracy: Accuracy): string | undefined {
  const format = formatOf(spec);
  if (format === 'int2') return undefined;
  const kind = COARSE.includes(format) ? 'coarse' : 'fine';
  const { input, output, lost, measured } = accuracy;
  if (measured !== undefined)
    return measured > MEASURED[kind] ? `${format} is off by ${percent(measured)} for the given activations` : undefined;
  const [inputs, outputs] = spec.kind === 'table' ? ['column', 'row'] : ['input feature', 'output channel'];
  const limit = LIMITS[kind];
  if (input.error > limit.error) return `${format} loses ${percent(input.error)} of ${inputs} ${input.index}`;
  if (output.error > limit.error) return `${format} loses ${percent(output.error)} of ${outputs} ${output.index}`;
  if (lost.error > limit.lost)
    return `${format} loses ${percent(lost.error)} of the weights of ${outputs} ${lost.index}`;
  return undefined;
}

/** Two digits: `0.34 %`, `7.9 %`, `58 %`; errors may be larger than what they are errors of. */
function percent(share: number): string {
  const value = 100 * share;
  if (value >= 1000) return 'more than all';
  return `${value < 10 ? value.toPrecision(2) : Math.round(value)} %`;
}
