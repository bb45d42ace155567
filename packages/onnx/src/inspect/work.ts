/** What one run of a model is, for sizes that are given: multiplications on both sides, and what the cost model expects. */
import type { FormatId } from '@msd/core';
import { countOf } from '../dims.ts';
import type { Draft } from '../execute/drafts.ts';
import type { GraphNode } from '../ir/graph.ts';
import { inferTypes, type TypedGraph } from '../ir/infer.ts';
import { isGrowing, type Size } from '../ir/info.ts';
import type { Match } from '../passes/matcher.ts';
import { attentionPrice, CostModel, MSD_MAC, padded } from '../plan/cost.ts';
import type { Region } from '../plan/partition.ts';
import { type Control, unitsOf } from '../plan/units.ts';
import type { Dim } from '../read/types.ts';
import { macsOf } from './macs.ts';

/** The size of a dimension of an input that the file leaves open. @param name '' = it has none */
export type SizeOf = (input: string, axis: number, name: string) => number;

/** Multiplications of one operator. */
export interface OperatorWork {
  readonly operator: string;
  readonly macs: number;
  /** Of them, those that MSD does. */
  readonly msdMacs: number;
}

/** Products of one kind, with packed weights. */
export interface WorkProduct {
  /** As many of them. */
  readonly count: number;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly format: FormatId;
  readonly blockSize: number | null;
}

/** Attentions of one kind. */
export interface WorkAttention {
  readonly count: number;
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly keys: number;
  readonly headSize: number;
}

/** One run. */
export interface Work {
  /** The branches that it takes. */
  readonly taken: readonly string[];
  readonly macs: number;
  readonly msdMacs: number;
  /** The largest first. */
  readonly operators: readonly OperatorWork[];
  /** Microseconds of the cost model, for the machine that it was fitted on: as MSD cuts it, and as one session of ONNX Runtime. */
  readonly predictedMicroseconds: {
    readonly msd: number;
    readonly ort: number;
    /** Of `msd`, all but the multiplications of `products` and `attentions`, which @msd/core/theory knows better. */
    readonly rest: number;
  };
  /** Products that MSD does. */
  readonly products: readonly WorkProduct[];
  readonly attentions: readonly WorkAttention[];
}

/** Of one way through a model. */
export function workOf({ typed, decisions, controls, sides, taken }: Draft, sizeOf: SizeOf): Work {
  const known = new Map<string, number>();
  const sized = (input: string, axis: number, dim: Dim): number => {
    if (typeof dim === 'number') return dim;
    const size = sizeOf(input, axis, dim ?? '');
    if (dim !== null) known.set(dim, size);
    return size;
  };
  const inputs = typed.graph.inputs.map(({ name, type }) => ({
    name,
    type: { ...type, dims: type.dims?.map((dim, axis) => sized(name, axis, dim)) },
  }));
  const concrete: TypedGraph = inferTypes({ ...typed.graph, inputs });
  const largest = Math.max(1, ...known.values());
  // What does not follow from inputs: of declared types by its name, else as many as there are of anything.
  const concreteSize = (size: Size): number =>
    typeof size === 'number' ? size : (known.get(size) ?? (/batch/i.test(size) ? 1 : isGrowing(size) ? largest : 1));
  const matches = new Map<GraphNode, Match>();
  for (const [node, decision] of decisions) if (typeof decision === 'object') matches.set(node, decision);
  const planned = new Map<GraphNode, Control>();
  for (const [node, control] of controls) if (typeof control === 'object') planned.set(node, control);
  const units = unitsOf(typed.graph, matches, planned);
  const claimed = new Set(
    (sides?.regions ?? []).flatMap((region) => (region.claimed ? region.units.map(({ nodes }) => nodes[0]!) : [])),
  );
  const operators = new Map<string, { macs: number; msdMacs: number }>();
  for (const unit of units) {
    const scores = unit.match?.scores;
    // The match was made with symbols: its scores have the sizes that they have now.
    const known = scores
      ? { ...unit, match: { ...unit.match!, scores: { ...scores, dims: scores.dims.map(concreteSize) } } }
      : unit;
    for (const { operator, macs } of macsOf(known, concrete, concreteSize)) {
      const sum = operators.get(operator) ?? { macs: 0, msdMacs: 0 };
      sum.macs += macs;
      if (claimed.has(unit.nodes[0]!)) sum.msdMacs += macs;
      operators.set(operator, sum);
    }
  }
  const list = [...operators].map(([operator, sum]) => ({ operator, ...sum })).sort((a, b) => b.macs - a.macs);
  const model = new CostModel(concrete, false, [{ tokens: 1, weight: 1 }]);
  const ort = model.whole(units);
  const total = sides ? model.total(sides.regions) : ort;
  const { products, attentions, microseconds } = sides ? claimedWork(sides.regions, concrete, concreteSize) : NOTHING;
  return {
    taken,
    macs: list.reduce((sum, { macs }) => sum + macs, 0),
    msdMacs: list.reduce((sum, { msdMacs }) => sum + msdMacs, 0),
    operators: list,
    predictedMicroseconds: { msd: total, ort, rest: Math.max(0, total - microseconds) },
    products,
    attentions,
  };
}

interface ClaimedWork {
  readonly products: readonly WorkProduct[];
  readonly attentions: readonly WorkAttention[];
  /** What the cost model has for their multiplications. */
  readonly microseconds: number;
}

const NOTHING: ClaimedWork = { products: [], attentions: [], microseconds: 0 };

/** Products and attentions of claimed regions, those that are alike together. */
function claimedWork(regions: readonly Region[], typed: TypedGraph, concreteSize: (size: Size) => number): ClaimedWork {
  const products = new Map<string, WorkProduct>();
  const attentions = new Map<string, WorkAttention>();
  let microseconds = 0;
  const add = <W extends { readonly count: number }>(to: Map<string, W>, one: W): void => {
    const key = JSON.stringify({ ...one, count: 0 });
    to.set(key, { ...one, count: one.count + (to.get(key)?.count ?? 0) });
  };
  for (const { claimed, units } of regions)
    for (const { match, outputs } of claimed ? units : []) {
      const { product, scores, caches = [], resources = [] } = match ?? {};
      const written = outputs.reduce(
        (sum, name) => sum + countOf((typed.infos.get(name)?.dims ?? []).map(concreteSize)),
        0,
      );
      const matrices = resources.flatMap((each) => (each.kind === 'matrix' ? each.matrix : []));
      const [matrix] = matrices;
      // Cells of recurrent layers and experts have several, and a plan of their own.
      if (product?.quantized && matrices.length === (product.products ?? 1)) {
        const { format, blockSize } = matrix!;
        const { N, K, products: count = 1 } = product;
        add(products, { count, M: written / Math.max(1, N), N, K, format, blockSize });
        microseconds += MSD_MAC * padded(product) * count * written * K;
      }
      if (scores) {
        const dims = scores.dims.map(concreteSize);
        const [batch, heads, rows, keys] = dims as [number, number, number, number];
        add(attentions, { count: 1, batch, heads, rows, keys, headSize: scores.width / 2 });
        microseconds += attentionPrice(scores, caches.length > 0, 1).msd;
      }
    }
  return { products: [...products.values()], attentions: [...attentions.values()], microseconds };
}
