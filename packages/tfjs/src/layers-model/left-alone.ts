/** Layers with weights that stay tfjs's: each is in the report, with its bytes and why. */
import { stockBytes } from '../graph-model/artifacts.ts';
import type { NodeReport } from '../report.ts';

/** What of a weight decides about it. */
interface Weight {
  readonly shape: readonly number[];
  readonly dtype: string;
}

/** A layer, known or not, with all of its weights. */
export interface AnyPlace {
  readonly name: string;
  readonly className: string;
  readonly weights: readonly Weight[];
}

/**
 * @param reports of the layers that MSD looked at
 * @param places all layers, in the model's order
 * @returns the reports in that order, with bytes, and those of all other layers with weights
 */
export function reportWithLeftAlone(reports: readonly NodeReport[], places: readonly AnyPlace[]): NodeReport[] {
  const pending = [...reports];
  const all = places.flatMap((place): NodeReport[] => {
    const at = pending.findIndex(({ name }) => name === place.name);
    const [report] = at < 0 ? [unknownLayer(place)] : pending.splice(at, 1);
    if (!report) return [];
    return [
      report.where === 'msd' || report.bytes !== undefined ? report : { ...report, bytes: bytesOf(place.weights) },
    ];
  });
  return [...all, ...pending];
}

function unknownLayer({ name, className, weights }: AnyPlace): NodeReport | undefined {
  if (weights.length === 0) return undefined;
  if (isMsd(className)) return { name, op: className, where: 'msd', msdOp: className };
  const reason = weights.every(({ shape }) => shape.length < 2)
    ? 'vectors, no matrix'
    : `MSD has no kernel for ${className}`;
  return { name, op: className, where: 'tfjs', reason, bytes: bytesOf(weights) };
}

/** It was taken before. */
const isMsd = (className: string): boolean => className.startsWith('Msd');

/** Bytes that tfjs keeps. */
const bytesOf = (weights: readonly Weight[]): number => weights.reduce((sum, weight) => sum + stockBytes(weight), 0);

/**
 * Which layer a weight of a file belongs to: the first part of its name that is a layer's. What is before is the scope of a model,
 * what follows a wrapped layer, a cell, the weight.
 *
 * @param names of layers, outermost wrappers
 * @returns weights by the name of their layer; those of none under ''
 */
export function weightsByLayer<W extends { readonly name: string }>(
  weights: Iterable<W>,
  names: ReadonlySet<string>,
): Map<string, W[]> {
  const owned = new Map<string, W[]>();
  for (const weight of weights) {
    const owner = weight.name.split('/').find((part) => names.has(part)) ?? '';
    const list = owned.get(owner);
    if (list) list.push(weight);
    else owned.set(owner, [weight]);
  }
  return owned;
}
