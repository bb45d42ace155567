/**
 * Key padding in the forms of com.microsoft's attention, all of int32. ONNX Runtime adds a number to the scores of keys that are
 * padding; so a row of nothing else is not empty.
 *
 *   [B]        keys from this position on
 *   [2·B]      the same, then the first key that counts
 *   [3·B + 2]  the same as [B], then where each sequence begins among all queries and keys, which nothing here asks for
 *   [B, T]     0 is padding; [B, 1] says nothing
 *   [B, M, T]  0 is padding, for every query
 */

import type { ScoreArray } from '@msd/core';
import { countOf } from '../../dims.ts';
import type { Elements, LateAttention } from '../lowering.ts';
import { addBiases, biasArray, lateOf } from './biases.ts';

interface Sizes {
  readonly batch: number;
  readonly rows: number;
  readonly keys: number;
}

/** What a node tells in every run: a mask, a bias, both or neither. */
export function paddedLate(
  padding: string,
  added: string,
  filter: number,
  sizesOf: (pastRows: number) => Sizes,
): LateAttention | undefined {
  const late = [padding, added].filter((name) => name !== '');
  return lateOf(late, (values, pastRows) => {
    const mask = padding === '' ? undefined : values[0]!;
    const extra = added === '' ? undefined : values.at(-1)!;
    return { bias: addBiases(mask && paddingBias(mask, sizesOf(pastRows), filter), extra && biasArray(extra)) };
  });
}

/** The bias that a mask is; `undefined` if it says nothing. */
export function paddingBias(
  { dims, data }: Elements,
  { batch, rows, keys }: Sizes,
  filter: number,
): ScoreArray<Float32Array> | undefined {
  const values = Array.from(data);
  if (dims.length === 1) return limitBias(values, batch, keys, filter);
  if (dims.length === 2 && dims[1] === 1 && keys !== 1) return undefined;
  const wanted = [batch, 1, dims.length === 3 ? rows : 1, keys] as const;
  if (dims.length > 3 || countOf(dims) !== countOf(wanted)) refuse(`[${batch}, ${keys}]`, dims);
  return { dims: wanted, data: Float32Array.from(values, (value) => (value > 0 ? 0 : filter)) };
}

function limitBias(limits: readonly number[], batch: number, keys: number, filter: number): ScoreArray<Float32Array> {
  const lengths = [batch, 2 * batch, 3 * batch + 2];
  if (!lengths.includes(limits.length)) refuse(lengths.map((length) => `[${length}]`).join(' or '), [limits.length]);
  const hasStarts = limits.length === 2 * batch;
  const data = new Float32Array(batch * keys);
  for (let b = 0; b < batch; b++) {
    const [end, start] = [limits[b]!, hasStarts ? limits[batch + b]! : 0];
    for (let key = 0; key < keys; key++) if (key >= end || key < start) data[b * keys + key] = filter;
  }
  return { dims: [batch, 1, 1, keys], data };
}

function refuse(expected: string, got: readonly number[]): never {
  throw new RangeError(`run: attention: mask, expected ${expected}, got [${got.join(', ')}].`);
}
