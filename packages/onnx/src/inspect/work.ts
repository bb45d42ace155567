/** What one run of a model is, for sizes that are given: multiplications on both sides, and what the cost model expects. */
import type { Draft } from '../execute/drafts.ts';
import type { GraphNode } from '../ir/graph.ts';
import { inferTypes, type TypedGraph } from '../ir/infer.ts';
import { isGrowing, type Size } from '../ir/info.ts';
import type { Match } from '../passes/matcher.ts';
import { CostModel } from '../plan/cost.ts';
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

/** One run. */
export interface Work {
  /** The branches that it takes. */
  readonly taken: readonly string[];
  readonly macs: number;
  readonly msdMacs: number;
  /** The largest first. */
  readonly operators: readonly OperatorWork[];
  /** Microseconds of the cost model, for the machine that it was fitted on: as MSD cuts it, and as one session of ONNX Runtime. */
  readonly predictedMicroseconds: { readonly msd: number; readonly ort: number };
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
  return {
    taken,
    macs: list.reduce((sum, { macs }) => sum + macs, 0),
    msdMacs: list.reduce((sum, { msdMacs }) => sum + msdMacs, 0),
    operators: list,
    predictedMicroseconds: { msd: sides ? model.total(sides.regions) : ort, ort },
  };
}
