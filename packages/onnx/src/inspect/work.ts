/** What one run of a model is, for sizes that are given: multiplications on both sides, and what the cost model expects. */
import { TYPICAL_PASSES } from '../execute/control/draft.ts';
import type { Draft } from '../execute/drafts.ts';
import type { GraphNode } from '../ir/graph.ts';
import { type Infos, inferTypes, type TypedGraph } from '../ir/infer.ts';
import { isGrowing, type Size, scalarOf } from '../ir/info.ts';
import type { Match } from '../passes/matcher.ts';
import { CostModel, unitsOfModels } from '../plan/cost.ts';
import { type Control, type Unit, unitsOf } from '../plan/units.ts';
import type { Dim } from '../read/types.ts';
import { type ClaimedWork, claimedWork } from './claimed-work.ts';
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
export interface Work extends ClaimedWork {
  /** The branches that it takes. */
  readonly taken: readonly string[];
  readonly macs: number;
  readonly msdMacs: number;
  /** The largest first. */
  readonly operators: readonly OperatorWork[];
  /** Microseconds of the planner, for the machine that it plans for: as MSD cuts it, and as one session of ONNX Runtime. */
  readonly predictedMicroseconds: {
    readonly msd: number;
    readonly ort: number;
    /** Of `msd`, what has measured prices and no model: ONNX Runtime's part, what lies between it and MSD, JavaScript, control flow. */
    readonly rest: number;
  };
}

/** Of one way through a model. */
export function workOf(draft: Draft, sizeOf: SizeOf): Work {
  const known = new Map<string, number>();
  const sized = (input: string, axis: number, dim: Dim): number => {
    if (typeof dim === 'number') return dim;
    const size = sizeOf(input, axis, dim ?? '');
    if (dim !== null) known.set(dim, size);
    return size;
  };
  const { sides, taken, typed } = draft;
  const dims = new Map<string, readonly number[]>();
  for (const { name, type } of typed.graph.inputs)
    if (type.dims)
      dims.set(
        name,
        type.dims.map((dim, axis) => sized(name, axis, dim)),
      );
  const { operators, concrete, concreteSize, units } = counted(draft, dims, known);
  const list = [...operators].map(([operator, sum]) => ({ operator, ...sum })).sort((a, b) => b.macs - a.macs);
  const sizes = { of: concreteSize, keys: concreteSize };
  const model = new CostModel(concrete, false, [{ sizes, weight: 1 }]);
  const ort = model.whole(units);
  const total = sides ? model.total(sides.regions) : ort;
  const regions = sides?.regions ?? [];
  return {
    taken,
    macs: list.reduce((sum, { macs }) => sum + macs, 0),
    msdMacs: list.reduce((sum, { msdMacs }) => sum + msdMacs, 0),
    operators: list,
    predictedMicroseconds: { msd: total, ort, rest: total - model.modelled(regions) },
    ...claimedWork(unitsOfModels(regions), sizes, (unit) => model.written(unit, sizes)),
  };
}

/** By operator. */
type Operators = Map<string, { macs: number; msdMacs: number }>;

interface Counted {
  readonly operators: Operators;
  readonly concrete: TypedGraph;
  readonly concreteSize: (size: Size) => number;
  readonly units: readonly Unit[];
}

/**
 * @param dims of inputs
 * @param known sizes by their names; those of bodies are the names outside
 */
