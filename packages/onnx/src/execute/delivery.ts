/**
 * Large results that only the caller needs, such as logits: a product writes them to an array of
 * the caller, some rows and columns at a time. On the device they would take memory that is never freed.
 */

import type { ArenaHandle, DecompositionOptions } from '@msd/core';
import type { ScriptStep } from '@msd/core/program';
import { countOf } from '../dims.ts';
import type { Graph } from '../ir/graph.ts';
import type { Slot } from '../ops/lowering.ts';
import type { Fused, ProductsStep } from '../plan/fuse.ts';
import type { Residents } from './residents.ts';

/**
 * From this many elements on, a result is large. One token's logits often are: a range of them is copied while it is in a core's cache,
 * and while other threads multiply the next one.
 */
const LARGE = 2 ** 17;

/** A result in an array. */
export interface Delivery {
  readonly dims: readonly number[];
  /** The array of the last run; can be taken once. */
  take(): Float32Array;
}

/**
 * The products whose result goes to an array, by the name of the result.
 *
 * @param results what leaves the region
 */
export function deliveredProducts(
  graph: Graph,
  fused: readonly Fused[],
  results: ReadonlyMap<string, Slot>,
): Map<string, ProductsStep> {
  const found = new Map<string, ProductsStep>();
  for (const { step } of fused) {
    if (step.kind !== 'products' || step.each.length !== 1) continue;
    const { y } = step.each[0]!;
    if (countOf(y.dims) < LARGE || countOf(y.dims) < countOf(y.root.dims)) continue;
    const names = [...results].filter(([, { root }]) => root === y.root).map(([name]) => name);
    const [name = ''] = names;
    if (names.length === 1 && !graph.consumers.has(name)) found.set(name, step);
  }
  return found;
}

/** The product as a step, and what it delivers. */
export function deliver(
  { backend, matrix }: Residents,
  split: DecompositionOptions,
  { x, each }: ProductsStep,
  dims: readonly number[],
  numberOf: (slot: Slot) => number,
  handleOf: (number: number) => ArenaHandle,
): { readonly step: ScriptStep; readonly delivery: Delivery } {
  const [{ matrix: key, activation, bias, multiply, residual }] = each as [ProductsStep['each'][number]];
  const weights = matrix(key);
  const M = countOf(x.dims) / weights.K;
  const numbers = [x, bias, multiply, residual].map((slot) => slot && numberOf(slot));
  let out: Float32Array | undefined;
  const run = (): void => {
    const [from, ...ends] = numbers.map((number) => (number === undefined ? undefined : handleOf(number)));
    out = new Float32Array(M * weights.N);
    const [bias, multiply, residual] = ends;
    backend.matmul(from!, weights, { ...split, M, out, activation, bias, multiply, residual });
  };
  const take = (): Float32Array => {
    const taken = out!;
    out = undefined;
    return taken;
  };
  const reads = numbers.filter((number) => number !== undefined);
  const kernels = [backend.kernelFor(weights, M, split)];
  const work = { kind: 'product' as const, matrices: [weights], M, ...split };
  return { step: { kind: 'script', run, reads, writes: [], kernels, work }, delivery: { dims, take } };
}
