/** What becomes of a model, or of one way through its branches: types, matches, sides. Nothing is loaded yet. */
import type { Variant } from '../inline/branches.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import { inferTypes, type TypedGraph } from '../ir/infer.ts';
import { type Decisions, matchNodes } from '../passes/match.ts';
import type { Match, MatchOptions } from '../passes/matcher.ts';
import { allForeign, chooseSides, type Sides } from '../plan/cost.ts';
import { type Passed, passedOutputs, withoutOutputs } from '../plan/passed.ts';
import { neededNodes, unitsOf } from '../plan/units.ts';
import { refusalOf, wholeReason } from '../plan/whole.ts';
import type { NodeRecord } from '../read/node.ts';
import type { Parts } from './families.ts';

export interface Draft {
  readonly typed: TypedGraph;
  readonly decisions: Decisions;
  /** Outputs that no node makes. They are not among the graph's. */
  readonly passed: ReadonlyMap<string, Passed>;
  /** Absent if the model cannot be cut. */
  readonly sides: Sides | undefined;
  /** Why ONNX Runtime runs all of it; `undefined` if MSD takes a part. */
  readonly reason: string | undefined;
  /** It cannot be cut at all. */
  readonly isRefused: boolean;
  /** The branches that were taken. */
  readonly taken: readonly string[];
}

export interface Drafting extends MatchOptions {
  /** Everything that MSD has is taken. */
  readonly all: boolean;
  readonly parts: Pick<Parts, 'foldConstants' | 'selectEarly'>;
}

export function draftOf({ record, graph: built, taken }: Variant, drafting: Drafting): Draft {
  const { all } = drafting;
  const { foldConstants, selectEarly } = drafting.parts;
  const typesOf = (graph: Graph): TypedGraph => inferTypes(foldConstants?.(graph) ?? graph);
  let typed = typesOf(built);
  const { contradiction } = typed;
  const chosen = selectEarly?.(record, typed) ?? typed.graph;
  if (chosen !== typed.graph) typed = typesOf(chosen);
  const passed = passedOutputs(typed.graph);
  typed = { ...typed, graph: withoutOutputs(typed.graph, passed) };
  const { graph } = typed;
  const decisions = matchNodes(typed, drafting);
  const refusal = contradiction ?? refusalOf(graph, neededNodes(graph));
  if (refusal !== undefined)
    return { typed, decisions, passed, taken, sides: undefined, reason: refusal, isRefused: true };
  const matches = new Map<GraphNode, Match>();
  for (const [node, decision] of decisions) if (typeof decision === 'object') matches.set(node, decision);
  const units = unitsOf(graph, matches);
  const reason = wholeReason(neededNodes(graph), decisions, all);
  const sides = reason === undefined ? chooseSides(typed, units, all) : undefined;
  const isForeign = reason !== undefined || sides!.whole !== undefined;
  return {
    typed,
    decisions,
    passed,
    taken,
    sides: isForeign ? allForeign(typed, units) : sides,
    reason: reason ?? sides!.whole,
    isRefused: false,
  };
}

/** May an operator multiply with weights of the file? A branch with one of them is worth a look. */
export const mayMultiply = ({ opType }: NodeRecord): boolean => /MatMul|Gemm|Conv|Attention|MoE|LSTM/.test(opType);

/** Is there a product in a branch? */
export function hasProductInside({ decisions }: Draft): boolean {
  for (const decision of new Set(decisions.values()))
    if (typeof decision === 'object' && decision.product && decision.nodes.some(({ inside }) => inside !== undefined))
      return true;
  return false;
}

/** Why the model is better left whole: one way through it cannot be cut, or there is nothing to take on any. */
export function wholeOf(drafts: readonly Draft[]): string | undefined {
  const refused = drafts.find(({ isRefused }) => isRefused);
  if (refused) return refused.reason;
  return drafts.every(({ reason }) => reason !== undefined) ? drafts[0]!.reason : undefined;
}