function counted(
  draft: Draft,
  dims: ReadonlyMap<string, readonly number[]>,
  known: ReadonlyMap<string, number>,
): Counted {
  const { typed, decisions, controls, sides } = draft;
  const inputs = typed.graph.inputs.map(({ name, type }) => ({
    name,
    type: { ...type, dims: dims.get(name) ?? type.dims },
  }));
  // What bodies leave was found when they were drafted.
  const left = (node: GraphNode) =>
    draft.bodies.has(node) ? node.outputs.map((name) => typed.infos.get(name)) : undefined;
  const concrete: TypedGraph = inferTypes({ ...typed.graph, inputs }, left);
  const largest = Math.max(1, ...known.values());
  // What does not follow from inputs: of declared types by its name, else as many as there are of anything.
  const concreteSize = (size: Size): number =>
    typeof size === 'number' ? size : (known.get(size) ?? (/batch/i.test(size) ? 1 : isGrowing(size) ? largest : 1));
  const matches = new Map<GraphNode, Match>();
  for (const [node, decision] of decisions) if (typeof decision === 'object') matches.set(node, decision);
  const planned = new Map<GraphNode, Control>();
  for (const [node, control] of controls) if (typeof control === 'object') planned.set(node, control);
  const units = unitsOf(typed.graph, matches, planned);
  const ours = new Set(
    (sides?.regions ?? []).flatMap(({ claimed, control, units: own }) =>
      claimed || control ? own.map(({ nodes }) => nodes[0]!) : [],
    ),
  );
  const operators: Operators = new Map();
  const add = (operator: string, macs: number, msdMacs: number): void => {
    const sum = operators.get(operator) ?? { macs: 0, msdMacs: 0 };
    sum.macs += macs;
    sum.msdMacs += msdMacs;
    operators.set(operator, sum);
  };
  for (const unit of units) {
    const [node] = unit.nodes as [GraphNode];
    const isOurs = ours.has(node);
    const scores = unit.match?.scores;
    // The match was made with symbols: its scores have the sizes that they have now.
    const sized = scores
      ? { ...unit, match: { ...unit.match!, scores: { ...scores, dims: scores.dims.map(concreteSize) } } }
      : unit;
    for (const { operator, macs } of macsOf(sized, concrete, concreteSize)) add(operator, macs, isOurs ? macs : 0);
    for (const [operator, { macs, msdMacs }] of countedInside(draft, node, concrete.infos, concreteSize, known))
      add(operator, macs, isOurs ? msdMacs : 0);
  }
  return { operators, concrete, concreteSize, units };
}

/** A Loop that is told so many passes is told none: what ends it is its condition. */
const NO_LIMIT = 2 ** 24;

/** In all passes of a node's body; of an If in the branch that multiplies more. */
function countedInside(
  draft: Draft,
  node: GraphNode,
  infos: Infos,
  concreteSize: (size: Size) => number,
  known: ReadonlyMap<string, number>,
): Operators {
  const found = draft.bodies.get(node);
  if (!found) return new Map();
  const { bodies, scanned } = found;
  const dimsOf = (name: string): readonly number[] | undefined => infos.get(name)?.dims?.map(concreteSize);
  const along = (i: number): number => scanned!.inputAxes[i]!;
  const all = bodies.flatMap(({ drafts, inputs, captured }) => {
    const given = new Map<string, readonly number[]>();
    const put = (name: string, dims: readonly number[] | undefined): void => void (dims && given.set(name, dims));
    for (const name of captured) put(name, dimsOf(name));
    const own = inputs.length - captured.length;
    // Carried values are taken as long as in the first pass.
    for (let i = node.opType === 'Loop' ? 2 : 0; i < own; i++) {
      const dims = dimsOf(node.inputs[i]!);
      const isSlice = scanned && i >= scanned.states;
      put(inputs[i]!, isSlice ? dims?.filter((_, axis) => axis !== placeOf(along(i - scanned.states), dims)) : dims);
    }
    return drafts.map((each) => counted(each, given, known).operators);
  });
  const macsIn = (operators: Operators): number => [...operators.values()].reduce((sum, { macs }) => sum + macs, 0);
  const [most] = all.sort((a, b) => macsIn(b) - macsIn(a));
  const limit = node.opType === 'Loop' ? scalarOf(infos.get(node.inputs[0] ?? '')) : undefined;
  let passes = node.opType === 'If' ? 1 : TYPICAL_PASSES;
  if (scanned) {
    const dims = dimsOf(node.inputs[scanned.states]!);
    passes = dims?.[placeOf(along(0), dims)] ?? passes;
  } else if (limit !== undefined && limit < NO_LIMIT) passes = Math.max(0, limit);
  for (const sum of most?.values() ?? []) {
    sum.macs *= passes;
    sum.msdMacs *= passes;
  }
  return most ?? new Map();
}

const placeOf = (axis: number, dims: readonly number[]): number => (axis < 0 ? axis + dims.length : axis);
