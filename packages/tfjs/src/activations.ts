/** Activations that the layers of a model meet: with them the error of a layer is measured, not estimated. */
import { limitOf } from '@msd/core';
import { shown } from './errors.ts';
import { requireRegistration } from './state.ts';
import type { Tensor } from './tf.ts';

/** By the name of the node or layer in reports: what it multiplies, […,K]. */
export type Activations = Readonly<Record<string, Tensor>>;

/** Rows that are looked at, spread over all of them. */
const ROWS = 64;

/**
 * Values of activations, a few rows of each.
 *
 * @throws `TypeError`, `RangeError` for what is no float tensor of finite numbers
 */
export async function readActivations(
  given: Activations | undefined,
  where: string,
): Promise<ReadonlyMap<string, Float32Array>> {
  const { tf } = requireRegistration(where);
  if (given !== undefined && (typeof given !== 'object' || given === null))
    throw new TypeError(`${where}: activations, expected tensors by name, got ${shown(given)}.`);
  const read = new Map<string, Float32Array>();
  for (const [name, tensor] of Object.entries(given ?? {})) {
    if (!(tensor instanceof tf.Tensor) || tensor.dtype === 'string' || tensor.dtype === 'complex64')
      throw new TypeError(`${where}: activations of ${name}, expected a tensor of numbers, got ${shown(tensor)}.`);
    const values = Float32Array.from(await tensor.data());
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new RangeError(`${where}: activations of ${name}, expected finite numbers, got ${values[bad]}.`);
    if (values.length > 0) read.set(name, values);
  }
  return read;
}

/** Activations of a matrix, and what its product makes of them: rounded to a part of the largest in their block. */
export interface SeenActivations {
  /** [M,K] */
  readonly x: Float32Array;
  /** @param factors for each k, that they are multiplied by before, and the result divided by */
  seen(factors?: Float32Array): Float32Array;
}

/**
 * Activations of a matrix, as many rows as are worth it.
 *
 * @throws `RangeError` if they are no rows of K
 */
export function rowsFor(values: Float32Array | undefined, K: number, name: string): SeenActivations | undefined {
  if (!values) return undefined;
  if (values.length % K !== 0)
    throw new RangeError(`activations of ${name}, expected rows of ${K}, got ${values.length} numbers.`);
  const count = values.length / K;
  const rows = Math.min(count, ROWS);
  const x = new Float32Array(rows * K);
  for (let i = 0; i < rows; i++) {
    const row = Math.floor((i * count) / rows);
    x.set(values.subarray(row * K, (row + 1) * K), i * K);
  }
  return {
    x,
    seen(factors) {
      if (!factors) return decomposed(x, K);
      const seen = decomposed(
        x.map((value, i) => value * factors[i % K]!),
        K,
      );
      return seen.map((value, i) => value / factors[i % K]!);
    },
  };
}

/** The sum of an activation's components (docs/msd.md, eq. 2 and 3), as the products of this registration have them. */
function decomposed(x: Float32Array, K: number): Float32Array {
  const { components, activationBlock } = requireRegistration('activations').options;
  const block = activationBlock === 'row' ? K : activationBlock;
  const limit = limitOf(components);
  const seen = x.slice();
  for (let row = 0; row < x.length; row += K)
    for (let at = row; at < row + K; at += block) {
      const own = seen.subarray(at, Math.min(row + K, at + block));
      const scale = own.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / limit;
      if (scale > 0) for (let k = 0; k < own.length; k++) own[k] = Math.round(own[k]! / scale) * scale;
    }
  return seen;
}
